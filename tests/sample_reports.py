"""Comparisons and gates as they come from a bench, with launches made by a seed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from edgeopt_host.compare import Comparison, compare
from edgeopt_host.gate.result import GateResult, RuleResult
from edgeopt_host.run import Block, Latency, Launch, Memory, Paired, Reading, Run, Shape, Tensor
from edgeopt_host.stats.latency import summarize
from edgeopt_host.stats.verdict import Verdict
from sample_runs import measured_run

# What a file may be called, and what it may try.
HOSTILE = "<script>alert('x')</script> & $\\frac{1}{0}$ _a 模型 \x1b[31m.onnx"
CHANNELS = {
    "cpu-thermal": "temperature_celsius",
    "cpu0": "clock_hz",
    "throttled": "throttle_flags",
}
_MS = 1_000_000
_MB = 2**20


def paired_runs(
    *factors: float,
    names: tuple[str, ...] = (),
    device: str = "pi4",
    launches: int = 8,
    blocks: int = 20,
    tainted: tuple[int, ...] = (),
    seed: int = 0,
) -> list[Run]:
    """Runs of one benchmark: the first takes about 5 ms, the others so many times as long."""
    random = np.random.default_rng(seed)
    runs = []
    for index, _ in enumerate(factors):
        name = names[index] if index < len(names) else f"model-{chr(ord('a') + index)}.tflite"
        run = measured_run(name, device)
        run.model.sha256 = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        run.model.size_bytes = 4 * _MB + index * 3 * _MB
        run.paired = Paired(f"benchmark-{device}-{seed}", index, [])
        run.shape = Shape(inputs=[Tensor("image", [1, 128, 128, 3], "float32")])
        run.channels = dict(CHANNELS)
        run.launches = []
        run.accuracy = run.correct = run.sustained = None
        run.energy.status = "not_requested"
        runs.append(run)
    for run in runs:
        run.paired = Paired(
            f"benchmark-{device}-{seed}", runs.index(run), [str(r.id) for r in runs]
        )
    clock = 10**12
    for number in range(launches):
        slow = 1.2 if number in tainted else 1.0
        levels = [0.005 * f * slow * random.normal(1, 0.004) for f in factors]
        made: list[list[Block]] = [[] for _ in factors]
        for round_ in range(blocks):
            for index in random.permutation(len(factors)):
                samples = levels[index] * random.lognormal(0, 0.03, 20) * 1e9
                duration = int(samples.sum())
                made[index].append(
                    Block(clock, samples.astype(np.int64), duration, duration, round_)
                )
                clock += duration + _MS
        for index, run in enumerate(runs):
            run.launches.append(_launch(number, made[index], index, number in tainted))
        clock += 1_500 * _MS
    for run in runs:
        _summarized(run)
    return runs


def _launch(number: int, blocks: list[Block], index: int, tainted: bool) -> Launch:
    peak = (40 + 3 * index) * _MB + 4096 * (number % 3)
    readings = [
        Reading(
            "between_blocks",
            block.start_ns,
            {
                "cpu-thermal": 48 + 0.4 * number + (12 if tainted else 0),
                "cpu0": 1.2e9 if tainted else 1.8e9,
                "throttled": float(tainted),
            },
        )
        for block in blocks[::4]
    ]
    return Launch(
        load_ns=(12 + index) * _MS + 100_000 * (number % 4),
        first_inference_ns=9 * _MS + 100_000 * (number % 3),
        warmup_inferences=50,
        harness_overhead_ns=400,
        timed_ns=sum(block.duration_ns for block in blocks),
        peak_rss_bytes=peak,
        runtime_rss_bytes=20 * _MB,
        model_rss_bytes=peak - 20 * _MB,
        anonymous_bytes=None,
        file_bytes=None,
        blocks=blocks,
        readings=readings,
        number=number,
        tainted="the device throttled its clock" if tainted else None,
    )


def _summarized(run: Run) -> None:
    counted = [launch for launch in run.launches if launch.tainted is None]
    run.latency_ms = summarize(counted) if counted else Latency()
    run.throughput_per_s = 1000 / run.latency_ms.mean if run.latency_ms.mean else None
    run.load_ms = float(np.median([launch.load_ns for launch in run.launches])) / _MS
    run.first_inference_ms = 9.1
    run.memory = Memory(
        max((launch.peak_rss_bytes or 0 for launch in counted), default=None),
        20 * _MB,
        max((launch.model_rss_bytes or 0 for launch in counted), default=None),
    )


def sample_comparison(**changes: Any) -> Comparison:
    """Two devices, three models: one faster, one much the same."""
    names = ("fp32.tflite", "int8.tflite", "fp16.tflite")
    return compare([
        paired_runs(1, 0.88, 1.001, names=names, device="pi4", tainted=(3,), **changes),
        paired_runs(1, 0.9, 1.0, names=names, device="jetson", seed=1, **changes),
    ])  # fmt: skip


def rule(metric: str, verdict: str, **changes: Any) -> RuleResult:
    values: dict[str, Any] = {
        "device": "pi4", "required": True, "estimate": 1.012, "ci": (1.004, 1.021), "limit": 1.03,
        "looks": 2, "device_seconds": 21.4, "reason": "", "kind": "relative", "unit": "ratio",
        "baseline": 5.01, "candidate": 5.07, "condition": "max_regression 3%",
    }  # fmt: skip
    return RuleResult(metric=metric, verdict=Verdict(verdict), **{**values, **changes})


def sample_gate(verdict: str = "inconclusive", name: str = "candidate.tflite") -> GateResult:
    """One rule of each verdict; a required one has the verdict of the whole."""
    absolute = {"kind": "absolute", "unit": "ms", "condition": "max 6 ms", "limit": 6.0}
    rules = [
        rule("p50_latency_ms", verdict if verdict in {"pass", "fail"} else "pass"),
        rule("p95_latency_ms", "pass", estimate=5.5, ci=(5.4, 5.62), looks=3, **absolute),
        rule(
            "throughput_per_s", "inconclusive", required=verdict == "inconclusive", limit=0.97,
            estimate=0.975, ci=(0.96, 0.99), baseline=199.0, candidate=194.0,
            reason="the interval holds the limit: more launches would tell",
            advice="raise budget_s or widen the margin",
        ),
        rule("p99_latency_ms", "fail", required=False, estimate=1.08, ci=(1.05, 1.11)),
        rule(
            "energy_per_inference_mj", "not_measurable", required=verdict == "not_measurable",
            estimate=None, ci=None, looks=0, device_seconds=0.0, baseline=None, candidate=None,
            reason="the device has no power sensor",
        ),
    ]  # fmt: skip
    runs = paired_runs(1.012, 1.0, names=(name, "baseline.tflite"), tainted=(2, 5))
    return GateResult(
        Verdict(verdict),
        rules,
        runs,
        policy="gate.toml",
        time="2026-11-02T10:04:00+00:00",
        command=f"edgeopt-host gate run gate.toml --candidate {name}",
        candidate=name,
        baseline="baseline.tflite",
    )
