"""Who says, after each launch, whether a benchmark goes on: it runs on the device, this here."""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Sequence
from typing import TypeAlias

from edgeopt.agent.v1 import agent_pb2
from edgeopt_host import fill, validity
from edgeopt_host.collect import Collected
from edgeopt_host.run import Run

_PROTOCOL = agent_pb2.AnswerLookRequest.Answer


class Answer(enum.Enum):
    """To a launch that has ended."""

    CONTINUE = "continue"
    STOP = "stop"


# Given the runs of a benchmark, one per subject: what `fill.mark` knows of them after the launches so
# far. A device waits for the answer, so there are no figures and no findings yet.
Judge: TypeAlias = Callable[[Sequence[Run]], Answer]


class Looks:
    """Answers a benchmark's looks.

    A launch that came to nothing is repeated, a few times; of the others, the judge decides. A device
    that is not ready for its launches even then is told to stop: each of them waits for minutes.

    Args:
        judge: without one, a benchmark goes on to the end of its plan.
        runs: as they were begun.
    """

    def __init__(self, judge: Judge | None, runs: Sequence[Run]) -> None:
        self._judge = judge
        self._runs = runs
        self._repeats = 0

    def answer(self, launch: int, collected: Sequence[Collected]) -> _PROTOCOL:
        """What to tell the device after a launch."""
        runs = copy.deepcopy(list(self._runs))
        fill.mark(runs, collected)
        last = [one for run in runs for one in run.launches if one.number == launch]
        if any(one.tainted for one in last):
            if self._repeats < validity.RETRIES:
                self._repeats += 1
                return _PROTOCOL.ANSWER_REPEAT
            if any(one.tainted and one.start_warning for one in last):
                return _PROTOCOL.ANSWER_STOP
        if self._judge is not None and self._judge(runs) is Answer.STOP:
            return _PROTOCOL.ANSWER_STOP
        return _PROTOCOL.ANSWER_CONTINUE
