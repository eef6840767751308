"""Why no connection comes about: one handshake by hand, and one sentence that says what to do."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import socket
import ssl
import tempfile
from collections.abc import Iterator

from edgeopt_host.errors import DeviceError, Unreachable, Untrusted
from edgeopt_host.identity import HostIdentity, identity_path
from edgeopt_host.inventory import Device

_STEP_S = 3.0


class ClosesAtOnce(Unreachable):
    """Something listens and hangs up: an agent that restarts, or that has all it can hold."""


def diagnose(device: Device, device_id: str, identity: HostIdentity) -> DeviceError | None:
    """What stands between this host and an enrolled device; None when nothing seems to."""
    try:
        # Who this host is, only the right device is shown.
        with _handshake(device, client_context()) as tls:
            der = tls.getpeercert(binary_form=True) or b""
        found = _distrust(device, device_id, identity, der)
        if found is not None:
            return found
        context = client_context()
        with _certificate_file(identity) as file:
            context.load_cert_chain(file)
        with _handshake(device, context) as tls:
            return _refusal(device, identity, tls)
    except _NoConnection as error:
        return _unreachable(device, error.why)
    except TimeoutError:
        return Unreachable(
            f"{device.address} takes connections for {device.name!r} but says nothing: is it "
            "`edgeopt-agent serve` that listens there, and is the device not overloaded?"
        )
    except (ConnectionError, ssl.SSLEOFError):
        return ClosesAtOnce(
            f"{device.address} takes connections for {device.name!r} and closes them at once: does the "
            "agent just restart, or is there something between that cannot reach it?"
        )
    except OSError:
        return Untrusted(
            f"what listens at {device.address} does not speak TLS, so it is not the agent that was "
            f"enrolled as {device.name!r}: start that one again, or correct the address",
            "PLAIN_TEXT",
        )


def split_address(address: str) -> tuple[str, int]:
    """Reads "HOST:PORT"."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def client_context() -> ssl.SSLContext:
    """TLS as gRPC speaks it, and without a check: whoever uses this looks at the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


class _NoConnection(Exception):
    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


@contextlib.contextmanager
def _handshake(device: Device, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    try:
        connection = socket.create_connection(split_address(device.address), _STEP_S)
    except OSError as error:
        raise _NoConnection(error) from error
    with connection, context.wrap_socket(connection, server_hostname="agent.edgeopt") as tls:
        yield tls


def _unreachable(device: Device, error: OSError) -> DeviceError:
    where = f"device {device.name!r} at {device.address}"
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"no agent answers for {where}: its name does not resolve here ({error.strerror}); is the "
            "device on, or has it another name or address now?"
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"no agent answers for {where} within {_STEP_S:g} s: is the device on and in this network, "
            "and does no firewall stand between?"
        )
    if error.errno == errno.ECONNREFUSED:
        return Unreachable(
            f"no agent answers for {where}: the device is there, but nothing listens at this port; is "
            "`edgeopt-agent serve` running there?"
        )
    return Unreachable(
        f"no agent answers for {where}: {error.strerror or error}; is the device on and in this network?"
    )


def _distrust(
    device: Device, device_id: str, identity: HostIdentity, der: bytes
) -> DeviceError | None:
    """What is wrong with the certificate that the other side shows."""
    from edgeopt_host.identity import certificates

    try:
        pem = ssl.DER_cert_to_PEM_cert(der)
        _common, names = certificates.names(pem)
        ours = certificates.is_issued_by(pem, identity.ca_certificate)
        ends = certificates.expires(pem)
    except ValueError:
        names, ours, ends = [], False, dt.datetime.max.replace(tzinfo=dt.timezone.utc)
    if certificates.ENROLLING_NAME in names:
        return Untrusted(
            f"{device.name!r} waits to be enrolled anew: `edgeopt-host device remove {device.name} "
            "--keep-trust`, then `device enroll` with the line that it has printed",
            "NOT_ENROLLED",
        )
    if not ours:
        return Untrusted(
            f"what answers at {device.address} for {device.name!r} was enrolled by another host's CA: "
            "another device has this address now, or somebody else has enrolled it; correct the address, "
            "or enrol it again",
        )
    if f"{device_id}.{certificates.AGENT_DOMAIN}" not in names:
        return Untrusted(
            f"another device of this bench answers at {device.address} for {device.name!r} (its id is "
            f"{names[0].partition('.')[0] if names else 'missing'}, expected {device_id}): have the "
            "addresses changed? Correct them in the inventory",
            "WRONG_DEVICE",
        )
    if ends < dt.datetime.now(dt.timezone.utc):
        return Untrusted(
            f"the certificate of {device.name!r} ended on {ends:%Y-%m-%d}: enrol it again, unless this "
            "host's clock is wrong",
            "CERTIFICATE_EXPIRED",
        )
    return None


def _refusal(device: Device, identity: HostIdentity, tls: ssl.SSLSocket) -> DeviceError | None:
    """Whether the agent hangs up on this host's certificate; its first words else are settings."""
    try:
        if tls.recv(1):
            return None
    except TimeoutError:
        return None
    except OSError:
        pass
    if identity.expires < dt.datetime.now(dt.timezone.utc):
        return Untrusted(
            f"this host's own certificate ended on {identity.expires:%Y-%m-%d}, so {device.name!r} "
            "refuses it: ask who exported the identity for a new one, unless the clock is wrong",
            "CERTIFICATE_EXPIRED",
        )
    return Untrusted(
        f"{device.name!r} refuses this host's certificate: another host's CA has enrolled the device, or "
        "its clock is past the certificate's end; set its clock, or enrol it again",
        "HOST_REFUSED",
    )


@contextlib.contextmanager
def _certificate_file(identity: HostIdentity) -> Iterator[str]:
    # The only way in which the module ssl takes a key. Where keys lie anyway: whoever kills this
    # process leaves it to nobody else.
    with tempfile.NamedTemporaryFile(prefix=".handshake-", dir=identity_path().parent) as file:
        file.write((identity.key + identity.certificate).encode())
        file.flush()
        yield file.name
