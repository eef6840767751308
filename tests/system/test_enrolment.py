"""First contact: an agent that trusts nobody, its line, and the host that has it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from conftest import AgentProcess
from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, enrollment_pb2, enrollment_pb2_grpc
from edgeopt_agent.identity import keys as agent_keys
from edgeopt_host.client._calls import reason
from edgeopt_host.client.connect import connect
from edgeopt_host.client.enroll import enroll, fetch_certificate
from edgeopt_host.errors import DeviceError, EdgeoptError, Untrusted
from edgeopt_host.identity import HostIdentity
from edgeopt_host.identity.issuing import issue
from edgeopt_host.identity.line import EnrollmentLine
from edgeopt_host.inventory import Device, Inventory
from trust import RecordingServer, foreign_host

StartAgent = Callable[..., AgentProcess]
Host = Callable[..., subprocess.CompletedProcess[str]]


def _line(agent: AgentProcess) -> str:
    assert agent.process.stdout is not None
    printed = agent.process.stdout.readline().split()
    assert printed[:4] == ["edgeopt-host", "device", "enroll", "NAME"]
    return printed[4]


@pytest.fixture
def waiting(start_agent: StartAgent) -> AgentProcess:
    return start_agent("--enroll", "--listen=127.0.0.1:0")


def _device(line: str, device_id: str, name: str = "pi") -> Device:
    return Device(name, EnrollmentLine.parse(line).address, identity=device_id)


def _await(device: Device) -> None:
    """The agent changes over from enrolment to mutual TLS: it may be away for a moment."""
    for left in reversed(range(30)):
        with contextlib.ExitStack() as stack:
            if left:
                stack.enter_context(contextlib.suppress(DeviceError))
            stack.enter_context(connect(device)).status()
            return


def _begin(line: str, token: str) -> str:
    """A raw try: the reason of the refusal, or the signing request."""
    read = EnrollmentLine.parse(line)
    shown = ssl.DER_cert_to_PEM_cert(fetch_certificate(read.address)).encode()
    options = (("grpc.ssl_target_name_override", "enroll.edgeopt"),)
    with grpc.secure_channel(read.address, grpc.ssl_channel_credentials(shown), options) as channel:
        try:
            answer: enrollment_pb2.BeginEnrollmentResponse = (
                enrollment_pb2_grpc.EnrollmentServiceStub(channel).BeginEnrollment(
                    enrollment_pb2.BeginEnrollmentRequest(token=token), timeout=30
                )
            )
        except grpc.RpcError as error:
            return reason(error)
        return answer.signing_request


def test_a_line_enrols_a_device_which_then_serves_mutual_tls_at_the_same_address(
    waiting: AgentProcess, edgeopt_host: Host
) -> None:
    line = _line(waiting)
    done = edgeopt_host("device", "enroll", "pi", line, "--tag", "lab")
    assert done.returncode == 0, done.stderr
    (device,) = Inventory.load().select(["pi"])
    assert (device.address, device.tags) == (waiting.address, ("lab",))
    listed = json.loads(edgeopt_host("device", "list", "--format", "json").stdout)
    assert {d["name"]: d["reachable"] for d in listed["devices"]}["pi"]
    # The enrolment is over: the same line does nothing more.
    again = edgeopt_host("device", "enroll", "pi2", line)
    assert again.returncode == 2
    assert "enrolled already, as pi" in again.stderr
    waiting.process.send_signal(signal.SIGTERM)
    assert waiting.process.wait(20) == 0


def test_the_line_is_one_word_for_a_shell(waiting: AgentProcess) -> None:
    line = _line(waiting)
    said = subprocess.run(
        ["/bin/bash", "-c", f"echo {line}"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == line


def test_it_serves_nothing_but_enrolment(waiting: AgentProcess) -> None:
    line = _line(waiting)
    shown = ssl.DER_cert_to_PEM_cert(fetch_certificate(waiting.address)).encode()
    options = (("grpc.ssl_target_name_override", "enroll.edgeopt"),)
    with grpc.secure_channel(
        waiting.address, grpc.ssl_channel_credentials(shown), options
    ) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            agent_pb2_grpc.AgentServiceStub(channel).GetDevice(
                agent_pb2.GetDeviceRequest(), timeout=30
            )
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert _begin(line, EnrollmentLine.parse(line).token).startswith("-----BEGIN CERTIFICATE REQ")


def test_nothing_is_sent_where_the_pin_does_not_fit(edgeopt_host: Host) -> None:
    """Somebody in between, with a key of their own and all the rest as it should be."""
    key = agent_keys.new_key()
    server = RecordingServer(key, agent_keys.self_signed(key))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        line = f"edgeopt1/127.0.0.1/{server.port}/{'a' * 52}/{'b' * 26}"
        done = edgeopt_host("device", "enroll", "pi", line)
    finally:
        server.close()
        thread.join()
    assert done.returncode == 4
    assert "another key than the line says" in done.stderr
    assert (server.connections, server.received) == (1, b"")
    assert [device.name for device in Inventory.load().devices] == ["local"]


def test_five_guesses_end_it_also_across_restarts(start_agent: StartAgent, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = start_agent("--enroll", "--listen=127.0.0.1:0", state_dir=state)
    line = _line(first)
    port = EnrollmentLine.parse(line).address.rpartition(":")[2]
    assert [_begin(line, "b" * 26) for _ in range(3)] == ["TOKEN_REFUSED"] * 3
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(20)
    second = start_agent("--enroll", f"--listen=127.0.0.1:{port}", state_dir=state)
    assert _line(second) == line  # what was printed stays good, with the tries that were left
    right = EnrollmentLine.parse(line).token
    assert _begin(line, right).startswith("-----BEGIN")
    assert [_begin(line, "b" * 26) for _ in range(2)] == ["TOKEN_REFUSED"] * 2
    assert second.process.wait(20) == 4
    third = start_agent("--enroll", f"--listen=127.0.0.1:{port}", state_dir=state)
    fresh = _line(third)
    assert EnrollmentLine.parse(fresh).token != right
    assert _begin(fresh, right) == "TOKEN_REFUSED"


def test_it_can_be_repeated_after_a_lost_answer_but_not_by_another_host(
    waiting: AgentProcess,
) -> None:
    line = _line(waiting)
    read = EnrollmentLine.parse(line)
    # The host went away between the two calls: the token is still good.
    assert _begin(line, read.token).startswith("-----BEGIN")
    device_id = enroll(read, HostIdentity.open())
    _await(_device(line, device_id))
    # The answer was lost, or the host died before it wrote the inventory.
    assert enroll(read, HostIdentity.open()) == device_id
    with pytest.raises(Untrusted, match="enrolled by another host"):
        enroll(read, foreign_host())


def test_an_enrolled_agent_is_enrolled_anew_only_when_told(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    first = start_agent("--enroll", "--listen=127.0.0.1:0", state_dir=state)
    device_id = enroll(EnrollmentLine.parse(_line(first)), HostIdentity.open())
    _await(Device("pi", first.address, identity=device_id))
    first.process.terminate()
    assert first.process.wait(20) == 0
    serve = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", str(state), "--enroll"]
    refused = subprocess.run(serve, capture_output=True, text=True, check=False, timeout=60)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--replace" in refused.stderr
    again = start_agent("--enroll", "--replace", "--listen=127.0.0.1:0", state_dir=state)
    other = enroll(EnrollmentLine.parse(_line(again)), foreign_host())
    assert other != device_id


def test_a_host_that_may_not_sign_leaves_the_agent_waiting(waiting: AgentProcess) -> None:
    line = EnrollmentLine.parse(_line(waiting))
    _, colleague = issue(HostIdentity.open(), "bob@ci", admin=False, days=3)
    with pytest.raises(EdgeoptError, match="not enrol or administer"):
        enroll(line, colleague)
    assert waiting.process.poll() is None
    assert enroll(line, HostIdentity.open())


def test_without_cryptography_it_says_what_to_install(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked" / "cryptography"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('no cryptography')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "edgeopt_agent", "serve", "--enroll", "--listen", "127.0.0.1:0"],
        env={**os.environ, "PYTHONPATH": str(blocked.parent), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "pip install 'edgeopt[enroll]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_terminated_agent_stops_waiting(waiting: AgentProcess) -> None:
    _line(waiting)
    waiting.process.terminate()
    assert waiting.process.wait(20) == 0
