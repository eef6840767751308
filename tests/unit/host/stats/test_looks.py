"""When to look, and with which error rate."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt_host.plan import Plan
from edgeopt_host.stats.estimate import Mean
from edgeopt_host.stats.launches import MIN_LAUNCHES
from edgeopt_host.stats.looks import Schedule


@pytest.mark.parametrize("budget", [4.0, 10.0, 60.0, 180.0, 600.0])
def test_the_budget_is_kept(budget: float) -> None:
    schedule = Schedule.relative(budget, 0.05)
    assert schedule.launches * schedule.launch_s * 2 == pytest.approx(budget)
    assert max(schedule.looks) == schedule.launches
    assert min(schedule.looks) >= MIN_LAUNCHES
    alone = Schedule.absolute(budget, 0.05)
    assert alone.launches * alone.launch_s == pytest.approx(budget)


@pytest.mark.parametrize("error_rate", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("make", [Schedule.relative, Schedule.absolute])
def test_the_looks_together_keep_the_rate(make: object, error_rate: float) -> None:
    """Launches' figures are normal and their mean is at the limit; 20,000 gates."""
    schedule = make(60.0, error_rate)  # type: ignore[operator]
    generator = np.random.default_rng(40)
    values = generator.standard_normal((20_000, schedule.launches))
    failed = np.zeros(len(values), np.bool_)
    from scipy.special import stdtrit

    for count, alpha in schedule.looks.items():
        seen = values[:, :count]
        t = seen.mean(axis=1) / seen.std(axis=1, ddof=1) * np.sqrt(count)
        failed |= t > stdtrit(count - 1, 1 - alpha)
    assert failed.mean() <= error_rate * 1.05
    # And do not give it away.
    assert failed.mean() >= error_rate * 0.65


def test_a_look_that_is_not_planned_has_no_rate() -> None:
    schedule = Schedule(9, 1.0, {3: 0.01, 6: 0.02, 9: 0.03})
    assert [schedule.alpha(n) for n in (2, 3, 6, 9, 10)] == [None, 0.01, 0.02, 0.03, None]


def test_the_last_look_takes_the_rate_of_the_one_that_never_comes() -> None:
    schedule = Schedule(9, 1.0, {3: 0.01, 6: 0.02, 9: 0.03})
    assert [schedule.last_alpha(n) for n in (2, 4, 7, 9, 10)] == [0.01, 0.02, 0.03, 0.03, None]


def test_the_plan_is_the_schedules() -> None:
    schedule = Schedule(9, 1.5, {9: 0.05})
    plan = schedule.plan(Plan(batch=4, canary_s=2.0))
    assert (plan.launches, plan.duration_s, plan.looks) == (9, 1.5, True)
    assert (plan.batch, plan.canary_s) == (4, 2.0)
    assert plan.block_limit_s is not None
    assert plan.settle_inferences > 0
    assert plan.min_inferences < 20 <= schedule.plan(Plan(), memory=True).min_inferences


def test_a_mean_over_launches_is_what_the_rate_is_for() -> None:
    assert Mean.of([0.1, 0.2, 0.3]).p_values(0.2)[0] == pytest.approx(0.5)
