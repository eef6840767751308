from __future__ import annotations

import copy
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_host import compare as comparing
from edgeopt_host.compare import Difference, compare, judge
from edgeopt_host.looks import Answer
from edgeopt_host.metrics import METRICS
from edgeopt_host.run import Failure, Run
from edgeopt_host.stats.estimate import Estimate
from sample_reports import HOSTILE, paired_runs, sample_comparison
from sample_runs import failed_run


def differences(runs: list[Run]) -> dict[str, Difference]:
    (device,) = compare([runs]).devices
    return {found.metric: found for found in device.others[0].differences}


class TestWords:
    def test_a_faster_model_is_faster_by_its_interval(self) -> None:
        found = differences(paired_runs(1, 0.88, seed=3))["p50_latency_ms"]
        told = re.fullmatch(r"is ([\d.]+) % faster \(([\d.]+) to ([\d.]+) %\)", found.words)
        assert told
        value, low, high = map(float, told.groups())
        assert low < value < high
        assert low < 12 < high
        assert found.ratio
        assert (found.ratio.low, found.ratio.high) == pytest.approx(
            (1 - high / 100, 1 - low / 100), abs=6e-4
        )

    def test_a_slower_model_is_slower_and_does_less_per_second(self) -> None:
        found = differences(paired_runs(1, 1.1, seed=3))
        assert re.match(r"is (9|10)\.\d % slower \(", found["p50_latency_ms"].words)
        assert re.match(r"does [89]\.\d % less per second \(", found["throughput_per_s"].words)
        assert found["throughput_per_s"].found == "less"

    def test_the_same_model_twice_differs_in_nothing_that_is_found(self) -> None:
        found = differences(paired_runs(1, 1, seed=4))["p50_latency_ms"]
        assert found.found == "none"
        assert re.fullmatch(
            r"no difference found in latency \(\u2212[\d.]+ to \+[\d.]+ %\)", found.words
        )

    def test_memory_and_size_are_differences_in_bytes(self) -> None:
        found = differences(paired_runs(1, 1))
        assert found["peak_memory_mb"].words == "uses 3.00 MB more"
        assert found["size_mb"].words == "is 3.00 MB larger"
        assert found["size_mb"].ratio is None

    def test_memory_that_varies_is_found_only_beyond_its_interval(self) -> None:
        runs = paired_runs(1, 1)
        for number, launch in enumerate(runs[1].launches):
            launch.peak_rss_bytes = (runs[0].launches[number].peak_rss_bytes or 0) + (
                2**20 if number % 2 else -(2**20)
            )
        words = differences(runs)["peak_memory_mb"].words
        assert re.fullmatch(
            r"no difference found in peak memory \(\u22120\.\d to \+0\.\d MB\)", words
        )

    def test_one_launch_claims_little(self) -> None:
        found = differences(paired_runs(1, 0.5, launches=1))["p50_latency_ms"]
        assert found.found == "unknown"
        assert found.words.endswith(
            "in the one launch that counts, which says little about the next"
        )

    def test_accuracy_is_in_points(self) -> None:
        runs = paired_runs(1, 1)
        runs[0].correct = np.arange(1000) < 900
        runs[1].correct = np.arange(1000) < 850
        words = differences(runs)["accuracy"].words
        assert re.fullmatch(r"is 5\.0 points less accurate \(3\.\d to 6\.\d points\)", words)

    def test_a_sentence_names_the_model_and_the_rest_that_matters(self) -> None:
        (other,) = compare([paired_runs(1, 0.88, names=("a.onnx", "b.onnx"))]).devices[0].others
        assert re.fullmatch(
            r"B \(b\.onnx\) is 1[12]\.\d % faster \(.* %\), uses 3\.00 MB more, is 3\.00 MB larger",
            other.words,
        )

    def test_a_name_cannot_control_the_terminal(self) -> None:
        (other,) = compare([paired_runs(1, 1, names=("a", HOSTILE))]).devices[0].others
        assert "\x1b" not in other.words

    @given(
        st.floats(0.2, 5), st.floats(0, 0.3), st.floats(0, 0.3),
        st.sampled_from([name for name in comparing._WORDS if METRICS[name].sequential]),
    )  # fmt: skip
    def test_words_never_claim_more_than_the_interval(
        self, value: float, below: float, above: float, metric: str
    ) -> None:
        ratio = Estimate(value, value * (1 - below), value * (1 + above))
        words = comparing._words(metric, ratio, None)
        if ratio.low <= 1 <= ratio.high:
            assert words.startswith(("no difference found", "the same"))
            return
        near = min(abs(ratio.low - 1), abs(ratio.high - 1)) * 100
        far = max(abs(ratio.low - 1), abs(ratio.high - 1)) * 100
        assert not words.startswith("no difference")
        if told := re.search(r"\(([\d.]+) to ([\d.]+) %\)", words):
            assert float(told[1]) == pytest.approx(near, abs=0.051)
            assert float(told[2]) == pytest.approx(far, abs=0.051)


class TestFailures:
    def test_a_failed_model_is_not_compared(self) -> None:
        runs = [paired_runs(1)[0], failed_run("pi4")]
        comparison = compare([runs])
        (other,) = comparison.devices[0].others
        assert other.words == "B (face.tflite) could not be measured: UNREACHABLE: no agent answers"
        assert other.differences == ()
        assert not comparison.measured

    def test_a_failed_reference_leaves_nothing_to_compare_with(self) -> None:
        runs = paired_runs(1, 1)
        runs[0].error = Failure("WORKER_KILLED", "the worker was killed")
        (other,) = compare([runs]).devices[0].others
        assert other.words.startswith("A (model-a.tflite) could not be measured: WORKER_KILLED")

    def test_launches_that_do_not_count_are_left_out(self) -> None:
        runs = paired_runs(1, 1, tainted=tuple(range(8)))
        (other,) = compare([runs]).devices[0].others
        assert other.words.endswith("has no launch in common with A that counts")

    def test_a_tainted_launch_changes_nothing(self) -> None:
        runs = paired_runs(1, 0.9, tainted=(2,))
        fewer = copy.deepcopy(runs)
        for run in fewer:
            run.launches = [launch for launch in run.launches if launch.tainted is None]
        assert (
            differences(runs)["p50_latency_ms"].ratio == differences(fewer)["p50_latency_ms"].ratio
        )


class TestJudge:
    def test_goes_on_until_the_interval_is_narrow(self) -> None:
        ask = judge(1000)
        assert ask(paired_runs(1, 1, launches=3)) is Answer.CONTINUE
        assert ask(paired_runs(1, 1, launches=20)) is Answer.STOP

    def test_one_wide_interval_of_several_goes_on(self) -> None:
        runs = paired_runs(1, 1, 1, launches=20)
        random = np.random.default_rng(0)
        for launch in runs[2].launches:
            factor = random.normal(1, 0.1)
            for block in launch.blocks:
                block.latency_ns = (block.latency_ns * factor).astype(np.int64)
        assert judge(1000)(runs) is Answer.CONTINUE
        assert judge(1000)(runs[:2]) is Answer.STOP

    def test_stops_when_the_budget_is_spent(self) -> None:
        runs = paired_runs(1, 1, launches=2)
        spent = sum(launch.timed_ns for run in runs for launch in run.launches) / 1e9
        assert judge(spent - 0.01)(runs) is Answer.STOP
        assert judge(spent + 0.01)(runs) is Answer.CONTINUE

    def test_stopping_by_width_costs_the_interval_little(self) -> None:
        # The interval that a judge sees is Student's t over launches; here without the blocks.
        from scipy.special import stdtrit

        random, kept, rounds = np.random.default_rng(1), 0, 2000
        for _ in range(rounds):
            logs = random.normal(0, 0.012, 20)
            for count in range(comparing._MIN_LAUNCHES, 21):
                seen = logs[:count]
                half = float(stdtrit(count - 1, 0.975)) * seen.std(ddof=1) / math.sqrt(count)
                if half <= 0.01:
                    break
            kept += abs(seen.mean()) <= half
        assert kept / rounds > 0.92


def test_the_document_is_strict_json_with_every_key() -> None:
    document = json.loads(json.dumps(sample_comparison().document(), allow_nan=False))
    assert document["schema"] == "edgeopt.compare/1"
    assert [device["device"] for device in document["devices"]] == ["pi4", "jetson"]
    assert len(document["runs"]) == 6
    other = document["devices"][0]["others"][0]
    assert other["letter"] == "B"
    first = other["metrics"][0]
    assert set(first) == {
        "metric", "unit", "better", "reference", "candidate", "ratio", "ratio_ci95", "difference",
        "difference_ci95", "found", "words",
    }  # fmt: skip
    assert first["metric"] == "p50_latency_ms"
    assert first["ratio_ci95"][0] < first["ratio"] < first["ratio_ci95"][1] < 1
    assert first["difference"] is None
    assert first["found"] == "less"
