"""Who this agent is, and whom it trusts: the files in its state directory.

    identity.json        its key and certificate, the host CA, and client certificates it refuses
    identity.next.json   the key of a signing request that no certificate has come for yet

Only `keys` needs the package cryptography; the agent runs it in a process of its own.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeopt_agent.errors import FailedPrecondition

# More than a bench ever revokes.
MAX_REVOKED = 10_000
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Identity:
    """PEM texts. `device_id` and `expires_s` (Unix time) are what the certificate says."""

    key: str = field(repr=False)
    certificate: str
    ca: str
    device_id: str
    expires_s: int
    # SHA-256 of the DER form of client certificates, hexadecimal.
    revoked: tuple[str, ...] = ()


class IdentityFiles:
    """The identity in a state directory; every change is atomic, and on the disk when it returns."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "identity.json"
        self._next = state_dir / "identity.next.json"

    def load(self) -> Identity | None:
        """The identity; None when the agent is not enrolled.

        Raises:
            FailedPrecondition: IDENTITY_UNUSABLE, when it cannot be read or is damaged.
        """
        data = _read(self.path)
        if data is None:
            return None
        try:
            revoked = tuple(_text(entry) for entry in data.get("revoked", []))
            return Identity(
                _text(data["key"]),
                _text(data["certificate"]),
                _text(data["ca"]),
                _text(data["device_id"]),
                int(data["expires_s"]),
                revoked,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _unusable(self.path, "it is damaged") from error

    def install(self, identity: Identity) -> None:
        """Replaces the identity, and forgets the pending key, which is now in use."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self.path, dataclasses.asdict(identity))
        self._next.unlink(missing_ok=True)

    def pending_key(self) -> str | None:
        """The key of the last signing request."""
        data = _read(self._next)
        try:
            return _text(data["key"]) if data is not None else None
        except (KeyError, TypeError):
            return None  # another one is made

    def set_pending_key(self, key: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self._next, {"key": key})

    def revoke(self, fingerprints: set[str]) -> None:
        """Adds to the client certificates that are refused.

        Nothing is ever taken off: two hosts that administer a bench do not undo each other's.

        Raises:
            FailedPrecondition: when there is no identity.
        """
        identity = self.load()
        if identity is None:
            raise not_enrolled()
        revoked = tuple(sorted({*identity.revoked, *fingerprints}))
        if revoked != identity.revoked:
            _write(self.path, dataclasses.asdict(dataclasses.replace(identity, revoked=revoked)))

    def forget(self) -> None:
        """Removes keys and trust; harmless when there are none."""
        self.path.unlink(missing_ok=True)
        self._next.unlink(missing_ok=True)


def fingerprint(certificate: str) -> str:
    """SHA-256 of a PEM certificate's DER form, hexadecimal."""
    body = certificate.strip().removeprefix(_BEGIN).removesuffix(_END)
    return hashlib.sha256(base64.b64decode(body)).hexdigest()


def not_enrolled() -> FailedPrecondition:
    """What to say where keys are needed and there are none."""
    return FailedPrecondition(
        "NOT_ENROLLED",
        "this agent has no keys and trusts no host: enrol it with `edgeopt-agent serve --enroll`, or "
        "from the host with `edgeopt-host device add NAME --ssh USER@HOST`",
    )


def write_private(path: Path, content: str) -> None:
    """Writes a file that its owner alone may read, whole or not at all."""
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, data: dict[str, Any]) -> None:
    write_private(path, json.dumps(data, indent=1))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "it is damaged") from error
    if not isinstance(data, dict):
        raise _unusable(path, "it is damaged")
    return data


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _unusable(path: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "IDENTITY_UNUSABLE",
        f"this agent's identity {path} cannot be used: {why}; `edgeopt-agent identity forget` removes "
        "it, and the device can then be enrolled anew",
    )
