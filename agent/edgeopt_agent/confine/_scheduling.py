"""On which CPUs and how urgently a process runs: what each worker inherits from its agent.

A process may change both of another one of its user. The system call filter keeps models from it;
where there is none, or somebody else did it, figures would be wrong and nobody would know.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

# More than any kernel has; it takes those that exist and that the cgroup allows.
_EVERY_CPU = range(8192)


class PriorityError(Exception):
    """The agent runs otherwise than it was started, and may not change that; the text tells how."""


@dataclass(frozen=True)
class Scheduling:
    """How a process runs. Linux and Android; elsewhere there is the nice value only."""

    # None for every CPU, also those that are switched on later.
    cpus: frozenset[int] | None
    nice: int
    # SCHED_OTHER and its like, with the priority of real-time ones.
    policy: tuple[int, int] | None

    @classmethod
    def now(cls) -> Scheduling:
        """Of this thread."""
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        if sys.platform not in {"linux", "android"}:
            return cls(None, nice, None)
        cpus = os.sched_getaffinity(0)
        policy = (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
        return cls(None if cpus >= _online() else frozenset(cpus), nice, policy)

    def restore(self) -> str:
        """Puts this thread back to it; what had been changed, "" if nothing.

        Raises:
            PriorityError: where the kernel lets nobody but root do it.
        """
        now = self.now()
        changed = [
            f"{what} from {was} to {is_}"
            for what, was, is_ in [
                ("CPUs", _shown(self.cpus), _shown(now.cpus)),
                ("policy", self.policy, now.policy),
                ("nice", self.nice, now.nice),
            ]
            if was != is_
        ]
        try:
            if self.cpus != now.cpus:
                os.sched_setaffinity(0, self.cpus or _EVERY_CPU)
            if self.policy != now.policy and self.policy is not None:
                os.sched_setscheduler(0, self.policy[0], os.sched_param(self.policy[1]))
            if self.nice != now.nice:
                os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        except OSError as error:
            raise PriorityError(f"{', '.join(changed)}: {error.strerror}") from error
        return ", ".join(changed)


def _shown(cpus: frozenset[int] | None) -> str:
    return "all" if cpus is None else ",".join(map(str, sorted(cpus)))


def _online() -> set[int]:
    """The CPUs that are switched on, such as "0-3,6"."""
    try:
        text = Path("/sys/devices/system/cpu/online").read_text(encoding="ascii").strip()
        ranges = [part.partition("-")[::2] for part in text.split(",")]
        return {n for first, last in ranges for n in range(int(first), int(last or first) + 1)}
    except (OSError, ValueError):
        return set(range(os.cpu_count() or 1))
