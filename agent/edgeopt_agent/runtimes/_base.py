"""What a runtime is: the narrow waist between the worker and whatever executes a model.

The worker opens a model, makes inputs from what the model declares, prepares the session with
them, and then calls `Session.infer` again and again; nothing else happens in the timed loop.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt_agent.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Quantization:
    """What an integer of a quantized tensor stands for: (integer - zero point) · scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as the model declares it.

    A dimension is a number, a symbol's name, or None where the model leaves it open without a name.
    `shape` is None where the model declares not even a rank. `dtype` is numpy's name, or "string".
    `quantization` is set where the values are integers that stand for others, and the model tells.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str
    quantization: Quantization | None = None

    def __str__(self) -> str:
        """As errors name it: `'x' (float32, [batch, 3, height, width])`."""
        if self.shape is None:
            return f"'{self.name}' ({self.dtype}, of any rank)"
        dimensions = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"'{self.name}' ({self.dtype}, [{dimensions}])"


@dataclass(frozen=True)
class ProviderRequest:
    """An execution provider (ONNX) or the path of a delegate's library (TFLite)."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How a model is to be executed; a runtime refuses what it does not know."""

    threads: int = 1
    providers: Sequence[ProviderRequest] = ()
    disable_xnnpack: bool = False
    graph_optimization: str = ""
    quantized_engine: str = ""
    # A folder for profiling files, set in the profiling pass only.
    profile_dir: Path | None = None
    # Kinds of models that are code and that this device was told to execute: "torchscript",
    # "delegates".
    allowed_code: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RuntimeInfo:
    """Which package provides the runtime here, and what it can use."""

    implementation: str
    version: str
    # Execution providers, delegates or quantized engines.
    providers: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """What really executes the model; None where the runtime does not tell."""

    requested_provider: str = ""
    actual_provider: str = ""
    delegated_share: float | None = None
    partitions: int | None = None
    quantized_engine: str = ""
    # Said to the user when something other than what was asked for executes.
    fallback: str = ""


@dataclass(frozen=True)
class OperatorTime:
    """Mean time of one operator per inference, from a profiling pass."""

    name: str
    type: str
    # Per inference, all calls together.
    duration_ns: int
    # Per inference; 0 where a branch runs in some of them only.
    calls: int
    provider: str = ""


class ModelError(Exception):
    """A model that this runtime cannot load, feed or execute.

    Reasons: MODEL_INVALID, UNSUPPORTED_OPERATOR, INPUT_MISMATCH, INPUT_REQUIRED,
    PROVIDER_UNAVAILABLE, SETTING_UNSUPPORTED, INFERENCE_FAILED, CODE_NOT_ALLOWED.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_READABLE = 300
# Where in a runtime's sources an error arose, with the function's signature where ORT gives it,
# where the model lies on the device, torch's stacks: nothing a user can act on.
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|\S*\.(?:cc|cpp|h):\d+:? ?(?:[^(]*::[^(]*\([^)]*\) )?"
    r"|Load model from .*? failed:"
    r"|Error in execution: |Non-zero status code returned while running "
    r"|The following operation failed in the TorchScript interpreter.*\n(?=\S)"
    r"|Debug info for handle\(s\): .* was not found\.?|Exception raised from .*",
    re.DOTALL,
)


def readable(error: BaseException) -> str:
    """A runtime's own words, on one line that is not too long; their cause comes last."""
    # TensorFlow Lite forgets the space.
    text = _NOISE.sub("", str(error)).replace("Node number", " Node number")
    text = " ".join(text.split()).rstrip(".") or type(error).__name__
    half = _READABLE // 2
    return text if len(text) <= _READABLE else f"{text[:half]} … {text[-half:]}"


def refuse_settings(settings: Settings, runtime: str, *known: str) -> None:
    """Refuses what was asked for and the runtime does not know, rather than ignoring it.

    Raises:
        ModelError: SETTING_UNSUPPORTED.
    """
    for name in ("providers", "disable_xnnpack", "graph_optimization", "quantized_engine"):
        if name not in known and getattr(settings, name):
            raise ModelError("SETTING_UNSUPPORTED", f"{runtime} has no {name.replace('_', ' ')}")


def require_code(settings: Settings, kind: str, what: str) -> None:
    """Refuses what is code, unless this device was told to execute such.

    Args:
        settings: with what is allowed.
        kind: "torchscript" or "delegates".
        what: what was sent, as the beginning of a sentence.

    Raises:
        ModelError: CODE_NOT_ALLOWED.
    """
    if kind not in settings.allowed_code:
        raise ModelError(
            "CODE_NOT_ALLOWED",
            f"{what} is code, which this device does not execute: start its agent with "
            f"--allow {kind} (EDGEOPT_AGENT_ALLOW={kind} for `local`) if you trust whoever sends "
            "it; docs/security.md says why",
        )


def check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Compares what is fed with what the model declares, for runtimes that find out too late.

    Raises:
        ModelError: INPUT_REQUIRED or INPUT_MISMATCH, naming the input.
    """
    names = [spec.name for spec in specs]
    if unknown := [name for name in feeds if name not in names]:
        raise ModelError("INPUT_MISMATCH", f"the model has no input {unknown[0]!r}; it has {names}")
    for spec in specs:
        if spec.name not in feeds:
            raise ModelError("INPUT_REQUIRED", f"nothing is given for input {spec}")
        array = feeds[spec.name]
        dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
        fits = spec.shape is None or (
            len(spec.shape) == array.ndim
            and all(
                not isinstance(size, int) or size == given
                for size, given in zip(spec.shape, array.shape, strict=True)
            )
        )
        if not fits or dtype != spec.dtype:
            raise ModelError(
                "INPUT_MISMATCH", f"input {spec} does not take {dtype} {list(array.shape)}"
            )


class Session(ABC):
    """One opened model."""

    # What the model declares, in its own order; None where the file does not tell (.ptl).
    inputs: Sequence[TensorSpec] | None
    # Executes one inference on the prepared inputs. Set by `prepare`.
    infer: Callable[[], object]
    # Whether `infer` lets other threads of the process compute meanwhile.
    parallel: bool = True

    @abstractmethod
    def prepare(self, feeds: Mapping[str, Array]) -> None:
        """Fixes shapes, allocates and takes the inputs, so that `infer` needs no argument.

        Raises:
            ModelError: when the shapes or dtypes do not fit.
        """

    @abstractmethod
    def outputs(self) -> tuple[dict[str, Array], list[str]]:
        """The tensors of the last inference, and the names of outputs that are no tensors.

        A runtime that keeps no results (PyTorch) executes one inference more for them.
        """

    def quantized_outputs(self) -> Mapping[str, Quantization]:
        """By output: what its integers stand for, where the model tells."""
        return {}

    def open_batch(self) -> None:
        """Opens the leading dimension of inputs that declare it as 1, where the runtime can.

        `inputs` tells of it afterwards.
        """
        return

    def enter_thread(self) -> None:
        """Called once in every thread besides the main one that is to call `infer`."""
        return

    @abstractmethod
    def placement(self) -> Placement:
        """What executes the model, known once it is prepared."""

    def profile(self, inferences: int) -> list[OperatorTime]:  # noqa: ARG002 - for subclasses
        """Runs this many inferences and tells the time per operator, in execution order.

        Raises:
            Unavailable: with the reason, where the runtime cannot tell.
        """
        raise Unavailable("this runtime has no per-operator profiler")


class Runtime(ABC):
    """A package that executes models. Constructing it imports the package."""

    info: RuntimeInfo

    @abstractmethod
    def open(self, model: Path, settings: Settings) -> Session:
        """Loads a model.

        Raises:
            ModelError: when the file is no model, or needs what is not here.
        """
