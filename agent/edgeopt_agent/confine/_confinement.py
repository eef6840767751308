"""What a worker is confined by: decided by its agent, told to the worker, put in force by it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeopt_agent.confine import _limits, _reach
from edgeopt_agent.errors import Unavailable

MECHANISMS = ("bubblewrap", "landlock", "seccomp", "rlimits")
# The worker resets its peak memory through it: worker/memory.py.
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Confinement:
    """The mechanisms of one launch, and how far it reaches."""

    # Of MECHANISMS.
    mechanisms: tuple[str, ...] = ()
    # Files and folders that may be read, beside the kernel's /proc and /sys.
    read: tuple[str, ...] = ()
    # The only folder that may be changed.
    scratch: str = ""
    # Bytes that may be mapped to write to; 0 for no limit.
    memory_bytes: int = 0
    # How many threads the user had when the launch began; 0 for no limit of their number.
    threads_now: int = 0
    # CPU time of all threads; 0 for no limit. It ends a worker that has lost its agent.
    cpu_s: int = 0

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Confinement:
        """What `str` made."""
        fields = json.loads(text)
        for name in ("mechanisms", "read"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def enter(self) -> None:
        """Confines this process, while it has one thread, to what importing a runtime needs.

        Landlock and capabilities count for a thread and for those that it starts, and imports start
        some: hence before them.

        Raises:
            ConfinementError: when a mechanism that works on this device fails.
        """
        if not sys.platform.startswith(("linux", "android")):
            self._apply("rlimits", self._set_limits)
            return
        if threads := len(list(Path("/proc/self/task").iterdir())) - 1:
            raise ConfinementError(f"{threads} more threads run before the worker is confined")
        # Here, because the agent, which never confines itself, would have them in memory.
        from edgeopt_agent.confine import _privileges

        self._apply("", _privileges.no_new_privileges)
        self._apply("rlimits", self._set_limits)
        self._apply("landlock", self._restrict_files)
        self._apply("", self._drop_capabilities)

    def seal(self) -> None:
        """Adds what importing a runtime and opening sensors does not bear, for all threads.

        Raises:
            ConfinementError: when a mechanism that works on this device fails.
        """
        from edgeopt_agent.confine import _seccomp

        self._apply("seccomp", _seccomp.install)

    def _apply(self, mechanism: str, function: Callable[[], None]) -> None:
        if mechanism and mechanism not in self.mechanisms:
            return
        try:
            function()
        except (Unavailable, OSError, ValueError) as error:
            name = mechanism or "giving up privileges"
            raise ConfinementError(f"{name} failed: {error}") from error

    def _set_limits(self) -> None:
        _limits.set_limits(self.memory_bytes, self.threads_now, self.cpu_s)

    def _restrict_files(self) -> None:
        from edgeopt_agent.confine import _landlock

        _landlock.restrict(
            [*map(Path, self.read), *_reach.KERNEL],
            [Path(self.scratch), _CLEAR_REFS],
            _reach.devices(),
        )

    def _drop_capabilities(self) -> None:
        from edgeopt_agent.confine import _privileges

        _privileges.drop_capabilities(map(Path, self.read))


class ConfinementError(Exception):
    """A worker that would open a model without what this device promises; it must not."""
