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


# Given the runs of a benchmark, one per subject, with the figures of all launches so far.
Judge: TypeAlias = Callable[[Sequence[Run]], Answer]


class Looks:
    """Answers a benchmark's looks.

    A launch that came to nothing is repeated; of the others, the judge decides.

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
        fill.fill(runs, collected)
        last = [one for run in runs for one in run.launches if one.number == launch]
        if any(one.tainted for one in last) and self._repeats < validity.RETRIES:
            self._repeats += 1
            return _PROTOCOL.ANSWER_REPEAT
        if self._judge is not None and self._judge(runs) is Answer.STOP:
            return _PROTOCOL.ANSWER_STOP
        return _PROTOCOL.ANSWER_CONTINUE
