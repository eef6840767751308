"""Two people and one device: reserving it, being refused, waiting, taking it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import PLUGINS, AgentProcess
from edgeopt_host import reservations
from edgeopt_host.client import connect
from edgeopt_host.inventory import Inventory

StartAgent = Callable[..., AgentProcess]


class Person:
    """Somebody with a host of their own."""

    def __init__(self, name: str, home: Path, address: str) -> None:
        Inventory.load(home / "config" / "devices.toml").add("board", address)
        self._folder = home
        self._env = {
            **os.environ,
            "EDGEOPT_HOME": str(home),
            "LOGNAME": name,
            "PYTHONPATH": str(PLUGINS),
            "COLUMNS": "200",
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgeopt_host.cli", *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._env
        )

    def does(self, *arguments: str | Path, code: int = 0) -> str:
        """Runs a command that ends so, and returns all it says."""
        return finished(self.start(*arguments), code)[1]

    def push(self, *options: str, fault: str = "none", seconds: str = "0.2") -> Any:
        path = self._folder / f"{fault}.fault"
        path.write_text(fault)
        plan = ("--launches", "1", "--warmup", "0.01", "--duration", seconds)
        where = ("--runtime", "faulty", "--device", "board", "--format", "json")
        return self.start("push", path, *where, *plan, *options)

    def lease(self) -> dict[str, Any] | None:
        shown = finished(self.start("device", "queue", "board", "--format", "json"), 0)[0]
        lease: dict[str, Any] | None = json.loads(shown)["lease"]
        return lease


def finished(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    return out, errors


def reason(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Why its one run failed."""
    (run,) = json.loads(finished(process, 4)[0])["runs"]
    return run["error"]["reason"], run["error"]["message"]


def until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError("".join(said))


@pytest.fixture
def people(start_agent: StartAgent, tmp_path: Path) -> tuple[Person, Person]:
    address = start_agent("--listen=127.0.0.1:0", "--insecure").address
    return Person("alice", tmp_path / "alice", address), Person("bob", tmp_path / "bob", address)


def test_a_reserved_device_refuses_others_or_lets_them_wait(people: tuple[Person, Person]) -> None:
    alice, bob = people
    said = alice.does("device", "reserve", "board", "--for", "30m", "--purpose", "night run")
    assert "board is reserved for alice@" in said
    assert ", until " in said
    lease = bob.lease()
    assert lease is not None
    assert lease["holder"].startswith("alice@")
    assert (lease["purpose"], 1790 < lease["remaining_s"] <= 1800) == ("night run", True)
    why, message = reason(bob.push())
    assert why == "DEVICE_RESERVED"
    assert "holds board (night run) for 30 min more, until " in message
    assert message.endswith(": --wait waits for it")
    assert "--wait" in bob.does("device", "reserve", "board", "--for", "1m", code=4)
    finished(alice.push(), 0)
    waiting = bob.push("--wait")
    until(waiting, "holds board for 30 min more")
    assert "--force" in bob.does("device", "release", "board", code=4)
    assert "board is free" in alice.does("device", "release", "board")
    finished(waiting, 0)
    assert bob.lease() is None
    assert "nobody has reserved board" in alice.does("device", "release", "board")


def test_a_reservation_that_somebody_takes_is_lost_and_said_to_be(
    people: tuple[Person, Person],
) -> None:
    alice, bob = people
    alice.does("device", "reserve", "board", "--for", "10m")
    running = alice.push(fault="hang")
    until(running, "loading")
    reserving = bob.start("device", "reserve", "board", "--for", "10m", "--wait")
    until(reserving, "waiting: alice@")
    assert "alice@" in bob.does("device", "release", "board", "--force")
    assert reason(running)[0] == "LEASE_LOST"
    finished(reserving, 0)
    why, message = reason(alice.push())
    assert why == "LEASE_LOST"
    assert "your reservation of board was ended before its time, and bob@" in message
    # From now on alice asks like everybody else.
    assert reason(alice.push())[0] == "DEVICE_RESERVED"
    finished(bob.push(), 0)


def test_a_reservation_outlasts_the_push_that_uses_it_and_ends_by_itself(
    people: tuple[Person, Person],
) -> None:
    alice, bob = people
    alice.does("device", "reserve", "board", "--for", "8s")
    over = time.monotonic() + 8
    running = alice.push(seconds="12")
    until(running, "measuring")
    time.sleep(max(0.0, over - time.monotonic()))
    # A benchmark keeps the lease; that time is left shows that it began anew.
    lease = alice.lease()
    assert lease is not None
    assert lease["remaining_s"] > 0
    finished(running, 0)
    finished(bob.push("--wait"), 0)
    assert bob.lease() is None
    output, errors = finished(alice.push(), 0)
    assert output
    assert "board: your reservation has ended" in errors


@pytest.mark.parametrize(("left_s", "renewed"), [(1800, False), (60, True)])
def test_a_push_prolongs_a_long_lease_only_when_it_ends_soon_and_never_shortens_it(
    start_agent: StartAgent, left_s: int, renewed: bool
) -> None:
    address = start_agent("--listen=127.0.0.1:0", "--insecure").address
    device = Inventory.load().add("board", address)
    with connect(device) as agent:
        # Of two hours, so much is left.
        lease = agent.acquire_lease("r", "", left_s)
        reservations.keep(device, lease, 7200)
        # This host's clock may have been set meanwhile: the agent knows.
        notes = json.loads(reservations._path().read_text())
        notes["board"]["ends"] += 5000
        reservations._path().write_text(json.dumps(notes))
        with reservations.used(agent, device, print) as number:
            assert number == lease.fencing_number
            deadline = time.monotonic() + (30 if renewed else 1)
            while agent.status().lease.remaining_ns < 300e9 and time.monotonic() < deadline:
                time.sleep(0.1)
        remaining_s = agent.status().lease.remaining_ns / 1e9
        kept = reservations.find(device)
    assert kept is not None
    assert abs(kept.ends - time.time() - remaining_s) < 60
    assert (remaining_s > 500) if renewed else (1700 < remaining_s <= 1800)


def test_reserving_again_starts_the_time_anew(people: tuple[Person, Person]) -> None:
    alice, _ = people
    alice.does("device", "reserve", "board", "--for", "1m")
    alice.does("device", "reserve", "board", "--for", "1h")
    lease = alice.lease()
    assert lease is not None
    assert lease["remaining_s"] > 3500
