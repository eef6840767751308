"""Histories of known truth, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import CommandLine, command_line
from edgeopt_host.cli.runs import runs as runs_group
from edgeopt_host.cli.trend import trend as trend_command
from edgeopt_host.errors import UsageError
from edgeopt_host.report.trend import words
from edgeopt_host.run import Latency, Run
from edgeopt_host.run import Warning as RunWarning
from edgeopt_host.stats import changes
from edgeopt_host.store import RunStore
from edgeopt_host.trend import MOST_RUNS, Trend, trend
from sample_runs import failed_run, measured_run

Floats = np.ndarray[Any, np.dtype[np.float64]]
_SPREAD = 0.02  # from run to run


def _neighbours(generator: np.random.Generator, count: int, correlation: float) -> Floats:
    """Normal noise, each value like the one before, of standard deviation 1."""
    values = generator.standard_normal(count)
    for i in range(1, count):
        values[i] = correlation * values[i - 1] + np.sqrt(1 - correlation**2) * values[i]
    return values


_NOISE: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "independent": lambda g, n: g.standard_normal(n),
    "correlated": lambda g, n: _neighbours(g, n, 0.3),
    "heavy tails": lambda g, n: g.standard_t(3, n),
    "outliers": lambda g, n: g.standard_normal(n) + 20 * (g.random(n) < 0.05),
    "skewed": lambda g, n: g.exponential(size=n),
    "bimodal": lambda g, n: g.standard_normal(n) + 5 * (g.random(n) < 0.5),
}


def _series(
    generator: np.random.Generator, shape: Floats, noise: str = "correlated"
) -> list[float]:
    """12 ms, times what happened to it (its logarithm), times noise."""
    return list(12 * np.exp(shape + _SPREAD * _NOISE[noise](generator, len(shape))))


class TestChanges:
    @pytest.mark.parametrize("noise", _NOISE)
    @pytest.mark.parametrize("count", [9, 20, 60])
    def test_noise_alone_is_seldom_a_change(self, noise: str, count: int) -> None:
        """1 % is promised: at that rate, one of 250 such tests would see more than 8 of 300."""
        generator = np.random.default_rng(count)
        alarms = sum(
            bool(changes.find(_series(generator, np.zeros(count), noise))) for _ in range(300)
        )
        assert alarms <= 8

    @pytest.mark.parametrize(
        ("size", "count", "after", "share"),
        [(0.05, 40, 20, 0.85), (0.1, 40, 3, 0.9), (0.1, 20, 3, 0.85), (0.2, 12, 3, 0.9)],
    )
    def test_steps_are_found(self, size: float, count: int, after: int, share: float) -> None:
        generator = np.random.default_rng(after)
        at = count - after
        shape = np.where(np.arange(count) < at, 0.0, np.log1p(size))
        found = [changes.find(_series(generator, shape)) for _ in range(100)]
        steps = [f[0] for f in found if len(f) == 1 and not f[0].drift]
        assert len(steps) >= 100 * share
        near = [abs(step.start - at) <= 1 for step in steps]
        assert np.mean(near) >= 0.8
        ratios = [step.ratio for step in steps if step.ratio is not None]
        held = [ratio.low <= 1 + size <= ratio.high for ratio in ratios]
        assert np.mean(held) >= 0.9
        assert np.median([ratio.value for ratio in ratios]) == pytest.approx(1 + size, abs=0.02)

    @pytest.mark.parametrize(("per_run", "count"), [(0.002, 40), (0.003, 40), (0.001, 100)])
    def test_slow_drifts_are_found_and_called_so(self, per_run: float, count: int) -> None:
        """No run differs from the one before by more than a sixth of what noise does."""
        generator = np.random.default_rng(count)
        shape = per_run * np.arange(count)
        found = [changes.find(_series(generator, shape)) for _ in range(100)]
        assert sum(map(bool, found)) >= 90
        drifts = [f[0] for f in found if len(f) == 1 and f[0].drift]
        assert len(drifts) >= 65
        truth = np.exp(per_run * (count - 1))
        held = [d.ratio.low <= truth <= d.ratio.high for d in drifts if d.ratio is not None]
        assert np.mean(held) >= 0.9

    def test_what_goes_away_again_is_found(self) -> None:
        generator = np.random.default_rng(0)
        i = np.arange(60)
        shape = np.where((i >= 20) & (i < 40), 0.06, 0.0)
        found = [changes.find(_series(generator, shape)) for _ in range(50)]
        starts = [[change.start for change in f] for f in found if len(f) == 2]
        assert len(starts) >= 45
        assert np.median(starts, axis=0) == pytest.approx([20, 40], abs=1)

    def test_several_steps(self) -> None:
        generator = np.random.default_rng(0)
        i = np.arange(90)
        shape = 0.1 * (i >= 30) - 0.05 * (i >= 60)
        found = [changes.find(_series(generator, shape)) for _ in range(50)]
        right = [f for f in found if [c.after > c.before for c in f] == [True, False]]
        assert len(right) >= 42

    def test_an_outlier_hides_no_step(self) -> None:
        generator = np.random.default_rng(0)
        shape = np.where(np.arange(30) < 15, 0.0, 0.1)
        shape[4] += 2
        found = [changes.find(_series(generator, shape)) for _ in range(50)]
        assert sum([c.start for c in f] in ([14], [15], [16]) for f in found) >= 45

    def test_figures_without_noise(self) -> None:
        """Sizes, and shares of operators: what changes is seen at once, and nothing else."""
        assert changes.find([2.5] * 30) == []
        assert changes.find([0.0] * 30) == []
        (change,) = changes.find([2.5] * 17 + [2.6] * 3)
        assert (change.start, change.stop, change.drift) == (17, 20, False)
        assert change.ratio is not None
        assert change.ratio.value == pytest.approx(1.04)
        (change,) = changes.find([1.0] * 10 + [0.0] * 10)
        assert (change.before, change.after, change.ratio) == (1.0, 0.0, None)

    @pytest.mark.parametrize("count", range(changes.FEWEST_RUNS))
    def test_too_few_runs_tell_nothing(self, count: int) -> None:
        assert changes.find([1.0] * (count // 2) + [9.0] * (count - count // 2)) == []

    def test_the_same_history_is_always_told_alike(self) -> None:
        values = _series(np.random.default_rng(1), np.linspace(0, 0.2, 200))
        assert changes.find(values) == changes.find(values)


def _history(
    values: Sequence[float], start: datetime | None = None, **changed: object
) -> list[Run]:
    """One run a day."""
    start = start or datetime(2026, 10, 1, 3, tzinfo=timezone.utc)
    return [
        measured_run(
            time=(start + timedelta(days=day)).isoformat(),
            latency_ms=Latency(1000, 3, p50=value, p50_ci95=[0.99 * value, 1.01 * value]),
            launches=[],
            power=None,
            correct=None,
            **changed,
        )
        for day, value in enumerate(values)
    ]


def _noisy(*levels: tuple[float, int], seed: int = 0) -> list[float]:
    generator = np.random.default_rng(seed)
    return [
        level * float(np.exp(0.01 * generator.standard_normal()))
        for level, count in levels
        for _ in range(count)
    ]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setitem(runs_group.commands, "trend", trend_command)
    return command_line(tmp_path, monkeypatch, capsys)


@pytest.fixture
def store(call: CommandLine) -> Iterator[RunStore]:  # noqa: ARG001 - its home
    with RunStore.open() as opened:
        yield opened


def _add(store: RunStore, runs: Sequence[Run]) -> Sequence[Run]:
    for run in runs:
        store.add(run)
    return runs


def _ids(found: Trend) -> list[list[str]]:
    return [[str(point.run.id) for point in series.points] for series in found.series]


class TestSeries:
    def test_a_step_in_a_history(self, store: RunStore) -> None:
        runs = _add(store, _history(_noisy((12.0, 12), (12.75, 8))))
        found = trend(store, "face.tflite", devices=["pi4"])
        assert _ids(found) == [[str(run.id) for run in runs]]
        (series,) = found.series
        (change,) = series.changes
        assert (change.start, change.drift, series.missing) == (12, False, 0)
        said = words(change, series, found.metric)
        assert said.startswith("slower by ")
        assert f"since 2026-10-13 (run {runs[12].id}), p 0.000" in said
        assert said.endswith("; the same file")
        assert series.points[0].interval == pytest.approx(
            (0.99 * series.points[0].value, 1.01 * series.points[0].value)
        )

    def test_a_model_goes_on_under_its_name_and_a_new_build_is_told(self, store: RunStore) -> None:
        runs = _history(_noisy((12.0, 12), (10.0, 8)))
        for run in runs[12:]:
            run.model.sha256 = "cd" * 32
        _add(store, runs)
        found = trend(store, "face.tflite")
        (series,) = found.series
        assert words(series.changes[0], series, found.metric).startswith("faster by 1")
        assert words(series.changes[0], series, found.metric).endswith("; another build")
        assert _ids(trend(store, "cdcdcdcd")) == [[str(run.id) for run in runs[12:]]]

    def test_what_is_not_comparable_is_another_series(self, store: RunStore) -> None:
        old = _history(_noisy((12.0, 10)))
        new = _history(_noisy((13.2, 10), seed=1), datetime(2026, 10, 11, 3, tzinfo=timezone.utc))
        for run in new:
            run.runtime.version = "2.2.0"
        # Back to the old one for a day: it goes on where it was.
        again = _history([12.0], datetime(2026, 10, 15, 9, tzinfo=timezone.utc))
        _add(store, [*old, *new, *again])
        found = trend(store, "face.tflite")
        assert _ids(found) == [
            [str(run.id) for run in [*old, *again]],
            [str(run.id) for run in new],
        ]
        first, second = found.series
        assert (first.since, first.level_ratio, first.changes) == ([], None, [])
        assert second.since == ["runtime ai-edge-litert 2.1.0 → ai-edge-litert 2.2.0"]
        assert second.level_ratio == pytest.approx(1.1, abs=0.02)
        assert second.changes == []

    def test_each_device_has_its_own(self, store: RunStore) -> None:
        _add(store, _history([1.0, 1.0]))
        _add(store, _history([2.0], device="pi5"))
        found = trend(store, "face.tflite", devices=["pi5", "pi4"])
        assert [(s.device, len(s.points), s.since) for s in found.series] == [
            ("pi5", 1, []),
            ("pi4", 2, []),
        ]
        assert {s.device for s in trend(store, "face.tflite").series} == {"pi4", "pi5"}

    def test_runs_that_count_for_nothing_are_left_out_with_the_reason(
        self, store: RunStore
    ) -> None:
        good, invalid, hot, silent = _history([12.0] * 12 + [30.0, 12.0, 12.0])[11:]
        _add(store, _history([12.0] * 11))
        invalid.warnings = [RunWarning("INVALID", "3 of 3 launches do not count: it throttled")]
        hot.state.temperature_c.start = 71.0
        silent.latency_ms = Latency()
        failed = failed_run("pi4")
        _add(store, [good, invalid, hot, silent, failed])
        found = trend(store, "face.tflite")
        assert [len(series.points) for series in found.series] == [12]
        assert {x.run.id: x.reason for x in found.left_out} == {
            invalid.id: "3 of 3 launches do not count: it throttled",
            hot.id: "it began at 71 °C, most others at about 48 °C",
            silent.id: "it has no p50_latency_ms",
            failed.id: "it failed (UNREACHABLE)",
        }

    def test_since(self, store: RunStore) -> None:
        runs = _add(store, _history([1.0] * 5))
        found = trend(store, "face.tflite", since=datetime(2026, 10, 4, tzinfo=timezone.utc))
        assert _ids(found) == [[str(run.id) for run in runs[3:]]]
        late = trend(store, "face.tflite", since=datetime(2027, 1, 1, tzinfo=timezone.utc))
        assert (late.series, late.left_out) == ([], [])

    def test_a_series_that_comes_back_is_told_in_the_order_of_beginnings(
        self, store: RunStore
    ) -> None:
        small, large = _history([1.0] * 3), _history([9.0] * 2)
        for run in large:
            run.time = run.time.replace("2026-10-0", "2026-10-1")
            run.shape.inputs[0].shape = [4000]
        again = _history([1.0], datetime(2026, 11, 1, tzinfo=timezone.utc))
        _add(store, [*small, *large, *again])
        first, second = trend(store, "face.tflite").series
        assert (len(first.points), len(second.points), first.since) == (4, 2, [])
        assert second.since[0].endswith("→ 4000 values")
        assert second.level_ratio == pytest.approx(9.0)

    def test_long_histories_keep_the_newest(self, store: RunStore) -> None:
        runs = _add(store, _history([1.0] * (MOST_RUNS + 3)))
        (series,) = trend(store, "face.tflite").series
        assert (series.older, series.points[0].run.id) == (3, runs[3].id)

    def test_other_metrics(self, store: RunStore) -> None:
        runs = _history(_noisy((12.0, 20)))
        for run in runs[14:]:
            run.throughput_per_s = 2000.0
        _add(store, runs)
        found = trend(store, "face.tflite", metric="throughput_per_s")
        (series,) = found.series
        assert series.points[0].interval == (2350.25, 2410.75)
        said = words(series.changes[0], series, found.metric)
        assert said.startswith("lower by 16.0 %")
        assert trend(store, "face.tflite", metric="size_mb").series[0].changes == []

    def test_what_there_is_not(self, store: RunStore) -> None:
        with pytest.raises(UsageError, match=r"no run of a model 'face\.tflite' is stored$"):
            trend(store, "face.tflite")
        _add(store, _history([1.0]))
        for arguments, said in (
            ({"model": "fase.tflite"}, r"'fase\.tflite' is stored; the newest are of face\.tflite"),
            ({"model": "face.tflite", "devices": ["pi9"]}, "on pi9: there are some on pi4"),
            (
                {"model": "face.tflite", "metric": "latency"},
                "no metric 'latency': .*p50_latency_ms",
            ),
        ):
            with pytest.raises(UsageError, match=said):
                trend(store, **arguments)  # type: ignore[arg-type]


class TestCommand:
    def test_a_table(self, call: CommandLine, store: RunStore) -> None:
        runs = _add(store, _history(_noisy((12.0, 12), (12.75, 8))))
        done = call("runs", "trend", "face.tflite", "--device", "pi4")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("p50_latency_ms of face.tflite on pi4   20 runs\n  slower by ")
        (marked,) = [line for line in done.out.splitlines() if "▲" in line]
        assert str(runs[12].id) in marked
        assert sum(str(run.id) in done.out for run in runs) == 20
        (plot,) = [line for line in done.out.splitlines() if "█" in line]
        assert plot.split()[0][0] < plot.split()[0][-1]

    def test_an_outlier_does_not_flatten_the_plot(self, call: CommandLine, store: RunStore) -> None:
        _add(store, _history([500.0, *_noisy((12.0, 12), (12.75, 8)), 0.01]))
        out = call("runs", "trend", "face.tflite").out
        (plot,) = [line.split()[0] for line in out.splitlines() if " to 500 ms" in line]
        assert (plot[0], plot[-1]) == ("█", "▁")
        assert len(set(plot)) >= 5

    def test_few_runs(self, call: CommandLine, store: RunStore) -> None:
        _add(store, _history([12.0, 13.0]))
        out = call("runs", "trend", "face.tflite").out
        assert "7 more comparable runs needed to tell a change from noise (9 in all)" in out

    def test_nothing_beyond_noise(self, call: CommandLine, store: RunStore) -> None:
        _add(store, _history(_noisy((12.0, 12))))
        assert "no change beyond noise" in call("runs", "trend", "face.tflite").out

    def test_series_and_what_is_left_out_are_said(self, call: CommandLine, store: RunStore) -> None:
        old, new = _history([12.0] * 3), _history([6.0] * 3)
        for run in new:
            run.device.kernel = "6.12.1"
            run.time = run.time.replace("2026-10", "2026-11")
        _add(store, [*old, *new, failed_run("pi4")])
        out = call("runs", "trend", "face.tflite").out
        assert "a series of its own: kernel 6.6.31 → 6.12.1; the median changed by -50.0 %" in out
        assert "left out, it failed (UNREACHABLE): " in out

    def test_json(self, call: CommandLine, store: RunStore) -> None:
        runs = _add(store, [*_history(_noisy((12.0, 12), (12.75, 8))), failed_run("pi4")])
        document = json.loads(call("runs", "trend", "face.tflite", "--format", "json").out)
        assert {key: document[key] for key in ("schema", "model", "metric", "unit")} == {
            "schema": "edgeopt.trend/1",
            "model": "face.tflite",
            "metric": "p50_latency_ms",
            "unit": "ms",
        }
        (series,) = document["series"]
        (change,) = series["changes"]
        assert change["run"] == runs[12].id
        assert (change["kind"], change["worse"], change["same_build"]) == ("step", True, True)
        assert change["ratio_ci95"][0] < change["ratio"] < change["ratio_ci95"][1]
        assert [entry["run"] for entry in series["runs"]] == [run.id for run in runs[:20]]
        assert [entry["reason"] for entry in document["left_out"]] == ["it failed (UNREACHABLE)"]

    def test_nothing_to_show(self, call: CommandLine, store: RunStore) -> None:
        _add(store, [failed_run("pi4")])
        done = call("runs", "trend", "face.tflite")
        assert done.code == 0
        assert "none of these runs can stand in a series" in done.err

        _add(store, _history([1.0]))
        done = call("runs", "trend", "face.tflite", "--since", "2027-01-01")
        assert (done.code, done.out.strip()) == (0, "")
        assert done.err == "no run of 'face.tflite' began since 2027-01-01\n"

    def test_runs_that_stand_alone_share_a_line(self, call: CommandLine, store: RunStore) -> None:
        runs = _history([1.0, 2.0, 3.0, 4.0])
        for version, run in enumerate(runs):
            run.device.kernel = f"6.{version}"
        _add(store, runs)
        (line,) = call("runs", "trend", "face.tflite").out.splitlines()
        assert "4 runs comparable to no other" in line
        assert line.endswith("4.00 ms; they differ in kernel")

    def test_used_wrongly(self, call: CommandLine, store: RunStore) -> None:
        _add(store, _history([1.0]))
        for arguments in (
            ("none",),
            ("face.tflite", "--metric", "x"),
            ("face.tflite", "--since", "x"),
        ):
            assert call("runs", "trend", *arguments).code == 2
