"""Who may use the device alone, and until when.

A lease has a fencing number, which grows: whoever comes with an older one has lost theirs. Terms
run on the monotonic clock, so that a clock set anew neither ends nor prolongs one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeopt.agent.v1 import agent_pb2
from edgeopt_agent.errors import FailedPrecondition, StorageError
from edgeopt_agent.journal import Journal, LeaseRecord

_MINUTE_S = 60


@dataclass
class _Held:
    record: LeaseRecord
    ends_ns: int  # on the monotonic clock


class Leases:
    """At most one lease at a time.

    Args:
        journal: where it survives a restart.
        in_use: whether a benchmark under this fencing number waits or runs: that keeps the lease.
        monotonic_ns: a clock that nobody sets.
    """

    def __init__(
        self,
        journal: Journal,
        in_use: Callable[[int], bool],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._journal = journal
        self._in_use = in_use
        self._now_ns = monotonic_ns
        self._held: _Held | None = None
        record = journal.lease()
        self._last_number = record.fencing_number if record else 0
        if record and record.term_ns:
            # The wall clock is all that goes on without the agent; whatever it says, a lease lasts
            # no longer than its term.
            left_ns = min(record.expire_time_ns - time.time_ns(), record.term_ns)
            self._held = _Held(record, self._now_ns() + left_ns)

    def current(self) -> LeaseRecord | None:
        """The lease that is held now."""
        held = self._held
        if held is None:
            return None
        if self._now_ns() >= held.ends_ns and not self._in_use(held.record.fencing_number):
            self._held = None
            # Otherwise a restart after a clock that goes back would bring it to life again.
            with contextlib.suppress(StorageError):
                self._journal.keep_lease(_over(held.record))
            return None
        return held.record

    def remaining_ns(self) -> int:
        """Until the end of the current lease's term; 0 when it is over or there is none."""
        return max(0, self._held.ends_ns - self._now_ns()) if self._held else 0

    def message(self) -> agent_pb2.Lease | None:
        """The current lease as hosts see it."""
        record = self.current()
        if record is None:
            return None
        lease = agent_pb2.Lease(
            fencing_number=record.fencing_number,
            holder=record.holder,
            purpose=record.purpose,
            remaining_ns=self.remaining_ns(),
        )
        lease.acquire_time.FromNanoseconds(record.acquire_time_ns)
        return lease

    def acquire(
        self, request_id: str, holder: str, purpose: str, term_ns: int, after_arrival: int
    ) -> None:
        """Takes the device, unless somebody has it.

        Raises:
            FailedPrecondition: DEVICE_RESERVED, with who has it and for how long.
        """
        current = self.current()
        if current is not None:
            if (current.request_id, current.holder) == (request_id, holder):
                return
            raise self.reserved(current)
        record = LeaseRecord(
            fencing_number=self._last_number + 1,
            request_id=request_id,
            holder=holder,
            purpose=purpose,
            acquire_time_ns=time.time_ns(),
            term_ns=term_ns,
            expire_time_ns=time.time_ns() + term_ns,
            after_arrival=after_arrival,
        )
        self._journal.keep_lease(record)
        self._last_number = record.fencing_number
        self._held = _Held(record, self._now_ns() + term_ns)

    def renew(self, fencing_number: int, holder: str, term_ns: int) -> None:
        """Makes a lease last for a term from now on; never shortens it.

        Raises:
            FailedPrecondition: LEASE_LOST.
        """
        record = self.check(fencing_number, holder)
        term_ns = max(term_ns, self.remaining_ns())
        record = replace(record, term_ns=term_ns, expire_time_ns=time.time_ns() + term_ns)
        self._journal.keep_lease(record)
        self._held = _Held(record, self._now_ns() + term_ns)

    def to_release(self, fencing_number: int, holder: str, *, force: bool) -> LeaseRecord | None:
        """What to keep in order to end this lease; None when it has ended.

        Raises:
            FailedPrecondition: DEVICE_RESERVED, when it is somebody else's and not forced.
        """
        current = self.current()
        if current is None or current.fencing_number != fencing_number:
            return None
        if current.holder != holder and not force:
            raise self.reserved(current)
        return _over(current)

    def released(self) -> None:
        """The end of the current lease has been kept."""
        self._held = None

    def check(self, fencing_number: int, holder: str) -> LeaseRecord:
        """The lease of this number, when it is the current one and this holder's.

        Raises:
            FailedPrecondition: LEASE_LOST.
        """
        current = self.current()
        if current and (current.fencing_number, current.holder) == (fencing_number, holder):
            return current
        now = f"{current.holder} holds it now" if current else "nobody holds it now"
        raise FailedPrecondition(
            "LEASE_LOST",
            f"lease {fencing_number} of this device is not held any more ({now}); reserve the device again",
        )

    def reserved(self, lease: LeaseRecord) -> FailedPrecondition:
        """What to say to whoever comes meanwhile."""
        seconds = self.remaining_ns() / 1e9
        if not seconds:
            left = "until its benchmark ends"
        elif seconds < _MINUTE_S:
            left = f"for {seconds:.0f} s more"
        else:
            left = f"for {seconds / _MINUTE_S:.0f} min more"
        purpose = f" ({lease.purpose})" if lease.purpose else ""
        return FailedPrecondition(
            "DEVICE_RESERVED",
            f"{lease.holder} holds this device{purpose} {left}; wait for it (--wait), or come back",
            holder=lease.holder,
            purpose=lease.purpose,
            remaining_ns=str(self.remaining_ns()),
        )


def _over(record: LeaseRecord) -> LeaseRecord:
    return replace(record, term_ns=0, expire_time_ns=0)
