"""Keys, signing requests and the checks of certificates, with the package cryptography.

The agent process never imports this: see `child`. Keys are EC P-256; all are PEM texts.
"""

from __future__ import annotations

import datetime as dt
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.identity import Identity

_DOMAIN = ".agent.edgeopt"
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgeopt agent")])


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


def signing_request(key: str) -> str:
    """PKCS #10 for a key. The names in the certificate are the CA's to choose."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_SUBJECT)
    request = builder.sign(_private(key), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def self_signed(key: str) -> str:
    """A certificate for first contact: whoever connects knows the key's pin."""
    private = _private(key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(_SUBJECT)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        # Boards without a clock battery start in 1970.
        .not_valid_before(dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc))
        .not_valid_after(dt.datetime(2099, 12, 31, tzinfo=dt.timezone.utc))
        # It signs itself: a CA, to those who check.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("enroll.edgeopt")]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def pin(key: str) -> bytes:
    """SHA-256 of the public key (SubjectPublicKeyInfo)."""
    public = _private(key).public_key()
    return hashlib.sha256(
        public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()


def check(key: str, certificate: str, ca: str) -> Identity:
    """The identity that these make.

    Raises:
        InvalidArgument: CERTIFICATE_REFUSED, when they do not fit each other or this purpose.
    """
    loaded, issuer = _load("certificate", certificate), _load("ca_certificate", ca)
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            raise _refused("ca_certificate", "it is no CA's")
        loaded.verify_directly_issued_by(issuer)
        if loaded.public_key() != _private(key).public_key():
            raise _refused("certificate", "it is for another key than the signing request's")
        usage = loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
            raise _refused("certificate", "it is not for a server")
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise _refused("certificate", f"an extension is missing: {error}") from error
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise _refused("certificate", "it is not by this CA") from error
    ids = [
        name.removesuffix(_DOMAIN)
        for name in names.get_values_for_type(x509.DNSName)
        if name.endswith(_DOMAIN)
    ]
    if len(ids) != 1:
        raise _refused("certificate", f"it names no device: expected one name in {_DOMAIN[1:]}")
    # The CA may have another form on the wire than the one that is kept.
    pem = serialization.Encoding.PEM
    return Identity(
        key,
        loaded.public_bytes(pem).decode(),
        issuer.public_bytes(pem).decode(),
        ids[0],
        int(loaded.not_valid_after_utc.timestamp()),
    )


def _load(field: str, text: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(field, "it is no PEM certificate") from error


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is no EC key")  # noqa: TRY004 - content, not a caller's type
    return loaded


def _refused(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        "CERTIFICATE_REFUSED",
        f"{field} was refused: {why}; enrol the device again from the host",
        field=field,
    )
