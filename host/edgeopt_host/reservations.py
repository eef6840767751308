"""Devices that this host has reserved, and pushing under these leases.

data_dir()/leases.json holds, by the device's identity or name, the fencing number that the agent
gave. What it says about terms is by this host's clock and advice only: the agent decides.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.agent.v1 import agent_pb2
from edgeopt_host import _clock, _json_file
from edgeopt_host.errors import DeviceError, EdgeoptError, Unreachable
from edgeopt_host.inventory import Device
from edgeopt_host.paths import data_dir

if TYPE_CHECKING:
    from edgeopt_host.client import Agent

_NS = 1e9
# A push that would outlast its lease prolongs it to no more than this from then on.
_RENEWAL_S = 600.0
_RETRY_S = 5.0


@dataclass(frozen=True)
class Reservation:
    """A lease of this host."""

    fencing_number: int
    term_s: float
    ends: float  # seconds since the epoch


def find(device: Device) -> Reservation | None:
    """This host's lease of a device, as far as it knows."""
    entry: Any = _json_file.read(_path()).get(_key(device))
    try:
        number = int(entry["fencing_number"])
        term_s, ends = float(entry["term_s"]), float(entry["ends"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = 0 < number < 2**63 and math.isfinite(term_s) and math.isfinite(ends)
    return Reservation(number, term_s, ends) if sound else None


def keep(device: Device, lease: agent_pb2.Lease, term_s: float) -> Reservation:
    """Remembers a lease that the agent has given or renewed.

    Raises:
        EdgeoptError: when it cannot be written.
    """
    ends = time.time() + lease.remaining_ns / _NS
    reservation = Reservation(lease.fencing_number, term_s, ends)
    _change(lambda entries: entries.update({_key(device): asdict(reservation)}))
    return reservation


def forget(device: Device) -> None:
    """Forgets a lease that has ended."""
    _change(lambda entries: entries.pop(_key(device), None))


@contextlib.contextmanager
def used(agent: Agent, device: Device, notice: Callable[[str], None]) -> Iterator[int]:
    """The fencing number to ask a device with, 0 without a lease; meanwhile the lease is renewed.

    Args:
        agent: the device's.
        device: from the inventory.
        notice: told when the lease has run out.

    Raises:
        DeviceError: when the agent does not answer.
    """
    found = find(device)
    if found is not None:
        # How long it still lasts the agent knows, not this host's clock.
        lease = agent.status().lease
        if lease.fencing_number == found.fencing_number:
            found = keep(device, lease, found.term_s)
        elif found.ends <= time.time():
            forget(device)
            notice(f"{device.name}: your reservation has ended")
            found = None
    if found is None:
        yield 0
        return
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(agent, device, found, done), daemon=True)
    thread.start()
    try:
        yield found.fencing_number
    finally:
        done.set()
        thread.join()


def refuse_if_held(agent: Agent, device: Device) -> None:
    """Before anything is sent: says who holds a device.

    Raises:
        DeviceError: DEVICE_RESERVED.
    """
    lease = agent_pb2.Lease()
    # An older agent says so when it is asked for the run.
    with contextlib.suppress(DeviceError):
        lease = agent.status().lease
    if lease.fencing_number:
        told = {
            "holder": lease.holder,
            "purpose": lease.purpose,
            "remaining_ns": str(lease.remaining_ns),
        }
        raise explained(agent, device, DeviceError("reserved", "DEVICE_RESERVED", told))


def explained(agent: Agent, device: Device, error: DeviceError) -> DeviceError:
    """The agent's refusal because of a lease, in this host's time; other errors as they are."""
    if error.reason == "DEVICE_RESERVED":
        holder = error.metadata.get("holder") or "somebody else"
        remaining_s = _seconds(error.metadata.get("remaining_ns"))
        purpose = error.metadata.get("purpose", "")
        return DeviceError(
            f"{_clock.held(device.name, holder, purpose, remaining_s)}: --wait waits for it",
            error.reason,
            error.metadata,
        )
    if error.reason == "LEASE_LOST":
        with contextlib.suppress(EdgeoptError):
            forget(device)
        now = "nobody holds it now"
        with contextlib.suppress(DeviceError):
            lease = agent.status().lease
            if lease.holder:
                now = _clock.held("it", lease.holder, lease.purpose, lease.remaining_ns / _NS)
        return DeviceError(
            f"your reservation of {device.name} was ended before its time, and {now}; "
            f"`edgeopt-host device reserve {device.name}` reserves it again, and a push from now on "
            "asks without",
            error.reason,
            error.metadata,
        )
    return error


def _renew(agent: Agent, device: Device, lease: Reservation, done: threading.Event) -> None:
    """Prolongs a lease that ends soon, until `done`."""
    term_s = min(lease.term_s, _RENEWAL_S)
    ends = time.monotonic() + lease.ends - time.time()
    # Early enough for a network that is away for a while.
    wait_s = ends - term_s / 3 - time.monotonic()
    # Of one that is lost the agent says so to what is asked for under it.
    with contextlib.suppress(DeviceError):
        while not done.wait(max(0.0, wait_s)):
            wait_s = _RETRY_S
            with contextlib.suppress(Unreachable):
                renewed = agent.renew_lease(lease.fencing_number, term_s)
                wait_s = renewed.remaining_ns / _NS - term_s / 3
                with contextlib.suppress(EdgeoptError):
                    keep(device, renewed, lease.term_s)


def _seconds(nanoseconds: str | None) -> float:
    return int(nanoseconds) / _NS if nanoseconds and nanoseconds.isdecimal() else 0.0


def _key(device: Device) -> str:
    return device.identity or device.name


def _path() -> Path:
    return data_dir() / "leases.json"


def _change(change: Callable[[dict[str, Any]], object]) -> None:
    try:
        _json_file.change(_path(), change)
    except OSError as error:
        raise EdgeoptError(f"the file {_path()} cannot be written: {error.strerror}") from error
