"""Nothing lost on the host's side: killed hosts, cut networks, restarted agents."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import PLUGINS, AgentProcess
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_host.client import Agent, connect
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.store import RunStore
from proxy import Proxy

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
StartAgent = Callable[..., AgentProcess]

# Runs a command that gives up a lost device at once, and kills itself before or after a call, or
# finds the device away in its place.
_COMMAND = """
import functools, os, signal, sys
from edgeopt_host import cli, delivery, device_push
from edgeopt_host.client import Agent, agent
from edgeopt_host.errors import Unreachable
from edgeopt_host.store import RunStore

agent.PATIENCE_S = 1.0
when, _, where = sys.argv.pop(1).partition(" ")

def dies(real):
    @functools.wraps(real)
    def call(*arguments, **more):
        if when == "after":
            real(*arguments, **more)
        if when == "away":
            raise Unreachable("the network is cut")
        os.kill(os.getpid(), signal.SIGKILL)
    return call

if where == "deliver":
    device_push.deliver = dies(device_push.deliver)
elif where:
    owner, _, name = where.partition(".")
    owner = {"Agent": Agent, "RunStore": RunStore}[owner]
    setattr(owner, name, dies(getattr(owner, name)))
sys.argv[0] = "edgeopt-host"
cli.main()
"""


def model(folder: Path, fault: str = "none", size: int = 0) -> Path:
    path = folder / f"{fault}.fault"
    path.write_text(fault + " " * size)
    return path


@contextlib.contextmanager
def command(*arguments: str | Path, kill: str = "", **env: str) -> Iterator[subprocess.Popen[str]]:
    """`edgeopt-host` as a process, to be killed `before` or `after` a call of it, or cut off."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, kill, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PLUGINS), **env},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def push(
    path: Path, *options: str | Path, kill: str = "", duration: str = "0.2", **env: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    plan = ("--launches", "1", "--warmup", "0.01", "--duration", duration)
    runtime = ("--runtime", "faulty", "--device", "board", "--format", "json")
    return command("push", path, *runtime, *plan, *options, kill=kill, **env)


def until(process: subprocess.Popen[str], words: str) -> str:
    """Waits for a line of its progress."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return line
    raise AssertionError("".join(said))


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, object]], str]:
    out, errors = process.communicate(timeout=120)
    return process.returncode, json.loads(out)["runs"] if out else [], errors


@pytest.fixture
def board(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """A device of this name."""
    agent = start_agent("--listen=127.0.0.1:0", "--insecure", state_dir=tmp_path / "board")
    Inventory.load().add("board", agent.address)
    return agent


@contextlib.contextmanager
def client(address: str) -> Iterator[Agent]:
    with connect(Device("board", address)) as agent:
        yield agent


def stored() -> list[str]:
    with RunStore.open() as store:
        return [str(run.id) for run in store.list()]


def owed() -> int:
    with RunStore.open() as store:
        return len(store.pending())


def assert_settled(address: str, runs: int) -> None:
    """So many runs are stored, and nobody owes anything to anybody."""
    assert (len(stored()), owed()) == (runs, 0)
    with client(address) as agent:
        assert agent.benchmarks() == []
    home = Path(os.environ["EDGEOPT_HOME"])
    assert list((home / "data" / "owners").iterdir()) == []


@pytest.mark.parametrize(
    ("kill", "runs"),
    [
        ("before Agent.create", 0),
        ("after Agent.create", 1),
        ("after RunStore.created", 1),
        ("before deliver", 1),
        ("before RunStore.finish", 1),
        ("after RunStore.finish", 1),
        ("after Agent.acknowledge", 1),
    ],
)
def test_a_host_killed_at_any_moment_loses_nothing_and_keeps_nothing_twice(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path, kill: str, runs: int
) -> None:
    with push(model(tmp_path), kill=kill) as process:
        assert process.wait(120) == -signal.SIGKILL
    resumed = edgeopt_host("runs", "resume", "--device", "board", "--wait", "--format", "json")
    assert resumed.returncode == 0, resumed.stderr
    assert ("never reached the device" in resumed.stderr) == (runs == 0)
    fetched = json.loads(resumed.stdout)["runs"]
    assert [run["error"] for run in fetched] == [None] * len(fetched)
    assert_settled(board.address, runs)
    again = edgeopt_host("runs", "resume")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to fetch" in again.stderr


def test_a_host_killed_while_it_uploads_leaves_nothing_but_an_upload_to_go_on_with(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    size = 8 * 2**20
    path = model(tmp_path, size=size)
    with Proxy.to(board.address, stall_after_bytes=size // 2) as proxy:
        Inventory.load().change("board", address=proxy.address)
        with push(path) as process:
            assert proxy.stalled.wait(60)
            killed(process)
        proxy.heal()
        assert edgeopt_host("runs", "resume").returncode == 0
        assert (stored(), owed()) == ([], 0)
        with push(path) as process:
            code, _, errors = ended(process)
        assert code == 0, errors
        assert proxy.sent_bytes < 1.75 * size
    assert_settled(board.address, 1)


def test_a_host_killed_while_its_benchmark_waits_gets_it_later(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with client(board.address) as other:
        with push(model(tmp_path, "hang")) as first:
            until(first, "launch 1 of 1, loading")
            with push(model(tmp_path)) as second:
                until(second, "waiting: 1 before this one")
                killed(second)
            killed(first)
        resumed = edgeopt_host("runs", "resume")
        assert (resumed.returncode, resumed.stdout) == (0, "")
        assert "running on the device; --wait waits for it" in resumed.stderr
        assert "queued on the device; --wait waits for it" in resumed.stderr
        hanging = next(b for b in other.benchmarks() if b.state == b.STATE_RUNNING)
        # Behind the host's back.
        other.forget(hanging.name)
    with command("runs", "resume", "--wait", "--format", "json") as waiting:
        code, runs, errors = ended(waiting)
    assert code == 0, errors
    assert [run["error"] and run["error"]["reason"] for run in runs] == ["RESULT_LOST", None]  # type: ignore[index]
    assert_settled(board.address, 2)


def test_the_next_push_fetches_what_finished_meanwhile_with_its_outputs(
    board: AgentProcess, tmp_path: Path
) -> None:
    kept, gone = tmp_path / "kept.npz", tmp_path / "gone" / "gone.npz"
    gone.parent.mkdir()
    for outputs in (kept, gone):
        with push(model(tmp_path), "--outputs", outputs, kill="after RunStore.created") as process:
            assert process.wait(120) == -signal.SIGKILL
    gone.parent.rmdir()
    with client(board.address) as agent:
        deadline = time.monotonic() + 60
        while any(b.state < b.STATE_SUCCEEDED for b in agent.benchmarks()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with push(model(tmp_path)) as process:
        code, runs, errors = ended(process)
    assert (code, len(runs)) == (0, 1), errors
    assert "board: fetched 2 runs that finished meanwhile" in errors
    assert f"{gone.parent} is gone" in errors
    with np.load(kept) as outputs:
        assert list(outputs) == ["y"]
    assert_settled(board.address, 3)


def test_what_a_living_process_does_is_left_to_it(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with push(model(tmp_path), duration="4") as process:
        until(process, "measuring")
        resumed = edgeopt_host("runs", "resume", "--wait")
        assert (resumed.returncode, resumed.stdout) == (0, "")
        code, runs, errors = ended(process)
    assert code == 0, errors
    assert stored() == [runs[0]["id"]]
    assert_settled(board.address, 1)


def test_a_network_that_stays_cut_owes_a_run_until_it_is_back(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with Proxy.to(board.address) as proxy:
        Inventory.load().change("board", address=proxy.address)
        with push(model(tmp_path), duration="1") as process:
            until(process, "measuring")
            proxy.cut()
            code, (run,), errors = ended(process)
        assert code == 4, errors
        assert "the connection is lost" in errors
        assert run["id"] is None
        assert run["error"]["reason"] == "UNREACHABLE"  # type: ignore[index]
        assert "`edgeopt-host runs resume` fetches it" in run["error"]["message"]  # type: ignore[index]
        assert (stored(), owed()) == ([], 1)
        away = edgeopt_host("runs", "resume")
        assert (away.returncode, owed()) == (4, 1)
        assert "board: no agent answers" in away.stderr
        proxy.heal()
        back = edgeopt_host("runs", "resume", "--wait", "--format", "json")
    assert back.returncode == 0, back.stderr
    assert len(json.loads(back.stdout)["runs"]) == 1
    assert_settled(board.address, 1)


def test_outputs_that_were_cut_off_are_still_owed(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs.npz"
    with push(model(tmp_path), "--outputs", outputs, kill="away Agent.download") as process:
        code, (run,), errors = ended(process)
    assert code == 4, errors
    assert (run["id"], run["error"]["reason"]) == (None, "UNREACHABLE")  # type: ignore[index]
    assert (stored(), owed(), outputs.exists()) == ([], 1, False)
    with command("runs", "resume", kill="away Agent.download") as away:
        assert (ended(away)[0], owed()) == (4, 1)
    resumed = edgeopt_host("runs", "resume", "--format", "json")
    assert resumed.returncode == 0, resumed.stderr
    assert [run["error"] for run in json.loads(resumed.stdout)["runs"]] == [None]
    with np.load(outputs) as written:
        assert list(written) == ["y"]
    assert_settled(board.address, 1)


@pytest.mark.parametrize("rerun", [True, False])
def test_an_agent_that_dies_in_the_middle_runs_it_again_where_it_may(
    start_agent: StartAgent, board: AgentProcess, tmp_path: Path, rerun: bool
) -> None:
    with push(model(tmp_path), *([] if rerun else ["--no-rerun"]), duration="3") as process:
        until(process, "measuring")
        board.process.kill()
        board.process.wait()
        start_agent(f"--listen={board.address}", "--insecure", state_dir=board.state_dir)
        code, (run,), errors = ended(process)
    warnings = {warning["code"] for warning in run["warnings"]}  # type: ignore[attr-defined]
    if rerun:
        assert (code, run["error"]) == (0, None), errors
        assert "INTERRUPTED" in warnings
        assert run["latency_ms"]["launches"] == 1  # type: ignore[index]
    else:
        assert code == 4
        assert run["error"]["reason"] == "AGENT_RESTARTED"  # type: ignore[index]
    assert_settled(board.address, 1)


def test_a_result_that_the_device_lost_is_stored_as_a_failure(
    edgeopt_host: EdgeoptHost, start_agent: StartAgent, board: AgentProcess, tmp_path: Path
) -> None:
    with push(model(tmp_path, "hang")) as process:
        until(process, "loading")
        killed(process)
    board.process.kill()
    board.process.wait()
    start_agent(f"--listen={board.address}", "--insecure", state_dir=tmp_path / "new")
    resumed = edgeopt_host("runs", "resume", "--format", "json")
    (run,) = json.loads(resumed.stdout)["runs"]
    assert (resumed.returncode, run["error"]["reason"]) == (0, "RESULT_LOST")
    assert stored() == [run["id"]]
    assert_settled(board.address, 1)


def test_a_device_that_was_removed_is_named_and_keeps_its_run(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with push(model(tmp_path), kill="after RunStore.created") as process:
        process.wait(120)
    Inventory.load().remove("board")
    resumed = edgeopt_host("runs", "resume")
    assert "owed by board, which is not in the inventory any more" in resumed.stderr
    Inventory.load().add("board", board.address)
    assert edgeopt_host("runs", "resume", "--wait").returncode == 0
    assert_settled(board.address, 1)


def test_what_a_device_owes_that_is_gone_for_good_can_be_dropped(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    drop = ("runs", "resume", "--drop")
    with push(model(tmp_path), kill="after RunStore.created") as process:
        process.wait(120)
    Inventory.load().remove("board")
    assert "--drop --device board" in edgeopt_host("runs", "resume").stderr
    assert (edgeopt_host(*drop).returncode, edgeopt_host(*drop, "--device", "x").returncode) == (
        2,
        0,
    )
    asked = edgeopt_host(*drop, "--device", "board")
    assert (asked.returncode, "--yes is needed" in asked.stderr, owed()) == (2, True, 1)
    dropped = edgeopt_host(*drop, "--device", "board", "--yes")
    assert (dropped.returncode, owed(), stored()) == (0, 0, [])
    assert "forgot 1 run owed by board" in dropped.stderr
    # It comes back after all.
    Inventory.load().add("board", board.address)
    with client(board.address) as agent:
        (left,) = agent.benchmarks()
        list(agent.watch(left.name))
    assert "1 result waits to be fetched by" in edgeopt_host("device", "queue", "board").stdout
    discarded = edgeopt_host("device", "queue", "board", "--discard", left.holder, "--yes")
    assert discarded.returncode == 0, discarded.stderr
    assert_settled(board.address, 0)


def test_what_was_cancelled_while_the_device_was_away_is_ended_when_it_is_back(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with Proxy.to(board.address) as proxy:
        Inventory.load().change("board", address=proxy.address)
        with push(model(tmp_path, "hang")) as process:
            until(process, "loading")
            proxy.stall()
            process.send_signal(signal.SIGINT)
            code, _, _ = ended(process)
        assert (code, owed()) == (130, 1)
        proxy.heal()
        assert edgeopt_host("runs", "resume").returncode == 0
    assert_settled(board.address, 0)


def test_a_killed_push_to_this_machine_is_measured_again_when_asked_for(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    plan = ("--launches", "1", "--warmup", "0.01", "--duration", "2")
    with command(
        "push", model(tmp_path), "--runtime", "faulty", "--device", "local", *plan
    ) as process:
        until(process, "measuring")
        killed(process)
    named = edgeopt_host("runs", "resume")
    assert "queued on the device; --wait waits for it" in named.stderr
    resumed = edgeopt_host("runs", "resume", "--wait", "--format", "json")
    assert resumed.returncode == 0, resumed.stderr
    (run,) = json.loads(resumed.stdout)["runs"]
    assert (run["error"], run["device"]["name"]) == (None, "local")
    assert (stored(), owed()) == ([run["id"]], 0)


def test_a_benchmark_of_somebody_else_is_left_alone(
    edgeopt_host: EdgeoptHost, board: AgentProcess, tmp_path: Path
) -> None:
    with client(board.address) as other:
        with push(
            model(tmp_path), kill="after RunStore.created", EDGEOPT_HOME=str(tmp_path / "other")
        ) as process:
            Inventory.load(tmp_path / "other" / "config" / "devices.toml").add(
                "board", board.address
            )
            process.wait(120)
        with push(model(tmp_path)) as process:
            assert ended(process)[0] == 0
        assert edgeopt_host("runs", "resume", "--device", "board").returncode == 0
        (left,) = other.benchmarks()
        assert left.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED
