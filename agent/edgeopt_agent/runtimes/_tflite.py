"""TensorFlow Lite models, by LiteRT or by the tflite_runtime it grew from."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes import _litert_profiler
from edgeopt_agent.runtimes._base import (
    ModelError,
    OperatorTime,
    Placement,
    ProviderRequest,
    Quantization,
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
from edgeopt_agent.runtimes._tensors import as_tensor
from edgeopt_agent.runtimes._tflite_graph import delegated_share

if TYPE_CHECKING:
    from edgeopt_agent.runtimes._base import Array

try:
    from ai_edge_litert import interpreter as tflite

    _PACKAGE = "ai-edge-litert"
except ModuleNotFoundError:
    from tflite_runtime import interpreter as tflite

    _PACKAGE = "tflite-runtime"

_UNRESOLVED = re.compile(
    r"unresolved custom op: (?P<custom>\S+?)\.?(?=\s|$)"
    r"|Didn't find op for builtin opcode '(?P<builtin>\w+)' version '(?P<version>\d+)'"
    r"|Regular TensorFlow ops are not supported.*\((?P<flex>\w+)\)",
    re.DOTALL,
)


class TFLite(Runtime):
    """LiteRT where it is installed, else tflite_runtime: the same interpreter, years older."""

    def __init__(self) -> None:
        release = version(_PACKAGE)
        if (
            _PACKAGE == "tflite-runtime"
            and _numbers(release) < (2, 18)
            and _numbers(np.__version__) >= (2,)
        ):
            # TensorFlow is built for numpy 2 since 2.18. Older ones import, and fail with the first
            # model: "_ARRAY_API not found".
            raise Unavailable(
                f"tflite-runtime {release} cannot work with numpy {np.__version__}: "
                "pip install 'edgeopt[tflite-runtime]'"
            )
        self.info = RuntimeInfo(_PACKAGE, release, ("XNNPACK", "CPU"))

    def open(self, model: Path, settings: Settings) -> Session:
        refuse_settings(settings, "TensorFlow Lite", "providers", "disable_xnnpack")
        for provider in settings.providers:
            require_code(settings, "delegates", f"the delegate {provider.name}")
        return _Session(model, settings)


class _Session(Session):
    def __init__(self, model: Path, settings: Settings) -> None:
        self._model = model
        self._settings = settings
        self._feeds: Mapping[str, Array] = {}
        delegates = [_load_delegate(provider) for provider in settings.providers]
        types = tflite.OpResolverType
        try:
            self._interpreter = tflite.Interpreter(
                model_path=str(model),
                num_threads=settings.threads,
                experimental_delegates=delegates,
                experimental_op_resolver_type=(
                    types.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    if settings.disable_xnnpack
                    else types.AUTO
                ),
            )
        except (ValueError, RuntimeError) as error:
            raise _explain(error, settings) from error
        # External delegates take their part now, XNNPACK when tensors are allocated.
        self._external = delegated_share(self._interpreter)[1] or 0 if delegates else 0
        self._input_details = _named(self._interpreter.get_input_details())
        self.inputs = [_spec(name, detail) for name, detail in self._input_details.items()]

    def prepare(self, feeds: Mapping[str, Array]) -> None:
        check_feeds(self.inputs or (), feeds)
        try:
            # Before the first allocation: some models cannot be allocated in their declared shape.
            now = {d["index"]: tuple(d["shape"]) for d in self._interpreter.get_input_details()}
            for name, detail in self._input_details.items():
                if feeds[name].shape != now[detail["index"]]:
                    self._interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _explain(error, self._settings, feeds) from error
        for name, detail in self._input_details.items():
            self._interpreter.set_tensor(detail["index"], _plain(feeds[name]))
        self._feeds = feeds
        self.infer = self._interpreter.invoke

    def outputs(self) -> tuple[dict[str, Array], list[str]]:
        details = _named(self._interpreter.get_output_details())
        read = self._interpreter.get_tensor
        return {name: as_tensor(read(d["index"])) for name, d in details.items()}, []

    def quantized_outputs(self) -> Mapping[str, Quantization]:
        details = _named(self._interpreter.get_output_details()).items()
        found = ((name, _quantization(detail)) for name, detail in details)
        return {name: quantization for name, quantization in found if quantization}

    def open_batch(self) -> None:
        self.inputs = [
            replace(spec, shape=(None, *spec.shape[1:]))
            if spec.shape and spec.shape[0] == 1
            else spec
            for spec in self.inputs or ()
        ]

    def placement(self) -> Placement:
        wanted = [Path(provider.name).name for provider in self._settings.providers]
        requested = ", ".join(wanted) or ("CPU" if self._settings.disable_xnnpack else "")
        share, partitions = delegated_share(self._interpreter, self._external or None)
        if share is None:
            return Placement(requested)
        actual = "CPU"
        if share:
            actual = requested if self._external else "XNNPACK"
        fallback = ""
        if wanted and not self._external:
            fallback = f"{requested} took no operator of this model: {actual} executes it"
        elif not wanted and not share and not self._settings.disable_xnnpack:
            fallback = "XNNPACK took no operator of this model: the built-in kernels execute it"
        return Placement(requested, actual, share, partitions, fallback=fallback)

    def profile(self, inferences: int) -> list[OperatorTime]:
        if _PACKAGE != "ai-edge-litert":
            raise Unavailable("tflite-runtime has no per-operator profiler; ai-edge-litert has")
        if self._settings.providers:
            raise Unavailable("LiteRT's profiler does not know external delegates")
        return _litert_profiler.profile(
            self._model,
            {detail["name"]: self._feeds[name] for name, detail in self._input_details.items()},
            inferences,
            threads=self._settings.threads,
            xnnpack=not self._settings.disable_xnnpack,
        )


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _load_delegate(provider: ProviderRequest) -> Any:
    try:
        # LiteRT's own loader leaves a half-made object behind whose finalizer complains.
        library = ctypes.PyDLL(provider.name)
        _ = library.tflite_plugin_create_delegate, library.tflite_plugin_destroy_delegate
        return tflite.load_delegate(provider.name, dict(provider.options))
    except OSError as error:
        message = f"the delegate {provider.name} cannot be loaded: {readable(error)}"
    except AttributeError:
        message = (
            f"{provider.name} is no TensorFlow Lite delegate: it has no tflite_plugin functions"
        )
    except ValueError as error:
        message = f"the delegate {provider.name} does not work here: {readable(error)}"
    raise ModelError("PROVIDER_UNAVAILABLE", message)


def _explain(
    error: Exception, settings: Settings, feeds: Mapping[str, Array] | None = None
) -> ModelError:
    """What an interpreter's exception means for the user; `feeds` where it was allocating."""
    if found := _UNRESOLVED.search(str(error)):
        name = found["custom"] or found["flex"] or f"{found['builtin']} version {found['version']}"
        message = f"this {_PACKAGE} does not have the operator {name}"
        if settings.disable_xnnpack and found["custom"]:
            message += "; XNNPACK, which is switched off, may have it"
        return ModelError("UNSUPPORTED_OPERATOR", message)
    if "delegate" in str(error).lower() and settings.providers:
        names = ", ".join(provider.name for provider in settings.providers)
        return ModelError("PROVIDER_UNAVAILABLE", f"the delegate {names} failed: {readable(error)}")
    if feeds:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        return ModelError("INPUT_MISMATCH", f"the model does not take {shapes}: {readable(error)}")
    return ModelError(
        "MODEL_INVALID",
        f"this TFLite model is damaged or truncated, copy or export it again: {readable(error)}",
    )


def _named(details: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tensors by name; a name that is empty or there twice gets its position."""
    named: dict[str, dict[str, Any]] = {}
    for position, detail in enumerate(details):
        name = detail["name"]
        named[name if name and name not in named else f"{name}#{position}"] = detail
    return named


def _spec(name: str, detail: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    # Without open dimensions some files leave the signature out.
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(
        name,
        tuple(None if size < 0 else int(size) for size in shape),
        "string" if dtype.kind in "OSU" else dtype.name,
        _quantization(detail),
    )


def _quantization(detail: dict[str, Any]) -> Quantization | None:
    """Of a whole tensor; a scale of 0 says that there is none."""
    scale, zero_point = detail["quantization"]
    integers = np.dtype(detail["dtype"]).kind in "iu"
    return Quantization(float(scale), int(zero_point)) if scale and integers else None


def _plain(array: Array) -> Array:
    """Strings as LiteRT takes them: bytes."""
    if array.dtype.kind in "OU":
        encoded = [text.encode() if isinstance(text, str) else text for text in array.flat]
        return np.array(encoded, dtype=np.bytes_).reshape(array.shape)
    return array
