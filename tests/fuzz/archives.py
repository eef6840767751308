"""Targets: data files and model files."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import tiny
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import ModelError, _ptl, _tflite_graph
from edgeopt_agent.worker import inputs as worker_inputs
from edgeopt_host import npz
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.modelfile import FORMATS, ModelFile
from fuzz.inputs import content, json_files
from fuzz.target import Target, scratch

_Member = tuple[str, bytes, int]
# More than an input may make a process grow by.
_BOMB_MIB = 768
_FOLDER = scratch()
_MEMBER_NAMES = ("x.npy", "y.npy", "x", "x/", "../x.npy", "/x.npy", "ü.npy", "x.npy.npy")
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy_claiming(shape: str, descr: str = "'<f4'") -> bytes:
    """A header alone, which claims what does not follow."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zipped(members: list[_Member]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data, compression in members:
            if name not in archive.namelist():
                # With the same time of change every time.
                archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def bomb(name: str, head: bytes) -> bytes:
    """An archive of a few kilobytes with a member of `_BOMB_MIB` MiB of zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    compressor.compress(bytes(2**20))
    compressor.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same input gives the same bytes.
    piece = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    packed = start + piece * _BOMB_MIB + compressor.flush()
    checksum = zlib.crc32(head)
    for _ in range(_BOMB_MIB):
        checksum = zlib.crc32(bytes(2**20), checksum)
    size = len(head) + _BOMB_MIB * 2**20
    sizes = struct.pack("<IIIHH", checksum, len(packed), size, len(name), 0)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes + name.encode()
    central = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0x21) + sizes
    central += struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    return local + packed + central + b"PK\x05\x06" + end


def _archives(names: SearchStrategy[str], contents: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Archives whose members are odd, and archives that are damaged themselves."""
    members = st.lists(
        st.tuples(names, contents, st.sampled_from(_COMPRESSIONS)), min_size=1, max_size=3
    )
    whole = members.map(zipped)
    damaged = st.tuples(members.map(zipped), st.integers(0, 2**24), st.binary(max_size=4)).map(
        lambda t: t[0][: t[1] % len(t[0])] + t[2] + t[0][t[1] % len(t[0]) + len(t[2]) :]
    )
    return whole | damaged


_ARRAYS = [
    _npy(np.arange(6, dtype=np.float32).reshape(2, 3)),
    _npy(np.array("text")),
    _npy(np.zeros((0, 4), np.int64)),
    _npy(np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])),
    _npy(np.asfortranarray(np.ones((3, 2), bool))),
    _npy(np.array([{}], dtype=object)),
    _npy_claiming("(1000000000000,)"),
    _npy_claiming("(9223372036854775807, 9223372036854775807)"),
]
_NPY_TOKENS = [
    *(
        b"'<f4'",
        b"'|O'",
        b"'<U0'",
        b"'|V0'",
        b"'<U2147483647'",
        b"True",
        b"None",
        b"(",
        b")",
        b"[",
        b"{",
    ),
    *(
        b"-1",
        b"1.5",
        b"99999999999999999999",
        b"'descr'",
        b"'shape'",
        b"\x93NUMPY\x02\x00",
        b"(((((((((",
    ),
]
_NPZ = _archives(st.sampled_from(_MEMBER_NAMES), content(_ARRAYS, _NPY_TOKENS)) | content(
    [zipped([("x.npy", _ARRAYS[0], 8), ("y.npy", _ARRAYS[1], 0)]), _ARRAYS[0]],
    [b"PK\x01\x02", b"PK\x03\x04"],
)
_NPZ_EXAMPLES = (
    b"",
    zipped([("x.npy", _ARRAYS[0], 8)]),
    zipped([("x.npy", _npy_claiming("(1000000000000,)"), 8)]),
    zipped([("x.npy", _npy_claiming("(1099511627776,)", "'<U0'"), 8)]),
    zipped([("x.npy", _npy_claiming("(" * 5000 + ")" * 5000), 8)]),
    zipped([("x.npy", _npy_claiming("(-1,)"), 8)]),
    zipped([("x.npy", _npy_claiming("(" + "9" * 5000 + ",)"), 8)]),
    bomb("x.npy", _npy_claiming(f"({_BOMB_MIB * 2**18},)")),
    bomb("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31)),
    bomb("x.npy", b"not an array"),
)


def _check_npz(data: bytes) -> None:
    path = _FOLDER / "in.npz"
    path.write_bytes(data)
    npz.check(path)


def _read_npz(data: bytes) -> None:
    path = _FOLDER / "fed.npz"
    path.write_bytes(data)
    feeds = worker_inputs.make_feeds(None, benchmark_pb2.InputSource(), path)
    assert all(array.dtype != object for array in feeds.values())


_SIGNATURE = {
    "schema": "edgeopt.signature/1",
    "inputs": [{"name": "image", "shape": ["batch", 3, 8, 8], "dtype": "float32"}],
    "outputs": ["scores"],
    "quantized_engine": None,
}
_TORCH_NAMES = (
    "m/bytecode.pkl",
    "m/constants.pkl",
    "m/data.pkl",
    "m/extra/edgeopt.json",
    "bytecode.pkl",
)


def _torch(signature: bytes) -> bytes:
    return zipped([("m/bytecode.pkl", b"", 0), ("m/extra/edgeopt.json", signature, 8)])


_SIGNATURES = json_files([_SIGNATURE])
_TORCH = _SIGNATURES.map(_torch) | _archives(st.sampled_from(_TORCH_NAMES), _SIGNATURES)


def _inspect(data: bytes) -> None:
    path = _FOLDER / "model.ptl"
    path.write_bytes(data)
    _, signature = _ptl._inspect(path)
    for spec in signature.inputs or ():
        assert isinstance(spec.name, str)
        assert isinstance(spec.dtype, str)
        assert all(d is None or isinstance(d, (int, str)) for d in spec.shape or ())
        str(spec)
    assert all(isinstance(name, str) for name in signature.outputs)
    assert isinstance(signature.quantized_engine, str)


_NESTED = b"[" * 200_000 + b"]" * 200_000


def _onnx_samples() -> list[bytes]:
    made = [tiny.relu(_FOLDER / "relu.onnx"), tiny.unknown_operator(_FOLDER / "unknown.onnx")]
    made.append(tiny.matmul(_FOLDER / "matmul.onnx", 4, external=True))
    branch = onnx.helper.make_graph([], "branch", [], [])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    nested = onnx.load(str(made[0]))
    nested.graph.node.append(node)
    return [*(path.read_bytes() for path in made), nested.SerializeToString()]


_ONNX = _onnx_samples()
_ELSEWHERE = (b"../../etc/passwd", b"matmul\0onnx.data", b"/etc/passwd/////", b"................")
_MODEL_NAMES = st.sampled_from(
    (
        "m.onnx",
        "m.tflite",
        "m.ptl",
        "m.pt",
        "m",
        "m.json",
        "m.onnxtxt",
        "m.textproto",
        "m.onnxjson",
        "M.ONNX",
    )
)
_MODELS = (
    content(
        _ONNX, [b"location", b"matmul.onnx.data", b"external_data", b"../x", b"\0", b"\xff\xfe"]
    )
    | content([b"\x1c\x00\x00\x00TFL3" + bytes(64)], [b"TFL3"])
    | _TORCH
)


def _open_model(given: tuple[str, bytes]) -> None:
    name, data = given
    path = _FOLDER / name
    path.write_bytes(data)
    model = ModelFile.open(path)
    if model.fault is not None:
        raise model.fault
    assert model.format in FORMATS
    assert all(_FOLDER in file.resolve().parents for _, file, _ in model.companions)
    assert model.size_bytes >= len(data)


_NUMBERS = st.integers(-2, 12) | st.sampled_from((2**31 - 1, 2**63, 1.5, "x", None))
_OPS = st.lists(
    st.fixed_dictionaries(
        {
            "op_name": st.sampled_from(("ADD", "CONV_2D", "DELEGATE", "", None, 3)),
            "inputs": st.lists(_NUMBERS, max_size=4) | st.none(),
            "outputs": st.lists(_NUMBERS, max_size=4) | st.none(),
        }
    )
    | st.dictionaries(st.sampled_from(("op_name", "inputs")), _NUMBERS, max_size=2),
    max_size=20,
)


def _share(ops: list[dict[str, Any]]) -> None:
    interpreter = SimpleNamespace(
        _get_ops_details=lambda: ops, get_output_details=lambda: [{"index": 3}]
    )
    share, pieces = _tflite_graph.delegated_share(interpreter)
    assert share is None or 0 <= share <= 1
    assert pieces is None or 0 <= pieces <= len(ops)


TARGETS = [
    Target("npz-host", _NPZ, _check_npz, (EdgeoptError,), _NPZ_EXAMPLES),
    Target("npz-worker", _NPZ, _read_npz, (ModelError, MemoryError), _NPZ_EXAMPLES),
    Target(
        "model-file",
        st.tuples(_MODEL_NAMES, _MODELS),
        _open_model,
        (EdgeoptError,),
        (
            *(("m.onnx", data) for data in _ONNX),
            ("m.onnx", b"\x3a" * 200_000),
            # Where a model's data may not lie: outside, and at no path at all.
            *(("m.onnx", _ONNX[2].replace(b"matmul.onnx.data", other)) for other in _ELSEWHERE),
        ),
        cost=2,
    ),
    Target(
        "ptl-signature",
        _TORCH,
        _inspect,
        (ModelError,),
        (
            _torch(json.dumps(_SIGNATURE).encode()),
            _torch(_NESTED),
            bomb("m/extra/edgeopt.json", b"["),
        ),
    ),
    Target("tflite-graph", _OPS, _share),
]
