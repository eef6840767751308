"""Who is to blame when models that are measured together were not measured.

A benchmark of several models fails as a whole. One of them is why, or the device: the others must
not look broken.
"""

from __future__ import annotations

import re
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


def is_innocent(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a run failed only because another of its benchmark did.

    Args:
        run: that has an error.
        runs: of the benchmark, itself included.
    """
    error = run.error
    if error is None or error.reason == _PARTNER:
        return True
    # All were given one error: it is about the file that it names.
    same = all(one.error == error for one in runs)
    return (
        same
        and not _names(error.message, run.model.name)
        and any(_names(error.message, one.model.name) for one in runs)
    )


def _names(message: str, file: str) -> bool:
    """Whether a message is about this file, and not about one whose name is longer."""
    return bool(re.search(rf"(?<![\w.-]){re.escape(file)}(?![\w-]|\.\w)", message))


def _guilty(runs: Sequence[Run]) -> int | None:
    """The one that failed by itself; None: several, or it cannot be told."""
    failed = [i for i, run in enumerate(runs) if run.error is not None]
    own = [i for i in failed if not is_innocent(runs[i], runs)]
    files = {runs[i].model.sha256 for i in own}
    return own[0] if len(files) == 1 and len(own) < len(failed) else None


def _reason(run: Run) -> str:
    error = run.error
    return plain(f"{error.reason}: {error.message}") if error else ""
