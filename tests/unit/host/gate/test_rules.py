"""A rule on its way to a verdict: when it is there, and what chance may take back."""

from __future__ import annotations

from typing import Any

import pytest

import sample_runs
import traces
from edgeopt_host.gate.policy import Margin, Rule
from edgeopt_host.gate.rules import Case, correct_for_many
from edgeopt_host.metrics import MB, METRICS
from edgeopt_host.run import Launch, Paired, Run
from edgeopt_host.stats import energy
from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.verdict import Decision, Verdict

_EXACT = {"size_mb", "delegated_share", "peak_memory_mb", "model_memory_mb"}


def case(metric: str, amount: float = 0.0) -> Case:
    margin = Margin(amount, points=metric == "accuracy")
    return Case(Rule(metric, max_regression=margin), "pi4")


def memory_run(peaks: list[int]) -> Run:
    import numpy as np

    launches: list[Launch] = [
        traces.launch(np.full(30, 1.0), number, peak_rss_bytes=peak * MB)
        for number, peak in enumerate(peaks)
    ]
    return sample_runs.measured_run(launches=launches)


def decide(made: Case, run: Run, baseline: Run | None = None, siblings: int = 1) -> None:
    made.look(run, baseline, 0.05, 1.0, siblings)


@pytest.mark.parametrize("metric", METRICS)
def test_chance_can_fail_every_metric_that_varies(metric: str) -> None:
    assert case(metric).no_margin is (metric not in _EXACT)
    assert not case(metric, 0.03).no_margin


def test_many_energy_rules_without_a_margin_share_the_error_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """.03 fails one rule, and of three it can be chance."""

    def unlucky(*_: Any) -> Decision:
        return Decision(Verdict.FAIL, Estimate(1.01, 1.0, 1.02), p_pass=0.97, p_fail=0.03)

    monkeypatch.setattr(energy, "decide_energy_ratio", unlucky)
    runs = [sample_runs.measured_run(paired=Paired("benchmarks/1", i, [])) for i in (0, 1)]
    for count, verdict in ((1, Verdict.FAIL), (3, Verdict.INCONCLUSIVE)):
        cases = [case("energy_per_inference_mj") for _ in range(count)]
        for one in cases:
            decide(one, *runs, siblings=count)
        correct_for_many(cases)
        assert {one.decision.verdict for one in cases if one.decision} == {verdict}


@pytest.mark.parametrize(
    ("early", "late", "verdicts"),
    [
        ([40, 40, 40], [40, 40, 40, 60], ("pass", "inconclusive")),
        ([60, 60, 60], [60, 60, 60, 40], ("fail", "inconclusive")),
        ([40, 40, 40], [40, 40, 40, 41], ("pass", "pass")),
    ],
)
def test_a_peak_is_that_of_all_launches(
    early: list[int], late: list[int], verdicts: tuple[str, str]
) -> None:
    """Others go on measuring after the look at which memory could be decided."""
    made = Case(Rule("peak_memory_mb", max=50.0), "pi4")
    for peaks, verdict in zip((early, late), verdicts, strict=True):
        decide(made, memory_run(peaks))
        assert made.decision is not None
        assert made.decision.verdict.value == verdict
        # So that memory alone keeps nobody measuring.
        assert made.settled is (verdict != "inconclusive")


def test_what_was_given_up_stays_so() -> None:
    made = Case(Rule("peak_memory_mb", max=50.0), "pi4")
    made.give_up("the device overheated")
    decide(made, memory_run([40, 40, 40]))
    assert made.decision is not None
    assert made.decision.verdict is Verdict.NOT_MEASURABLE


def test_of_looks_the_first_that_decides_counts() -> None:
    made = Case(Rule("size_mb", max=10.0), "pi4")
    decide(made, sample_runs.measured_run())
    decide(made, sample_runs.measured_run())
    assert (made.looks, made.final) == (1, True)
