"""The engine over runs that are made up, but come launch by launch as from a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_host import baselines
from edgeopt_host.errors import UsageError
from edgeopt_host.gate import measure as measuring
from edgeopt_host.gate.read import read
from edgeopt_host.gate.result import GateResult, RuleResult, whole
from edgeopt_host.gate.run import Gate
from edgeopt_host.inventory import Inventory
from edgeopt_host.looks import Answer
from edgeopt_host.plan import Execution, Plan
from edgeopt_host.run import Failure, Run
from edgeopt_host.run import Warning as RunWarning
from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.looks import Schedule
from edgeopt_host.stats.verdict import Decision, Verdict
from edgeopt_host.store import RunStore
from sample_reports import paired_runs

HEAD = 'schema = "edgeopt.policy/1"\n'
P50 = '[[rule]]\nmetric = "p50_latency_ms"\nmax_regression = "3%"\n'
LOOKS = sorted(Schedule.relative(60, 0.05).looks)
P95 = '[[rule]]\nmetric = "p95_latency_ms"\nmax = {}\n'


class Bench:
    """Stands for `Bench.compare`: hands out made-up runs launch by launch, as a device does.

    The candidate takes `factor` times as long as the baseline. `change` may alter the runs of a
    device, at each launch, before they are judged.
    """

    def __init__(
        self, factor: float = 1.0, change: Callable[[list[Run]], None] = lambda _: None
    ) -> None:
        self.factor = factor
        self.change = change
        # Whether a device's host is quick enough to be heard.
        self.hears = True
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.runs: list[Run] = []

    def __call__(self, models: Sequence[Path], **asked: Any) -> list[list[Run]]:
        self.asked.append({"models": [model.name for model in models], **asked})
        # The inventory's order, not the one asked for.
        return [self._device(models, device, **asked) for device in sorted(asked["devices"])]

    def _device(self, models: Sequence[Path], device: str, **asked: Any) -> list[Run]:
        factors = [1.0 if model.name == "old.onnx" else self.factor for model in models]
        runs = paired_runs(
            *factors, names=tuple(m.name for m in models), device=device,
            launches=asked["plan"].launches, seed=len(self.asked),
        )  # fmt: skip
        launches = [run.launches for run in runs]
        for launch in [launch for made in launches for launch in made]:
            launch.timed_ns = round(asked["plan"].duration_s * 1e9)
        for done in range(1, asked["plan"].launches + 1):
            for run, made in zip(runs, launches, strict=True):
                run.launches = made[:done]
            self.change(runs)
            judge = asked["judge"]
            if judge is None:
                continue
            self.answers.append(judge(runs))
            if self.hears and self.answers[-1] is Answer.STOP:
                break
        self.runs += runs
        return runs


@pytest.fixture
def store() -> Iterator[RunStore]:
    with RunStore.open() as opened:
        yield opened


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("new.onnx", "old.onnx", "data.npz"):
        Path(name).touch()


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    found = Inventory(tmp_path / "inventory" / "devices.toml")
    found.add("nano", "127.0.0.1:50551", ["jetson"])
    found.add("pi4", "127.0.0.1:50552", ["pi"])
    return found


@pytest.fixture
def gate(models: None, inventory: Inventory, store: RunStore) -> Callable[..., Gate]:  # noqa: ARG001
    def of(text: str, **changes: Any) -> Gate:
        asked: dict[str, Any] = {
            "devices": ["pi4"],
            "tags": [],
            "candidate": "new.onnx",
            "baseline": "old.onnx",
            "data": None,
            **changes,
        }
        path = Path("policy.toml")
        return Gate.of(read(HEAD + text, path), path, inventory, store, **asked)

    return of


GateOf = Callable[..., Gate]


def only(result: GateResult) -> RuleResult:
    (rule,) = result.rules
    return rule


def test_a_model_as_quick_as_its_baseline_passes_at_the_first_look(gate: GateOf) -> None:
    bench = Bench(1.0)
    result = gate(P50).decide(bench, Plan())
    rule = only(result)
    assert (result.verdict, rule.verdict, result.exit_code) == (Verdict.PASS, Verdict.PASS, 0)
    assert rule.estimate == pytest.approx(1.0, abs=0.01)
    assert rule.ci is not None
    assert rule.ci[0] < rule.estimate < rule.ci[1]
    assert (rule.limit, rule.unit, rule.kind, rule.looks) == (1.03, "ratio", "relative", 1)
    assert rule.condition == "max_regression 3%"
    assert rule.candidate == pytest.approx(5.0, rel=0.05)
    assert rule.baseline == pytest.approx(5.0, rel=0.05)
    # It stopped there, and says what it took.
    assert [len(run.launches) for run in bench.runs] == [LOOKS[0]] * 2
    timed = sum(launch.timed_ns for run in bench.runs for launch in run.launches) / 1e9
    assert rule.device_seconds == pytest.approx(timed)
    assert result.document()["runs"] == [run.id for run in bench.runs]
    assert bench.asked[0]["models"] == ["new.onnx", "old.onnx"]
    assert bench.asked[0]["plan"].looks


def test_where_more_is_better_the_margin_is_below(gate: GateOf) -> None:
    rules = '[[rule]]\nmetric = "throughput_per_s"\nmax_regression = "3%"\n'
    passed = only(gate(rules).decide(Bench(0.9), Plan()))
    failed = only(gate(rules).decide(Bench(1.1), Plan()))
    assert (passed.verdict, failed.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert (passed.limit, failed.limit) == (0.97, 0.97)
    assert failed.estimate == pytest.approx(1 / 1.1, abs=0.01)


def test_a_slower_one_fails(gate: GateOf) -> None:
    result = gate(P50).decide(Bench(1.1), Plan())
    assert (result.verdict, result.exit_code) == (Verdict.FAIL, 1)
    assert only(result).estimate == pytest.approx(1.1, abs=0.01)


def test_one_at_the_margin_is_looked_at_until_the_end_and_then_inconclusive(gate: GateOf) -> None:
    bench = Bench(1.03)
    result = gate(P50 + "[gate]\nerror_rate = 0.0001\n").decide(bench, Plan())
    assert (result.verdict, result.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert only(result).looks == len(LOOKS)
    assert only(result).advice.startswith("raise budget_s (now 60)")
    assert [len(run.launches) for run in bench.runs] == [LOOKS[-1]] * 2


def test_the_last_look_comes_early_when_the_budget_is_spent(gate: GateOf) -> None:
    # Launches of 2 s for each model; of a budget of 20 s, five: between the first look and the last.
    def slow(runs: list[Run]) -> None:
        for run in runs:
            run.launches[-1].timed_ns = 2 * 10**9

    bench = Bench(1.03, slow)
    result = gate(P50 + "[gate]\nerror_rate = 0.0001\nbudget_s = 20\n").decide(bench, Plan())
    assert [len(run.launches) for run in bench.runs] == [5, 5]
    assert (only(result).looks, only(result).device_seconds) == (2, 20.0)


def test_who_does_not_hear_that_it_should_stop_spends_no_more_of_the_error_rate(
    gate: GateOf,
) -> None:
    """Launches of 2 s each: the budget of 20 s is spent after five of ten."""

    def slow(runs: list[Run]) -> None:
        for run in runs:
            run.launches[-1].timed_ns = 2 * 10**9

    bench = Bench(1.03, slow)
    bench.hears = False
    text = P50 + "[gate]\nerror_rate = 0.0001\nbudget_s = 20\n"
    memory = '[[rule]]\nmetric = "peak_memory_mb"\nmax = 50\n'
    latency, peak = gate(memory + text).decide(bench, Plan()).rules[::-1]
    assert [len(run.launches) for run in bench.runs] == [10, 10]
    assert bench.answers == [Answer.CONTINUE] * 4 + [Answer.STOP] * 6
    assert (latency.looks, latency.device_seconds) == (2, 20.0)
    # A peak has no error rate to spend: it is that of all launches.
    assert (peak.verdict, peak.device_seconds) == (Verdict.PASS, 40.0)


def test_a_spent_budget_ends_it_whether_or_not_the_last_launch_counts(gate: GateOf) -> None:
    def slow(runs: list[Run]) -> None:
        for run in runs:
            run.launches[-1].timed_ns = 4 * 10**9
            run.launches[-1].tainted = "throttled" if run.launches[-1].number else None

    bench = Bench(1.03, slow)
    gate(P50 + "[gate]\nbudget_s = 20\n").decide(bench, Plan())
    assert [len(run.launches) for run in bench.runs] == [3, 3]


def test_launches_that_do_not_count_bring_no_look_of_their_own(gate: GateOf) -> None:
    def disturbed(runs: list[Run]) -> None:
        for run in runs:
            for launch in run.launches:
                launch.tainted = "throttled" if launch.number in {4, 5} else None

    bench = Bench(1.03, disturbed)
    rule = only(gate(P50 + "[gate]\nerror_rate = 0.0001\n").decide(bench, Plan()))
    # The last look is at what there is, though two launches too few count.
    assert rule.looks == len(LOOKS)
    assert rule.verdict is Verdict.INCONCLUSIVE


def test_what_was_decided_at_a_look_stays_decided(gate: GateOf) -> None:
    """One rule is decided at the first look and the other is not; then the first would turn."""

    def turning(runs: list[Run]) -> None:
        for block in runs[0].launches[-1].blocks if len(runs[0].launches) > 4 else ():
            block.latency_ns[::5] *= 3

    p95 = P50.replace("p50", "p95").replace("3%", "15%")
    result = gate(P50 + p95 + "[gate]\nerror_rate = 0.001\n").decide(Bench(1.03, turning), Plan())
    at_the_margin, tail = result.rules
    assert at_the_margin.looks > 1
    assert (tail.verdict, tail.looks) == (Verdict.PASS, 1)


def test_required_rules_make_the_whole(gate: GateOf) -> None:
    advisory = P50 + "required = false\n"
    size = '[[rule]]\nmetric = "size_mb"\nmax = 5\n'
    result = gate(advisory + size).decide(Bench(1.1), Plan())
    assert [rule.verdict for rule in result.rules] == [Verdict.FAIL, Verdict.PASS]
    assert result.verdict is Verdict.PASS
    assert gate(advisory).decide(Bench(1.1), Plan()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ("fail not_measurable inconclusive pass", "fail"),
        ("pass inconclusive not_measurable", "not_measurable"),
        ("pass inconclusive", "inconclusive"),
        ("pass pass", "pass"),
    ],
)
def test_the_worst_of_the_required_rules_is_the_whole(verdicts: str, worst: str) -> None:
    sample = RuleResult(
        "load_ms", "pi4", True, Verdict.PASS, 1.0, None, 1.0, 1, 1.0, "", "absolute", "ms"
    )
    rules = [dataclasses.replace(sample, verdict=Verdict(v)) for v in verdicts.split()]
    ignored = dataclasses.replace(sample, verdict=Verdict.FAIL, required=False)
    assert whole([ignored, *rules]) is Verdict(worst)


@pytest.mark.parametrize(("limit", "verdict"), [(8, Verdict.PASS), (5.05, Verdict.FAIL)])
def test_an_absolute_limit_is_for_the_candidate_alone(
    gate: GateOf, limit: float, verdict: Verdict
) -> None:
    bench = Bench()
    rule = only(gate(P95.format(limit), baseline=None).decide(bench, Plan()))
    assert rule.verdict is verdict
    assert (rule.unit, rule.limit, rule.kind, rule.baseline) == ("ms", limit, "absolute", None)
    assert bench.asked[0]["models"] == ["new.onnx"]
    plan = bench.asked[0]["plan"]
    assert plan.duration_s * plan.launches == pytest.approx(180)


def test_both_kinds_of_rules_take_a_benchmark_each_and_the_rest_joins_in(gate: GateOf) -> None:
    memory = '[[rule]]\nmetric = "peak_memory_mb"\nmax_regression = "5%"\n'
    size = '[[rule]]\nmetric = "size_mb"\nmax = 5\n'
    bench = Bench()
    result = gate(P95.format(8) + memory + size + P50).decide(bench, Plan())
    assert result.verdict is Verdict.PASS
    assert [asked["models"] for asked in bench.asked] == [["new.onnx", "old.onnx"], ["new.onnx"]]
    assert len({rule.metric for rule in result.rules}) == 4
    # A peak takes some inferences to be reached.
    least = [asked["plan"].min_inferences for asked in bench.asked]
    assert least[0] == Plan().min_inferences > least[1]


def test_memory_alone_takes_three_short_launches(gate: GateOf) -> None:
    bench = Bench()
    rule = only(
        gate('[[rule]]\nmetric = "peak_memory_mb"\nmax = 39\n', baseline=None).decide(bench, Plan())
    )
    (asked,) = bench.asked
    assert (asked["plan"].launches, asked["plan"].duration_s, asked["judge"]) == (3, 1.0, None)
    assert (rule.verdict, rule.looks) == (Verdict.FAIL, 1)


def test_devices_get_what_their_rules_need_and_no_more(gate: GateOf) -> None:
    tagged = P95.format(8) + 'tags = ["pi"]\n'
    bench = Bench()
    result = gate(P50 + tagged, devices=["pi4", "nano"]).decide(bench, Plan())
    assert [(rule.metric, rule.device) for rule in result.rules] == [
        ("p50_latency_ms", "nano"), ("p50_latency_ms", "pi4"), ("p95_latency_ms", "pi4"),
    ]  # fmt: skip
    assert [asked["devices"] for asked in bench.asked] == [["nano", "pi4"], ["pi4"]]
    assert result.verdict is Verdict.PASS


def test_advisory_rules_that_are_for_no_device_are_told(gate: GateOf) -> None:
    advisory = P95.format(8) + 'tags = ["jetson"]\nrequired = false\n'
    assert [rule.metric for rule in gate(P50 + advisory).left_out] == ["p95_latency_ms"]
    assert gate(P50 + advisory, devices=["pi4", "nano"]).left_out == []


def test_a_device_that_cannot_be_reached_is_not_measurable_and_not_asked_again(
    gate: GateOf,
) -> None:
    def away(runs: list[Run]) -> None:
        if runs[0].device.name == "pi4":
            for run in runs:
                run.error, run.launches = Failure("UNREACHABLE", "no agent answers"), []

    bench = Bench(1.0, away)
    both = gate(P50 + P95.format(8), devices=["pi4", "nano"])
    result = both.decide(bench, Plan())
    assert {(r.device, r.verdict) for r in result.rules} == {
        ("nano", Verdict.PASS), ("pi4", Verdict.NOT_MEASURABLE),
    }  # fmt: skip
    assert all("no agent answers" in r.reason for r in result.rules if r.device == "pi4")
    assert (result.verdict, result.exit_code) == (Verdict.NOT_MEASURABLE, 4)
    assert [asked["devices"] for asked in bench.asked] == [["nano", "pi4"], ["nano"]]


def test_a_run_that_fails_after_a_look_is_not_measurable(gate: GateOf) -> None:
    def dies(runs: list[Run]) -> None:
        if len(runs[0].launches) > LOOKS[0]:
            runs[1].error = Failure("WORKER_CRASHED", "it crashed: SIGSEGV")
            for run in runs:
                run.launches = run.launches[: LOOKS[0]]

    # Looked at once, one is decided and one is not: what crashes in the end passes neither.
    p95 = P50.replace("p50", "p95").replace("3%", "15%")
    text = P50 + p95 + "[gate]\nerror_rate = 0.001\n"
    result = gate(text).decide(Bench(1.03, dies), Plan())
    assert result.verdict is Verdict.NOT_MEASURABLE
    for rule in result.rules:
        assert rule.verdict is Verdict.NOT_MEASURABLE
        assert rule.reason == "old.onnx: it crashed: SIGSEGV"
        assert rule.looks == 1


def test_a_run_whose_launches_do_not_count_is_not_measurable(gate: GateOf) -> None:
    def hot(runs: list[Run]) -> None:
        for run in runs:
            run.launches[-1].tainted = "the device throttled its clock"

    result = gate(P50).decide(Bench(1.0, hot), Plan())
    assert result.verdict is Verdict.NOT_MEASURABLE
    assert "throttled" in only(result).reason


def test_a_bug_in_a_decision_is_no_verdict(gate: GateOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    wanted = gate(P50)
    monkeypatch.setattr("edgeopt_host.metrics.decide_relative", broken)
    result = wanted.decide(Bench(1.1), Plan())
    assert (result.verdict, result.exit_code) == (Verdict.NOT_MEASURABLE, 4)
    assert "boom" in only(result).reason


def test_a_bug_between_decisions_is_no_verdict(
    gate: GateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("boom")

    wanted, bench = gate(P50), Bench(1.0)
    judge: list[Any] = []
    bench.change = lambda runs: judge.append(bench.asked[-1]["judge"])  # noqa: ARG005
    monkeypatch.setattr(measuring, "_seconds", broken)
    rule = only(wanted.decide(bench, Plan()))
    assert rule.verdict is Verdict.NOT_MEASURABLE
    assert "boom" in rule.reason
    assert judge[0](bench.runs) is Answer.STOP


def test_rules_without_a_margin_share_the_error_rate(
    gate: GateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many such rules one fails by chance: it goes on, and at the end that is no FAIL."""
    by_chance = Decision(Verdict.FAIL, Estimate(1.01, 1.001, 1.02), "", 0.99, 0.006)
    monkeypatch.setattr("edgeopt_host.metrics.decide_relative", lambda *_: by_chance)
    one = P50.replace("3%", "0%")
    alone = only(gate(one).decide(Bench(), Plan()))
    assert (alone.verdict, alone.looks) == (Verdict.FAIL, 1)
    many = "".join(P50.replace("p50", name) for name in ("p50", "p90", "p95", "p99", "mean"))
    with_margin = gate(many).decide(Bench(), Plan())
    assert with_margin.verdict is Verdict.FAIL
    among = gate(many.replace("3%", "0%")).decide(Bench(), Plan())
    assert {(rule.verdict, rule.looks) for rule in among.rules} == {
        (Verdict.INCONCLUSIVE, len(LOOKS))
    }
    assert "can be chance" in among.rules[0].reason


def test_the_policy_says_how_launches_begin_and_what_the_load_is(gate: GateOf) -> None:
    bench = Bench()
    settings = "[gate]\ncooldown_below_c = 55\nsteady_clock = true\nstreams = 2\nrate_hz = 15\n"
    gate(settings + P50).decide(bench, Plan(batch=4))
    plan = bench.asked[0]["plan"]
    assert plan.start is not None
    assert (plan.start.max_temperature_c, plan.start.steady_clock) == (55, True)
    assert (plan.batch, plan.streams, plan.rate_hz) == (4, 2, 15)


def test_accuracy_is_compared_example_by_example(gate: GateOf) -> None:
    def right(runs: list[Run]) -> None:
        for index, run in enumerate(runs):
            run.correct = np.arange(2000) % 10 != 0
            run.correct[: 100 * (1 - index)] = False

    rules = (
        '[[rule]]\nmetric = "accuracy"\nmax_regression = "0.5pt"\n'
        '[[rule]]\nmetric = "accuracy"\nmin = 0.8\n'
    )
    bench = Bench(1.0, right)
    result = gate(rules, data=Path("data.npz")).decide(bench, Plan())
    drop, least = result.rules
    assert (drop.verdict, drop.unit, drop.limit) == (Verdict.FAIL, "pt", -0.5)
    assert drop.estimate == pytest.approx(-4.5)
    assert (drop.candidate, drop.baseline) == pytest.approx((0.855, 0.9))
    assert (least.verdict, least.limit) == (Verdict.PASS, 0.8)
    (asked,) = bench.asked
    assert (asked["evaluates"], asked["models"]) == (True, ["new.onnx", "old.onnx"])


def test_energy_and_sustained_load_have_benchmarks_of_their_own(gate: GateOf) -> None:
    def hot(runs: list[Run]) -> None:
        for run in runs:
            run.sustained = {"ratio": 1.4, "ci95": [1.35, 1.45], "df": 40, "window_s": 60.0}
            run.energy.status, run.energy.reason = "unavailable", "the device has no power sensor"

    rules = (
        '[[rule]]\nmetric = "energy_per_inference_mj"\nmax = 5\n'
        '[[rule]]\nmetric = "sustained_ratio"\nmax = 1.2\n'
        '[[rule]]\nmetric = "sustained_ratio"\nmax_regression = "10%"\n'
    )
    bench = Bench(1.0, hot)
    energy, absolute, relative = gate(rules).decide(bench, Plan()).rules
    assert (energy.verdict, energy.reason) == (
        Verdict.NOT_MEASURABLE, "the device has no power sensor",
    )  # fmt: skip
    assert (absolute.verdict, relative.verdict) == (Verdict.FAIL, Verdict.PASS)
    # Not in turns: one model would cool the device for the other.
    assert [(a["models"], a["energy"]) for a in bench.asked] == [
        (["new.onnx"], True), (["new.onnx"], False), (["old.onnx"], False),
    ]  # fmt: skip
    assert bench.asked[0]["plan"].energy is not None
    assert bench.asked[1]["plan"].duration_s == 600


def stored(store: RunStore, factor: float, **changes: Any) -> Run:
    """A run that was measured before; its baseline's time is about 5 ms."""
    (run,) = paired_runs(factor, names=("old.onnx",), launches=10, seed=99)
    run.paired = None
    for name, value in changes.items():
        setattr(run, name, value)
    store.add(run)
    return run


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.2, Verdict.FAIL)])
def test_a_stored_baseline_is_compared_when_it_is_comparable(
    gate: GateOf, store: RunStore, factor: float, verdict: Verdict
) -> None:
    baseline = stored(store, 1.0)
    bench = Bench(factor)
    result = gate(P50, baseline=baseline.id).decide(bench, Plan())
    assert only(result).verdict is verdict, only(result).reason
    assert bench.asked[0]["models"] == ["new.onnx"]
    assert result.document()["runs"] == [bench.runs[0].id, baseline.id]
    assert result.document()["baseline"] == baseline.id


def test_the_candidate_warms_up_as_a_stored_baseline_did(gate: GateOf, store: RunStore) -> None:
    baseline = stored(store, 1.0, request={"plan": {"warmup_s": 1.5, "duration_s": 2.0}})
    bench = Bench()
    gate(P50, baseline=baseline.id).decide(bench, Plan())
    gate(P50).decide(bench, Plan())
    assert [asked["plan"].warmup_s for asked in bench.asked] == [1.5, 0.5]


def test_each_device_warms_up_as_its_own_stored_baseline_did(gate: GateOf, store: RunStore) -> None:
    for device, warmup_s in (("pi4", 1.5), ("nano", 0.25)):
        (run,) = paired_runs(1.0, names=("old.onnx",), launches=10, seed=99, device=device)
        run.paired, run.request = None, {"plan": {"warmup_s": warmup_s, "duration_s": 2.0}}
        store.add(run)
        baselines.set_(store, "main", str(run.id))
    bench = Bench()
    gate(P50, baseline="main", devices=["pi4", "nano"]).decide(bench, Plan())
    asked = {(*asked["devices"], asked["plan"].warmup_s) for asked in bench.asked}
    assert asked == {("pi4", 1.5), ("nano", 0.25)}


def test_a_stored_baseline_that_is_not_comparable_is_refused_with_the_difference(
    gate: GateOf, store: RunStore
) -> None:
    baseline = stored(store, 1.0)

    def faster(runs: list[Run]) -> None:
        runs[0].state.governor = "performance"

    result = gate(P50 + P95.format(8), baseline=baseline.id).decide(Bench(1.0, faster), Plan())
    relative, absolute = result.rules
    assert relative.verdict is Verdict.NOT_MEASURABLE
    assert "the governor was ondemand, now performance" in relative.reason
    assert absolute.verdict is Verdict.PASS


def test_what_is_known_before_is_refused_before(gate: GateOf, store: RunStore) -> None:
    baseline = stored(store, 1.0)
    threads = baseline.runtime.threads or 0
    for settings, execution, said in (
        ("[gate]\nbatch = 4\n", Execution(), "the batch was 1, and would be 4"),
        ("[gate]\nrate_hz = 9\n", Execution(), "the rate was back to back, and would be 9 Hz"),
        ("", Execution(threads=threads + 1), f"was {threads}, and would be {threads + 1}"),
        ("", Execution(runtime="mine"), "and would be mine"),
    ):
        bench = Bench()
        asked = gate(P50 + settings, baseline=baseline.id)
        result = asked.decide(bench, Plan(), execution)
        assert (result.verdict, result.exit_code) == (Verdict.NOT_MEASURABLE, 4)
        assert said in only(result).reason
        assert bench.asked == []
    # What needs no baseline is measured all the same.
    both = gate(P50 + P95.format(8) + "[gate]\nbatch = 4\n", baseline=baseline.id)
    assert [rule.verdict for rule in both.decide(bench, Plan()).rules] == [
        Verdict.NOT_MEASURABLE, Verdict.PASS,
    ]  # fmt: skip


def test_a_stored_run_that_failed_says_so(gate: GateOf, store: RunStore) -> None:
    failed = stored(store, 1.0, error=Failure("WORKER_CRASHED", "it crashed: SIGSEGV"))
    wanted = gate(P50, devices=[], candidate=failed.id, baseline=stored(store, 1.0).id)
    reason = only(wanted.decide(Bench(), Plan())).reason
    assert reason == f"run {failed.id} failed (WORKER_CRASHED): it crashed: SIGSEGV"


def test_latencies_under_overload_decide_nothing(gate: GateOf) -> None:
    def late(runs: list[Run]) -> None:
        for run in runs:
            run.warnings = [RunWarning("OVERLOADED", "9 of 20 were done")]

    throughput = '[[rule]]\nmetric = "throughput_per_s"\nmax_regression = "50%"\n'
    mean = P50.replace("p50", "mean")
    limits = P95.format(8) + throughput
    result = gate(P50 + mean + limits).decide(Bench(1.0, late), Plan())
    assert [rule.verdict for rule in result.rules] == [
        *[Verdict.NOT_MEASURABLE] * 3, Verdict.PASS,
    ]  # fmt: skip
    assert all("OVERLOADED: 9 of 20" in rule.reason for rule in result.rules[:3])


def test_overload_that_shows_in_the_end_takes_verdicts_back(gate: GateOf) -> None:
    class Late(Bench):
        def __call__(self, models: Sequence[Path], **asked: Any) -> list[list[Run]]:
            made = super().__call__(models, **asked)
            for run in [run for runs in made for run in runs]:
                run.warnings = [RunWarning("OVERLOADED", "9 of 20 were done")]
            return made

    rule = only(gate(P50).decide(Late(), Plan()))
    assert (rule.looks, rule.verdict) == (1, Verdict.NOT_MEASURABLE)


def test_warnings_of_runs_are_told_once_each(gate: GateOf) -> None:
    def noisy(runs: list[Run]) -> None:
        runs[0].warnings = [RunWarning("NOISY", "others work")]
        runs[1].warnings = []

    peak = P50.replace("p50_latency_ms", "peak_memory_mb")
    result = gate(P50 + peak).decide(Bench(1.0, noisy), Plan())
    told = {"device": "pi4", "role": "candidate", "code": "NOISY", "message": "others work"}
    assert result.document()["warnings"] == [told]


PARTNER = Failure("PARTNER_FAILED", "another model failed")
BROKEN = Failure("MODEL_INVALID", "new.onnx is damaged")


@pytest.mark.parametrize("innocent", [PARTNER, BROKEN])
def test_only_the_guilty_model_is_named(gate: GateOf, innocent: Failure) -> None:
    def broken(runs: list[Run]) -> None:
        for run in runs:
            run.id, run.launches, run.error = None, [], innocent
            if run.model.name == "new.onnx":
                run.error = BROKEN

    sizes = '[[rule]]\nmetric = "size_mb"\nmax = 999\n'
    result = gate(P50 + P95.format(8) + sizes).decide(Bench(1.0, broken), Plan())
    assert {rule.reason for rule in result.rules} == {"new.onnx is damaged"}
    assert [run.model.name for run in result.runs] == ["new.onnx"]
    # The other way round, the candidate's file has a size.
    Path("new.onnx").rename("good.onnx")
    Path("new.onnx").touch()
    turned = gate(P50 + sizes, candidate="good.onnx", baseline="new.onnx")
    p50, size = turned.decide(Bench(1.0, broken), Plan()).rules
    assert p50.reason == "new.onnx is damaged"
    assert (size.verdict, size.candidate) == (Verdict.PASS, size.estimate)


def test_a_stored_run_whose_load_was_too_much_gets_no_latency_verdict(
    gate: GateOf, store: RunStore
) -> None:
    baseline = stored(store, 1.0)
    overloaded = stored(store, 1.0, warnings=[RunWarning("OVERLOADED", "it cannot keep up")])
    wanted = gate(P50, devices=[], candidate=overloaded.id, baseline=baseline.id)
    bench = Bench()
    (rule,) = wanted.decide(bench, Plan()).rules
    assert rule.verdict is Verdict.NOT_MEASURABLE
    assert bench.asked == []


def test_two_stored_runs_need_no_device(gate: GateOf, store: RunStore) -> None:
    baseline, candidate = stored(store, 1.0), stored(store, 1.2)
    bench = Bench()
    wanted = gate(P50 + P95.format(9), devices=[], candidate=candidate.id, baseline=baseline.id)
    relative, absolute = wanted.decide(bench, Plan()).rules
    assert (relative.verdict, absolute.verdict) == (Verdict.FAIL, Verdict.PASS)
    assert (relative.estimate, relative.looks) == (pytest.approx(1.2, abs=0.02), 1)
    assert bench.asked == []


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (P50, {"baseline": None}, "policy.toml, line 2: p50_latency_ms is held against a baseline"),
        ('[[rule]]\nmetric = "accuracy"\nmin = 0.9\n', {}, "add --data FILE.npz"),
        (P50 + 'devices = ["pi5"]\n', {}, r"policy.toml, line 2: no device is called 'pi5'"),
        (P50 + 'tags = ["phone"]\n', {}, r"policy.toml, line 2: no device is tagged 'phone'"),
        (P50 + 'tags = ["jetson"]\nrequired = false\n', {}, "no rule of policy.toml is for pi4"),
        (
            P50 + P95.format(8) + 'tags = ["jetson"]\n', {},
            r"policy.toml, line 5: p95_latency_ms is required .* tagged jetson, .* \(pi4\) none is:",
        ),
        (P50 + 'devices = ["nano"]\n' + P95.format(8), {}, "line 2: p50_latency_ms .* called nano"),
        (P50, {"devices": ["pi5"]}, "no device is called 'pi5'"),
        (P50, {"candidate": "nwe.onnx"}, "'nwe.onnx' is no file, and no stored run has the id"),
        (P50, {"baseline": "best"}, "--baseline best: it is no file; 'best' is no baseline, and no stored"),
    ],
)  # fmt: skip
def test_used_wrongly_before_anything_is_measured(
    gate: GateOf, text: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        gate(text, **changes)


def test_a_stored_candidate_goes_with_its_device_and_a_stored_baseline(
    gate: GateOf, store: RunStore
) -> None:
    run = stored(store, 1.0)
    with pytest.raises(UsageError, match=f"run {run.id} was measured on pi4: give no other"):
        gate(P50, candidate=run.id, devices=["nano"], baseline=run.id)
    with pytest.raises(UsageError, match=r"the baseline old\.onnx is a model"):
        gate(P50, candidate=run.id)
