"""Keys, signing requests and certificates. All are PEM texts; keys are EC P-256.

Certificates are valid from 1970 on, because boards without a clock battery start there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeopt_host.errors import EdgeoptError

VALID_DAYS = 397
AGENT_DOMAIN = "agent.edgeopt"
HOST_NAME = "host.edgeopt"
ADMIN_NAME = "admin.edgeopt"
# Of an agent that waits to be enrolled.
ENROLLING_NAME = "enroll.edgeopt"

_CA_DAYS = 30 * 365
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def new_key() -> str:
    """A private key, PKCS #8."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def new_ca(key: str, name: str) -> str:
    """The certificate of a CA that signs itself."""
    private = _private(key)
    subject = _name(name)
    builder = (
        _builder(subject, subject, private.public_key(), _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
    )
    return _pem(builder.sign(private, hashes.SHA256()))


def sign_device(ca_key: str, ca: str, signing_request: str, device_id: str) -> str:
    """A device's certificate for the key in its signing request.

    Raises:
        EdgeoptError: SIGNING_REQUEST_INVALID, when it is none, or its signature is wrong, or its
            key is no EC P-256 key.
    """
    try:
        request = x509.load_pem_x509_csr(signing_request.encode())
        signed = request.is_signature_valid
        public = request.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise _bad_request("it cannot be read") from error
    if not signed:
        raise _bad_request("its signature is wrong")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(
        public.curve, ec.SECP256R1
    ):
        raise _bad_request("its key is no EC P-256 key")
    return _issue(
        ca_key,
        ca,
        public,
        device_id,
        [f"{device_id}.{AGENT_DOMAIN}"],
        ExtendedKeyUsageOID.SERVER_AUTH,
        VALID_DAYS,
    )


def sign_host(
    ca_key: str, ca: str, key: str, name: str, *, admin: bool, days: int = VALID_DAYS
) -> str:
    """The certificate of a host, for its own key."""
    names = [HOST_NAME, ADMIN_NAME] if admin else [HOST_NAME]
    public = _private(key).public_key()
    return _issue(ca_key, ca, public, name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)


def fingerprint(certificate: str) -> str:
    """SHA-256 of the DER form, hexadecimal."""
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(
        serialization.Encoding.DER
    )
    return hashlib.sha256(der).hexdigest()


def expires(certificate: str) -> dt.datetime:
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def names(certificate: str) -> tuple[str, list[str]]:
    """The common name and the DNS names that a certificate speaks for."""
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    common = loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        extension = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return str(common[0].value) if common else "", []
    return str(common[0].value) if common else "", extension.value.get_values_for_type(x509.DNSName)


def is_issued_by(certificate: str, ca: str) -> bool:
    """Whether a CA's key has signed a certificate."""
    try:
        x509.load_pem_x509_certificate(certificate.encode()).verify_directly_issued_by(
            x509.load_pem_x509_certificate(ca.encode())
        )
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def check_fit(ca: str, certificate: str, key: str, ca_key: str | None) -> None:
    """Raises ValueError when these do not belong together."""
    ca_loaded = x509.load_pem_x509_certificate(ca.encode())
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    if not is_issued_by(certificate, ca):
        raise ValueError("the certificate is not by this CA")
    pairs = [(key, loaded), *([(ca_key, ca_loaded)] if ca_key is not None else [])]
    for private, held in pairs:
        if _private(private).public_key() != held.public_key():
            raise ValueError("a key does not fit its certificate")


def pin(certificate_der: bytes) -> bytes:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo).

    Raises:
        ValueError: when it is no certificate.
    """
    public = x509.load_der_x509_certificate(certificate_der).public_key()
    return hashlib.sha256(
        public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()


def same_key(signing_request: str, certificate_der: bytes) -> bool:
    """Whether a signing request is for the key of a certificate."""
    try:
        request = x509.load_pem_x509_csr(signing_request.encode())
        return request.public_key() == x509.load_der_x509_certificate(certificate_der).public_key()
    except ValueError:
        return False


def _issue(
    ca_key: str,
    ca: str,
    public: ec.EllipticCurvePublicKey,
    name: str,
    dns_names: Sequence[str],
    usage: x509.ObjectIdentifier,
    days: int,
) -> str:
    signer = _private(ca_key)
    issuer = x509.load_pem_x509_certificate(ca.encode()).subject
    builder = (
        _builder(_name(name), issuer, public, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(dns) for dns in dns_names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _pem(builder.sign(signer, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_EPOCH)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is no EC key")  # noqa: TRY004 - content, not a caller's type
    return loaded


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _bad_request(why: str) -> EdgeoptError:
    return EdgeoptError(
        f"the device's signing request was not signed: {why}; enrol the device again",
        "SIGNING_REQUEST_INVALID",
    )
