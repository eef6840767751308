"""Runs one target: many inputs, each with limits of time and memory."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from fuzz.target import Target

# Far more than any decoder takes on the slowest machine.
_HANGS_S = 60
# What the process may grow by; an input that wants more gets a MemoryError.
_ROOM_BYTES = 512 * 2**20


@dataclass
class Uncaught:
    """A finding: the smallest input that shows it."""

    value: Any
    error: BaseException

    def __str__(self) -> str:
        where = traceback.extract_tb(self.error.__traceback__)[-1]
        said = f"{type(self.error).__name__}: {self.error}"[:300]
        return f"{said} ({Path(where.filename).name}:{where.lineno})"


@dataclass
class Outcome:
    """What came of a target's inputs."""

    target: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    uncaught: Uncaught | None = None

    @property
    def inputs(self) -> int:
        return self.accepted + self.refused + (self.uncaught is not None)


class Hang(BaseException):
    """An input took too long. No decoder may catch it."""


def fuzz(target: Target, examples: int, seed: int | None = None) -> Outcome:
    """Tries a target's examples and `examples` inputs; stops at the first finding and shrinks it.

    Args:
        target: what to fuzz.
        examples: inputs to generate.
        seed: which; None for the same ones every time.
    """
    outcome = Outcome(target.name)
    began = time.monotonic()
    shrinking = False

    def attempt(value: Any) -> None:
        nonlocal shrinking
        try:
            with _limited_time():
                target.decode(value)
        except target.refused:
            outcome.refused += not shrinking
        except BaseException as error:
            outcome.uncaught = Uncaught(value, error)
            shrinking = True
            raise
        else:
            outcome.accepted += not shrinking

    with _limited_memory():
        try:
            for value in target.examples:
                attempt(value)
            _generate(
                target,
                attempt,
                examples,
                zlib.crc32(target.name.encode()) if seed is None else seed,
            )
        except BaseException:
            if outcome.uncaught is None:
                raise  # not the decoder's
    outcome.seconds = time.monotonic() - began
    return outcome


def _generate(target: Target, attempt: Callable[[Any], None], examples: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def property_(value: Any) -> None:
        attempt(value)

    property_()


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise Hang(f"no answer within {_HANGS_S} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    pages = Path("/proc/self/statm")
    if not pages.exists():  # macOS, where the limit does not work either
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(pages.read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
