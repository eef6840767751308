"""When to look at what was measured so far, and how sure to be at each look.

Looking often and stopping when it suits makes wrong verdicts (20 % where 5 % was promised), so the
looks are planned before, between launches, and share the error rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from edgeopt_host.plan import Plan

# Shares of the launches after which to look, and of the error rate to spend there;
# docs/adr/0021 has how they were chosen.
_RELATIVE = {4 / 30: 0.2, 6 / 30: 0.2, 10 / 30: 0.2, 17 / 30: 0.2, 1.0: 0.2}
_ABSOLUTE = {1 / 3: 0.2, 0.6: 0.3, 1.0: 0.5}
_MOST = 30
# Student's t over three launches is so wide that looking there only costs.
_FIRST_LOOK = 4
# A launch of a second is mostly preparation; it is not made shorter than this by a small budget.
_SHORTEST_S = 1.0
# A block ends after this, so that a slow model has pairs enough.
_BLOCK_LIMIT_S = 0.25
_WARMUP_S = 0.5
# Warm-up and timed part of a launch have at least so many.
_INFERENCES = 4
_SETTLE = 2


@dataclass(frozen=True)
class Schedule:
    """Planned looks.

    Args:
        launches: at most.
        launch_s: seconds that a launch times each subject.
        looks: after how many launches that count to look, and the error rate to spend there.
    """

    launches: int
    launch_s: float
    looks: Mapping[int, float]

    @classmethod
    def relative(cls, budget_s: float, error_rate: float) -> Schedule:
        """For rules against a baseline, by Student's t over launches.

        Args:
            budget_s: timed seconds of all launches of two subjects; of more, accordingly more.
            error_rate: of each verdict at the margin, over all looks.
        """
        return cls._of(_RELATIVE, budget_s / 2, error_rate)

    @classmethod
    def absolute(cls, budget_s: float, error_rate: float) -> Schedule:
        """For limits on one subject: `budget_s` timed seconds of it at most."""
        return cls._of(_ABSOLUTE, budget_s, error_rate)

    @classmethod
    def _of(cls, places: Mapping[float, float], seconds: float, error_rate: float) -> Schedule:
        launches = min(_MOST, max(_FIRST_LOOK, int(seconds / _SHORTEST_S)))
        looks: dict[int, float] = {}
        for place, share in places.items():
            launch = max(_FIRST_LOOK, round(place * launches))
            looks[launch] = looks.get(launch, 0.0) + share * error_rate
        return cls(launches, seconds / launches, looks)

    def plan(self, base: Plan, *, memory: bool = False) -> Plan:
        """What the device is asked for: `base` with this schedule's launches and looks.

        Args:
            base: for what is not about time.
            memory: the peak matters too, which takes `base.min_inferences` a launch to reach. With
                a slow model they may take more time than the budget.
        """
        return dataclasses.replace(
            base,
            launches=self.launches,
            duration_s=self.launch_s,
            warmup_s=min(base.warmup_s, _WARMUP_S),
            min_inferences=base.min_inferences if memory else _INFERENCES,
            block_limit_s=base.block_limit_s or _BLOCK_LIMIT_S,
            settle_inferences=base.settle_inferences or _SETTLE,
            looks=True,
        )

    def alpha(self, launches_done: int) -> float | None:
        """The error rate of the look after so many launches that count; None: none is planned."""
        return self.looks.get(launches_done)

    def last_alpha(self, launches_done: int) -> float | None:
        """The error rate of the last look, when the launches that count are fewer than planned.

        It is that of the next planned look, which will never come; None: all were taken.
        """
        return next((self.looks[n] for n in sorted(self.looks) if n >= launches_done), None)
