"""The systemd units: hardened, explained, and a model still runs confined under their limits.

Nothing here has systemd as process 1. What its settings do is done by other means, from the unit's own
text: file systems and /tmp by a mount namespace, the user and its capabilities by setpriv, system
calls by the same filters (service_filter.py).
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import pytest

import models
import service_filter
from conftest import AgentProcess
from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_agent import confine
from edgeopt_host.client import Agent
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Inputs, InputShape, Plan

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "deploy" / "linux" / "edgeopt-agent.service"
USER = ROOT / "deploy" / "linux" / "edgeopt-agent.user.service"
SYSTEMD = shutil.which("systemd-analyze") or "systemd-analyze is not installed"
UNITS = pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
TEMPORARY = "/tmp"  # noqa: S108 - what PrivateTmp replaces
# A user that this machine does not know.
UID = 61234


def test_the_system_unit_is_exposed_to_3_0_at_most() -> None:
    command = [SYSTEMD, "security", "--offline=true", "--threshold=30", "--no-pager"]
    ended = subprocess.run([*command, SYSTEM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]


@UNITS
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    # The agent is not installed where the unit says.
    copy = tmp_path / "edgeopt-agent.service"
    lines = unit.read_text().splitlines()
    lines = ["ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in lines]
    copy.write_text("\n".join(lines))
    ended = subprocess.run(
        [SYSTEMD, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@UNITS
def test_every_setting_of_the_service_is_explained(unit: Path) -> None:
    lines = unit.read_text().partition("[Service]")[2].splitlines()
    for before, line in itertools.pairwise(lines):
        if line and line[0] not in "#[":
            assert before.startswith("# "), line


@UNITS
def test_it_comes_back_unless_its_settings_are_wrong(unit: Path) -> None:
    settings = service_filter.settings(unit)
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["2"]
    assert settings["StartLimitIntervalSec"] == ["0"]
    assert settings["OOMPolicy"] == ["continue"]


def under(unit: Path, state: Path) -> tuple[str, ...]:
    """A command's beginning that puts it under a system unit's limits."""
    settings = service_filter.settings(unit)
    assert (settings["ProtectSystem"], settings["ProtectHome"]) == (["strict"], ["yes"])
    assert (settings["PrivateTmp"], settings["CapabilityBoundingSet"]) == (["yes"], [""])
    command = ["bwrap", "--die-with-parent", "--ro-bind", "/", "/"]
    command += ["--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc"]
    for folder, mode in (("/home", "0755"), ("/root", "0755"), (TEMPORARY, "1777")):
        command += ["--perms", mode, "--tmpfs", folder]
    # The interpreter of this test may lie in somebody's home.
    for path in (*confine.found().read, str(ROOT)):
        if path.startswith(("/home/", "/root/", TEMPORARY)):
            command += [*_open_parents(Path(path)), "--ro-bind", path, path]
    command += [*_open_parents(state), "--bind", str(state), str(state)]
    if os.geteuid() == 0:
        command += ["--cap-add", "ALL", "--", "setpriv", "--inh-caps=-all", "--bounding-set=-all"]
        command += [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    else:
        command += ["--"]
    return (*command, sys.executable, str(ROOT / "tests" / "service_filter.py"), str(unit))


def _open_parents(path: Path) -> list[str]:
    """bubblewrap makes them for their owner only."""
    above = [str(parent) for parent in reversed(path.parents) if len(parent.parts) > 2]
    return [word for parent in above for word in ("--perms", "0755", "--dir", parent)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(state, UID, UID)
    return state


def found_under(unit: Path, state: Path) -> Sequence[str]:
    tell = "from edgeopt_agent import confine; f = confine.found()"
    tell += "; print('\\n'.join([','.join(f.mechanisms), *f.missing]))"
    command = [*under(unit, state), sys.executable, "-c", tell]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_under_the_system_unit_all_but_bubblewrap_is_in_force(state: Path) -> None:
    mechanisms, missing = found_under(SYSTEM, state)
    assert mechanisms == "landlock,seccomp,rlimits"
    assert missing.startswith("bubblewrap: ")


def test_the_limits_of_the_system_unit_are_real(state: Path) -> None:
    script = """
import ctypes, errno, os, socket
from pathlib import Path
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["CapBnd"].strip(), status["CapEff"].strip(), status["NoNewPrivs"].strip(), os.getuid())
for name, attempt in {
    "write": lambda: Path("/usr/x").write_text(""),
    "unshare": lambda: ctypes.CDLL(None).unshare(1 << 28),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "chown": lambda: os.chown("/tmp", 0, 0),
}.items():
    try:
        print(name, attempt())
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""
    command = [*under(SYSTEM, state), sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *lines = ended.stdout.splitlines()
    bounding, effective, no_new, uid = first.split()
    assert (int(effective, 16), no_new) == (0, "1")
    if os.geteuid() == 0:
        assert (int(bounding, 16), uid) == (0, str(UID))
    assert lines == ["write EROFS", "unshare -1", "packet EAFNOSUPPORT", "chown EPERM"]


def test_models_run_confined_under_the_system_unit(
    start_agent: Callable[..., AgentProcess], state: Path
) -> None:
    agent = start_agent(
        "--listen=127.0.0.1:0", "--insecure", state_dir=state, wrap=under(SYSTEM, state)
    )
    image = Inputs(shapes=[InputShape("image", (1, 3, 24, 24))])
    with grpc.insecure_channel(agent.address) as channel:
        client = Agent("unit", channel)
        device = client.device()
        assert list(device.confinement.mechanisms) == ["landlock", "seccomp", "rlimits"]
        for runtime, model, inputs in [
            ("tflite", models.fetch("pymicro-wakeword", "okay_nabu.tflite"), Inputs()),
            ("onnx", models.build("pnet.onnx"), image),
            ("ptl", models.build("pnet.ptl"), image),
        ]:
            digest = Digest.of(model)
            client.upload(model, digest)
            subject = benchmark_pb2.Subject(runtime=runtime, inputs=inputs.message())
            subject.files.add(
                name=model.name,
                digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes),
            )
            plan = Plan(launches=1, warmup_s=0.01, duration_s=0.05).message()
            plan.profile = plan.outputs = True
            asked = benchmark_pb2.Benchmark(subjects=[subject], plan=plan)
            ended = list(client.run(asked))[-1].benchmark
            assert ended.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED, ended.failure


def test_a_bomb_of_threads_ends_by_itself_where_the_agent_is_not_root(
    start_agent: Callable[..., AgentProcess], state: Path, tmp_path: Path
) -> None:
    agent = start_agent(
        "--listen=127.0.0.1:0", "--insecure", state_dir=state, wrap=under(SYSTEM, state)
    )
    model = tmp_path / "model.fault"
    model.write_text("threads")
    with grpc.insecure_channel(agent.address) as channel:
        client = Agent("unit", channel)
        digest = Digest.of(model)
        client.upload(model, digest)
        subject = benchmark_pb2.Subject(runtime="faulty")
        subject.files.add(
            name=model.name,
            digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes),
        )
        asked = benchmark_pb2.Benchmark(subjects=[subject], plan=Plan(launches=1).message())
        failure = list(client.run(asked))[-1].benchmark.failure
    started = re.search(r"can't start new thread after (\d+)", failure.message)
    assert started, failure
    assert int(started[1]) <= 512


def test_under_the_user_unit_everything_is_in_force() -> None:
    tell = "from edgeopt_agent import confine; print(confine.found().mechanisms)"
    command = [sys.executable, str(ROOT / "tests" / "service_filter.py"), str(USER)]
    ended = subprocess.run(
        [shutil.which("setpriv") or "", "--no-new-privs", *command, sys.executable, "-c", tell],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip() == str(confine.MECHANISMS)
