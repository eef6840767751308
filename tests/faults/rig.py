"""A host, a network and an agent that may die at any moment, and the books of what came of it.

Everything is real: processes, mutual TLS through a TCP proxy, SQLite on both sides. Only the
runtime is made up (tests/plugins), so that a case takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy import Proxy

PLUGINS = Path(__file__).parents[1] / "plugins"
# Two short launches, and a model whose upload takes a moment.
PLAN = ("--launches", "2", "--warmup", "0.05", "--duration", "0.3", "--timeout", "60")
MODEL_BYTES = 24 * 2**20
_PATIENCE_S = 90.0


@dataclass
class Books:
    """What the cases came to."""

    cases: int = 0
    delivered: int = 0
    # The push was told so, and the device knows nothing of it.
    never_began: int = 0
    lost: int = 0
    duplicated: int = 0
    # Agents that did not work again by themselves once the fault was over.
    by_hand: int = 0
    # What must never be said to anybody, or lie about.
    blemishes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.by_hand or self.blemishes)

    def __str__(self) -> str:
        return (
            f"cases {self.cases}, delivered {self.delivered}, never began {self.never_began}, "
            f"lost {self.lost}, duplicated {self.duplicated}, hand-work {self.by_hand}, "
            f"blemishes {len(self.blemishes)}"
        )


class Rig:
    """One device `board` behind a proxy, enrolled by a host with a home of its own."""

    def __init__(self, folder: Path, *, state_dir: Path | None = None) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.state_dir = state_dir or folder / "state"
        self.books = Books()
        self.model = folder / "none.fault"
        self.proxy: Proxy
        # The push that a fault is to strike.
        self.current: subprocess.Popen[str]
        self._agent: subprocess.Popen[str] | None = None
        self._pushes: list[subprocess.Popen[str]] = []
        # What the push that ended last printed, for messages of tests.
        self.last_said = ""
        self._port = _free_port()
        self._known = 0
        self.environment = {
            **os.environ,
            "EDGEOPT_HOME": str(self.home),
            "PYTHONPATH": str(PLUGINS),
            "COLUMNS": "120",
        }

    @classmethod
    @contextlib.contextmanager
    def set_up(cls, folder: Path, **settings: Any) -> Iterator[Rig]:
        rig = cls(folder, **settings)
        rig.home.mkdir(parents=True, exist_ok=True)
        rig._enrol()
        rig.start_agent()
        with Proxy("127.0.0.1", rig._port) as rig.proxy:
            rig.host_python(
                "from edgeopt_host.inventory import Inventory\n"
                f"Inventory.load().change('board', address='127.0.0.1:{rig.proxy.port}')"
            )
            try:
                yield rig
            finally:
                for process in rig._pushes:
                    process.kill()
                    process.communicate()
                rig.kill_agent()

    # The device.

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "edgeopt_agent", "serve"]
        with (self.folder / "agent.log").open("a") as log:
            self._agent = subprocess.Popen(
                [
                    *command,
                    "--state-dir",
                    str(self.state_dir),
                    "--listen",
                    f"127.0.0.1:{self._port}",
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment,
            )
        assert self._agent.stdout is not None
        line = self._agent.stdout.readline()
        if not line.startswith("listening on "):
            self.books.by_hand += 1
            raise AssertionError(f"the agent does not start again: {self.agent_log()[-500:]}")

    def kill_agent(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._agent is not None:
            self._agent.send_signal(number)
            self._agent.communicate(timeout=30)

    def restart_agent(self) -> None:
        self.kill_agent()
        self.start_agent()

    @contextlib.contextmanager
    def silent_connections(self, count: int) -> Iterator[None]:
        """Connections that say nothing, for as long as the block lasts."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                with contextlib.suppress(OSError):
                    stack.enter_context(
                        socket.create_connection(("127.0.0.1", self._port), timeout=2)
                    )
            yield

    def agent_log(self) -> str:
        return (self.folder / "agent.log").read_text()

    # The host.

    def start_push(self, case: str, *options: str) -> subprocess.Popen[str]:
        """Begins a push of a model that the device does not have yet."""
        self.model.write_bytes(b"none\n" + f"{case}\n".encode() + b" " * MODEL_BYTES)
        command = [sys.executable, "-m", "edgeopt_host.cli", "push", str(self.model)]
        how = ["--runtime", "faulty", "--device", "board", "--label", f"case={case}"]
        how += ["--outputs", str(self.outputs(case))]
        process = subprocess.Popen(
            [*command, *how, *PLAN, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._pushes.append(process)
        return process

    def outputs(self, case: str) -> Path:
        return self.folder / f"{case}.npz"

    def wait(self, process: subprocess.Popen[str]) -> int:
        """The exit code of a push; what it said is checked for what nobody should see."""
        output, errors = process.communicate(timeout=_PATIENCE_S + 60)
        self._pushes.remove(process)
        self.last_said = output + errors
        self._look_for_blemishes(self.last_said)
        return process.returncode

    def host(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "edgeopt_host.cli", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            timeout=_PATIENCE_S + 60,
        )
        self._look_for_blemishes(ended.stdout + ended.stderr)
        return ended

    def host_python(self, code: str, stdin: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-c", code],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            check=True,
        ).stdout

    # The books.

    def settle(self, case: str, code: int) -> None:
        """After the fault: fetches what is there, and books what became of the case."""
        # By its name, because a device whose acknowledgement was lost owes nothing.
        resumed = self.host("runs", "resume", "--wait", "--device", "board")
        if resumed.returncode:
            self.books.by_hand += 1
            self.books.blemishes.append(f"{case}: resume said {resumed.stderr[-300:]}")
        stored = json.loads(self.host("runs", "export", "--label", f"case={case}").stdout)["runs"]
        measured = [run for run in stored if run["error"] is None]
        asked = self._asked_of_device(case)
        self.books.cases += 1
        self.books.delivered += bool(measured)
        self.books.duplicated += max(0, len(stored) - 1) + max(0, asked - 1)
        if asked and not stored:
            self.books.lost += 1
        if not asked and not stored:
            self.books.never_began += 1
            if code == 0:
                self.books.blemishes.append(
                    f"{case}: the push said it succeeded, and nothing is stored"
                )
        if measured and not self.outputs(case).is_file():
            self.books.blemishes.append(f"{case}: its outputs are lost")
        self.outputs(case).unlink(missing_ok=True)
        for run in stored:
            if run["error"] is not None:
                self.books.blemishes.append(f"{case}: stored as failed: {run['error']}")
        self._check_device(case)

    def _asked_of_device(self, case: str) -> int:
        """How many benchmarks the device took since the last case."""
        with contextlib.closing(
            sqlite3.connect(self.state_dir / "agent.db", timeout=10)
        ) as database:
            (kept,) = database.execute("select count(*) from benchmarks").fetchone()
            (known,) = database.execute(
                "select coalesce(max(number), 0) from acknowledged"
            ).fetchone()
        if kept:
            self.books.blemishes.append(f"{case}: {kept} benchmarks are still on the device")
        before, self._known = self._known, known
        return int(known - before)

    def _check_device(self, case: str) -> None:
        for path in (self.state_dir / "blobs").glob("*/*"):
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                self.books.blemishes.append(f"{case}: a visible blob is damaged")
        log = self.agent_log()
        if "Traceback" in log:
            self.books.blemishes.append(
                f"{case}: the agent logged {log[log.index('Traceback') :][:500]}"
            )
            (self.folder / "agent.log").write_text("")

    def _look_for_blemishes(self, said: str) -> None:
        for sign in ("Traceback", "bug in edgeopt"):
            if sign in said:
                self.books.blemishes.append(said[said.index(sign) :][:500])

    def _enrol(self) -> None:
        agent = [sys.executable, "-m", "edgeopt_agent", "identity"]
        state = ["--state-dir", str(self.state_dir)]

        def run(command: list[str], stdin: str = "") -> str:
            return subprocess.run(
                [*agent, *command, *state],
                input=stdin,
                capture_output=True,
                text=True,
                check=True,
                env=self.environment,
            ).stdout

        signed = self.host_python(
            "import json, sys\n"
            "from edgeopt_host.identity import HostIdentity, new_device_id\n"
            "from edgeopt_host.inventory import Inventory\n"
            "host, device = HostIdentity.open(), new_device_id()\n"
            "certificate = host.sign_device(sys.stdin.read(), device)\n"
            "Inventory.load().add('board', '127.0.0.1:9', identity=device)\n"
            "print(json.dumps({'certificate': certificate, 'ca': host.ca_certificate}))",
            run(["request"]),
        )
        run(["install"], signed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Any, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False
