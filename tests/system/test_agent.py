"""A real agent process: where it listens, what it survives, what it tells."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import AgentProcess
from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, benchmark_pb2, blob_pb2, blob_pb2_grpc
from edgeopt_host.client import Agent
from edgeopt_host.errors import Cancelled, DeviceError
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Plan

StartAgent = Callable[..., AgentProcess]
QUICK = Plan(launches=1, warmup_s=0.01, duration_s=0.05, min_inferences=2, timeout_s=60)


@pytest.fixture
def channel(agent: AgentProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(agent.address) as channel:
        yield channel


@pytest.fixture
def client(channel: grpc.Channel) -> Agent:
    return Agent("bench-device", channel)


def benchmark(
    client: Agent, tmp_path: Path, fault: str, plan: Plan = QUICK
) -> benchmark_pb2.Benchmark:
    """A benchmark of the plug-in runtime `faulty`, its model uploaded."""
    model = tmp_path / "model.fault"
    model.write_text(fault)
    digest = Digest.of(model)
    client.upload(model, digest)
    subject = benchmark_pb2.Subject(runtime="faulty")
    subject.files.add(
        name="model.fault",
        digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes),
    )
    return benchmark_pb2.Benchmark(subjects=[subject], plan=plan.message())


def failure(client: Agent, tmp_path: Path, fault: str, plan: Plan = QUICK) -> benchmark_pb2.Failure:
    events = list(client.run(benchmark(client, tmp_path, fault, plan)))
    assert events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_FAILED
    return events[-1].benchmark.failure


def works(client: Agent, tmp_path: Path) -> bool:
    """Whether the agent still takes a job and does it."""
    events = list(client.run(benchmark(client, tmp_path, "none")))
    return events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED


def test_every_service_is_healthy(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "edgeopt.agent.v1.AgentService", "edgeopt.agent.v1.BlobService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_idle_it_has_neither_numpy_nor_cryptography_in_memory(
    agent: AgentProcess, client: Agent
) -> None:
    client.device()
    mapped = Path(f"/proc/{agent.process.pid}/maps").read_text()
    for package in ("numpy", "cryptography", "torch", "onnxruntime", "litert"):
        assert f"/{package}/" not in mapped


def test_its_socket_is_its_owners_only(agent: AgentProcess) -> None:
    path = Path(agent.address.removeprefix("unix:"))
    assert path.stat().st_mode & 0o077 == 0
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == 0
    assert not path.exists()


def test_port_0_picks_one(start_agent: StartAgent) -> None:
    agent = start_agent("--listen=127.0.0.1:0", "--insecure")
    host, _, port = agent.address.rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    with grpc.insecure_channel(agent.address) as channel:
        assert Agent("tcp", channel).device().agent_version


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen=0.0.0.0:0", "--insecure"], "can be reached from the network"),
        (["--listen=127.0.0.1:0"], "add --insecure"),
    ],
)
def test_it_refuses_to_listen_where_others_could_reach_it(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    command = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", str(tmp_path / "s")]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not ended.stdout


@pytest.mark.parametrize("command", ["serve --listen unix:{}/a.sock --state-dir {}/s", "probe"])
def test_a_full_standard_output_is_said_plainly(tmp_path: Path, command: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "edgeopt_agent", *command.replace("{}", folder).split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=60,
        )
    assert ended.returncode == 4
    assert ended.stderr == (
        "edgeopt-agent: standard output cannot be written: No space left on device\n"
    )


def test_what_an_agent_writes_is_its_owners_alone(start_agent: StartAgent, tmp_path: Path) -> None:
    state = tmp_path / "open"
    state.mkdir(mode=0o755)
    agent = start_agent(state_dir=state)
    with grpc.insecure_channel(agent.address) as channel:
        assert works(Agent("bench-device", channel), tmp_path)
    for path in state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_empty_state_directory_is_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", ""]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_two_agents_never_share_a_state_directory(agent: AgentProcess) -> None:
    command = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", str(agent.state_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    assert "another agent uses the state directory" in ended.stderr


def test_a_run_reports_every_sample_and_where_it_was(client: Agent, tmp_path: Path) -> None:
    plan = Plan(
        launches=2,
        warmup_s=0.01,
        duration_s=0.1,
        min_inferences=5,
        block_s=0.02,
        block_inferences=5,
    )
    events = list(client.run(benchmark(client, tmp_path, "none", plan)))
    # Progress passes and has no number.
    numbers = [event.sequence for event in events if not event.HasField("progress")]
    assert numbers == list(range(1, len(numbers) + 1))
    for launch in range(2):
        of_launch = [event for event in events if event.launch == launch]
        blocks = [block for event in of_launch for block in event.samples.blocks]
        readings = [reading for event in of_launch for reading in event.state.readings]
        (result,) = [event.result for event in of_launch if event.HasField("result")]
        starts = [block.start_time_ns for block in blocks]
        assert starts == sorted(starts)
        assert len(readings) == len(blocks) + 2
        assert sum(sum(block.latency_ns) for block in blocks) <= result.timed_ns
        assert min(min(block.latency_ns) for block in blocks) >= 500_000
        assert result.first_inference_ns >= 500_000
        assert result.memory.peak_rss_bytes >= result.memory.runtime_rss_bytes > 0


@pytest.mark.parametrize(
    ("fault", "reason", "message"),
    [
        ("segfault", "WORKER_CRASHED", "SIGSEGV"),
        ("illegal", "WORKER_CRASHED", "SIGILL"),
        ("kill", "WORKER_KILLED", "SIGKILL"),
        ("exit", "WORKER_FAILED", "exit code 3; its last words: going home"),
        ("raise", "INFERENCE_FAILED", "the operator is out of order"),
        ("silent", "WORKER_FAILED", "ended without a result"),
        ("garbage", "WORKER_FAILED", "what is no event"),
        ("escape", "WORKER_FAILED", "exit code 3"),
    ],
)
def test_a_worker_that_dies_is_a_typed_error_and_the_agent_lives_on(
    client: Agent, tmp_path: Path, fault: str, reason: str, message: str
) -> None:
    seen = failure(client, tmp_path, fault)
    assert seen.reason == reason
    assert message in seen.message
    assert works(client, tmp_path)


def test_a_worker_that_hangs_is_killed_with_all_it_started(
    agent: AgentProcess, client: Agent, tmp_path: Path
) -> None:
    seen = failure(client, tmp_path, "hang", Plan(launches=1, timeout_s=2))
    assert seen.reason == "TIMED_OUT"
    assert "within 2 s" in seen.message
    assert psutil.Process(agent.process.pid).children(recursive=True) == []
    assert works(client, tmp_path)


def test_what_a_client_claims_of_the_outcome_is_not_believed(client: Agent, tmp_path: Path) -> None:
    spec = benchmark(client, tmp_path, "none")
    spec.failure.reason = "FORGED"
    spec.state = benchmark_pb2.Benchmark.STATE_FAILED
    events = list(client.run(spec))
    assert events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED
    assert not events[-1].benchmark.failure.reason


def test_a_queued_job_is_cancelled_without_ever_running(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    running = _create(client, benchmark(client, tmp_path, "hang"))
    queued = _create(client, benchmark(client, tmp_path, "none"))
    for name in (queued, running):
        stub.CancelBenchmark(agent_pb2.CancelBenchmarkRequest(name=name), timeout=10)
    watched = stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=queued))
    states = [response.event.benchmark.state for response in watched]
    assert states == [
        benchmark_pb2.Benchmark.STATE_QUEUED,
        benchmark_pb2.Benchmark.STATE_CANCELLED,
    ]
    assert works(client, tmp_path)


def test_the_models_memory_does_not_depend_on_the_warm_up(client: Agent, tmp_path: Path) -> None:
    shares = []
    for warmup_s in (0.01, 3.0):
        plan = Plan(launches=1, warmup_s=warmup_s, duration_s=0.05)
        events = list(client.run(benchmark(client, tmp_path, "fast", plan)))
        (memory,) = (event.result.memory for event in events if event.HasField("result"))
        shares.append(memory.peak_rss_bytes - memory.runtime_rss_bytes)
    assert abs(shares[0] - shares[1]) < 2**20


def test_probing_waits_while_a_benchmark_runs(client: Agent, tmp_path: Path) -> None:
    before = client.device()
    _create(client, benchmark(client, tmp_path, "hang"))
    with pytest.raises(DeviceError) as caught:
        client.device(refresh=True)
    assert caught.value.reason == "BENCHMARK_RUNNING"
    assert client.device() == before


def test_a_refused_watch_leaves_no_file_open(agent: AgentProcess, channel: grpc.Channel) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    files = psutil.Process(agent.process.pid)

    def refused() -> int:
        request = agent_pb2.WatchTelemetryRequest(channels=["no such channel"])
        with pytest.raises(grpc.RpcError):
            list(stub.WatchTelemetry(request))
        return files.num_fds()

    first = refused()
    for _ in range(10):
        last = refused()
    assert last <= first + 1


def test_a_worker_out_of_memory_is_told_so(start_agent: StartAgent, tmp_path: Path) -> None:
    # An address space limit makes the allocator fail as it does on a small board.
    agent = start_agent(wrap=("prlimit", f"--as={4 * 2**30}"))
    with grpc.insecure_channel(agent.address) as channel:
        client = Agent("small", channel)
        assert failure(client, tmp_path, "memory").reason == "OUT_OF_MEMORY"
        assert works(client, tmp_path)


def test_a_flood_of_output_neither_blocks_the_worker_nor_fills_the_agent(
    client: Agent, tmp_path: Path
) -> None:
    events = list(client.run(benchmark(client, tmp_path, "flood")))
    assert events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED


def test_cancelling_stops_the_worker_and_says_so(
    agent: AgentProcess, client: Agent, tmp_path: Path
) -> None:
    threading.Timer(1.0, client.cancel).start()
    with pytest.raises(Cancelled, match="bench-device"):
        list(client.run(benchmark(client, tmp_path, "hang")))
    deadline = time.monotonic() + 10
    while (
        psutil.Process(agent.process.pid).children(recursive=True) and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert psutil.Process(agent.process.pid).children(recursive=True) == []


def test_a_stopped_agent_tells_its_watchers_and_leaves_no_worker(
    agent: AgentProcess, channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    name = _create(client, benchmark(client, tmp_path, "hang"))
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    threading.Timer(1.0, agent.process.terminate).start()
    watch = stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=name))
    events: list[benchmark_pb2.BenchmarkEvent] = []
    with pytest.raises(grpc.RpcError) as gone:
        events.extend(response.event for response in watch)
    assert gone.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    last = [event.benchmark for event in events if event.HasField("benchmark")][-1]
    assert (last.state, last.attempt) == (benchmark_pb2.Benchmark.STATE_QUEUED, 2)
    assert agent.process.wait(10) == 0
    assert not (agent.state_dir / "scratch").exists() or not list(
        (agent.state_dir / "scratch").iterdir()
    )


def test_a_killed_agent_takes_its_worker_along(
    agent: AgentProcess, client: Agent, tmp_path: Path
) -> None:
    _create(client, benchmark(client, tmp_path, "hang"))
    while not (workers := psutil.Process(agent.process.pid).children()):
        time.sleep(0.05)
    agent.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_asking_twice_gives_the_first_answer(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    asked = agent_pb2.CreateBenchmarkRequest(
        request_id="the-same", benchmark=benchmark(client, tmp_path, "none")
    )
    names = {stub.CreateBenchmark(asked, timeout=10).benchmark.name for _ in range(3)}
    assert len(names) == 1
    assert len(stub.ListBenchmarks(agent_pb2.ListBenchmarksRequest(), timeout=10).benchmarks) == 1


def test_a_broken_watch_goes_on_where_it_stopped(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    name = _create(client, benchmark(client, tmp_path, "none"))
    first = stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=name))
    numbered = (r.event.sequence for r in first if r.event.sequence)
    seen = [next(numbered) for _ in range(3)]
    first.cancel()
    rest = stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=name, after_sequence=3))
    seen += [response.event.sequence for response in rest if response.event.sequence]
    assert len(seen) > 3
    assert seen == list(range(1, len(seen) + 1))


def test_jobs_run_one_at_a_time_in_arrival_order(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    spec = benchmark(client, tmp_path, "none")
    names = [_create(client, spec) for _ in range(3)]
    ended = []
    for name in names:
        for _ in stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=name)):
            pass
        ended.append(
            stub.GetBenchmark(agent_pb2.GetBenchmarkRequest(name=name), timeout=10).benchmark
        )
    for before, after in itertools.pairwise(ended):
        assert before.end_time.ToNanoseconds() <= after.start_time.ToNanoseconds()


def test_an_acknowledged_benchmark_is_forgotten(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    list(client.run(benchmark(client, tmp_path, "none")))
    assert not stub.ListBenchmarks(agent_pb2.ListBenchmarksRequest(), timeout=10).benchmarks


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda b: b.ClearField("subjects"), "subjects"),
        (lambda b: b.subjects.extend([b.subjects[0]] * 16), "subjects"),
        (lambda b: b.subjects.add(), "files"),
        (lambda b: b.subjects[0].ClearField("files"), "files"),
        (lambda b: setattr(b.subjects[0], "runtime", "tensorrt"), "runtime"),
        (lambda b: setattr(b.subjects[0], "threads", -1), "threads"),
        (lambda b: setattr(b.subjects[0].files[0], "name", "../../etc/passwd"), "files.name"),
        (lambda b: setattr(b.subjects[0].files[0], "name", "/etc/passwd"), "files.name"),
        (lambda b: setattr(b.subjects[0], "graph_optimization", "max"), "graph_optimization"),
        (lambda b: setattr(b.plan, "launches", 0), "plan.launches"),
        (lambda b: setattr(b.plan, "timeout_ns", 0), "plan.timeout_ns"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(
    client: Agent, tmp_path: Path, change: Callable[[benchmark_pb2.Benchmark], None], field: str
) -> None:
    spec = benchmark(client, tmp_path, "none")
    change(spec)
    with pytest.raises(DeviceError, match=field) as caught:
        list(client.run(spec))
    assert caught.value.reason == "INVALID_FIELD"


def test_a_benchmark_of_a_model_that_is_not_there_is_refused(client: Agent, tmp_path: Path) -> None:
    spec = benchmark(client, tmp_path, "none")
    spec.subjects[0].files[0].digest.sha256 = "0" * 64
    with pytest.raises(DeviceError) as caught:
        list(client.run(spec))
    assert caught.value.reason == "BLOB_NOT_FOUND"


def test_a_broken_upload_goes_on_from_where_it_stopped(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3 * 2**20))
    digest = Digest.of(big)
    message = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    stub = blob_pb2_grpc.BlobServiceStub(channel)

    def a_third() -> Iterator[blob_pb2.WriteBlobRequest]:
        yield blob_pb2.WriteBlobRequest(digest=message, data=big.read_bytes()[: 2**20])

    assert stub.WriteBlob(a_third(), timeout=10).committed_size_bytes == 2**20
    assert client.upload(big, digest) == 2 * 2**20
    assert client.upload(big, digest) == 0
    read = b"".join(part.data for part in stub.ReadBlob(blob_pb2.ReadBlobRequest(digest=message)))
    assert read == big.read_bytes()


def test_a_download_appears_only_when_it_is_whole(client: Agent, tmp_path: Path) -> None:
    missing = blob_pb2.Digest(sha256="0" * 64, size_bytes=5)
    with pytest.raises(DeviceError):
        client.download(missing, tmp_path / "outputs.npz")
    assert list(tmp_path.glob("*outputs*")) == []


def test_telemetry_is_never_read_during_a_timed_run(
    channel: grpc.Channel, client: Agent, tmp_path: Path
) -> None:
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    samples = stub.WatchTelemetry(agent_pb2.WatchTelemetryRequest(interval_ns=10_000_000))
    first, second = next(samples).sample, next(samples).sample
    assert second.time_ns - first.time_ns >= 10_000_000
    _create(client, benchmark(client, tmp_path, "hang"))
    with pytest.raises(grpc.RpcError) as caught:
        list(samples)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_reflection_is_served_when_asked_for(start_agent: StartAgent) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    agent = start_agent("--reflection")
    with grpc.insecure_channel(agent.address) as channel:
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked))
    names = {service.name for service in answer.list_services_response.service}
    assert "edgeopt.agent.v1.AgentService" in names


def _create(client: Agent, spec: benchmark_pb2.Benchmark) -> str:
    request = agent_pb2.CreateBenchmarkRequest(request_id=os.urandom(8).hex(), benchmark=spec)
    return client._agent.CreateBenchmark(request, timeout=10).benchmark.name
