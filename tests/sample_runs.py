"""Runs as a push would make them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeopt_host.energy import ChannelFacts
from edgeopt_host.run import (
    Block,
    Device,
    Energy,
    Failure,
    Latency,
    Launch,
    Memory,
    Model,
    Operator,
    Paired,
    PowerTrace,
    Reading,
    Run,
    RuntimeUsed,
    Shape,
    State,
    Temperature,
    Tensor,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.store import new_id


def whole_run(**changes: Any) -> Run:
    """A run in which every field says something, and no two say the same."""
    run = Run(
        id=new_id(),
        time="2026-11-02T10:00:00+00:00",
        command="edgeopt-host push face.tflite --device pi4",
        model=Model("face.tflite", "ab" * 32, 229_032, "tflite"),
        device=Device(
            "pi4",
            board="Raspberry Pi 4 Model B Rev 1.4",
            cpu="Cortex-A72",
            architecture="aarch64",
            cores=4,
            memory_bytes=4 * 2**30,
            os="Debian GNU/Linux 12 (bookworm)",
            kernel="6.6.31",
            python="3.11.2",
            agent_version="0.1.0",
            emulated=False,
        ),
        runtime=RuntimeUsed(
            "tflite", "ai-edge-litert", "2.1.0", 4, "GPU", "XNNPACK", 0.97, 2, "qnnpack"
        ),
        labels={"branch": "main", "commit": "0123abc"},
        shape=Shape(2, 3, 30.5, 0.25, [Tensor("image", [1, 128, 128, 3], "float32")]),
        latency_ms=Latency(4812, 3, 0.4, 0.424, 0.013, 0.42, [0.412, 0.433], 0.46, 0.5, 0.59, 1.26),
        throughput_per_s=2381.5,
        throughput_ci95=[2350.25, 2410.75],
        load_ms=12.3,
        first_inference_ms=0.63,
        harness_overhead_us=0.4,
        memory=Memory(39_800_000, 20_000_000, 9_000_000, 7_000_000, 96),
        energy=Energy(
            "measured", None, 1.23, [1.2, 1.26], "rapl", 10.0, 4.56, 789.0, 0.02, 5, 31.5
        ),
        state=State(Temperature(48.2, 51.0, 50.9), False, {"cpu0": 1799.6}, "ondemand"),
        accuracy={
            "metric": "accuracy",
            "value": 0.71,
            "correct": 71,
            "examples": 100,
            "ci95": [0.61, 0.8],
            "output": "logits",
            "data_sha256": "cd" * 32,
        },
        sustained={
            "seconds": 600.0,
            "window_s": 60.0,
            "ratio": 1.07,
            "ci95": [1.05, 1.09],
            "df": 40,
            "first_p50_ms": 0.42,
            "last_p50_ms": 0.45,
            "curve": [
                {
                    "t_s": 50.0 * i,
                    "p50_ms": 0.42 + i / 4000,
                    "p95_ms": 0.5,
                    "temperature_c": 48.0 + i / 10,
                    "clock_mhz": 1800.0,
                    "throttled": False,
                }
                for i in range(12)
            ],
        },
        paired=Paired("benchmarks/17", 1, ["0aaaaaaaaaaa", "0aaaaaaaaaab"]),
        profile=[Operator("conv", "CONV_2D", 31.5, 1, "XNNPACK")],
        warnings=[Warning("NOISY", "block medians vary by 12 %: stop other work")],
        error=Failure("WORKER_KILLED", "the worker was killed"),
        launches=[_launch(0), _launch(1, tainted="the clock fell to 600 MHz")],
        power=PowerTrace(
            np.array([11, 2**62], np.int64),
            {"rail/ä": np.array([1.5, math.nan]), "windows": np.array([2.5, 3.5])},
            [[12, 13, 14], [15, 16, 17]],
        ),
        correct=np.array([True, False, True]),
        channels={
            "cpu-thermal": "temperature_celsius",
            "cpu0": "clock_hz",
            "rail/ä": "power_mw",
        },
        channel_facts={"rail/ä": ChannelFacts("power_mw", "rail", 0.02, True, 262_144.0)},
    )
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def measured_run(model: str = "face.tflite", device: str = "pi4", **changes: Any) -> Run:
    """A run that went well."""
    run = whole_run(**{"error": None, "paired": None, **changes})
    for launch in run.launches:
        launch.tainted = None
    run.model.name, run.device.name = model, device
    return run


def failed_run(device: str = "phone") -> Run:
    """A run of which there is nothing but a reason."""
    return Run(
        id=new_id(),
        time="2026-11-02T10:00:01+00:00",
        command="edgeopt-host push face.tflite --device phone",
        model=Model("face.tflite", "ab" * 32, 229_032, "tflite"),
        device=Device(device),
        runtime=RuntimeUsed("tflite"),
        error=Failure("UNREACHABLE", "no agent answers"),
    )


def same_launches(one: list[Launch], other: list[Launch]) -> bool:
    """Bit for bit, where NaN is NaN."""
    return repr(_listed(one)) == repr(_listed(other))


def _listed(launches: list[Launch]) -> list[Any]:
    blocks = [
        [
            {**vars(b), "latency_ns": (b.latency_ns.dtype, b.latency_ns.tolist())}
            for b in launch.blocks
        ]
        for launch in launches
    ]
    figures = [{**vars(launch), "blocks": None} for launch in launches]
    return [blocks, figures]


def same_power(one: PowerTrace | None, other: PowerTrace | None) -> bool:
    """Bit for bit, where NaN is NaN."""
    if one is None or other is None:
        return one is other
    return (
        _exact(one.time_ns) == _exact(other.time_ns)
        and one.windows == other.windows
        and {name: _exact(values) for name, values in one.values.items()}
        == {name: _exact(values) for name, values in other.values.items()}
    )


def _exact(array: Any) -> tuple[np.dtype[Any], bytes]:
    return array.dtype, array.tobytes()


def _launch(number: int, tainted: str | None = None) -> Launch:
    first = 100 * number
    return Launch(
        load_ns=first + 1,
        first_inference_ns=first + 2,
        warmup_inferences=first + 3,
        harness_overhead_ns=first + 4,
        timed_ns=first + 5,
        peak_rss_bytes=first + 6,
        runtime_rss_bytes=first + 7,
        model_rss_bytes=first + 8,
        anonymous_bytes=first + 9,
        file_bytes=first + 10,
        blocks=[
            Block(7, np.array([1, 2**62, 3], np.int64), 2**61, 2**60, 10, [1, 2]),
            Block(8, np.array([], np.int64)),
            Block(9, np.array([420_000, 420_001], np.int64), 21, 22, 23, [2, 0]),
        ],
        readings=[
            Reading("start", 5, {"cpu-thermal": 48.2, "cpu0": math.nan}, 3, 4, 5, 6, 7),
            Reading("end", 6, {}, None, None),
        ],
        # Not its place in the list: a launch before it gave nothing.
        number=number + 1,
        tainted=tainted,
        stream_rss_bytes=[first + 11, first + 12],
    )
