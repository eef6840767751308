"""ONNX models, by ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt_agent.errors import Unavailable
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
from edgeopt_agent.runtimes._tensors import as_tensor

# On by default since 1.29: it writes a device id and sends events.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

if TYPE_CHECKING:
    from edgeopt_agent.runtimes._base import Array

_CPU = "CPUExecutionProvider"
_LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {"float": "float32", "double": "float64"}
_ERROR, _FATAL = 3, 4
# Some execution providers load the shared library that an option names (QNN's backend_path).
_LIBRARY = re.compile(r"/|\.(so|dll|dylib)\b")
_UNKNOWN_OPERATOR = re.compile(
    r"(?P<custom>\S+)\(-?\d+\) is not a registered function/op"
    r"|No Op registered for (?P<builtin>\S+)"
    r"|Could not find an implementation for (?P<kernel>\S+)"
)


class OnnxRuntime(Runtime):
    """Any build of ONNX Runtime: what it can use is what its execution providers say."""

    def __init__(self) -> None:
        onnxruntime.set_default_logger_severity(_ERROR)
        # AzureExecutionProvider calls a web service: nothing of this device.
        providers = [p for p in onnxruntime.get_available_providers() if p[:5] != "Azure"]
        self.info = RuntimeInfo("onnxruntime", onnxruntime.__version__, tuple(providers))

    def open(self, model: Path, settings: Settings) -> Session:
        refuse_settings(settings, "ONNX Runtime", "providers", "graph_optimization")
        if settings.graph_optimization not in {"", *_LEVELS}:
            raise ModelError(
                "SETTING_UNSUPPORTED",
                f"ONNX Runtime has no graph optimization level {settings.graph_optimization!r}, "
                f"it has {', '.join(_LEVELS)}",
            )
        for provider in settings.providers:
            for option, value in provider.options.items():
                if _LIBRARY.search(value):
                    require_code(settings, "delegates", f"{provider.name}'s {option}={value}")
        return _Session(model, settings, self.info.providers)


class _Session(Session):
    def __init__(self, model: Path, settings: Settings, available: tuple[str, ...]) -> None:
        wanted = [(provider.name, dict(provider.options)) for provider in settings.providers]
        self._wanted = [name for name, _ in wanted]
        usable = [(name, options) for name, options in wanted if name in available]
        if wanted and not usable:
            raise ModelError(
                "PROVIDER_UNAVAILABLE",
                f"ONNX Runtime has no {', '.join(self._wanted)} here, "
                f"it has {', '.join(available)}",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = _LEVELS[settings.graph_optimization or "all"]
        # Errors come as exceptions; printing them too only hides what matters on stderr.
        options.log_severity_level = _FATAL
        chosen = usable or [(name, {}) for name in available]
        # What goes where is a question with a second provider only, and recording it has a price.
        self._records = {name for name, _ in chosen} != {_CPU}
        if self._records:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self._profiled = settings.profile_dir is not None
        if settings.profile_dir is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(settings.profile_dir / "onnxruntime")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=chosen)
        except Exception as error:  # ORT's exceptions have no base of their own
            raise _explain(error, self._wanted) from error
        active = self._session.get_providers()
        if wanted and not set(self._wanted) & set(active):
            raise ModelError(
                "PROVIDER_UNAVAILABLE",
                f"{', '.join(self._wanted)} could not start here: "
                "the libraries it needs are missing or do not find their device",
            )
        self.inputs = [_spec(node) for node in self._session.get_inputs()]
        self._binding: Any = None
        self._feeds: dict[str, Any] = {}

    def prepare(self, feeds: Mapping[str, Array]) -> None:
        check_feeds(self.inputs or (), feeds)
        # ONNX Runtime reads strings as Python's; numpy's bytes it reads past their end.
        self._feeds = {
            name: _text(array) if array.dtype.kind in "OSU" else np.ascontiguousarray(array)
            for name, array in feeds.items()
        }
        if any(array.dtype.kind == "O" for array in self._feeds.values()):
            # Strings cannot be bound.
            self.infer = partial(self._session.run, None, self._feeds)
            return
        try:
            self._binding = self._session.io_binding()
            for name, array in self._feeds.items():
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
                self._binding.bind_ortvalue_input(name, value)
            for node in self._session.get_outputs():
                self._binding.bind_output(node.name, "cpu")
        except Exception as error:
            raise ModelError("INPUT_MISMATCH", readable(error)) from error
        self.infer = partial(self._session.run_with_iobinding, self._binding)

    def outputs(self) -> tuple[dict[str, Array], list[str]]:
        names = [node.name for node in self._session.get_outputs()]
        if self._binding is None:
            values = self._session.run(None, self._feeds)
        else:
            # Values that hold no tensor (sequences, maps, empty optionals) cannot be read so.
            bound = self._binding.get_outputs()
            values = [v.numpy() if v.is_tensor() and v.has_value() else None for v in bound]
        pairs = list(zip(names, values, strict=True))
        tensors = {name: as_tensor(v) for name, v in pairs if isinstance(v, np.ndarray)}
        return tensors, [name for name in names if name not in tensors]

    def placement(self) -> Placement:
        nodes = self._nodes_by_provider()
        first = self._wanted[0] if self._wanted else ""
        actual = self._session.get_providers()[0]
        share = None if self._records else 1.0
        if nodes:
            actual = nodes.most_common(1)[0][0]
            share = nodes[first or actual] / sum(nodes.values())
        fallback = ""
        if first and first not in self._session.get_providers():
            fallback = f"{first} is not available here: {actual} executes the model"
        elif first and nodes and not nodes[first]:
            fallback = f"{first} took no operator of this model: {actual} executes it"
        return Placement(", ".join(self._wanted), actual, share, fallback=fallback)

    def _nodes_by_provider(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        if self._records and hasattr(self._session, "get_provider_graph_assignment_info"):
            for piece in self._session.get_provider_graph_assignment_info():
                counts[piece.ep_name] += len(piece.get_nodes())
        return counts

    def profile(self, inferences: int) -> list[OperatorTime]:
        if not self._profiled:
            raise Unavailable("profiling was not asked for when the model was opened")
        for _ in range(inferences + 1):
            self.infer()
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        # Microseconds. The first inference warms up.
        start = next(e["ts"] + e["dur"] for e in events if e["name"] == "model_run")
        return _operators(
            [e for e in events if e.get("cat") == "Node" and e["ts"] >= start], inferences
        )


def _operators(events: list[dict[str, Any]], inferences: int) -> list[OperatorTime]:
    """Sums kernels over inferences, without the time of what If, Loop and Scan execute inside."""
    totals: dict[tuple[str, str, str], list[int]] = {}
    finished: list[tuple[int, int]] = []
    for event in events:
        if not event["name"].endswith("_kernel_time"):
            continue
        inner = 0
        # A node is logged when it ends: what started after it and is logged before was inside it.
        while finished and finished[-1][0] >= event["ts"]:
            inner += finished.pop()[1]
        finished.append((event["ts"], event["dur"]))
        arguments = event["args"]
        kind = arguments["op_name"]
        name = event["name"].removesuffix("_kernel_time") or f"{kind}:{arguments['node_index']}"
        total = totals.setdefault((name, kind, arguments.get("provider", "")), [0, 0])
        total[0] += max(0, event["dur"] - inner)
        total[1] += 1
    return [
        OperatorTime(name, kind, us * 1000 // inferences, calls // inferences, provider)
        for (name, kind, provider), (us, calls) in totals.items()
    ]


def _spec(node: Any) -> TensorSpec:
    """An input; "?" is what Paddle's exporter calls every dimension it does not name."""
    kind = re.fullmatch(r"tensor\((\w+)\)", node.type)
    shape = None if node.shape is None else tuple(None if d == "?" else d for d in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(kind[1], kind[1]) if kind else node.type)


def _text(array: Array) -> Array:
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in array.flat]
    return np.array(words, dtype=object).reshape(array.shape)


def _explain(error: Exception, wanted: list[str]) -> ModelError:
    if isinstance(error, MemoryError):
        raise error
    if found := _UNKNOWN_OPERATOR.search(str(error)):
        name = found["custom"] or found["builtin"] or found["kernel"]
        return ModelError("UNSUPPORTED_OPERATOR", f"ONNX Runtime does not have the operator {name}")
    text = readable(error)
    if any(name != _CPU and name.removesuffix("ExecutionProvider") in text for name in wanted):
        return ModelError("PROVIDER_UNAVAILABLE", f"{', '.join(wanted)}: {text}")
    return ModelError("MODEL_INVALID", f"ONNX Runtime cannot load this model: {text}")
