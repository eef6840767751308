"""An agent whose state directory is full, read-only, damaged or from the future; and clocks that jump."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from conftest import AgentProcess
from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, benchmark_pb2, blob_pb2, blob_pb2_grpc
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Plan

StartAgent = Callable[..., AgentProcess]
PLAN = Plan(launches=1, warmup_s=0.01, duration_s=0.05, min_inferences=2, timeout_s=60)


class Board:
    """An agent on a small file system of its own, which the test can fill and lock."""

    def __init__(self, agent: AgentProcess, folder: Path) -> None:
        self.agent = agent
        self._inside = Path(f"/proc/{agent.process.pid}/root{folder}")
        self.channel = grpc.insecure_channel(agent.address)
        self.stub = agent_pb2_grpc.AgentServiceStub(self.channel)

    def status(self) -> agent_pb2.GetStatusResponse:
        return self.stub.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)

    def problems(self) -> list[str]:
        return [problem.reason for problem in self.status().problems]

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self._inside / "ballast").open("wb", 0) as ballast:
            while True:
                ballast.write(bytes(65536))

    def free(self) -> None:
        (self._inside / "ballast").unlink()

    def remount(self, how: str) -> None:
        enter = ["/usr/bin/nsenter", "-t", str(self.agent.process.pid), "-U", "-m"]
        mount = ["--preserve-credentials", "mount", "-o", f"remount,{how}"]
        inside = str(self._inside).partition("/root")[2]
        subprocess.run([*enter, *mount, inside], check=True)

    def create(self, tmp_path: Path, request_id: str = "r") -> str:
        model = tmp_path / "model.fault"
        model.write_text("none")
        digest = Digest.of(model)
        named = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
        messages = [
            blob_pb2.WriteBlobRequest(digest=named),
            blob_pb2.WriteBlobRequest(data=model.read_bytes()),
        ]
        blob_pb2_grpc.BlobServiceStub(self.channel).WriteBlob(iter(messages), timeout=10)
        subject = benchmark_pb2.Subject(runtime="faulty")
        subject.files.add(name=model.name, digest=named)
        asked = benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())
        request = agent_pb2.CreateBenchmarkRequest(request_id=request_id, benchmark=asked)
        return self.stub.CreateBenchmark(request, timeout=10).benchmark.name

    def ended(self, name: str) -> benchmark_pb2.Benchmark:
        for _ in self.stub.WatchBenchmark(agent_pb2.WatchBenchmarkRequest(name=name), timeout=60):
            pass
        request = agent_pb2.GetBenchmarkRequest(name=name)
        return self.stub.GetBenchmark(request, timeout=10).benchmark


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


@pytest.fixture
def small_board(start_agent: StartAgent, tmp_path: Path) -> Board:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = f'mount -t tmpfs -o size=100m none {folder} && exec "$@"'
    wrap = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    agent = start_agent(state_dir=folder / "state", wrap=wrap)
    return Board(agent, folder)


def test_a_full_disk_is_told_loses_nothing_and_heals_by_itself(
    small_board: Board, tmp_path: Path
) -> None:
    first = small_board.create(tmp_path)
    assert small_board.ended(first).state == benchmark_pb2.Benchmark.STATE_SUCCEEDED
    small_board.fill()
    assert small_board.problems() == ["STORAGE_FULL"]
    with pytest.raises(grpc.RpcError) as refused:
        small_board.create(tmp_path, "refused")
    assert refused.value.code() in {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
    small_board.free()
    until(lambda: small_board.problems() == [])
    second = small_board.create(tmp_path, "later")
    assert small_board.ended(second).state == benchmark_pb2.Benchmark.STATE_SUCCEEDED
    assert small_board.status().unacknowledged_benchmarks == 2


def test_a_disk_that_fills_while_it_measures_delays_the_result(
    small_board: Board, tmp_path: Path
) -> None:
    name = small_board.create(tmp_path)
    small_board.fill()
    until(lambda: small_board.problems() == ["STORAGE_FULL"])
    time.sleep(2)
    small_board.free()
    assert small_board.ended(name).state == benchmark_pb2.Benchmark.STATE_SUCCEEDED


def test_an_agent_that_starts_on_a_read_only_disk_says_so_and_goes_on(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = (
        f"mount -t tmpfs -o size=100m none {folder} && mkdir -m 700 {folder}/state && "
        f'mount -o remount,ro {folder} && exec "$@"'
    )
    wrap = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    board = Board(start_agent(state_dir=folder / "state", wrap=wrap), folder)
    assert board.problems() == ["STATE_READ_ONLY"]
    board.remount("rw")
    until(lambda: board.problems() == [])
    assert board.ended(board.create(tmp_path)).state == benchmark_pb2.Benchmark.STATE_SUCCEEDED


def test_the_state_of_a_newer_agent_is_left_alone_and_told(
    start_agent: StartAgent, tmp_path: Path, edgeopt_host: Callable[..., Any]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with contextlib.closing(sqlite3.connect(state / "agent.db")) as database:
        database.execute("pragma user_version = 99")
    before = (state / "agent.db").read_bytes()
    agent = start_agent(state_dir=state)
    assert Board(agent, state).problems() == ["STATE_TOO_NEW"]
    added = edgeopt_host("device", "add", "board", agent.address)
    assert added.returncode == 0, added.stderr
    listed = json.loads(edgeopt_host("device", "list", "--format", "json").stdout)
    (board,) = [device for device in listed["devices"] if device["name"] == "board"]
    assert "STATE_TOO_NEW" in json.dumps(board)
    pushed = edgeopt_host("push", _model(tmp_path), "--runtime", "faulty", "--device", "board")
    assert pushed.returncode == 4
    assert "newer agent" in pushed.stdout + pushed.stderr
    assert (state / "agent.db").read_bytes() == before


@pytest.mark.parametrize("jump", ["-10y", "+6y"])
def test_a_device_whose_clock_is_years_off_works_and_is_named(
    start_agent: StartAgent, tmp_path: Path, edgeopt_host: Callable[..., Any], jump: str
) -> None:
    agent = start_agent(wrap=("faketime", "-f", jump))
    assert edgeopt_host("device", "add", "board", agent.address).returncode == 0
    listed = edgeopt_host("device", "list")
    assert "clock" in listed.stdout
    assert "years" in listed.stdout
    pushed = edgeopt_host(
        "push", _model(tmp_path), "--runtime", "faulty", "--device", "board", "--quick"
    )
    assert pushed.returncode == 0, pushed.stderr


def _model(tmp_path: Path) -> Path:
    model = tmp_path / "none.fault"
    model.write_text("none")
    return model


def test_a_clock_that_jumps_while_a_lease_is_held_does_not_end_it(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    wrap = ("env", *(f"{k}={v}" for k, v in environment.items()), "faketime", "-f", "+0")
    agent = start_agent(wrap=wrap)
    with grpc.insecure_channel(agent.address) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        request = agent_pb2.AcquireLeaseRequest(request_id="l", term_ns=600 * 10**9)
        lease = stub.AcquireLease(request, timeout=10).lease
        before = stub.GetStatus(agent_pb2.GetStatusRequest(), timeout=10).time.seconds
        offset.write_text("+3y")
        os.utime(offset)
        status = stub.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)
        assert status.lease.fencing_number == lease.fencing_number
        assert status.lease.remaining_ns > 500 * 10**9
        assert status.time.seconds >= before
