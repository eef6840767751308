"""PyTorch models: lite-interpreter files (.ptl) and TorchScript, by torch."""

from __future__ import annotations

import contextlib
import json
import lzma
import platform
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.jit.mobile import _load_for_lite_interpreter

from edgeopt_agent.runtimes._base import (
    ModelError,
    OperatorTime,
    Placement,
    Runtime,
    RuntimeInfo,
    Session,
    Settings,
    TensorSpec,
    check_feeds,
    readable,
    refuse_settings,
    require_code,
)

if TYPE_CHECKING:
    from edgeopt_agent.runtimes._base import Array

_SIGNATURE_SCHEMA = "edgeopt.signature/1"
# A model of a thousand inputs has 100 KB of it.
_MAX_SIGNATURE_BYTES = 2**20
# What zipfile and json raise for damaged and deeply nested content.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
_UNKNOWN_OPERATOR = re.compile(
    r"(?:Following ops cannot be found: [\[{]|Unknown builtin op: )(?P<names>[\w:.]+(?:, [\w:.]+)*)"
    r"|torch\.classes\.(?P<type>\w+\.\w+)"
)


class PyTorchMobile(Runtime):
    """The interpreters inside torch; both are deprecated and both still work."""

    def __init__(self) -> None:
        engines = tuple(e for e in torch.backends.quantized.supported_engines if e != "none")
        self.info = RuntimeInfo("torch", str(torch.__version__), engines)
        on_arm = platform.machine() in {"aarch64", "arm64"} and "qnnpack" in engines
        self._engine = "qnnpack" if on_arm else torch.backends.quantized.engine
        with contextlib.suppress(RuntimeError):  # it may be set once
            torch.set_num_interop_threads(1)
        # For the life of the process: entering it around every inference would cost a microsecond.
        self._no_gradients = torch.inference_mode()
        self._no_gradients.__enter__()

    def open(self, model: Path, settings: Settings) -> Session:
        refuse_settings(settings, "PyTorch", "quantized_engine")
        if settings.quantized_engine not in {"", *self.info.providers}:
            raise ModelError(
                "SETTING_UNSUPPORTED",
                f"this torch has no quantized engine {settings.quantized_engine!r}, "
                f"it has {', '.join(self.info.providers)}",
            )
        torch.set_num_threads(settings.threads)
        return _Session(model, settings, self._engine, self.info.providers)


class _Session(Session):
    def __init__(
        self, model: Path, settings: Settings, default: str, engines: tuple[str, ...]
    ) -> None:
        is_lite, signature = _inspect(model)
        if not is_lite:
            # Loading it runs its __setstate__, and what it calls is all of torch's operators.
            require_code(settings, "torchscript", "a TorchScript archive")
        # torch's binding of the lite interpreter keeps Python's lock while it computes.
        self.parallel = not is_lite
        self.inputs = signature.inputs
        self._output_names = signature.outputs
        wanted = settings.quantized_engine or signature.quantized_engine or default
        self._fallback = ""
        if wanted not in engines:
            self._fallback = (
                f"the file asks for the quantized engine {wanted}, which is not here: "
                f"{default} is used"
            )
            wanted = default
        # Before loading, which packs the weights for it.
        torch.backends.quantized.engine = wanted
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*(Lite Interpreter|torch.jit.load).*")
                load: Any = _load_for_lite_interpreter if is_lite else torch.jit.load
                self._module = load(str(model), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            raise _explain(error) from error

    def prepare(self, feeds: Mapping[str, Array]) -> None:
        if self.inputs is not None:
            check_feeds(self.inputs, feeds)
        names = feeds if self.inputs is None else [spec.name for spec in self.inputs]
        try:
            inputs = [torch.tensor(feeds[name]) for name in names]
        except TypeError as error:
            raise ModelError(
                "INPUT_MISMATCH", f"PyTorch has no such tensor: {readable(error)}"
            ) from error

        self.infer = partial(self._module, *inputs)

    def outputs(self) -> tuple[dict[str, Array], list[str]]:
        # Of one more inference: keeping each result would be 2 % of a model of 40 µs.
        pairs = _flatten(self.infer())
        if len(self._output_names) == len(pairs):
            named = zip(self._output_names, (value for _, value in pairs), strict=True)
            pairs = list(named)
        tensors = {name: _array(value) for name, value in pairs if isinstance(value, torch.Tensor)}
        return tensors, [name for name, _ in pairs if name not in tensors]

    def enter_thread(self) -> None:
        # PyTorchMobile's holds for its own thread only, and each as long as it is kept.
        self._no_gradients = torch.inference_mode()
        self._no_gradients.__enter__()

    def placement(self) -> Placement:
        engine = torch.backends.quantized.engine
        return Placement("", "CPU", quantized_engine=engine, fallback=self._fallback)

    def profile(self, inferences: int) -> list[OperatorTime]:
        self.infer()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(inferences):
                self.infer()
        # Self time: operators call each other, and the sum must be the inference.
        return [
            OperatorTime(
                event.key,
                event.key,
                round(event.self_cpu_time_total * 1000 / inferences),
                event.count // inferences,
                "CPU",
            )
            for event in profiler.key_averages()
        ]


@dataclass(frozen=True)
class _Signature:
    """What edgeopt stores in the files it makes, as the extra file edgeopt.json."""

    inputs: list[TensorSpec] | None = None
    outputs: list[str] = field(default_factory=list)
    quantized_engine: str = ""

    @classmethod
    def parse(cls, text: bytes) -> _Signature:
        stored = json.loads(text)
        if stored["schema"] != _SIGNATURE_SCHEMA:
            raise ValueError(f"its signature is {stored['schema']}, known is {_SIGNATURE_SCHEMA}")
        inputs = [
            TensorSpec(_text(i["name"]), tuple(map(_size, i["shape"])), _text(i["dtype"]))
            for i in stored["inputs"]
        ]
        outputs = [_text(name) for name in stored["outputs"]]
        return cls(inputs, outputs, _text(stored["quantized_engine"] or ""))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its signature has {value!r:.40} where a text is expected")
    return value


def _size(value: Any) -> int | str | None:
    if not (value is None or isinstance(value, str) or (type(value) is int and value >= 0)):
        raise TypeError(f"its signature has the dimension {value!r:.40}")
    return value


def _inspect(model: Path) -> tuple[bool, _Signature]:
    """Whether it is a lite-interpreter file, and the signature that edgeopt stored in it."""
    try:
        with zipfile.ZipFile(model) as archive:
            # The archive's own folder has any name.
            files = {name.partition("/")[2]: name for name in archive.namelist()}
            stored = files.get("extra/edgeopt.json")
            signature = _signature(archive, stored) if stored else _Signature()
    except zipfile.BadZipFile as error:
        raise ModelError(
            "MODEL_INVALID",
            "this is no PyTorch model: .ptl and TorchScript files are zip archives, this is none",
        ) from error
    except _UNREADABLE as error:
        raise ModelError("MODEL_INVALID", f"this file cannot be used: {readable(error)}") from error
    if not {"bytecode.pkl", "constants.pkl"} & files.keys():
        raise ModelError(
            "MODEL_INVALID",
            "this PyTorch file holds no program (weights only, or no model at all): "
            "script or trace the module and save that",
        )
    return "bytecode.pkl" in files, signature


def _signature(archive: zipfile.ZipFile, name: str) -> _Signature:
    with archive.open(name) as file:
        text = file.read(_MAX_SIGNATURE_BYTES + 1)
    if len(text) > _MAX_SIGNATURE_BYTES:
        raise ValueError(f"its signature is longer than {_MAX_SIGNATURE_BYTES} bytes")
    return _Signature.parse(text)


def _flatten(result: Any, name: str = "output") -> list[tuple[str, Any]]:
    """Names for what a module returns: a dict's keys, else positions, joined by dots."""
    if isinstance(result, dict):
        return [pair for key, value in result.items() for pair in _nested(value, str(key))]
    if isinstance(result, (tuple, list)):
        return [pair for i, value in enumerate(result) for pair in _nested(value, f"{name}{i}")]
    return [(f"{name}0", result)]


def _nested(value: Any, name: str) -> list[tuple[str, Any]]:
    return (
        _flatten(value, f"{name}.") if isinstance(value, (dict, tuple, list)) else [(name, value)]
    )


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach()
    # numpy has no bfloat16.
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return tensor.cpu().clone().numpy()


def _explain(error: Exception) -> ModelError:
    if found := _UNKNOWN_OPERATOR.search(str(error)):
        name = (found["names"] or found["type"]).rstrip(".")
        message = f"torch {torch.__version__} does not have the operator {name}"
        if "prepacked" in name or "xnnpack" in name.lower():
            message += " (optimize_for_mobile put it there; torch left XNNPACK out in 2.13)"
        return ModelError("UNSUPPORTED_OPERATOR", message)
    # The advice that follows is about how files get damaged.
    text = readable(error).partition(" This is an internal miniz error")[0]
    return ModelError("MODEL_INVALID", f"torch cannot load this model: {text}")
