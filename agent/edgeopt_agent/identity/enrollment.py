"""The one-time token of first contact: 128 bits, 10 minutes, 5 tries, kept over restarts.

    enrollment.json      when it began, and how many tries are left

The token is not stored: it is made from a random number in this file and the pending key, so that
an agent that restarts prints the line that it printed before, with the tries and the time that were
left. A reboot ends it, because no clock of the device is sure to have gone on meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeopt_agent.errors import Unauthenticated
from edgeopt_agent.identity import write_private

LIFE_S = 600.0
TRIES = 5
_BYTES = 16


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Clock:
    """Seconds since boot, sleep included, and which boot that is; empty where nobody tells."""

    boot_s: Callable[[], float] = lambda: time.clock_gettime(
        getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    )
    wall_s: Callable[[], float] = time.time
    boot_id: Callable[[], str] = _boot_id


@dataclass(frozen=True)
class _State:
    nonce: str
    boot_id: str
    boot_s: float
    wall_s: float
    tries_left: int


class Token:
    """The token that is alive in a state directory, or a new one."""

    def __init__(self, state_dir: Path, key: str, clock: Clock | None = None) -> None:
        """Takes up the earlier token when it lives; `key` is the pending key's PEM."""
        self._path = state_dir / "enrollment.json"
        self._key = key.encode()
        self._clock = clock or Clock()
        self._used = False
        earlier = self._read()
        if earlier is not None and self._ended(earlier) is None:
            self._state = earlier
        else:
            self._state = _State(
                secrets.token_hex(_BYTES),
                self._clock.boot_id(),
                self._clock.boot_s(),
                self._clock.wall_s(),
                TRIES,
            )
            self._write()

    @property
    def text(self) -> str:
        """For the enrolment line: 26 letters and digits."""
        mac = hmac.digest(self._key, bytes.fromhex(self._state.nonce), "sha256")
        return base64.b32encode(mac[:_BYTES]).decode().rstrip("=").lower()

    @property
    def ended(self) -> str | None:
        """Why it does not count any more; None while it does."""
        return self._ended(self._state)

    @property
    def left_s(self) -> float:
        """How long it lives, unless the tries are used up before."""
        return max(0.0, self._state.boot_s + LIFE_S - self._clock.boot_s())

    def check(self, given: str) -> None:
        """Counts a try, on the disk before the answer, and takes it back when it was right.

        Raises:
            Unauthenticated: TOKEN_REFUSED.
        """
        why = self.ended
        if why is None:
            self._count(-1)
            digests = (hashlib.sha256(text.encode()).digest() for text in (given, self.text))
            if hmac.compare_digest(*digests):
                self._count(1)
                return
            left = self._state.tries_left
            why = (
                self.ended or f"the token is wrong ({left} {'try' if left == 1 else 'tries'} left)"
            )
        raise Unauthenticated(
            "TOKEN_REFUSED",
            f"{why}; copy the whole line that `edgeopt-agent serve --enroll` printed last, or start "
            "it again",
        )

    def use_up(self) -> None:
        """It never counts again after a restart; a repeated last call is still let in."""
        self._used = True
        self._path.unlink(missing_ok=True)

    def _count(self, change: int) -> None:
        state = asdict(self._state)
        self._state = _State(**{**state, "tries_left": state["tries_left"] + change})
        self._write()

    def _ended(self, state: _State) -> str | None:
        if state.tries_left <= 0:
            return f"the token is used up: {TRIES} wrong ones were tried"
        alive = (
            state.boot_id == self._clock.boot_id()
            and 0 <= self._clock.boot_s() - state.boot_s < LIFE_S
            # Without a boot's name, only the wall clock might show that there was another one.
            and (bool(state.boot_id) or 0 <= self._clock.wall_s() - state.wall_s < LIFE_S)
        )
        return None if alive else f"the token has ended: it lives for {LIFE_S / 60:.0f} minutes"

    def _read(self) -> _State | None:
        # What cannot be read does not count.
        with contextlib.suppress(
            OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError
        ):
            data = json.loads(self._path.read_bytes())
            bytes.fromhex(data["nonce"])
            return _State(
                str(data["nonce"]),
                str(data["boot_id"]),
                float(data["boot_s"]),
                float(data["wall_s"]),
                min(TRIES, int(data["tries_left"])),
            )
        return None

    def _write(self) -> None:
        if not self._used:
            write_private(self._path, json.dumps(asdict(self._state)))
