"""Who is to blame when models that are measured together were not measured.

A benchmark of several models fails as a whole. One of them is why, or the device: the others must
not look broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt_host._text import plain
from edgeopt_host.run import Run

_PARTNER = "PARTNER_FAILED"


@dataclass(frozen=True)
class Blame:
    """Why a model has no figures.

    Args:
        own: it was its own fault, or nobody's in particular.
        words: "could not be measured: MODEL_INVALID: …", "not measured, because B (…) …".
    """

    own: bool
    words: str


def blame(runs: Sequence[Run], index: int) -> Blame | None:
    """Why one of the runs of a benchmark has no figures; None: it has.

    Args:
        runs: of one benchmark, in the order of the letters.
        index: which of them.
    """
    error = runs[index].error
    if error is None:
        return None
    guilty = _guilty(runs)
    if guilty in {None, index}:
        return Blame(error.reason != _PARTNER, f"could not be measured: {_reason(runs[index])}")
    return Blame(
        False,
        f"not measured, because {letter(guilty)} ({plain(runs[guilty].model.name)}) could not be: "
        f"{_reason(runs[guilty])}",
    )


def letter(index: int) -> str:
    """A model's name in text and plots: "A" is the first."""
    return chr(ord("A") + index)


def _guilty(runs: Sequence[Run]) -> int | None:
    """The one that failed by itself; None: several, or it cannot be told."""
    failed = {i: run.error for i, run in enumerate(runs) if run.error is not None}
    own = [i for i, error in failed.items() if error.reason != _PARTNER]
    if len(own) < len(failed):
        return own[0] if len(own) == 1 else None
    said = {(error.reason, error.message) for error in failed.values()}
    if len(said) > 1 or len(failed) < len(runs):
        return None
    # All were given the same error: the one that it names is why.
    ((_, message),) = said
    words = message.split()
    named = [i for i, run in enumerate(runs) if run.model.name in message]
    exact = [i for i in named if runs[i].model.name in words]
    found = exact or named
    return found[0] if len({runs[i].model.sha256 for i in found}) == 1 else None


def _reason(run: Run) -> str:
    error = run.error
    return plain(f"{error.reason}: {error.message}") if error else ""
