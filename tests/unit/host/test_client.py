"""The client against a real agent: files that change, connections that break, Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

import tiny
from conftest import AgentProcess
from edgeopt.agent.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    benchmark_pb2,
    blob_pb2,
    blob_pb2_grpc,
)
from edgeopt_host.client import Agent, _blobs, connect
from edgeopt_host.client.local import LocalAgent, _environment
from edgeopt_host.errors import Cancelled, DeviceError, EdgeoptError, OutcomeUnknown, Unreachable
from edgeopt_host.inventory import Device
from edgeopt_host.modelfile import Digest
from proxy import Proxy

StartAgent = Callable[..., AgentProcess]
SIZE = 3 * 2**20


@pytest.fixture
def client(agent: AgentProcess) -> Iterator[Agent]:
    with connect(Device("pi4", agent.address)) as connected:
        yield connected


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


@contextlib.contextmanager
def cancelling(cancel: Callable[[], None], after_s: float) -> Iterator[None]:
    timer = threading.Timer(after_s, cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def write(client: Agent, digest: Digest, data: bytes) -> None:
    """What another client leaves that breaks off after these bytes."""
    message = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    pieces = [data[i : i + 2**18] for i in range(0, len(data), 2**18)]
    requests = [blob_pb2.WriteBlobRequest(digest=message)]
    requests += [blob_pb2.WriteBlobRequest(data=piece) for piece in pieces]
    assert client._blobs.WriteBlob(iter(requests)).committed_size_bytes == len(data)


@pytest.mark.parametrize("change", ["shrinks", "is gone", "changes"])
def test_a_file_that_changes_after_it_was_hashed_is_said_to_have(
    client: Agent, file: Path, change: str
) -> None:
    digest = Digest.of(file)
    if change == "is gone":
        file.unlink()
    else:
        file.write_bytes(bytes(10 if change == "shrinks" else SIZE))
    # What spins for ever fails here instead.
    with (
        cancelling(client.cancel, 20),
        pytest.raises(EdgeoptError, match="changed while it was sent") as caught,
    ):
        client.upload(file, digest)
    assert caught.value.reason == "FILE_CHANGED"


def test_a_file_that_grows_is_sent_as_it_was(client: Agent, file: Path) -> None:
    digest = Digest.of(file)
    with file.open("ab") as more:
        more.write(b"more")
    client.upload(file, digest)
    assert client._committed_bytes(digest) is None


def test_a_damaged_part_is_sent_anew_once(client: Agent, file: Path) -> None:
    digest = Digest.of(file)
    write(client, digest, bytes(SIZE // 2))
    assert client.upload(file, digest) == SIZE + SIZE // 2
    assert client._committed_bytes(digest) is None


def test_an_upload_goes_on_where_another_client_got_to(
    client: Agent, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Digest.of(file)
    real, answers = client._committed_bytes, iter([0])

    def stale(asked: Digest) -> int | None:
        first = next(answers, None)
        if first is not None:
            write(client, digest, file.read_bytes()[: 2**20])
        return real(asked) if first is None else first

    monkeypatch.setattr(client, "_committed_bytes", stale)
    client.upload(file, digest)
    assert real(digest) is None


def test_an_upload_survives_a_connection_that_breaks(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent("--listen=127.0.0.1:0", "--insecure")
    file = tmp_path / "m.onnx"
    size = 16 * 2**20
    file.write_bytes(bytes(size))
    digest = Digest.of(file)
    with (
        Proxy.to(agent.address, cut_after_bytes=size // 2) as proxy,
        connect(Device("pi4", proxy.address)) as client,
    ):
        client.upload(file, digest)
        assert proxy.cut_after_bytes is None
        assert client._committed_bytes(digest) is None
        assert size < proxy.sent_bytes < 1.75 * size


def benchmark(client: Agent, path: Path, runtime: str) -> benchmark_pb2.Benchmark:
    digest = Digest.of(path)
    client.upload(path, digest)
    made = benchmark_pb2.Benchmark(
        plan=benchmark_pb2.Plan(
            launches=1,
            inferences=20,
            block_inferences=20,
            warmup_inferences=1,
            timeout_ns=60 * 10**9,
        )
    )
    subject = made.subjects.add(runtime=runtime)
    message = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    subject.files.add(name=path.name, digest=message)
    return made


def test_a_complete_run_needs_no_acknowledgement(
    client: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = benchmark(client, tiny.relu(tmp_path / "m.onnx"), "onnx")

    def fails(*_: object, **__: object) -> None:
        raise grpc.RpcError

    monkeypatch.setattr(client._agent, "AcknowledgeBenchmark", fails)
    *_, last = client.run(asked)
    assert last.benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED


def test_a_cancelled_run_is_forgotten_by_the_device(
    agent: AgentProcess, client: Agent, tmp_path: Path
) -> None:
    model = tmp_path / "m.fault"
    model.write_text("hang")
    asked = benchmark(client, model, "faulty")
    with cancelling(client.cancel, 1), pytest.raises(Cancelled):
        list(client.run(asked))
    with connect(Device("pi4", agent.address)) as other:
        left = other._agent.ListBenchmarks(agent_pb2.ListBenchmarksRequest()).benchmarks
    assert list(left) == []


class _Unsteady(agent_pb2_grpc.AgentServiceServicer, blob_pb2_grpc.BlobServiceServicer):
    """An agent that goes away in the middle, and may come back without its journal."""

    content = bytes(range(256)) * 4096

    def __init__(self) -> None:
        self.away = 1
        self.created: list[str] = []
        self.offsets: list[int] = []

    def CreateBenchmark(  # noqa: N802
        self, request: agent_pb2.CreateBenchmarkRequest, context: grpc.ServicerContext
    ) -> agent_pb2.CreateBenchmarkResponse:
        self.created.append(request.request_id)
        if len(self.created) <= self.away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "dead before it answered")
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason="STORAGE_FULL", domain="edgeopt"))
        status = status_pb2.Status(
            code=code_pb2.FAILED_PRECONDITION, message="the disk is full", details=[info]
        )
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    def ReadBlob(  # noqa: N802
        self, request: blob_pb2.ReadBlobRequest, context: grpc.ServicerContext
    ) -> Iterator[blob_pb2.ReadBlobResponse]:
        self.offsets.append(request.read_offset)
        rest = self.content[request.read_offset :]
        if len(self.offsets) <= self.away:
            yield blob_pb2.ReadBlobResponse(data=rest[: 2**18])
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield blob_pb2.ReadBlobResponse(data=rest)


@pytest.fixture
def unsteady() -> Iterator[tuple[_Unsteady, Agent]]:
    service = _Unsteady()
    with futures.ThreadPoolExecutor(4) as pool, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        server = grpc.server(pool)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(service, server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(service, server)
        address = f"unix:{folder}/agent.sock"
        server.add_insecure_port(address)
        server.start()
        try:
            with connect(Device("pi4", address)) as client:
                yield service, client
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize("away", [0, 1])
def test_a_refusal_for_want_of_a_journal_is_certain_only_at_the_first_attempt(
    unsteady: tuple[_Unsteady, Agent], away: int
) -> None:
    service, client = unsteady
    service.away = away
    with pytest.raises(DeviceError) as refused:
        client.create(benchmark_pb2.Benchmark(), "once")
    assert refused.value.reason == "STORAGE_FULL"
    assert isinstance(refused.value, OutcomeUnknown) == bool(away)
    # Nobody else asks again behind its back.
    assert service.created == ["once"] * (away + 1)


def test_a_download_goes_on_where_it_broke_off(
    unsteady: tuple[_Unsteady, Agent], tmp_path: Path
) -> None:
    service, client = unsteady
    service.away = 2
    client.download(blob_pb2.Digest(), tmp_path / "outputs")
    assert (tmp_path / "outputs").read_bytes() == service.content
    assert service.offsets == [0, 2**18, 2**19]


def test_a_download_that_never_comes_back_leaves_no_file(
    unsteady: tuple[_Unsteady, Agent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, client = unsteady
    service.away = 10**9
    service.content = service.content[: 2**17]
    monkeypatch.setattr(_blobs, "PATIENCE_S", -1.0)
    with pytest.raises(Unreachable):
        client.download(blob_pb2.Digest(), tmp_path / "outputs")
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def frozen(agent: AgentProcess) -> Iterator[None]:
    agent.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("call", ["device", "upload"])
def test_a_device_that_is_silent_does_not_hold_up_a_cancel(
    agent: AgentProcess, client: Agent, file: Path, call: str
) -> None:
    digest = Digest.of(file)
    started = time.monotonic()
    with frozen(agent), cancelling(client.cancel, 0.5), pytest.raises(Cancelled):
        client.device() if call == "device" else client.upload(file, digest)
    assert time.monotonic() - started < 3
    with pytest.raises(Cancelled):
        client.device()


def test_connecting_ends_when_it_is_stopped(agent: AgentProcess) -> None:
    stop = threading.Event()
    started = time.monotonic()
    with (
        frozen(agent),
        cancelling(stop.set, 0.5),
        pytest.raises(Cancelled),
        connect(Device("pi4", agent.address), 30, stop=stop),
    ):
        pass
    assert time.monotonic() - started < 3


def test_waiting_for_the_local_agent_ends_when_it_is_stopped(home: Path) -> None:
    state = home / "data" / "local-agent"
    state.mkdir(parents=True)
    told: list[str] = []
    stop = threading.Event()
    started = time.monotonic()
    with (state / "turn").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            cancelling(stop.set, 0.5),
            pytest.raises(Cancelled),
            LocalAgent(told.append, stop),
        ):
            pass
    assert time.monotonic() - started < 3
    assert len(told) == 1


def test_the_local_agents_folders_are_private(home: Path) -> None:
    with LocalAgent():
        pass
    folders = [home / "data", home / "data" / "local-agent"]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


def test_the_local_agents_environment_depends_on_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/plugins::relative:")
    assert _environment()["PYTHONPATH"] == f"/plugins:{tmp_path / 'relative'}"
    assert _environment()["PYTHONSAFEPATH"] == "1"


def test_what_a_killed_command_left_of_the_local_agent_is_removed() -> None:
    left, used, foreign = (
        Path(tempfile.mkdtemp(prefix="edgeopt-local-", dir="/tmp")) for _ in range(3)
    )
    (left / "agent.sock").touch()
    (foreign / "a file of somebody").touch()
    try:
        lock = os.open(used, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with LocalAgent() as agent:
            own = Path(agent.address.removeprefix("unix:")).parent
            assert [folder.is_dir() for folder in (left, used, foreign, own)] == [
                False,
                *[True] * 3,
            ]
        assert not own.exists()
        os.close(lock)
    finally:
        for folder in (used, foreign):
            shutil.rmtree(folder)


def test_an_error_of_the_agent_keeps_its_reason(client: Agent, tmp_path: Path) -> None:
    missing = blob_pb2.Digest(sha256="a" * 64, size_bytes=1)
    with pytest.raises(DeviceError) as caught:
        client.download(missing, tmp_path / "out.npz")
    assert caught.value.reason == "BLOB_NOT_FOUND"
    assert list(tmp_path.glob("*.npz*")) == []
