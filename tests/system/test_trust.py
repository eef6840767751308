"""Who gets into an enrolled agent, and what a host says when it does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import grpc
import pytest

from conftest import AgentProcess
from edgeopt.agent.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    blob_pb2,
    blob_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
)
from edgeopt_agent.identity import IdentityFiles
from edgeopt_host import _files
from edgeopt_host.client import _channel
from edgeopt_host.client import trust as host_trust
from edgeopt_host.client._calls import reason
from edgeopt_host.client.connect import connect, open_channel
from edgeopt_host.errors import DeviceError
from edgeopt_host.identity import HostIdentity, certificates, new_device_id
from edgeopt_host.identity.host import change
from edgeopt_host.identity.issuing import issue
from edgeopt_host.inventory import Device, Inventory
from proxy import Proxy
from trust import certificate, enroll_files, foreign_host

StartAgent = Callable[..., AgentProcess]
Host = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def device(start_agent: StartAgent, tmp_path: Path) -> Device:
    """An enrolled agent, in the inventory as `pi`."""
    device_id = enroll_files(tmp_path / "state")
    agent = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "state")
    return Inventory.load().add("pi", agent.address, identity=device_id)


def _as(identity: HostIdentity, device: Device) -> str:
    """What a call of this identity is answered: a name, or why it is refused."""
    assert device.identity is not None
    with _channel.secure(device.address, device.identity, identity) as channel:
        try:
            agent_pb2_grpc.AgentServiceStub(channel).GetStatus(
                agent_pb2.GetStatusRequest(), timeout=10
            )
        except grpc.RpcError as error:
            return reason(error) or error.code().name
        return "OK"


def _refusal(device: Device) -> tuple[str, str]:
    with pytest.raises(DeviceError) as refused, connect(device):
        pass
    return refused.value.reason, refused.value.message


def test_only_certificates_of_this_bench_get_in(device: Device) -> None:
    here = HostIdentity.open()
    assert here.ca_key is not None
    host, admin, agent = "host.edgeopt", "admin.edgeopt", f"{device.identity}.agent.edgeopt"
    key = certificates.new_key()

    def shown(names: list[str], *, client: bool = True, ended: bool = False) -> HostIdentity:
        pem = certificate(here, key, names, client=client, ended=ended)
        return dataclasses.replace(here, certificate=pem, key=key)

    foreign = dataclasses.replace(foreign_host(), ca_certificate=here.ca_certificate)
    assert _as(here, device) == "OK"
    assert _as(shown([host]), device) == "OK"
    assert _as(shown([host], ended=True), device) == "UNAVAILABLE"
    assert _as(foreign, device) == "UNAVAILABLE"
    # A device's own certificate, stolen from it, opens no other.
    assert _as(shown([agent], client=False), device) == "UNAVAILABLE"
    assert _as(shown([agent]), device) == "CLIENT_REFUSED"
    assert _as(shown([admin]), device) == "CLIENT_REFUSED"


def test_without_a_certificate_or_tls_nothing_is_served(device: Device) -> None:
    ca = HostIdentity.open().ca_certificate.encode()
    name = (("grpc.ssl_target_name_override", f"{device.identity}.agent.edgeopt"),)
    anonymous = grpc.secure_channel(device.address, grpc.ssl_channel_credentials(ca), options=name)
    plain = grpc.insecure_channel(device.address)
    for channel in (anonymous, plain):
        with channel, pytest.raises(grpc.RpcError) as refused:
            agent_pb2_grpc.AgentServiceStub(channel).GetDevice(
                agent_pb2.GetDeviceRequest(), timeout=10
            )
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_each_refusal_is_told_apart(
    device: Device, start_agent: StartAgent, tmp_path: Path
) -> None:
    here = HostIdentity.open()
    other = dataclasses.replace(device, identity=new_device_id())
    assert _refusal(other)[0] == "WRONG_DEVICE"

    theirs = enroll_files(tmp_path / "theirs", foreign_host())
    foreign = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "theirs")
    reason_, message = _refusal(Device("board", foreign.address, identity=theirs))
    assert (reason_, "another host's CA" in message) == ("DEVICE_UNTRUSTED", True)

    plain = start_agent("--insecure", "--listen=127.0.0.1:0", state_dir=tmp_path / "plain")
    assert _refusal(dataclasses.replace(device, address=plain.address))[0] == "PLAIN_TEXT"

    ended_id = enroll_files(tmp_path / "ended")
    files = IdentityFiles(tmp_path / "ended")
    there = files.load()
    assert there is not None
    pem = certificate(here, there.key, [f"{ended_id}.agent.edgeopt"], client=False, ended=True)
    files.install(dataclasses.replace(there, certificate=pem))
    old = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "ended")
    reason_, message = _refusal(Device("old", old.address, identity=ended_id))
    assert (reason_, "the certificate of 'old' ended on" in message) == (
        "CERTIFICATE_EXPIRED",
        True,
    )

    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    reason_, message = _refusal(dataclasses.replace(device, address=f"127.0.0.1:{free}"))
    assert (reason_, "nothing listens" in message) == ("UNREACHABLE", True)
    reason_, message = _refusal(dataclasses.replace(device, address="pi.invalid:50551"))
    assert (reason_, "does not resolve" in message) == ("UNREACHABLE", True)


def test_a_host_whose_certificate_is_refused_hears_so(device: Device) -> None:
    here = HostIdentity.open()
    key = certificates.new_key()
    ended = certificate(here, key, ["host.edgeopt"], client=True, ended=True)
    change(lambda there: dataclasses.replace(there, certificate=ended, key=key, ca_key=None))
    assert _refusal(device)[0] == "CERTIFICATE_EXPIRED"
    change(
        lambda _: dataclasses.replace(
            here,
            certificate=certificate(here, key, ["x.edgeopt"], client=False),
            key=key,
            ca_key=None,
        )
    )
    assert _refusal(device)[0] == "HOST_REFUSED"


def test_a_revoked_colleague_is_out_at_the_next_call_and_the_rest_stays_in(
    device: Device, edgeopt_host: Host
) -> None:
    _, bob = issue(HostIdentity.open(), "bob@ci", admin=False, days=3)
    assert device.identity is not None
    with _channel.secure(device.address, device.identity, bob) as channel:
        service = agent_pb2_grpc.AgentServiceStub(channel)
        service.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)
        with pytest.raises(grpc.RpcError) as refused:
            identity_pb2_grpc.IdentityServiceStub(channel).Forget(
                identity_pb2.ForgetRequest(), timeout=10
            )
        assert reason(refused.value) == "NOT_ADMIN"
        live = service.WatchTelemetry(agent_pb2.WatchTelemetryRequest())
        next(live)
        done = edgeopt_host("identity", "revoke", "bob@ci")
        assert (done.returncode, "pi refuses bob@ci" in done.stderr) == (0, True)
        # On the connection that is open, a stream under way included.
        with pytest.raises(grpc.RpcError) as refused:
            service.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)
        assert reason(refused.value) == "CERTIFICATE_REVOKED"
        with pytest.raises(grpc.RpcError) as refused:
            for _ in live:
                pass
        assert reason(refused.value) == "CERTIFICATE_REVOKED"
    assert _as(HostIdentity.open(), device) == "OK"


def test_an_upload_under_way_ends_when_its_sender_is_revoked(
    device: Device, edgeopt_host: Host
) -> None:
    _, bob = issue(HostIdentity.open(), "bob@ci", admin=False, days=3)
    assert device.identity is not None
    pieces: queue.Queue[blob_pb2.WriteBlobRequest] = queue.Queue()
    digest = blob_pb2.Digest(sha256="a" * 64, size_bytes=2**20)
    pieces.put(blob_pb2.WriteBlobRequest(digest=digest, data=b"x"))
    pieces.put(blob_pb2.WriteBlobRequest(data=b"x"))
    with _channel.secure(device.address, device.identity, bob) as channel:
        blobs = blob_pb2_grpc.BlobServiceStub(channel)
        upload = blobs.WriteBlob.future(iter(pieces.get, None))
        find = blob_pb2.FindMissingBlobsRequest(digests=[digest])
        while blobs.FindMissingBlobs(find, timeout=10).missing[0].committed_size_bytes < 2:
            time.sleep(0.05)
        assert edgeopt_host("identity", "revoke", "bob@ci").returncode == 0
        pieces.put(blob_pb2.WriteBlobRequest(data=b"x"))
        with pytest.raises(grpc.RpcError) as refused:
            upload.result(timeout=30)
        assert reason(refused.value) == "CERTIFICATE_REVOKED"
        pieces.put(blob_pb2.WriteBlobRequest())  # for the thread that waits


def test_a_device_that_was_away_hears_of_a_revocation_at_the_next_contact(
    device: Device, edgeopt_host: Host
) -> None:
    _, bob = issue(HostIdentity.open(), "bob@ci", admin=False, days=3)
    Inventory.load().change("pi", address="127.0.0.1:1")
    done = edgeopt_host("identity", "revoke", "bob@ci")
    assert "pi is not told yet" in done.stderr
    assert _as(bob, device) == "OK"
    with connect(device):
        pass
    assert _as(bob, device) == "CERTIFICATE_REVOKED"


def test_a_certificate_near_its_end_is_renewed_on_contact(device: Device, tmp_path: Path) -> None:
    here = HostIdentity.open()
    files = IdentityFiles(tmp_path / "state")
    before = files.load()
    assert before is not None
    soon = certificate(here, before.key, [f"{device.identity}.agent.edgeopt"], client=False)
    ends = int(certificates.expires(soon).timestamp())
    files.install(dataclasses.replace(before, certificate=soon, expires_s=ends))
    with connect(device) as agent:
        agent.status()
    after = files.load()
    assert after is not None
    assert (after.key, after.device_id) == (before.key, before.device_id)
    assert after.expires_s > ends + 300 * 24 * 3600
    # The next contact leaves it alone.
    with connect(device):
        pass
    assert files.load() == after


def test_the_hosts_own_certificate_is_renewed_by_itself(device: Device) -> None:
    here = HostIdentity.open()
    soon = certificate(
        here, here.key, ["host.edgeopt", "admin.edgeopt"], client=True, common_name=here.name
    )
    change(lambda there: dataclasses.replace(there, certificate=soon))
    with connect(device):
        pass
    assert HostIdentity.open().expires > dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=300)


def test_rotation_gives_a_new_key_and_id(
    device: Device, edgeopt_host: Host, tmp_path: Path
) -> None:
    before = IdentityFiles(tmp_path / "state").load()
    done = edgeopt_host("device", "rotate", "pi")
    assert done.returncode == 0, done.stderr
    after, entry = IdentityFiles(tmp_path / "state").load(), Inventory.load().get("pi")
    assert before is not None
    assert after is not None
    assert (after.device_id, None) == (entry.identity, entry.next_identity)
    assert after.device_id != before.device_id
    assert after.key != before.key
    assert _refusal(device)[0] == "WRONG_DEVICE"  # by the old id


def test_a_colleague_gets_to_a_rotated_device_by_importing_again_and_cannot_rotate_it(
    device: Device, edgeopt_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_PASSPHRASE", "correct horse battery")
    mine, theirs = os.environ["EDGEOPT_HOME"], str(tmp_path / "theirs")
    first, second = tmp_path / "bob1.json", tmp_path / "bob2.json"
    assert edgeopt_host("identity", "export", first, "--name", "bob@ci").returncode == 0
    monkeypatch.setenv("EDGEOPT_HOME", theirs)
    assert edgeopt_host("identity", "import", first).returncode == 0
    refused = edgeopt_host("device", "rotate", "pi")
    assert (refused.returncode, "does not administer it" in refused.stderr) == (4, True)
    assert Inventory.load().get("pi").next_identity is None
    monkeypatch.setenv("EDGEOPT_HOME", mine)
    assert edgeopt_host("device", "rotate", "pi").returncode == 0
    assert edgeopt_host("identity", "export", second, "--name", "bob@ci").returncode == 0
    monkeypatch.setenv("EDGEOPT_HOME", theirs)
    again = edgeopt_host("identity", "import", second, "--replace")
    assert "pi has new keys since" in again.stderr
    assert Inventory.load().get("pi").identity != device.identity
    assert edgeopt_host("device", "queue", "pi").returncode == 0


def test_rotations_at_once_take_turns(device: Device, edgeopt_host: Host, home: Path) -> None:
    turn = home / "data" / "identity" / "rotations" / "pi"
    turn.mkdir(parents=True)
    with ThreadPoolExecutor(3) as pool:
        with _files.locked(turn):
            rotations = [pool.submit(edgeopt_host, "device", "rotate", "pi") for _ in range(3)]
            assert wait(rotations, timeout=4).done == set()
            assert Inventory.load().get("pi") == device
        ended = [rotation.result() for rotation in rotations]
    assert [done.returncode for done in ended] == [0, 0, 0], ended
    entry = Inventory.load().get("pi")
    assert entry.next_identity is None
    with connect(entry) as agent:
        agent.status()


def test_the_private_key_is_written_nowhere_but_among_the_keys(
    device: Device, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, folders = ssl.SSLContext.load_cert_chain, []

    def load(context: ssl.SSLContext, file: str) -> None:
        folders.append(Path(file).parent)
        real(context, file)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    here = HostIdentity.open()
    key = certificates.new_key()
    refused = certificate(here, key, ["x.edgeopt"], client=False)
    change(lambda _: dataclasses.replace(here, certificate=refused, key=key, ca_key=None))
    assert _refusal(device)[0] == "HOST_REFUSED"
    assert set(folders) == {home / "data" / "identity"}


def test_what_hangs_up_at_once_is_away_and_not_mistrusted(device: Device) -> None:
    with Proxy.to(device.address) as proxy:
        proxy.cut()
        away = dataclasses.replace(device, address=proxy.address)
        assert _refusal(away)[0] == "UNREACHABLE"


@pytest.mark.parametrize("stage", ["before it began", "before it had the certificate", "after"])
def test_a_broken_rotation_leaves_a_device_that_can_be_reached(
    device: Device, edgeopt_host: Host, stage: str
) -> None:
    new_id = new_device_id()
    with open_channel(device) as link:
        assert link.identity is not None
        service = identity_pb2_grpc.IdentityServiceStub(link.channel)
        Inventory.load().change("pi", next_identity=new_id)
        if stage == "before it had the certificate":
            service.BeginRenewal(identity_pb2.BeginRenewalRequest(new_key=True), timeout=60)
        elif stage == "after":
            host_trust.renew(link.channel, link.identity, new_id, new_key=True)
    with connect(Inventory.load().get("pi")) as agent:
        agent.status()
    assert Inventory.load().get("pi").identity == (new_id if stage == "after" else device.identity)
    assert edgeopt_host("device", "rotate", "pi").returncode == 0


def test_removal_ends_the_trust_on_both_sides(
    start_agent: StartAgent, edgeopt_host: Host, tmp_path: Path
) -> None:
    device_id = enroll_files(tmp_path / "state")
    agent = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "state")
    Inventory.load().add("pi", agent.address, identity=device_id)
    done = edgeopt_host("device", "remove", "pi")
    assert "forgotten this host's CA" in done.stderr
    # With code 2, which the service takes as a reason to stay down.
    assert agent.process.wait(20) == 2
    assert IdentityFiles(tmp_path / "state").load() is None
    assert [d.name for d in Inventory.load().devices] == ["local"]


def test_a_device_that_is_away_is_removed_with_a_word(edgeopt_host: Host) -> None:
    HostIdentity.open()
    Inventory.load().add("pi", "127.0.0.1:1", identity=new_device_id())
    done = edgeopt_host("device", "remove", "pi")
    assert done.returncode == 0
    assert "edgeopt-agent identity forget" in done.stderr
    assert [d.name for d in Inventory.load().devices] == ["local"]


def test_an_agent_that_another_host_has_taken_lets_the_first_one_go(
    device: Device, tmp_path: Path
) -> None:
    with open_channel(device) as link:
        service = agent_pb2_grpc.AgentServiceStub(link.channel)
        service.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)
        mallory = foreign_host()
        taken = enroll_files(tmp_path / "state", mallory)
        # The open connection ends as well.
        with pytest.raises(grpc.RpcError):
            service.GetStatus(agent_pb2.GetStatusRequest(), timeout=10)
    other = dataclasses.replace(device, identity=taken)
    for _ in range(30):
        if (answer := _as(mallory, other)) == "OK":
            break
    assert answer == "OK"


def test_an_exported_identity_uses_the_bench_and_does_not_administer_it(
    device: Device, edgeopt_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_PASSPHRASE", "correct horse battery")
    file = tmp_path / "bob.json"
    done = edgeopt_host("identity", "export", file, "--name", "bob@ci", "--days", "30")
    assert done.returncode == 0, done.stderr
    assert (file.stat().st_mode & 0o777, b"PRIVATE" in file.read_bytes()) == (0o600, False)
    refused = edgeopt_host("identity", "import", file)
    assert (refused.returncode, "--replace" in refused.stderr) == (2, True)

    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "bob"))
    monkeypatch.setenv("EDGEOPT_PASSPHRASE", "wrong horse battery")
    assert "passphrase is wrong" in edgeopt_host("identity", "import", file).stderr
    monkeypatch.setenv("EDGEOPT_PASSPHRASE", "correct horse battery")
    assert edgeopt_host("identity", "import", file).returncode == 0
    assert Inventory.load().get("pi") == device
    shown = json.loads(edgeopt_host("identity", "show", "--format", "json").stdout)
    assert (shown["name"], shown["administers"]) == ("bob@ci", False)
    with connect(Inventory.load().get("pi")) as agent:
        agent.status()
    for command in (["device", "rotate", "pi"], ["identity", "export", tmp_path / "x"]):
        done = edgeopt_host(*command)
        assert done.returncode == 4, command
        assert "administer" in done.stderr


def test_connections_that_close_at_once_use_nothing_up(device: Device) -> None:
    host, _, port = device.address.rpartition(":")
    for _ in range(1500):
        socket.create_connection((host, int(port))).close()
    with connect(device) as agent:
        assert agent.status().agent_version


def test_200_silent_connections_leave_the_agent_answering_and_end(device: Device) -> None:
    host, _, port = device.address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        with connect(device) as agent:
            agent.status()
        for connection in silent:
            connection.settimeout(60)
            while connection.recv(4096):
                pass
    finally:
        for connection in silent:
            connection.close()


def test_more_connections_than_it_takes_are_turned_away(device: Device) -> None:
    host, _, port = device.address.rpartition(":")
    with connect(device) as agent:
        many = [socket.create_connection((host, int(port))) for _ in range(600)]
        try:
            many[-1].settimeout(5)
            assert many[-1].recv(1) == b""  # at once, not after the handshake's time
            agent.status()
        finally:
            for connection in many:
                connection.close()


def test_identity_over_ssh_is_idempotent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeopt_agent", "identity"]

    def run(task: str, given: str = "") -> str:
        arguments = [*command, task, "--state-dir", str(tmp_path / "state")]
        done = subprocess.run(arguments, input=given, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    here = HostIdentity.open()
    assert json.loads(run("show"))["enrolled"] is False
    run("request")
    device_id = new_device_id()
    pem = here.sign_device(run("request"), device_id)
    answer = json.dumps({"certificate": pem, "ca": here.ca_certificate})
    run("install", answer)
    run("install", answer)
    shown = json.loads(run("show"))
    assert (shown["device_id"], shown["certificate_sha256"]) == (
        device_id,
        certificates.fingerprint(pem),
    )
    assert shown["ca_sha256"] == certificates.fingerprint(here.ca_certificate)
    state = tmp_path / "state"
    assert (state / "identity.json").stat().st_mode & 0o777 == 0o600
    assert not (state / "identity.next.json").exists()
    run("forget")
    assert json.loads(run("show"))["enrolled"] is False


def test_one_agent_serves_its_network_by_tls_and_its_owner_by_a_socket(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    device_id = enroll_files(tmp_path / "state")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"unix:{folder}/agent.sock"
        agent = start_agent(
            "--listen=127.0.0.1:0", f"--listen={path}", state_dir=tmp_path / "state"
        )
        for device in (Device("pi", agent.address, identity=device_id), Device("same", path)):
            with connect(device) as there:
                there.status()


def test_the_network_is_refused_without_keys_and_plain_text_with_them(tmp_path: Path) -> None:
    def refusal(*arguments: str) -> str:
        command = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", str(tmp_path)]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2
        return done.stderr

    assert "this agent has no keys" in refusal("--listen", "0.0.0.0:0")
    enroll_files(tmp_path)
    assert "leave --insecure out" in refusal("--listen", "0.0.0.0:0", "--insecure")
    (tmp_path / "identity.json").write_text("{}")
    assert "`edgeopt-agent identity forget`" in refusal("--listen", "127.0.0.1:0")
    assert "is not one of torchscript, delegates" in refusal("--allow", "everything")


def test_the_agent_process_never_loads_cryptography() -> None:
    program = (
        "import sys, edgeopt_agent.cli, edgeopt_agent.server.serve, edgeopt_agent.server.enroll\n"
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
