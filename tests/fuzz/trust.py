"""Targets: enrolment lines, keys, certificates and the files they are kept in."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import strategies as st

from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, Unauthenticated
from edgeopt_agent.identity import Identity, IdentityFiles, enrollment, keys
from edgeopt_agent.server import validate
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.identity import certificates, host, new_device_id, transfer
from edgeopt_host.identity.line import EnrollmentLine
from edgeopt_host.inventory import Device
from fuzz.inputs import arguments, json_files, text, values
from fuzz.target import Target, scratch

_FOLDER = scratch()

_LINE = f"edgeopt1/pi4.local/50551/{'a' * 52}/{'b' * 26}"
_LINES = arguments(
    [_LINE, _LINE.replace("pi4.local", "fe80::1"), _LINE.replace("edgeopt1", "edgeopt2")],
    ("edgeopt1/", "edgeopt99/", "/", "::", "a" * 52, "b" * 26, "7" * 52, "65536", "--"),
)


def _parse_line(given: str) -> None:
    line = EnrollmentLine.parse(given)
    assert len(line.pin) == 32
    assert len(line.token) == 26


def _identity() -> tuple[host.HostIdentity, Identity, str]:
    """A host's identity, a device's by it, and the device's signing request."""
    ca_key, key = certificates.new_key(), certificates.new_key()
    ca = certificates.new_ca(ca_key, "edgeopt CA of fuzz")
    certificate = certificates.sign_host(ca_key, ca, key, "me@here", admin=True)
    issued = host.Issued("a@b", "ab" * 32, "2027-01-01T00:00:00+00:00")
    of_host = host.HostIdentity("me@here", ca, certificate, key, ca_key, (issued,))
    device_key = keys.new_key()
    request = keys.signing_request(device_key)
    signed = certificates.sign_device(ca_key, ca, request, new_device_id())
    return of_host, keys.check(device_key, signed, ca), request


_HOST, _AGENT, _REQUEST = _identity()
_PEMS = [_HOST.ca_certificate, _HOST.certificate, _AGENT.certificate, _HOST.key, _REQUEST]
_PEM_TEXT = text(_PEMS, ("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "A", "="))


def _decode_identity(data: bytes) -> None:
    identity = host.decode(data, "the file")
    assert host.decode(host.encode(identity).encode(), "the file") == identity
    assert all(isinstance(fingerprint, str) for fingerprint in identity.revoked)
    assert identity.expires.tzinfo is not None


_WORDS = "correct horse battery"
_CONTENT = {
    "identity": host.encode(_HOST),
    "devices": [dataclasses.asdict(Device("pi4", "10.0.0.4:50551", ("a",), "q2x4hgd7awm5tzke"))],
}


@functools.cache
def _header() -> dict[str, Any]:
    with patch.object(transfer, "_COST", 2):  # as fast as can be
        sealed: dict[str, Any] = json.loads(transfer.seal(transfer.Exported(_HOST, ()), _WORDS))
    return sealed


def _sealed(value: Any) -> bytes:
    """An export that is whole, with some other content."""
    header = {key: entry for key, entry in _header().items() if key != "data"}
    aead = AESGCM(transfer._key(header, _WORDS))
    nonce = transfer._bytes(header["nonce"])
    data = aead.encrypt(nonce, json.dumps(value).encode(), transfer._authenticated(header))
    return json.dumps({**header, "data": transfer._text(data)}).encode()


def _unseal(data: bytes) -> None:
    exported = transfer.unseal(data, _WORDS, "the file")
    for device in exported.devices:
        assert isinstance(device.name, str)
        assert isinstance(device.address, str)
        assert all(isinstance(tag, str) for tag in device.tags)
        assert all(
            value is None or isinstance(value, str)
            for value in (device.identity, device.ssh, device.next_identity)
        )


def _sign(request: str) -> None:
    made = certificates.sign_device(
        _HOST.ca_key or "", _HOST.ca_certificate, request, "q2x4hgd7awm5tzke"
    )
    assert certificates.names(made)[1] == ["q2x4hgd7awm5tzke.agent.edgeopt"]


def _check(given: tuple[str, str]) -> None:
    for field, value in zip(("certificate", "ca_certificate"), given, strict=True):
        validate.certificate(field, value)
    made = keys.check(_AGENT.key, *given)
    assert made.device_id


def _load_agent_identity(data: bytes) -> None:
    files = IdentityFiles(_FOLDER)
    files.path.write_bytes(data)
    files._next.write_bytes(data)
    files.pending_key()
    loaded = files.load()
    assert loaded is not None
    assert isinstance(loaded.expires_s, int)
    files.revoke({"ab" * 32})
    again = files.load()
    assert again is not None
    assert "ab" * 32 in again.revoked


_TOKEN_STATE = {
    "nonce": "ab" * 16,
    "boot_id": "b",
    "boot_s": 100.0,
    "wall_s": 1.7e9,
    "tries_left": 3,
}
_CLOCK = enrollment.Clock(lambda: 130.0, lambda: 1.7e9 + 30, lambda: "b")


def _take_up_token(data: bytes) -> None:
    (_FOLDER / "enrollment.json").write_bytes(data)
    token = enrollment.Token(_FOLDER, _AGENT.key, _CLOCK)
    assert len(token.text) == 26
    assert 0 <= token.left_s <= enrollment.LIFE_S
    token.check(token.text)
    for _ in range(enrollment.TRIES):
        try:
            token.check("wrong")
        except Unauthenticated:
            continue
        raise AssertionError("a wrong token was taken")


_AGENT_FILES = json_files([dataclasses.asdict(_AGENT)])

TARGETS = [
    Target("enrolment-line", _LINES, _parse_line, (UsageError,)),
    Target(
        "host-identity",
        json_files([json.loads(host.encode(_HOST))]),
        _decode_identity,
        (EdgeoptError,),
        (b"[" * 100_000,),
        cost=2,
    ),
    Target(
        "identity-export",
        st.deferred(lambda: json_files([_header()]) | values([_CONTENT]).map(_sealed)),
        _unseal,
        (EdgeoptError,),
        (
            b"[" * 100_000,
            *(
                json.dumps({**_header(), "n": n}).encode()
                for n in (0, -1, -(2**70), 2**20, 2**30, 1.5)
            ),
        ),
        cost=2,
    ),
    Target("signing-request", _PEM_TEXT, _sign, (EdgeoptError,), (_REQUEST,)),
    Target(
        "device-certificate",
        st.tuples(_PEM_TEXT, st.just(_AGENT.ca) | _PEM_TEXT),
        _check,
        (InvalidArgument,),
        ((_AGENT.certificate, _AGENT.ca),),
    ),
    Target(
        "agent-identity",
        _AGENT_FILES,
        _load_agent_identity,
        (FailedPrecondition,),
        (b"[" * 100_000,),
        cost=4,
    ),
    Target(
        "enrolment-token",
        json_files([_TOKEN_STATE]),
        _take_up_token,
        cost=8,
    ),
]
