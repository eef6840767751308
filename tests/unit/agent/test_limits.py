"""What a client may send, how much of it, and how long it may say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, blob_pb2_grpc
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.server import validate
from edgeopt_agent.server.access import Access
from edgeopt_agent.server.blob_service import BlobService
from edgeopt_agent.server.listen import new_server

_PIECE = b"x" * 100_000
_STALL_S = 0.5


@contextlib.asynccontextmanager
async def _blobs(folder: Path) -> AsyncIterator[tuple[blob_pb2_grpc.BlobServiceStub, BlobStore]]:
    """The service with a short patience, and a client of it."""
    store = BlobStore(folder, 2**30)
    server = new_server(Access(None, _STALL_S))
    blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(store, _STALL_S), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield blob_pb2_grpc.BlobServiceStub(channel), store
    await server.stop(0)


def test_an_upload_that_stalls_is_ended_and_goes_on_from_what_came(tmp_path: Path) -> None:
    content = _PIECE * 3
    digest = blob_pb2.Digest(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    async def run() -> tuple[str, int]:
        async with _blobs(tmp_path) as (service, store):
            call = service.WriteBlob()
            await call.write(blob_pb2.WriteBlobRequest(digest=digest, data=_PIECE))
            await call.write(blob_pb2.WriteBlobRequest(data=_PIECE))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            committed = store.committed_bytes(Digest(digest.sha256, digest.size_bytes))
            rest = service.WriteBlob()
            await rest.write(
                blob_pb2.WriteBlobRequest(digest=digest, write_offset=committed, data=_PIECE)
            )
            await rest.done_writing()
            assert (await rest).committed_size_bytes == len(content)
            return ended.value.code().name, committed

    assert asyncio.run(run()) == ("DEADLINE_EXCEEDED", 2 * len(_PIECE))


def test_an_upload_that_never_begins_is_ended(tmp_path: Path) -> None:
    async def run() -> grpc.StatusCode:
        async with _blobs(tmp_path) as (service, _):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await service.WriteBlob()
            return ended.value.code()

    assert asyncio.run(run()) == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_reader_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(_PIECE * 300)

    async def run() -> grpc.StatusCode:
        async with _blobs(tmp_path) as (service, store):
            digest = store.add(source)
            message = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
            call = service.ReadBlob(blob_pb2.ReadBlobRequest(digest=message))
            await call.read()
            await asyncio.sleep(3 * _STALL_S)
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await call.read() is not grpc.aio.EOF:
                    pass
            return await call.code()

    assert asyncio.run(run()) != grpc.StatusCode.OK


def _benchmark() -> benchmark_pb2.Benchmark:
    digest = blob_pb2.Digest(sha256="a" * 64, size_bytes=1)
    return benchmark_pb2.Benchmark(
        subjects=[
            benchmark_pb2.Subject(
                files=[benchmark_pb2.File(name="m.onnx", digest=digest)], runtime="onnx"
            )
        ],
        plan=benchmark_pb2.Plan(launches=1, inferences=1, block_inferences=1, timeout_ns=10**9),
    )


_CHANGES: list[tuple[str, Callable[[benchmark_pb2.Subject], object]]] = [
    ("files.name", lambda s: setattr(s.files[0], "name", "x" * 256)),
    ("files.name", lambda s: setattr(s.files[0], "name", "../m.onnx")),
    ("quantized_engine", lambda s: setattr(s, "quantized_engine", "x" * 256)),
    ("providers", lambda s: s.providers.extend([benchmark_pb2.Provider(name="p")] * 65)),
    ("providers.name", lambda s: s.providers.add(name="x" * 4097)),
    ("providers.name", lambda s: s.providers.add(name="")),
    ("providers.options", lambda s: s.providers.add(name="p", options={"k" * 256: "v"})),
    ("providers.options", lambda s: s.providers.add(name="p", options={"k": "v" * 4097})),
    (
        "providers.options",
        lambda s: s.providers.add(name="p", options={str(n): "" for n in range(257)}),
    ),
    ("inputs.dimensions", lambda s: s.inputs.dimensions.update({"n" * 4097: 1})),
    (
        "inputs.dimensions",
        lambda s: s.inputs.dimensions.update({str(n): 1 for n in range(1001)}),
    ),
    ("inputs.shapes", lambda s: s.inputs.shapes.add(name="x", dimensions=[1] * 65)),
    ("inputs.shapes.dtype", lambda s: s.inputs.shapes.add(name="x", dtype="f" * 256)),
    ("inputs.ranges.input", lambda s: s.inputs.ranges.add(input="x" * 4097)),
    ("inputs.seed", lambda s: setattr(s.inputs, "seed", -1)),
]


@pytest.mark.parametrize(("field", "change"), _CHANGES)
def test_a_field_of_a_benchmark_out_of_bounds_is_named(
    field: str, change: Callable[[benchmark_pb2.Subject], object]
) -> None:
    validate.benchmark(_benchmark())
    benchmark = _benchmark()
    change(benchmark.subjects[0])
    with pytest.raises(InvalidArgument) as refused:
        validate.benchmark(benchmark)
    assert refused.value.metadata == {"field": field}
    assert refused.value.message.startswith(f"{field} is ")
    assert len(refused.value.message) < 500


_PLAN_CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("batch", {"batch": -1}),
    ("batch", {"batch": 65_537}),
    ("streams", {"streams": 65}),
    ("rate_hz", {"rate_hz": -1.0}),
    ("rate_hz", {"rate_hz": 1e-9}),
    ("rate_hz", {"rate_hz": math.nan}),
    ("rate_hz", {"rate_hz": math.inf}),
    ("filler_duration_ns", {"filler_duration_ns": -1}),
    ("block_limit_ns", {"block_limit_ns": -1}),
    ("settle_inferences", {"settle_inferences": -1}),
    ("order_seed", {"order_seed": -1}),
    ("canary_interval_ns", {"canary_interval_ns": -1}),
    ("start.timeout_ns", {"start": {"timeout_ns": -1}}),
    ("start.max_temperature_celsius", {"start": {"max_temperature_celsius": math.nan}}),
    ("energy.windows", {"energy": {"windows": 1001}}),
    ("energy.work_duration_ns", {"energy": {"work_duration_ns": -1}}),
]


@pytest.mark.parametrize(("field", "change"), _PLAN_CHANGES)
def test_a_field_of_a_plan_out_of_bounds_is_named(field: str, change: dict[str, Any]) -> None:
    benchmark = _benchmark()
    benchmark.plan.MergeFrom(benchmark_pb2.Plan(**change))
    with pytest.raises(InvalidArgument) as refused:
        validate.benchmark(benchmark)
    assert refused.value.metadata == {"field": f"plan.{field}"}


def test_a_plan_may_ask_for_every_shape() -> None:
    benchmark = _benchmark()
    plan = benchmark.plan
    plan.batch, plan.streams, plan.rate_hz = 65_536, 64, 0.001
    plan.evaluation_data.sha256, plan.energy.windows = "a" * 64, 5
    benchmark.subjects.extend([benchmark.subjects[0]] * 15)
    validate.benchmark(benchmark)


def test_a_plan_names_its_data_and_channels_rightly() -> None:
    benchmark = _benchmark()
    benchmark.plan.evaluation_data.sha256 = "no digest"
    with pytest.raises(InvalidArgument) as refused:
        validate.benchmark(benchmark)
    assert refused.value.reason == "BAD_DIGEST"
    benchmark = _benchmark()
    benchmark.plan.energy.channels.append("x" * 256)
    with pytest.raises(InvalidArgument) as refused:
        validate.benchmark(benchmark)
    assert refused.value.metadata == {"field": "channels"}


@pytest.mark.parametrize("count", [0, 17])
def test_a_benchmark_has_1_to_16_subjects(count: int) -> None:
    benchmark = _benchmark()
    subjects = [benchmark.subjects[0]] * count
    del benchmark.subjects[:]
    benchmark.subjects.extend(subjects)
    with pytest.raises(InvalidArgument, match="expected 1 to 16"):
        validate.benchmark(benchmark)


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("purpose", lambda: validate.lease("x" * 201, 10**9)),
        ("purpose", lambda: validate.lease("two\nlines", 10**9)),
        ("term_ns", lambda: validate.lease("", 10**9 - 1)),
        ("term_ns", lambda: validate.lease("", 24 * 3600 * 10**9 + 1)),
        ("page_size", lambda: validate.page(-1, "")),
        ("page_token", lambda: validate.page(1, "9" * 65)),
        ("page_token", lambda: validate.page(1, "²")),
        ("name", lambda: validate.benchmark_name("benchmarks/" + "x" * 65)),
        ("digests", lambda: validate.count("digests", range(10_001))),
        ("fingerprints", lambda: validate.fingerprints(["A" * 64])),
        ("fingerprints", lambda: validate.fingerprints(["a" * 64] * 10_001)),
        ("channels", lambda: validate.channels(["x" * 256])),
        ("token", lambda: validate.token("x" * 129)),
        ("certificate", lambda: validate.certificate("certificate", "x" * 65_537)),
        ("ca_certificate", lambda: validate.certificate("ca_certificate", "nothing")),
        ("read_offset", lambda: validate.at_least_zero("read_offset", -1)),
    ],
)
def test_every_other_field_out_of_bounds_is_named(field: str, check: Callable[[], None]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check()
    assert refused.value.metadata == {"field": field}


def test_more_digests_than_a_call_may_ask_for_are_refused(tmp_path: Path) -> None:
    digest = blob_pb2.Digest(sha256="a" * 64, size_bytes=1)

    async def run() -> str:
        async with _blobs(tmp_path) as (service, _):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await service.FindMissingBlobs(
                    blob_pb2.FindMissingBlobsRequest(digests=[digest] * 10_001)
                )
            return refused.value.details() or ""

    assert "digests is '10001 items'" in asyncio.run(run())
