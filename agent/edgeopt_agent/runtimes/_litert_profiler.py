"""Time per operator from the C profiler in LiteRT's library.

LiteRT's Python interface has no profiler; `libLiteRt.so` of the same package exports one. Its C
interface may change with any release, so this is pinned to the releases it was tried with, checks
the size of the one structure it reads, and answers "unavailable" to whatever it did not expect.
Signatures: google-ai-edge/LiteRT, litert/c/litert_{environment,model,options,opaque_options,
compiled_model,tensor_buffer,profiler,profiler_event}.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes._base import OperatorTime

if TYPE_CHECKING:
    from edgeopt_agent.runtimes._base import Array

_VERIFIED = ("2.1.", "2.2.", "2.3.")
_CPU = 1
_LOCK_WRITE = 1
_DEFAULT, _OPERATOR, _DELEGATE_OPERATOR = 1, 1 << 1, (1 << 2) | (1 << 3)
_SENTINEL = b"\xa5"

_Handle = ctypes.c_void_p
_Int = ctypes.c_int
_Size = ctypes.c_size_t
# Every call that takes a signature's index means the only one looked at here.
_FIRST = _Size(0)


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint32, 7),
        ("has_strides", ctypes.c_uint32, 1),
        ("sizes", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int32), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("index", ctypes.c_int64),
        ("subgraph", ctypes.c_int64),
        ("source", ctypes.c_uint32),
    )


# What is needed of an event: tag, kind, index, subgraph, microseconds. The tag's memory belongs to
# the profiler and is gone with it.
_Record = tuple[str, int, int, int, int]


def profile(
    model: Path, feeds: Mapping[str, Array], inferences: int, *, threads: int, xnnpack: bool
) -> list[OperatorTime]:
    """Runs the model by LiteRT's CompiledModel on the same kernels and tells each operator's time.

    Args:
        model: a .tflite file.
        feeds: one array per input, by the tensor's name.
        inferences: how many to time.
        threads: as in Settings.
        xnnpack: False leaves all to the built-in kernels.

    Returns:
        Operators in execution order, each with its mean per inference. LiteRT times in whole
        microseconds: what takes less counts as zero.

    Raises:
        Unavailable: for another release, string tensors, or whatever the library refuses.
    """
    release = version("ai-edge-litert")
    if not release.startswith(_VERIFIED):
        tried = ", ".join(f"{prefix}x" for prefix in _VERIFIED)
        raise Unavailable(f"LiteRT's profiler was tried with {tried} only, this is {release}")
    kernels = "xnnpack" if xnnpack else "builtin"
    options = f'num_threads = {threads}\nkernel_mode = "{kernels}"\n'
    with ExitStack() as stack:
        run = _Run(stack, model, feeds, options)
        run.infer()
        if run.repeats():
            return _aggregate([run.record() for _ in range(inferences)])
    # CompiledModel cannot execute a model with dynamic outputs twice, but a fresh one once.
    records = []
    for _ in range(inferences):
        with ExitStack() as stack:
            records.append(_Run(stack, model, feeds, options).record())
    return _aggregate(records)


def _aggregate(inferences: Sequence[Sequence[_Record]]) -> list[OperatorTime]:
    """Means over inferences of what has the same place in the graph."""
    totals: dict[tuple[str, str, str], list[int]] = {}
    for records in inferences:
        _add(records, totals)
    if not totals:
        raise Unavailable("LiteRT's profiler saw no operator")
    count = len(inferences)
    return [
        OperatorTime(name, tag, us * 1000 // count, calls // count, provider)
        for (name, tag, provider), (us, calls) in totals.items()
    ]


def _add(records: Sequence[_Record], totals: dict[tuple[str, str, str], list[int]]) -> None:
    piece, in_piece = -1, False
    for tag, kind, index, subgraph, elapsed_us in records:
        by_delegate = bool(kind & _DELEGATE_OPERATOR)
        if not by_delegate and not kind & _OPERATOR:
            continue
        if by_delegate and (not in_piece or index == 0):
            piece += 1
        in_piece = by_delegate
        provider, part = ("XNNPACK", piece) if by_delegate else ("CPU", subgraph)
        total = totals.setdefault((f"{provider}:{part}:{index}", tag, provider), [0, 0])
        total[0] += elapsed_us
        total[1] += 1


class _Library:
    """The C interface: every call answers a status, every object has a function to destroy it."""

    def __init__(self, stack: ExitStack) -> None:
        package = find_spec("ai_edge_litert")
        folder = Path(package.origin or "").parent if package else Path()
        try:
            self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        except OSError as error:
            raise Unavailable(f"LiteRT's profiler: {error}") from error
        self._stack = stack

    def call(self, name: str, *arguments: object) -> None:
        if status := self.status(name, *arguments):
            raise Unavailable(f"LiteRT's profiler: LiteRt{name} failed with status {status}")

    def status(self, name: str, *arguments: object) -> int:
        try:
            function = getattr(self._library, f"LiteRt{name}")
        except AttributeError:
            raise Unavailable(f"LiteRT's profiler: this release has no LiteRt{name}") from None
        function.restype = _Int
        return int(function(*arguments))

    def get(self, name: str, *arguments: object, out: type = _Handle) -> Any:
        result = out()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def make(self, kind: str, *arguments: object, by: str = "") -> _Handle:
        handle: _Handle = self.get(f"Create{by or kind}", *arguments)
        destroy = getattr(self._library, f"LiteRtDestroy{kind}")
        destroy.restype = None
        self._stack.callback(destroy, handle)
        return handle


class _Run:
    """A compiled model with its buffers, all released with `stack`."""

    def __init__(
        self, stack: ExitStack, model: Path, feeds: Mapping[str, Array], options: str
    ) -> None:
        self._lite = _Library(stack)
        self._environment = self._lite.make("Environment", _Int(0), None)
        handle = self._lite.make(
            "Model", self._environment, str(model).encode(), by="ModelFromFile"
        )
        choices = self._lite.make("Options")
        self._lite.call("SetOptionsHardwareAccelerators", choices, _Int(_CPU))
        libc = ctypes.CDLL(None)
        libc.strdup.restype = _Handle
        for identifier, text in (
            ("runtime_options_string", "enable_profiling = true\n"),
            ("xnnpack", options),
        ):
            payload = _Handle(libc.strdup(text.encode()))
            free = ctypes.cast(libc.free, _Handle)
            opaque = self._lite.get("CreateOpaqueOptions", identifier.encode(), payload, free)
            self._lite.call("AddOpaqueOptions", choices, opaque)
        self._model = self._lite.make("CompiledModel", self._environment, handle, choices)
        self._signature = self._lite.get("GetModelSignature", handle, _FIRST)
        inputs = self._bind_inputs(feeds)
        outputs = self._bind_outputs()
        self._buffers = (
            _Size(len(inputs)), (_Handle * len(inputs))(*inputs),
            _Size(len(outputs)), (_Handle * len(outputs))(*outputs),
        )  # fmt: skip

    def infer(self) -> None:
        self._lite.call("RunCompiledModel", self._model, _FIRST, *self._buffers)

    def repeats(self) -> bool:
        return not self._lite.status("RunCompiledModel", self._model, _FIRST, *self._buffers)

    def record(self) -> list[_Record]:
        """What the profiler saw of one inference: its buffer is small in some releases."""
        profiler = self._lite.get("CompiledModelGetProfiler", self._model)
        self._lite.call("ResetProfiler", profiler)
        self._lite.call("StartProfiler", profiler)
        self.infer()
        self._lite.call("StopProfiler", profiler)
        count = self._lite.get("GetNumProfilerEvents", profiler, out=_Int).value
        # Room for structures twice the size, so that a larger one shows and does not overflow.
        size = ctypes.sizeof(_Event)
        room = ctypes.create_string_buffer(_SENTINEL * (count * size * 2), count * size * 2)
        self._lite.call("GetProfilerEvents", profiler, _Int(count), room)
        unused = count * size - len(room.raw.rstrip(_SENTINEL))
        if not 0 <= unused < ctypes.sizeof(ctypes.c_uint64):
            raise Unavailable("LiteRT's profiler events have a layout that was not tried")
        events = (_Event.from_buffer_copy(room, i * size) for i in range(count))
        records = [
            (e.tag.decode(errors="replace"), e.kind, e.index, e.subgraph, e.elapsed_us)
            for e in events
        ]
        if "Invoke" not in (tag for tag, kind, *_ in records if kind == _DEFAULT):
            # Each inference begins with it; 2.1 keeps the last 2,048 events.
            raise Unavailable("LiteRT's profiler has no room for a model of this size")
        return records

    def _bind_inputs(self, feeds: Mapping[str, Array]) -> list[_Handle]:
        count = self._lite.get("GetNumSignatureInputs", self._signature, out=_Size).value
        named = []
        for index in range(count):
            tensor, kind = self._tensor("Input", index)
            name = self._lite.get("GetTensorName", tensor, out=ctypes.c_char_p).value.decode()
            if name not in feeds or feeds[name].dtype.kind in "OSU":
                raise Unavailable(f"LiteRT's profiler cannot feed the input {name!r}")
            array = np.ascontiguousarray(feeds[name])
            self._resize(index, array)
            kind.layout.rank = array.ndim
            kind.layout.sizes[: array.ndim] = array.shape
            named.append((array, kind))
        buffers = []
        for index, (array, kind) in enumerate(named):
            buffer = self._buffer("Input", index, kind)
            size = self._lite.get("GetTensorBufferPackedSize", buffer, out=_Size).value
            if size != array.nbytes:
                raise Unavailable(f"LiteRT's profiler wants {size} bytes, not {array.nbytes}")
            address = _Handle()
            self._lite.call("LockTensorBuffer", buffer, ctypes.byref(address), _Int(_LOCK_WRITE))
            ctypes.memmove(address, array.ctypes.data, size)
            self._lite.call("UnlockTensorBuffer", buffer)
            buffers.append(buffer)
        return buffers

    def _resize(self, index: int, array: Array) -> None:
        now = self._lite.get(
            "GetCompiledModelInputTensorLayout", self._model, _FIRST, _Size(index), out=_Layout
        )
        if array.shape != tuple(now.sizes[: now.rank]):
            sizes = (_Int * array.ndim)(*array.shape)
            self._lite.call(
                "CompiledModelResizeInputTensorNonStrict",
                self._model, _FIRST, _Size(index), sizes, _Size(array.ndim),
            )  # fmt: skip

    def _bind_outputs(self) -> list[_Handle]:
        count = self._lite.get("GetNumSignatureOutputs", self._signature, out=_Size).value
        layouts = (_Layout * count)()
        update = ctypes.c_bool(True)
        self._lite.call(
            "GetCompiledModelOutputTensorLayouts",
            self._model, _FIRST, _Size(count), layouts, update,
        )  # fmt: skip
        buffers = []
        for index, layout in enumerate(layouts):
            _, kind = self._tensor("Output", index)
            kind.layout = layout
            buffers.append(self._buffer("Output", index, kind))
        return buffers

    def _tensor(self, side: str, index: int) -> tuple[_Handle, _TensorType]:
        name = f"GetSignature{side}TensorByIndex"
        tensor = self._lite.get(name, self._signature, _Size(index))
        return tensor, self._lite.get("GetRankedTensorType", tensor, out=_TensorType)

    def _buffer(self, side: str, index: int, kind: _TensorType) -> _Handle:
        needs = self._lite.get(
            f"GetCompiledModel{side}BufferRequirements", self._model, _FIRST, _Size(index)
        )
        return self._lite.make(
            "TensorBuffer", self._environment, ctypes.byref(kind), needs,
            by="ManagedTensorBufferFromRequirements",
        )  # fmt: skip
