"""The host's keys: made once, kept to their owner, damaged files refused in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent.identity import keys as agent_keys
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.identity import HostIdentity, certificates, client_name, new_device_id, transfer
from edgeopt_host.identity.host import decode, encode, identity_path, install
from edgeopt_host.identity.issuing import check_holder, issue, revoke
from edgeopt_host.identity.line import EnrollmentLine
from edgeopt_host.inventory import Device

_KEYS = [
    "schema",
    "name",
    "ca_certificate",
    "certificate",
    "key",
    "issued",
    "n",
    "r",
    "p",
    "kdf",
    "salt",
    "nonce",
    "data",
]
_WORDS = st.sampled_from(["edgeopt.identity/1", "edgeopt.identity-export/1", "scrypt"])
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | _WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=9)
    ),
    max_leaves=12,
)
_PIN, _TOKEN = "a" * 52, "b" * 26


def test_it_is_made_once_and_for_its_owner_alone() -> None:
    made = HostIdentity.open()
    assert HostIdentity.open() == made
    assert made.is_admin
    assert made.name == client_name()
    path = identity_path()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [issued.name for issued in made.issued] == [made.name]
    assert "PRIVATE" not in repr(made)


def test_two_commands_at_once_make_one() -> None:
    command = [
        sys.executable,
        "-c",
        "from edgeopt_host.identity import HostIdentity; print(HostIdentity.open().fingerprint)",
    ]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0] for process in started}
    assert said == {f"{HostIdentity.open().fingerprint}\n"}


def test_an_identity_that_others_may_read_is_closed_to_them() -> None:
    HostIdentity.open()
    identity_path().chmod(0o644)
    HostIdentity.open()
    assert identity_path().stat().st_mode & 0o777 == 0o600


def test_a_devices_certificate_is_for_its_id_and_for_serving_only() -> None:
    here = HostIdentity.open()
    device_id = new_device_id()
    request = agent_keys.signing_request(agent_keys.new_key())
    made = x509.load_pem_x509_certificate(here.sign_device(request, device_id).encode())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(here.ca_certificate.encode()))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{device_id}.agent.edgeopt"]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_before_utc.year == 1970


@pytest.mark.parametrize("what", ["nothing", "half", "changed", "other curve"])
def test_a_signing_request_that_is_not_sound_is_not_signed(what: str) -> None:
    request = agent_keys.signing_request(agent_keys.new_key())
    if what == "other curve":
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        other = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384())
        request = other.public_bytes(serialization.Encoding.PEM).decode()
    else:
        lines = request.splitlines()
        lines[-2] = lines[-2][:-6] + ("AAAA" if lines[-2][-6:-2] != "AAAA" else "BBBB") + "=="
        request = {
            "nothing": "",
            "half": request[:200],
            "changed": "\n".join(lines),
        }[what]
    with pytest.raises(EdgeoptError) as refused:
        HostIdentity.open().sign_device(request, new_device_id())
    assert refused.value.reason == "SIGNING_REQUEST_INVALID"


def test_revoking_names_certificates_and_never_ones_own() -> None:
    here, bob = issue(HostIdentity.open(), "bob@ci", admin=False, days=3)
    assert here.revoked == []
    after = revoke(here, "bob@ci")
    assert after.revoked == [bob.fingerprint]
    assert HostIdentity.open().revoked == [bob.fingerprint]
    # A board whose clock stands at 1970 would take one that has ended.
    ended = [
        dataclasses.replace(one, not_after="2001-01-01T00:00:00+00:00") for one in after.issued
    ]
    assert dataclasses.replace(after, issued=tuple(ended)).revoked == [bob.fingerprint]
    for name in ("carol@ci", here.name):
        with pytest.raises(UsageError, match="no certificate was issued"):
            revoke(here, name)
    with pytest.raises(EdgeoptError, match="not enrol or administer"):
        revoke(bob, "bob@ci")


def test_replacing_keeps_a_copy() -> None:
    before = HostIdentity.open()
    _, other = issue(before, "bob@ci", admin=True, days=3)
    before = HostIdentity.open()
    with pytest.raises(UsageError, match="--replace"):
        install(other, replace=False)
    backup = install(other, replace=True)
    assert HostIdentity.load() == other
    assert other.is_admin
    assert backup is not None
    assert decode(backup.read_bytes(), "the copy") == before
    assert backup.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "a b", "ü@laptop", "x" * 65, "a\n"])
def test_names_that_no_certificate_may_carry(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a certificate"):
        check_holder(name)


@given(st.binary(max_size=400) | _DOCUMENTS.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_file_holds_is_read_or_refused_in_one_sentence(content: bytes) -> None:
    for read in (
        lambda: decode(content, "the file"),
        lambda: transfer.unseal(content, "a passphrase", "the file"),
    ):
        with pytest.raises(EdgeoptError) as refused:
            read()
        assert refused.value.message.startswith("the file")


@given(st.data())
def test_a_changed_identity_is_read_or_refused(data: st.DataObject) -> None:
    good = bytearray(encode(_GOOD), "ascii")
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(EdgeoptError):
        decode(bytes(good), "it")


def test_what_was_exported_is_imported_whole_and_any_change_is_seen() -> None:
    devices = (Device("pi", "pi.local:50551", ("a", "b"), "q" * 16, "me@pi"),)
    sealed = transfer.seal(transfer.Exported(_GOOD, devices), "correct horse")
    opened = transfer.unseal(sealed.encode(), "correct horse", "it")
    assert opened == transfer.Exported(_GOOD, devices)
    header = json.loads(sealed)
    for key, value in (("n", 2**14), ("nonce", header["salt"]), ("data", header["data"][4:])):
        changed = json.dumps({**header, key: value}).encode()
        with pytest.raises(EdgeoptError, match=r"passphrase is wrong|is no file"):
            transfer.unseal(changed, "correct horse", "it")
    with pytest.raises(UsageError):  # it would take this host's memory
        transfer.unseal(json.dumps({**header, "n": 2**30}).encode(), "correct horse", "it")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.168.1.7", "192.168.1.7:50551"),
        ("pi.local", "pi.local:50551"),
        ("fd00::1", "[fd00::1]:50551"),
    ],
)
def test_an_enrolment_line_is_read(host: str, address: str) -> None:
    line = EnrollmentLine.parse(f"edgeopt1/{host}/50551/{_PIN}/{_TOKEN}")
    assert (line.address, line.token, len(line.pin)) == (address, _TOKEN, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no enrolment line"),
        (f"edgeopt1/pi/50551/{_PIN}/{_TOKEN[1:]}", "is no enrolment line"),
        (f"edgeopt1/pi/50551/{_PIN}1/{_TOKEN}", "is no enrolment line"),
        (f"edgeopt2/pi/50551/{_PIN}/{_TOKEN}", "update edgeopt here"),
        (f"edgeopt1/pi/0/{_PIN}/{_TOKEN}", "port 0"),
        (f"edgeopt1/pi/99999/{_PIN}/{_TOKEN}", "port 99999"),
        (f"edgeopt1/1::2::3/50551/{_PIN}/{_TOKEN}", "no IPv6 address"),
    ],
)
def test_what_is_no_enrolment_line_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        EnrollmentLine.parse(text)


@given(
    st.text(max_size=200)
    | st.from_regex(r"edgeopt[0-9]/[0-9a-z:.%-]{0,40}/[0-9]{0,6}/[a-z2-7]{52}/[a-z2-7]{26}\n?")
)
def test_any_line_is_read_or_refused(text: str) -> None:
    try:
        line = EnrollmentLine.parse(text)
    except UsageError:
        return
    assert len(line.pin) == 32
    host, _, port = line.address.rpartition(":")
    assert host
    assert 1 <= int(port) <= 65535


def _good() -> HostIdentity:
    ca_key, key = certificates.new_key(), certificates.new_key()
    ca = certificates.new_ca(ca_key, "edgeopt CA of alice@laptop")
    certificate = certificates.sign_host(ca_key, ca, key, "alice@laptop", admin=True)
    return HostIdentity("alice@laptop", ca, certificate, key, ca_key)


_GOOD = _good()
