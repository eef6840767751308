"""The agent's keys on disk, and the token of first contact under a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.agent.v1 import identity_pb2, identity_pb2_grpc
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, Unauthenticated
from edgeopt_agent.identity import Identity, IdentityFiles, keys
from edgeopt_agent.identity.enrollment import LIFE_S, TRIES, Clock, Token
from edgeopt_agent.server.identity_service import IdentityService
from edgeopt_agent.server.listen import new_server
from edgeopt_host.identity import HostIdentity, new_device_id
from trust import certificate, foreign_host


class _Time:
    """A device's clocks."""

    def __init__(self) -> None:
        self.boot_s = 100.0
        self.wall_s = 1_800_000_000.0
        self.boot_id = "first"

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.boot_s, lambda: self.wall_s, lambda: self.boot_id)

    def reboot(self) -> None:
        self.boot_s, self.boot_id = 10.0, "second"


@pytest.fixture
def time() -> _Time:
    return _Time()


def _refused(token: Token, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        token.check(text)
    assert refused.value.reason == "TOKEN_REFUSED"
    return refused.value.message


def test_a_token_lets_in_until_it_is_used_up(tmp_path: Path, time: _Time) -> None:
    token = Token(tmp_path, "key", time.clock)
    assert len(token.text) == 26
    for _ in range(2 * TRIES):
        token.check(token.text)  # the right one costs no try
    token.use_up()
    token.check(token.text)  # the last call, repeated
    assert Token(tmp_path, "key", time.clock).text != token.text


def test_tries_and_time_outlive_a_restart(tmp_path: Path, time: _Time) -> None:
    token = Token(tmp_path, "key", time.clock)
    text = token.text
    assert text not in (tmp_path / "enrollment.json").read_text()
    assert (tmp_path / "enrollment.json").stat().st_mode & 0o777 == 0o600
    for left in reversed(range(1, TRIES)):
        again = Token(tmp_path, "key", time.clock)
        assert again.text == text
        assert f"({left} " in _refused(again, "b" * 26)
    time.boot_s += LIFE_S - 1
    last = Token(tmp_path, "key", time.clock)
    assert last.left_s == 1
    assert "used up" in _refused(last, "b" * 26)
    assert "used up" in _refused(last, text)
    assert Token(tmp_path, "key", time.clock).text != text


def test_a_late_token_is_refused_whatever_the_wall_clock_says(tmp_path: Path, time: _Time) -> None:
    token = Token(tmp_path, "key", time.clock)
    time.wall_s += 10 * 365 * 24 * 3600
    token.check(token.text)
    time.wall_s -= 20 * 365 * 24 * 3600
    token.check(token.text)
    time.boot_s += LIFE_S
    assert "10 minutes" in _refused(token, token.text)


def test_a_reboot_ends_it(tmp_path: Path, time: _Time) -> None:
    token = Token(tmp_path, "key", time.clock)
    time.reboot()
    assert token.ended
    assert Token(tmp_path, "key", time.clock).text != token.text


def test_where_boots_have_no_name_both_clocks_must_agree(tmp_path: Path, time: _Time) -> None:
    time.boot_id = ""
    token = Token(tmp_path, "key", time.clock)
    token.check(token.text)
    time.boot_s, time.wall_s = 101.0, time.wall_s + 3600
    assert token.ended


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda v: json.dumps(v).encode(),
        st.dictionaries(
            st.sampled_from(["nonce", "boot_id", "boot_s", "wall_s", "tries_left"]),
            st.none() | st.integers() | st.floats() | st.text(max_size=8),
            max_size=5,
        ),
    )
)
def test_a_damaged_state_makes_a_new_token(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "enrollment.json").write_bytes(content)
    assert len(Token(folder, "key", _Time().clock).text) == 26


def test_a_certificate_must_fit_the_key_the_ca_and_its_use() -> None:
    host, foreign = HostIdentity.open(), foreign_host()
    key = keys.new_key()
    device_id = new_device_id()
    ca = host.ca_certificate
    good = host.sign_device(keys.signing_request(key), device_id)
    assert keys.check(key, good, ca).device_id == device_id
    name = f"{device_id}.agent.edgeopt"
    for pem, by, said in (
        (host.sign_device(keys.signing_request(keys.new_key()), device_id), ca, "another key"),
        (good, foreign.ca_certificate, "not by this CA"),
        (certificate(host, key, [name], client=True), ca, "not for a server"),
        (certificate(host, key, ["elsewhere"], client=False), ca, "names no device"),
        (good, good, "no CA's"),
        ("-----BEGIN CERTIFICATE-----", ca, "no PEM"),
        (good, "", "no PEM"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            keys.check(key, pem, by)


def test_files_change_whole_and_revocation_only_grows(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path / "state")
    assert files.load() is None
    files.set_pending_key("pending")
    identity = Identity("key", "certificate", "ca", "id", 7)
    files.install(identity)
    assert files.pending_key() is None
    files.revoke({"b", "a"})
    files.revoke({"c"})
    assert files.load() == dataclasses.replace(identity, revoked=("a", "b", "c"))
    assert files.path.stat().st_mode & 0o777 == 0o600
    files.forget()
    files.forget()
    assert files.load() is None


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda v: json.dumps(v).encode(),
        st.dictionaries(
            st.sampled_from(["key", "certificate", "ca", "device_id", "expires_s", "revoked"]),
            st.none()
            | st.integers()
            | st.floats()
            | st.text(max_size=8)
            | st.lists(st.text(max_size=3)),
            max_size=6,
        ),
    )
)
def test_a_damaged_identity_is_told_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    files = IdentityFiles(tmp_path_factory.getbasetemp())
    files.path.write_bytes(content)
    with contextlib.suppress(FailedPrecondition):
        assert files.load() is not None


def test_no_keys_are_made_while_a_benchmark_runs(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    files.install(Identity("key", "certificate", "ca", "id", 7))

    async def run() -> str:
        server = new_server()
        service = IdentityService(files, busy=lambda: True)
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await identity_pb2_grpc.IdentityServiceStub(channel).BeginRenewal(
                    identity_pb2.BeginRenewalRequest()
                )
        await server.stop(0)
        return refused.value.details() or ""

    assert "a benchmark runs on this device" in asyncio.run(run())
    assert files.pending_key() is None
