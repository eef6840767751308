"""Enrolled agents and certificates of every kind, for tests."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeopt_agent.identity import IdentityFiles
from edgeopt_agent.identity import keys as agent_keys
from edgeopt_host.identity import HostIdentity, certificates, new_device_id


def enroll_files(state_dir: Path, host: HostIdentity | None = None) -> str:
    """Enrols the agent of a state directory, as provisioning does; returns its device id."""
    host = host or HostIdentity.open()
    device_id = new_device_id()
    key = agent_keys.new_key()
    certificate = host.sign_device(agent_keys.signing_request(key), device_id)
    IdentityFiles(state_dir).install(agent_keys.check(key, certificate, host.ca_certificate))
    return device_id


def foreign_host() -> HostIdentity:
    """A host with a CA of its own."""
    ca_key = certificates.new_key()
    ca = certificates.new_ca(ca_key, "edgeopt CA of mallory@elsewhere")
    key = certificates.new_key()
    certificate = certificates.sign_host(ca_key, ca, key, "mallory@elsewhere", admin=True)
    return HostIdentity("mallory@elsewhere", ca, certificate, key, ca_key)


def certificate(
    host: HostIdentity,
    key: str,
    dns_names: list[str],
    *,
    client: bool,
    ended: bool = False,
    common_name: str = "somebody",
) -> str:
    """A certificate by a host's CA that the product itself would not make."""
    assert host.ca_key is not None
    now = dt.datetime.now(dt.timezone.utc)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    private, signer = (
        serialization.load_pem_private_key(text.encode(), None) for text in (key, host.ca_key)
    )
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(x509.load_pem_x509_certificate(host.ca_certificate.encode()).subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc))
        .not_valid_after(now + dt.timedelta(days=-1 if ended else 1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names]), critical=False
        )
    )
    made = builder.sign(signer, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


class RecordingServer:
    """Speaks TLS with a certificate of its own, and keeps what it is sent."""

    def __init__(self, key: str, pem: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["h2"])
        with tempfile.NamedTemporaryFile() as file:
            file.write((key + pem).encode())
            file.flush()
            self._context.load_cert_chain(file.name)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.received = b""
        self.connections = 0

    def serve(self) -> None:
        """Takes connections until `close`."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(10)
                try:
                    with self._context.wrap_socket(connection, server_side=True) as tls:
                        while data := tls.recv(4096):
                            self.received += data
                except OSError:
                    continue

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
