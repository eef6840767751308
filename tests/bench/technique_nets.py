"""What `bench.techniques` does to nets that know Fashion-MNIST, and what is promised of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import nets
from edgeopt_host.plan import Inputs, InputShape


@dataclass(frozen=True)
class Floor:
    """What a technique promises of every seed.

    Attributes:
        smaller: the float conversion's bytes over its own are at least this.
        drop_pt: accuracy falls by at most so many points, on 10,000 examples; None: it is only shown.
    """

    smaller: float
    drop_pt: float | None = None


@dataclass(frozen=True)
class Branch:
    """One model made of another.

    Attributes:
        name: as in the table; its step's id.
        step: as `--steps` has it, without id and from.
        after: the name of the branch it is made of, or "original".
        floor: what is promised of it.
    """

    name: str
    step: str
    after: str = "original"
    floor: Floor | None = None


@dataclass(frozen=True)
class Group:
    """A net and all that is made of it.

    Attributes:
        framework: the runtime of what is made.
        net: its name in the table.
        model: as `optimize run` takes it, of a seed.
        data: the .npz file.
        branches: those made of others stand behind them.
        weights: a state dict, where `model` is a factory.
        inputs: what the latency is measured with.
        metric: as `--metric` has it.
        validation: how many examples choices are made by; None: the default.
        baseline: what sizes and latencies are compared with: the branch that is the plain conversion, or
            "original" where that runs on devices itself.
    """

    framework: str
    net: str
    model: Callable[[int], str]
    data: Callable[[], Path]
    branches: tuple[Branch, ...]
    weights: Callable[[int], Path] | None = None
    inputs: Inputs = field(default_factory=Inputs)
    metric: str | None = None
    validation: int | None = None
    baseline: str = "float"


INT8 = Floor(3.2, 0.5)
FLOAT16 = Floor(1.8, 0.3)
INT4 = Floor(4.0)
MIXED = Floor(3.6, 0.5)

_IMAGE = Inputs(shapes=[InputShape("image", (1, 1, 28, 28))])


def _torch(
    framework: str, factory: str, branches: tuple[Branch, ...], inputs: Inputs = _IMAGE
) -> Group:
    return Group(
        framework,
        factory,
        lambda _: f"{nets.TORCH}:{factory}",
        lambda: datasets.fashion_npz("nchw"),
        branches,
        weights=lambda seed: nets.trained(f"{factory}.pt", seed),
        inputs=inputs,
    )


GROUPS = {
    "keras": (
        Group(
            "tflite",
            "cnn (Keras)",
            lambda seed: str(nets.trained("cnn.keras", seed)),
            lambda: datasets.fashion_npz("nhwc"),
            (
                Branch("float", "convert:tflite"),
                Branch("dynamic", "quantize:dynamic"),
                Branch("float16", "quantize:float16", floor=FLOAT16),
                Branch("int8", "quantize:int8,io=int8", floor=INT8),
                Branch("int16x8", "quantize:int16x8"),
                Branch("int4", "quantize:int4", floor=INT4),
                Branch("mixed", "quantize:mixed", floor=MIXED),
            ),
        ),
    ),
    "torch": (
        _torch(
            "ptl",
            "cnn",
            (
                Branch("float", "convert:ptl"),
                Branch("dynamic", "quantize:dynamic"),
                Branch("int8-qnnpack", "quantize:int8,engine=qnnpack", floor=INT8),
                Branch("int8-x86", "quantize:int8,engine=x86"),
                Branch("mixed", "quantize:mixed,engine=qnnpack"),
            ),
        ),
    ),
    "onnx": (
        _torch(
            "onnx",
            "cnn",
            (
                Branch("float", "convert:onnx"),
                Branch("dynamic", "quantize:dynamic", "float"),
                Branch("float16", "quantize:float16", "float", FLOAT16),
                Branch("int8", "quantize:int8", "float", INT8),
                Branch("mixed", "quantize:mixed", "float"),
                Branch("int8-by-torch", "quantize:int8-onnx"),
            ),
        ),
        _torch(
            "onnx",
            "mlp",
            (
                Branch("float", "convert:onnx"),
                Branch("dynamic", "quantize:dynamic", "float"),
                Branch("int4", "quantize:int4", "float", INT4),
            ),
        ),
    ),
}
