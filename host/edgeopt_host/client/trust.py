"""Keeps the trust between this host and a device alive: renewal and revocation on contact."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import grpc

from edgeopt.agent.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
)
from edgeopt_host import _json_file
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.identity import HostIdentity
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.paths import data_dir

_CALL_S = 10.0
# The device may make a key, in a process of its own.
_RENEW_S = 60.0


def keep(device_id: str, channel: grpc.Channel, identity: HostIdentity) -> None:
    """Renews a certificate near its end, and tells of revocations; never fails, never disturbs.

    Does nothing on a host that does not administer the bench.
    """
    if not identity.is_admin:
        return
    with contextlib.suppress(grpc.RpcError, EdgeoptError, OSError):
        known = _entry(_json_file.read(_path()), device_id)
        version = _version(identity.revoked)
        if known.get("revoked", _version([])) != version:
            revoke(device_id, channel, identity)
        ends = known.get("expires")
        if not isinstance(ends, str) or _ends_soon(ends):
            _renew_if_due(device_id, channel, identity)


def revoke(device_id: str, channel: grpc.Channel, identity: HostIdentity) -> None:
    """Tells a device which client certificates to refuse.

    Raises:
        grpc.RpcError: when it does not take it.
    """
    request = identity_pb2.RevokeCertificatesRequest(fingerprints=identity.revoked)
    identity_pb2_grpc.IdentityServiceStub(channel).RevokeCertificates(request, timeout=_CALL_S)
    _note(device_id, revoked=_version(identity.revoked))


def renew(channel: grpc.Channel, identity: HostIdentity, device_id: str, *, new_key: bool) -> None:
    """Gives a device a new certificate.

    Raises:
        grpc.RpcError: when the device does not take it.
        EdgeoptError: when its signing request is not sound.
    """
    from edgeopt_host.identity import certificates

    service = identity_pb2_grpc.IdentityServiceStub(channel)
    begin = identity_pb2.BeginRenewalRequest(new_key=new_key)
    request = service.BeginRenewal(begin, timeout=_RENEW_S).signing_request
    certificate = identity.sign_device(request, device_id)
    finish = identity_pb2.FinishRenewalRequest(certificate=certificate)
    service.FinishRenewal(finish, timeout=_RENEW_S)
    _note(device_id, expires=certificates.expires(certificate).isoformat())


def forget_contact(device_id: str) -> None:
    """Forgets what a device knew: it has been enrolled anew, and knows nothing.

    Raises:
        OSError: when it cannot be written.
    """
    _json_file.change(_path(), lambda contacts: contacts.pop(device_id, None))


def adopt(device: Device, device_id: str) -> None:
    """A rotation that broke off after the device had its new identity ends here."""
    with contextlib.suppress(EdgeoptError):
        inventory = Inventory.load()
        if inventory.get(device.name).next_identity == device_id:
            inventory.change(device.name, identity=device_id, next_identity=None)


def _renew_if_due(device_id: str, channel: grpc.Channel, identity: HostIdentity) -> None:
    status: agent_pb2.GetStatusResponse = agent_pb2_grpc.AgentServiceStub(channel).GetStatus(
        agent_pb2.GetStatusRequest(), timeout=_CALL_S
    )
    ends = status.certificate_expire_time.ToDatetime(dt.timezone.utc).isoformat()
    if not _ends_soon(ends):
        _note(device_id, expires=ends)
    elif not status.queue:
        renew(channel, identity, device_id, new_key=False)


def _ends_soon(ends: str) -> bool:
    """Whether less than a third of a certificate's life is left."""
    from edgeopt_host.identity import certificates

    try:
        left = dt.datetime.fromisoformat(ends) - dt.datetime.now(dt.timezone.utc)
    except (ValueError, TypeError):
        return True
    return left < dt.timedelta(days=certificates.VALID_DAYS) / 3


def _version(revoked: list[str]) -> str:
    return hashlib.sha256("".join(sorted(revoked)).encode()).hexdigest()[:16]


def _path() -> Path:
    """What this host knows of each device's keys, by device id; lost, it is asked again."""
    return data_dir() / "identity" / "contacts.json"


def _entry(contacts: dict[str, Any], device_id: str) -> dict[str, Any]:
    entry = contacts.get(device_id)
    return entry if isinstance(entry, dict) else {}


def _note(device_id: str, **fields: str) -> None:
    def change(contacts: dict[str, Any]) -> None:
        contacts[device_id] = {**_entry(contacts, device_id), **fields}

    # What is not noted is asked or told again.
    with contextlib.suppress(OSError):
        _json_file.change(_path(), change)
