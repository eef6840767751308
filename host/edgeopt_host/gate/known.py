"""What makes a stored run incomparable, as far as that is known before anything is measured.

fingerprint.py has all of it: what came of runs that are both there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeopt_host.plan import Execution, Plan
from edgeopt_host.run import Run


@dataclass(frozen=True)
class Asked:
    """How a candidate is to be executed.

    Attributes:
        execution: as asked for.
        runtime: that of the candidate's file, where none was asked for; None: not known.
    """

    execution: Execution
    runtime: str | None = None

    def differences(self, stored: Run, plan: Plan) -> str | None:
        """Why a run by this plan will not be comparable with a stored one; None: it may be."""
        found = "; ".join(
            f"the {name} was {before}, and would be {now}"
            for name, before, now in self._both(stored, plan)
            if now is not None and before is not None and before != now
        )
        return (
            f"run {stored.id} cannot be compared with what is asked for: {found}" if found else None
        )

    def _both(self, stored: Run, plan: Plan) -> Iterator[tuple[str, object, object]]:
        shape, used = stored.shape, stored.runtime
        yield "runtime", used.name, self.execution.runtime or self.runtime
        yield "number of threads", used.threads, self.execution.threads
        yield "batch", shape.batch, plan.batch
        yield "number of streams", shape.streams, plan.streams
        yield "rate", _rate(shape.rate_hz), _rate(plan.rate_hz)


def _rate(hertz: float | None) -> str:
    return "back to back" if hertz is None else f"{hertz:g} Hz"
