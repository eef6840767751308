"""Every metric of the contract, and how it is decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import sample_runs
import traces
from edgeopt_host import metrics
from edgeopt_host.metrics import MB, METRICS
from edgeopt_host.run import Energy, Failure, Paired, Run
from edgeopt_host.stats import energy, latency, sustained
from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.verdict import Decision, Verdict
from edgeopt_host.store import RunStore

# As the contract has them: unit, and whether higher is better.
CONTRACT = {
    "p50_latency_ms": ("ms", False),
    "p90_latency_ms": ("ms", False),
    "p95_latency_ms": ("ms", False),
    "p99_latency_ms": ("ms", False),
    "mean_latency_ms": ("ms", False),
    "load_ms": ("ms", False),
    "first_inference_ms": ("ms", False),
    "throughput_per_s": ("samples/s", True),
    "peak_memory_mb": ("MB", False),
    "model_memory_mb": ("MB", False),
    "size_mb": ("MB", False),
    "energy_per_inference_mj": ("mJ", False),
    "accuracy": ("", True),
    "delegated_share": ("", True),
    "sustained_ratio": ("", False),
}
SEQUENTIAL = [name for name, metric in METRICS.items() if metric.sequential]


def both(ratio: float = 1.0, seed: int = 50, **changes: Any) -> tuple[Run, Run]:
    """Candidate and baseline of one benchmark, around 1 ms."""
    generator = np.random.default_rng(seed)
    made = traces.pair(generator, ratio, launches=12, inferences=500)
    runs = []
    for subject, launches in enumerate(made):
        for launch in launches:
            noise = float(np.exp(0.02 * generator.standard_normal()))
            factor = noise * (ratio if subject == 0 else 1.0)
            launch.load_ns = round(1e7 * factor)
            launch.first_inference_ns = round(2e6 * factor)
        run = sample_runs.measured_run(
            launches=launches,
            latency_ms=latency.summarize(launches),
            paired=Paired("benchmarks/1", subject, ["a", "b"]),
            **changes,
        )
        run.shape.batch = 1
        runs.append(run)
    return runs[0], runs[1]


def test_the_metrics_are_the_contracts() -> None:
    assert {m.name: (m.unit, m.higher_is_better) for m in METRICS.values()} == CONTRACT
    assert all(name == metric.name for name, metric in METRICS.items())


def test_every_metric_is_read_from_a_run() -> None:
    run = sample_runs.measured_run()
    values = {name: metric.value(run) for name, metric in METRICS.items()}
    assert values == {
        "p50_latency_ms": 0.42,
        "p90_latency_ms": 0.46,
        "p95_latency_ms": 0.5,
        "p99_latency_ms": 0.59,
        "mean_latency_ms": 0.424,
        "load_ms": 12.3,
        "first_inference_ms": 0.63,
        "throughput_per_s": 2381.5,
        "peak_memory_mb": 39_800_000 / MB,
        "model_memory_mb": 9_000_000 / MB,
        "size_mb": 229_032 / MB,
        "energy_per_inference_mj": 1.23,
        "accuracy": pytest.approx(2 / 3),
        "delegated_share": 0.97,
        "sustained_ratio": 1.07,
    }


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_relative_rules_on_time(name: str) -> None:
    same, slower = both(), both(1.2)
    assert metrics.decide_relative(name, *same, 0.1, 0.05).verdict is Verdict.PASS
    assert metrics.decide_relative(name, *slower, 0.1, 0.05).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_absolute_rules_on_time(name: str) -> None:
    run, _ = both()
    figures = {"load_ms": 10.0, "first_inference_ms": 2.0, "throughput_per_s": 1000.0}
    value = figures.get(name) or METRICS[name].value(run)
    assert value
    up = METRICS[name].higher_is_better
    easy, hard = (value / 1.3, value * 1.3) if up else (value * 1.3, value / 1.3)
    assert metrics.decide_absolute(name, run, easy, 0.05).verdict is Verdict.PASS
    assert metrics.decide_absolute(name, run, hard, 0.05).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_rules_against_a_run_of_another_time(name: str) -> None:
    stored = both(seed=51)[1]
    stored.paired = None
    assert metrics.decide_versus_stored(name, both()[0], stored, 0.1, 0.05).verdict is Verdict.PASS
    slower = both(1.2)[0]
    assert metrics.decide_versus_stored(name, slower, stored, 0.1, 0.05).verdict is Verdict.FAIL


def test_against_a_stored_run_every_launch_counts_once() -> None:
    """However many blocks: processes that differ by 5 % leave 2 % open."""
    generator = np.random.default_rng(52)
    runs = []
    for _ in range(2):
        launches, _ = traces.pair(generator, 1.0, launches=4, inferences=5000, bias=0.05)
        runs.append(sample_runs.measured_run(launches=launches))
    decision = metrics.decide_versus_stored("p50_latency_ms", *runs, 0.02, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.estimate is not None
    assert decision.estimate.high - decision.estimate.low > 0.05


def test_runs_of_different_benchmarks_are_not_paired() -> None:
    one, other = both()
    other.paired = Paired("benchmarks/2", 1, ["a", "b"])
    decision = metrics.decide_relative("p50_latency_ms", one, other, 0.1, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert "in turns" in decision.reason


def test_throughput_counts_the_samples_of_a_batch() -> None:
    run, _ = both()
    run.shape.batch = 8
    assert metrics.decide_absolute("throughput_per_s", run, 7000, 0.05).verdict is Verdict.PASS
    failed = metrics.decide_absolute("throughput_per_s", run, 9000, 0.05)
    assert failed.verdict is Verdict.FAIL
    assert failed.estimate is not None
    assert 7500 < failed.estimate.low < 8000 < failed.estimate.high < 8500
    assert failed.estimate.low < failed.estimate.value < failed.estimate.high


def test_size_and_share_are_exact() -> None:
    one, other = both()
    one.model.size_bytes, other.model.size_bytes = round(1.02 * MB), MB
    assert metrics.decide_absolute("size_mb", other, 1.0, 0.05).verdict is Verdict.PASS
    assert metrics.decide_absolute("size_mb", one, 1.0, 0.05).verdict is Verdict.FAIL
    assert metrics.decide_relative("size_mb", one, other, 0.03, 0.05).verdict is Verdict.PASS
    assert metrics.decide_relative("size_mb", one, other, 0.01, 0.05).verdict is Verdict.FAIL
    assert metrics.decide_absolute("delegated_share", one, 0.97, 0.05).verdict is Verdict.PASS
    assert metrics.decide_absolute("delegated_share", one, 0.98, 0.05).verdict is Verdict.FAIL
    one.runtime.delegated_share = 0.9
    dropped = metrics.decide_relative("delegated_share", one, other, 0.05, 0.05)
    assert dropped.verdict is Verdict.FAIL


@pytest.mark.parametrize("decide", [metrics.decide_relative, metrics.decide_versus_stored])
def test_exact_figures_after_a_baseline_of_zero(
    decide: Callable[[str, Run, Run, float, float], Decision],
) -> None:
    one, other = both()
    other.runtime.delegated_share = 0.0
    more = decide("delegated_share", one, other, 0.0, 0.05)
    assert (more.verdict, more.estimate) == (Verdict.PASS, None)
    assert "is 0" in more.reason
    one.runtime.delegated_share = 0.0
    same = decide("delegated_share", one, other, 0.0, 0.05)
    assert (same.verdict, same.estimate) == (Verdict.PASS, Estimate.exact(1.0))
    other.model.size_bytes = 0
    assert decide("size_mb", one, other, 0.5, 0.05).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("limit", "launches", "verdict"),
    [
        (42.0, 12, Verdict.PASS),
        (42.0, 2, Verdict.INCONCLUSIVE),
        (40.5, 12, Verdict.INCONCLUSIVE),
        (39.0, 12, Verdict.FAIL),
        (39.0, 1, Verdict.FAIL),
    ],
)
def test_memory_is_the_largest_of_three(limit: float, launches: int, verdict: Verdict) -> None:
    run, _ = both()
    run.launches[0].peak_rss_bytes = 41 * MB
    run.launches = run.launches[:launches]
    if launches == 1:
        run.launches[0].peak_rss_bytes = 40 * MB
    assert metrics.decide_absolute("peak_memory_mb", run, limit, 0.05).verdict is verdict


def test_memory_of_few_inferences_is_no_peak() -> None:
    run, _ = both()
    for launch in run.launches:
        launch.warmup_inferences = 0
        launch.blocks = launch.blocks[:1]
        launch.blocks[0].latency_ns = launch.blocks[0].latency_ns[:19]
    decision = metrics.decide_absolute("peak_memory_mb", run, 50.0, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert metrics.decide_absolute("peak_memory_mb", run, 30.0, 0.05).verdict is Verdict.FAIL


@pytest.mark.parametrize("short", [0, 1])
def test_a_baseline_short_of_its_peak_fails_nobody(short: int) -> None:
    """Either side's: a FAIL is as sure of the peaks as a PASS."""
    runs = both()
    for launch in runs[0].launches:
        launch.peak_rss_bytes = 60 * MB
    decided = metrics.decide_relative("peak_memory_mb", *runs, 0.02, 0.05)
    assert decided.verdict is Verdict.FAIL
    for launch in runs[short].launches[2:]:
        launch.warmup_inferences = 0
        launch.blocks = launch.blocks[:1]
        launch.blocks[0].latency_ns = launch.blocks[0].latency_ns[:19]
    decided = metrics.decide_relative("peak_memory_mb", *runs, 0.02, 0.05)
    assert decided.verdict is Verdict.INCONCLUSIVE
    assert decided.estimate is not None
    assert decided.estimate.value == pytest.approx(1.5)
    assert "2 launches of at least 20" in decided.reason


@pytest.mark.parametrize(
    ("megabytes", "verdict"),
    [(40, Verdict.PASS), (41, Verdict.INCONCLUSIVE), (45, Verdict.FAIL)],
)
def test_memory_against_a_baseline(megabytes: int, verdict: Verdict) -> None:
    one, other = both()
    for launch in one.launches[1:]:
        launch.peak_rss_bytes = megabytes * MB
    one.launches[0].peak_rss_bytes = (40 if megabytes < 45 else 45) * MB
    assert metrics.decide_relative("peak_memory_mb", one, other, 0.02, 0.05).verdict is verdict


def test_accuracy_is_paired_per_example() -> None:
    one, other = both()
    one.correct = np.arange(1000) < 900
    other.correct = np.arange(1000) < 930
    assert metrics.decide_absolute("accuracy", one, 0.88, 0.05).verdict is Verdict.PASS
    assert metrics.decide_relative("accuracy", one, other, 0.5, 0.05).verdict is Verdict.FAIL
    assert metrics.decide_relative("accuracy", one, other, 5.0, 0.05).verdict is Verdict.PASS
    other.correct = other.correct[:-1]
    decision = metrics.decide_relative("accuracy", one, other, 5.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE


@pytest.mark.parametrize("decide", [metrics.decide_relative, metrics.decide_versus_stored])
@pytest.mark.parametrize("paired", [True, False])
def test_other_examples_are_not_comparable(
    decide: Callable[[str, Run, Run, float, float], Decision], paired: bool
) -> None:
    """As many of them, but of another file."""
    one, other = both()
    one.correct = other.correct = np.arange(1000) < 900
    assert decide("accuracy", one, other, 5.0, 0.05).verdict is Verdict.PASS
    other.accuracy = {**(other.accuracy or {}), "data_sha256": "ef" * 32}
    if not paired:
        other.paired = None
    decision = decide("accuracy", one, other, 5.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert "cdcdcdcd" in decision.reason
    assert "efefefef" in decision.reason


def test_a_listed_run_has_its_accuracy() -> None:
    """Without its examples, which only `get` loads: trends read what is listed."""
    with RunStore.open() as store:
        store.add(sample_runs.measured_run())
        (listed,) = store.list()
    assert listed.correct is None
    assert METRICS["accuracy"].value(listed) == 0.71


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(1.2, Verdict.PASS), (1.07, Verdict.INCONCLUSIVE), (1.0, Verdict.FAIL)],
)
def test_the_sustained_ratio_is_decided_by_its_interval(limit: float, verdict: Verdict) -> None:
    run, _ = both()
    assert metrics.decide_absolute("sustained_ratio", run, limit, 0.05).verdict is verdict


def test_sustained_ratios_are_compared() -> None:
    one, other = both()
    one.sustained = {"ratio": 1.5, "ci95": [1.45, 1.55], "df": 40, "window_s": 60.0}
    assert metrics.decide_relative("sustained_ratio", one, other, 0.1, 0.05).verdict is Verdict.FAIL
    one.sustained = {"ratio": 1.07, "ci95": None, "df": None, "window_s": 60.0}
    unknown = metrics.decide_relative("sustained_ratio", one, other, 0.1, 0.05)
    assert unknown.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", METRICS)
def test_a_run_that_failed_is_not_measurable(name: str) -> None:
    good, _ = both()
    failed = sample_runs.failed_run()
    for decision in (
        metrics.decide_absolute(name, failed, 1.0, 0.05),
        metrics.decide_relative(name, failed, good, 0.1, 0.05),
        metrics.decide_relative(name, good, failed, 0.1, 0.05),
        metrics.decide_versus_stored(name, good, failed, 0.1, 0.05),
    ):
        assert decision.verdict is Verdict.NOT_MEASURABLE
        assert "no agent answers" in decision.reason


def _strip(run: Run) -> Run:
    run.correct, run.sustained, run.launches = None, None, []
    run.energy = Energy("unavailable", "no sensor")
    run.runtime.delegated_share = None
    return run


@pytest.mark.parametrize("name", [name for name in METRICS if name != "size_mb"])
def test_what_a_device_does_not_tell_is_not_measurable(name: str) -> None:
    decision = metrics.decide_absolute(name, _strip(both()[0]), 1.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert decision.reason
    assert "comparison failed" not in decision.reason


def test_a_run_without_a_launch_that_counts_says_why() -> None:
    run, _ = both()
    for launch in run.launches:
        launch.tainted = "throttled"
    decision = metrics.decide_absolute("p95_latency_ms", run, 9.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert "throttled" in decision.reason


@pytest.mark.parametrize("name", METRICS)
def test_a_comparison_that_crashes_is_no_verdict(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the metric's own code calls raises."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("float division by zero")

    one, other = both()
    for function in ("decide_energy", "decide_energy_ratio"):
        monkeypatch.setattr(energy, function, broken)
    monkeypatch.setattr(sustained, "decide_sustained", broken)
    for function in (
        "decide_level", "decide_percentile", "exact", "_decide_extremes", "_decide_unsequential", "Mean",
    ):  # fmt: skip
        monkeypatch.setattr(metrics, function, broken)
    monkeypatch.setattr(metrics.accuracy, "decide_accuracy", broken)
    monkeypatch.setattr(metrics.paired, "decide_ratio", broken)
    for decision in (
        metrics.decide_absolute(name, one, 1.0, 0.05),
        metrics.decide_relative(name, one, other, 0.1, 0.05),
        metrics.decide_versus_stored(name, one, other, 0.1, 0.05),
    ):
        assert decision.verdict is Verdict.NOT_MEASURABLE
        assert decision.reason.startswith("the comparison failed")


def test_a_metric_that_does_not_exist_is_no_verdict() -> None:
    run, _ = both()
    run.error = Failure("X", "y")
    assert metrics.decide_absolute("p96_latency_ms", run, 1, 0.05).verdict is Verdict.NOT_MEASURABLE
