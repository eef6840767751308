"""This host's identity: its CA, its own key, and the client certificates it has issued.

    data_dir()/identity/identity.json      0600, in a folder of 0700

A colleague or CI runner that got it by `identity export` without the CA's key has a certificate
of its own, and can use the bench but not enrol or administer devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeopt_host import _files
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.identity import _format
from edgeopt_host.identity._name import MAX_NAME, client_name
from edgeopt_host.paths import data_dir

_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 16


@dataclass(frozen=True)
class Issued:
    """A client certificate that this host's CA has signed."""

    name: str
    fingerprint: str
    # ISO 8601, UTC.
    not_after: str
    admin: bool = False
    revoked: bool = False


@dataclass(frozen=True)
class HostIdentity:
    """Keys and certificates as PEM texts. `ca_key` is there on the host that administers."""

    name: str
    ca_certificate: str
    certificate: str
    key: str = field(repr=False)
    ca_key: str | None = field(default=None, repr=False)
    issued: tuple[Issued, ...] = ()

    @classmethod
    def open(cls) -> HostIdentity:
        """The identity of this host, made on first use; its own certificate is renewed in time.

        Raises:
            EdgeoptError: when it cannot be read, made or written.
        """
        found = cls.load()
        if found is None:
            found = change(lambda there: there or _new())
        elif found.is_admin and _ends_soon(found.certificate):
            found = change(lambda there: _renewed(there or _new()))
        return found

    @classmethod
    def load(cls) -> HostIdentity | None:
        """The identity as it lies there; None where there is none.

        Raises:
            EdgeoptError: when it cannot be read.
        """
        path = identity_path()
        try:
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                path.chmod(0o600)
            return decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EdgeoptError(
                f"this host's identity {path} cannot be read: {error.strerror}", "IDENTITY_UNUSABLE"
            ) from error

    @property
    def is_admin(self) -> bool:
        """Whether it can enrol and administer devices."""
        return self.ca_key is not None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its own certificate."""
        from edgeopt_host.identity import certificates

        return certificates.fingerprint(self.certificate)

    @property
    def expires(self) -> dt.datetime:
        """When its own certificate ends."""
        from edgeopt_host.identity import certificates

        return certificates.expires(self.certificate)

    @property
    def revoked(self) -> list[str]:
        """Fingerprints of all revoked certificates.

        Those that have ended, too: a board whose clock stands at 1970 would take them.
        """
        return sorted(i.fingerprint for i in self.issued if i.revoked)

    def sign_device(self, signing_request: str, device_id: str) -> str:
        """A device's certificate.

        Raises:
            EdgeoptError: when the request is not sound, or this host does not have the CA's key.
        """
        from edgeopt_host.identity import certificates

        return certificates.sign_device(
            self.require_ca_key(), self.ca_certificate, signing_request, device_id
        )

    def require_ca_key(self) -> str:
        """The CA's key.

        Raises:
            EdgeoptError: NOT_ADMIN, on a host that does not have it.
        """
        if self.ca_key is None:
            raise EdgeoptError(
                f"{self.name} may use these devices, but not enrol or administer them: this host's "
                "identity was exported without the CA's key; ask who exported it",
                "NOT_ADMIN",
            )
        return self.ca_key


def new_device_id() -> str:
    """A random device id: 80 bits."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def identity_path() -> Path:
    return data_dir() / "identity" / "identity.json"


def encode(identity: HostIdentity) -> str:
    """JSON of the schema edgeopt.identity/1."""
    return _format.encode(dataclasses.asdict(identity))


def decode(content: bytes, what: str) -> HostIdentity:
    """Reads what `encode` wrote.

    Raises:
        EdgeoptError: IDENTITY_UNUSABLE, when it is something else.
    """
    fields, issued = _format.decode(content, what, HostIdentity, Issued)
    return HostIdentity(**fields, issued=tuple(Issued(**entry) for entry in issued))


def change(
    change_it: Callable[..., HostIdentity], expected: HostIdentity | None = None
) -> HostIdentity:
    """Changes the identity that lies there, under a lock; `expected` is what it must still be.

    Raises:
        EdgeoptError: when it cannot be written, or was replaced meanwhile.
    """
    with _folder() as path:
        there = HostIdentity.load()
        if expected is not None and (
            there is None or there.ca_certificate != expected.ca_certificate
        ):
            raise EdgeoptError(
                "this host's identity was replaced meanwhile; repeat the command",
                "IDENTITY_UNUSABLE",
            )
        changed = change_it(there)
        if changed != there:
            _files.write_private(path, encode(changed))
        return changed


def install(identity: HostIdentity, *, replace: bool) -> Path | None:
    """Puts an identity in place of the one that is there, of which it keeps a copy.

    Returns:
        Where the copy of the earlier one lies.

    Raises:
        UsageError: when there is one already, and `replace` is not set.
        EdgeoptError: when it cannot be written.
    """
    with _folder() as path:
        backup = None
        if path.exists():
            if not replace:
                raise UsageError(
                    f"this host has an identity already ({path}); --replace puts the imported one "
                    "in its place and keeps a copy"
                )
            now = dt.datetime.now(dt.timezone.utc)
            backup = path.with_name(f"identity-until-{now:%Y%m%dT%H%M%SZ}.json")
            _files.write_private(backup, path.read_text(encoding="utf-8"))
        _files.write_private(path, encode(identity))
        return backup


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    path = identity_path()
    try:
        _files.make_private(path.parent)
        path.parent.chmod(0o700)
        with _files.locked(path.parent):
            yield path
    except OSError as error:
        raise EdgeoptError(
            f"this host's identity {path} cannot be written: {error.strerror}", "IDENTITY_UNUSABLE"
        ) from error


def _new() -> HostIdentity:
    from edgeopt_host.identity import certificates

    name = client_name()
    ca_key = certificates.new_key()
    ca = certificates.new_ca(ca_key, f"edgeopt CA of {name}"[:MAX_NAME])
    return _renewed(HostIdentity(name, ca, certificate="", key="", ca_key=ca_key))


def _renewed(identity: HostIdentity) -> HostIdentity:
    from edgeopt_host.identity import certificates

    if identity.certificate and not _ends_soon(identity.certificate):
        return identity  # another process was quicker
    renewed = certified(identity, identity.name, admin=True, days=certificates.VALID_DAYS)
    entry = Issued(identity.name, renewed.fingerprint, renewed.expires.isoformat(), admin=True)
    return dataclasses.replace(renewed, issued=(*identity.issued, entry))


def certified(identity: HostIdentity, name: str, *, admin: bool, days: int) -> HostIdentity:
    """The same CA with a new key and certificate for somebody; nothing is written.

    Raises:
        EdgeoptError: NOT_ADMIN, when the CA's key is missing.
    """
    from edgeopt_host.identity import certificates

    key = certificates.new_key()
    certificate = certificates.sign_host(
        identity.require_ca_key(),
        identity.ca_certificate,
        key,
        name,
        admin=admin,
        days=days,
    )
    return dataclasses.replace(identity, name=name, certificate=certificate, key=key)


def _ends_soon(certificate: str) -> bool:
    """Whether less than a third of its life is left."""
    from edgeopt_host.identity import certificates

    left = certificates.expires(certificate) - dt.datetime.now(dt.timezone.utc)
    return left < dt.timedelta(days=certificates.VALID_DAYS) / 3
