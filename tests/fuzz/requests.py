"""Targets: what hosts ask of an agent, and what comes out of a worker's and an agent's mouth."""

from __future__ import annotations

import asyncio
import copy
import struct
from pathlib import PurePosixPath

from google.protobuf.message import DecodeError
from hypothesis import strategies as st

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, device_pb2
from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.runtimes import ModelError, TensorSpec
from edgeopt_agent.server import validate
from edgeopt_agent.server.address import ListenAddress
from edgeopt_agent.worker.events import Oversized, read_events
from edgeopt_agent.worker.inputs import make_feeds
from edgeopt_host import collect, fill, run
from edgeopt_host.errors import DeviceError
from fuzz.inputs import EDGE_INTEGERS, ODD_TEXT, arguments, content, messages, text
from fuzz.target import Target

_DIGEST = blob_pb2.Digest(sha256="ab" * 32, size_bytes=1000)
_BENCHMARK = benchmark_pb2.Benchmark(
    subjects=[
        benchmark_pb2.Subject(
            files=[
                benchmark_pb2.File(name="model.onnx", digest=_DIGEST),
                benchmark_pb2.File(name="data/weights", digest=_DIGEST),
            ],
            runtime="onnx",
            threads=2,
            providers=[benchmark_pb2.Provider(name="xnnpack", options={"a": "b"})],
            inputs=benchmark_pb2.InputSource(
                dimensions={"batch": 1},
                shapes=[benchmark_pb2.TensorShape(name="x", dimensions=[1, 3], dtype="float32")],
                ranges=[benchmark_pb2.ValueRange(input="x", low=0, high=1)],
            ),
        )
    ],
    plan=benchmark_pb2.Plan(
        launches=3, inferences=100, block_inferences=10, duration_ns=10**9, timeout_ns=10**10
    ),
)


_WORDS = (
    *(
        "a" * 64,
        "tflite",
        "basic",
        ".",
        "./model.onnx",
        "model.onnx/x",
        "data//weights",
        "data",
        "model.onnx",
    ),
    *("é" * 200, "a/" * 100 + "a", "a/../b", "x" * 255),
)


def _validate_benchmark(given: benchmark_pb2.Benchmark) -> None:
    validate.benchmark(given)
    names = [PurePosixPath(file.name) for file in given.subjects[0].files]
    # They can all lie in one folder.
    assert all(name.parts and ".." not in name.parts for name in names)
    assert all(len(part.encode()) <= 255 for name in names for part in name.parts)
    assert len(set(names)) == len(names)
    assert not {parent for name in names for parent in name.parents} & set(names)


def _validate_fields(given: tuple[str, str, int, str, int]) -> None:
    """Each field's validator, one of which refuses."""
    identifier, purpose, term_ns, token, size = given
    which = size % 3
    if which == 0:
        validate.request_id(identifier)
        assert len(identifier) <= 64
    elif which == 1:
        validate.lease(purpose, term_ns)
    else:
        limit, offset = validate.page(size, token)
        assert 0 < limit <= 1000
        # What SQLite's OFFSET and a list can take.
        assert 0 <= offset < 2**63


_SIZES = st.sampled_from((0, 1, 2, 3, 16, "n", "m", None))
_SPECS = st.lists(
    st.builds(
        TensorSpec,
        st.sampled_from(("x", "y", "")),
        st.lists(_SIZES, max_size=4).map(tuple) | st.none(),
        st.sampled_from(
            ("float32", "int64", "uint8", "bool", "string", "float16", "bfloat16", "?")
        ),
    ),
    max_size=3,
)
_SOURCES = messages(
    benchmark_pb2.InputSource(),
    benchmark_pb2.InputSource(
        dimensions={"n": 2, "m": 2**62},
        shapes=[benchmark_pb2.TensorShape(name="x", dimensions=[1, 2**40], dtype="float32")],
        ranges=[benchmark_pb2.ValueRange(low=0, high=1)],
    ),
    benchmark_pb2.InputSource(
        dimensions={"n": 2, "m": 3},
        ranges=[benchmark_pb2.ValueRange(input="y", low=-1, high=1e300)],
    ),
)
# Larger inputs take memory and time by right.
_LARGE = 2**22


def _make_feeds(given: tuple[list[TensorSpec] | None, benchmark_pb2.InputSource]) -> None:
    specs, source = given
    sizes = [*source.dimensions.values(), *(d for s in source.shapes for d in s.dimensions)]
    if any(2**4 < size < 2**36 for size in sizes):
        return
    try:
        benchmark = benchmark_pb2.Benchmark()
        benchmark.CopyFrom(_BENCHMARK)
        benchmark.subjects[0].inputs.CopyFrom(source)
        validate.benchmark(benchmark)
    except InvalidArgument:
        return  # it never gets as far as a worker
    feeds = make_feeds(specs, source)
    assert all(array.size < _LARGE for array in feeds.values())


_EVENTS = [
    benchmark_pb2.BenchmarkEvent(
        launch=1,
        benchmark=benchmark_pb2.Benchmark(state=benchmark_pb2.Benchmark.STATE_RUNNING, attempt=1),
    ),
    benchmark_pb2.BenchmarkEvent(
        launch=1,
        execution=benchmark_pb2.Execution(
            implementation="litert",
            version="2",
            threads=2,
            delegated_share=0.5,
            inputs=[benchmark_pb2.TensorShape(name="x", dimensions=[1, 3], dtype="float32")],
        ),
    ),
    benchmark_pb2.BenchmarkEvent(
        launch=1,
        samples=benchmark_pb2.Samples(
            blocks=[benchmark_pb2.Samples.Block(start_time_ns=5, latency_ns=[10, 12, 11, 15])]
        ),
    ),
    benchmark_pb2.BenchmarkEvent(
        launch=1,
        state=benchmark_pb2.StateReadings(
            readings=[
                benchmark_pb2.StateReading(
                    moment=benchmark_pb2.StateReading.MOMENT_START,
                    sensors=device_pb2.SensorSample(
                        time_ns=1, values=[device_pb2.SensorValue(channel="cpu0", value=1e9)]
                    ),
                    cpu_wait_ns=3,
                )
            ]
        ),
    ),
    benchmark_pb2.BenchmarkEvent(
        launch=1,
        result=benchmark_pb2.LaunchResult(
            load_ns=9,
            first_inference_ns=8,
            warmup_inferences=3,
            timed_ns=48,
            memory=benchmark_pb2.MemoryReading(peak_rss_bytes=10**6, runtime_rss_bytes=10**5),
        ),
    ),
    benchmark_pb2.BenchmarkEvent(
        launch=2,
        profile=benchmark_pb2.Profile(
            operators=[benchmark_pb2.Profile.Operator(name="a", type="A", duration_ns=5, calls=1)],
            inferences=10,
        ),
    ),
    benchmark_pb2.BenchmarkEvent(launch=3, outputs=benchmark_pb2.Outputs(file=_DIGEST)),
    benchmark_pb2.BenchmarkEvent(
        launch=1, warning=benchmark_pb2.BenchmarkWarning(code="THROTTLED", message="it is hot")
    ),
    benchmark_pb2.BenchmarkEvent(
        benchmark=benchmark_pb2.Benchmark(
            state=benchmark_pb2.Benchmark.STATE_FAILED,
            failure=benchmark_pb2.Failure(reason="WORKER_CRASHED", message="no"),
        )
    ),
]
_FRAMES = [struct.pack("<I", len(data)) + data for data in (e.SerializeToString() for e in _EVENTS)]
_PIPE = content(
    [b"".join(_FRAMES), *_FRAMES], [struct.pack("<I", 2**32 - 1), b"\x04\0\0\0\xff\xff\xff\xff"]
)


def _read_pipe(data: bytes) -> None:
    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return len([event async for event in read_events(reader)])

    assert asyncio.run(read()) <= len(data)


_FACTS = device_pb2.Device(
    agent_version="1",
    board=device_pb2.Board(model="Pi", source="device-tree"),
    cpu=device_pb2.Cpu(
        model="A76", logical_cores=4, clusters=[device_pb2.CpuCluster(governor="performance")]
    ),
    sensors=[
        device_pb2.SensorFacts(
            name="clock",
            channels=[device_pb2.SensorChannel(name="cpu0", quantity="QUANTITY_CLOCK_HZ")],
        )
    ],
)


def _collect(given: tuple[list[benchmark_pb2.BenchmarkEvent], device_pb2.Device]) -> None:
    events, facts = given
    made = run.Run(
        None,
        "2026-01-01T00:00:00Z",
        "push",
        run.Model("m", "ab" * 32, 1, "onnx"),
        fill.device("pi", facts),
        run.RuntimeUsed("onnx"),
    )
    fill.describe(made, facts)
    runs = [made, copy.deepcopy(made)]
    fill.fill(runs, collect.collect(events, len(runs)))
    for one in runs:
        one.document()


_ORDERED = st.lists(st.sampled_from(_EVENTS), min_size=3, max_size=9)


def _listen(given: tuple[str, bool, bool]) -> None:
    address = ListenAddress.parse(given[0], insecure=given[1], has_keys=given[2])
    assert (address.path is None) != (not address.host)
    assert 0 <= address.port <= 65535
    assert address.path is None or "\0" not in str(address.path)


_ADDRESSES = arguments(
    ["unix:/run/agent.sock", "127.0.0.1:50551", "[::1]:50551", "localhost", "0.0.0.0:0"],
    ("unix:", "unix:~", "[", "]", ":", "127.0.0.1", "::1", "%eth0", "localhost"),
)

_ANY_TEXT = text(["request-1"])
TARGETS: list[Target] = [
    Target(
        "request-benchmark",
        messages(_BENCHMARK, words=_WORDS),
        _validate_benchmark,
        (InvalidArgument,),
    ),
    Target(
        "request-fields",
        st.tuples(
            _ANY_TEXT,
            _ANY_TEXT,
            st.sampled_from(EDGE_INTEGERS),
            st.sampled_from(ODD_TEXT) | st.from_regex(r"\d{1,25}", fullmatch=True),
            st.integers(-2, 2**31 - 1),
        ),
        _validate_fields,
        (InvalidArgument,),
    ),
    Target(
        "worker-inputs",
        st.tuples(_SPECS | st.none(), _SOURCES),
        _make_feeds,
        (ModelError, MemoryError),
    ),
    Target("worker-events", _PIPE, _read_pipe, (Oversized, DecodeError)),
    Target(
        "agent-events",
        st.tuples(_ORDERED | st.lists(messages(*_EVENTS), max_size=8), messages(_FACTS)),
        _collect,
        (DeviceError,),
        cost=2,
    ),
    Target(
        "listen-address",
        st.tuples(_ADDRESSES, st.booleans(), st.booleans()),
        _listen,
        (InvalidArgument,),
    ),
]
