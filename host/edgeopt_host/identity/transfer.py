"""An identity in a file that a passphrase protects, for a colleague or a CI runner.

JSON of the schema edgeopt.identity-export/1: scrypt makes a key of the passphrase, with which
AES-256-GCM encrypts; the settings beside it are authenticated, too.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.identity.host import HostIdentity, decode, encode
from edgeopt_host.inventory import Device

MIN_PASSPHRASE = 12

_SCHEMA = "edgeopt.identity-export/1"
_SALT_BYTES = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32
# 128 MiB and about half a second, for whoever guesses as well (RFC 7914).
_COST, _BLOCK, _PARALLEL = 2**17, 8, 1
_MAX_COST = 2**18


@dataclass(frozen=True)
class Exported:
    """What a file carries."""

    identity: HostIdentity
    devices: tuple[Device, ...]


def seal(exported: Exported, passphrase: str) -> str:
    """The file's content."""
    header = {
        "schema": _SCHEMA,
        "kdf": "scrypt",
        "n": _COST,
        "r": _BLOCK,
        "p": _PARALLEL,
        "salt": _text(os.urandom(_SALT_BYTES)),
        "cipher": "AES-256-GCM",
        "nonce": _text(os.urandom(_NONCE_BYTES)),
    }
    content = {
        "identity": encode(exported.identity),
        "devices": [asdict(device) for device in exported.devices],
    }
    sealed = AESGCM(_key(header, passphrase)).encrypt(
        _bytes(header["nonce"]), json.dumps(content).encode(), _authenticated(header)
    )
    return json.dumps({**header, "data": _text(sealed)}, indent=1) + "\n"


def unseal(text: bytes, passphrase: str, what: str) -> Exported:
    """Reads what `seal` wrote.

    Raises:
        UsageError: when it is something else.
        EdgeoptError: PASSPHRASE_WRONG.
    """
    try:
        header = json.loads(text)
        sealed = _bytes(header.pop("data"))
        if header["schema"] != _SCHEMA or header["kdf"] != "scrypt":
            raise _no_export(what)
        # What somebody wrote must not take this host's memory.
        if not 1 < header["n"] <= _MAX_COST or (header["r"], header["p"]) != (_BLOCK, _PARALLEL):
            raise _no_export(what)
        nonce = _bytes(header["nonce"])
        content = json.loads(
            AESGCM(_key(header, passphrase)).decrypt(nonce, sealed, _authenticated(header))
        )
        devices = tuple(_device(entry) for entry in content["devices"])
        return Exported(decode(content["identity"].encode(), what), devices)
    except InvalidTag as error:
        raise EdgeoptError(
            f"{what} was not opened: the passphrase is wrong, or the file was changed",
            "PASSPHRASE_WRONG",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _no_export(what) from error


def _device(entry: dict[str, Any]) -> Device:
    device = Device(**{**entry, "tags": tuple(entry["tags"])})
    optional = (device.identity, device.ssh, device.scope, device.next_identity)
    texts = [device.name, device.address, *device.tags, *(o for o in optional if o is not None)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(entry)
    return device


def _key(header: dict[str, Any], passphrase: str) -> bytes:
    scrypt = Scrypt(_bytes(header["salt"]), _KEY_BYTES, n=header["n"], r=header["r"], p=header["p"])
    return scrypt.derive(passphrase.encode())


def _authenticated(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


def _no_export(what: str) -> UsageError:
    return UsageError(f"{what} is no file that `edgeopt-host identity export` wrote, or is damaged")
