"""What an administrator's host does about the keys of its devices: rotate, forget, revoke."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from edgeopt.agent.v1 import identity_pb2, identity_pb2_grpc
from edgeopt_host import _files
from edgeopt_host.client import trust
from edgeopt_host.client._calls import reason, said
from edgeopt_host.client.connect import open_channel
from edgeopt_host.errors import DeviceError, EdgeoptError, UsageError
from edgeopt_host.identity import HostIdentity, new_device_id
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.paths import data_dir

_ANSWER_S = 5.0


def rotate(name: str) -> str:
    """Gives a device a new key and a new id, which it returns.

    May be repeated when it broke off: at every moment the device can be reached.

    Raises:
        UsageError: when there is no such device, or it has no keys.
        DeviceError: when it does not answer or refuses.
    """
    with _only_rotation(name):
        inventory = Inventory.load()
        device = inventory.get(name)
        if device.identity is None:
            raise UsageError(f"{name} is not enrolled, so it has no keys to rotate")
        new_id = new_device_id()
        with open_channel(device, _ANSWER_S) as link:
            if link.identity is None:
                raise UsageError(
                    f"{name} is reached over a socket, where no keys are used; rotate them over its "
                    "network address"
                )
            if not link.identity.is_admin:
                raise EdgeoptError(
                    f"this host may use {name}, but does not administer it, so it cannot sign its keys; "
                    "ask whoever enrolled it",
                    "NOT_ADMIN",
                )
            # From here on either of the two ids may be the device's.
            inventory.change(name, next_identity=new_id)
            try:
                trust.renew(link.channel, link.identity, new_id, new_key=True)
            except grpc.RpcError as error:
                raise DeviceError(
                    f"{name} was not told its new keys, or did not confirm them: "
                    f"{said(error) or 'it stopped answering'}; repeat the command",
                    reason(error) or "UNREACHABLE",
                ) from error
        # Opening it by the new id confirms it.
        with open_channel(inventory.get(name), _ANSWER_S):
            return new_id


def forget(device: Device) -> None:
    """Has an enrolled device forget this host's CA.

    Raises:
        EdgeoptError: when it could not be told, or this host may not.
    """
    with open_channel(device, _ANSWER_S) as link:
        if link.identity is None or not link.identity.is_admin:
            raise EdgeoptError("this host may use it, but does not administer it", "NOT_ADMIN")
        service = identity_pb2_grpc.IdentityServiceStub(link.channel)
        with _told():
            service.Forget(identity_pb2.ForgetRequest(), timeout=_ANSWER_S)


def revoke(device: Device, identity: HostIdentity) -> bool:
    """Tells a device which certificates to refuse; False where it uses none.

    Raises:
        EdgeoptError: when it could not be told.
    """
    with open_channel(device, _ANSWER_S) as link:
        if link.identity is None:
            return False
        with _told():
            trust.revoke(link.device_id, link.channel, identity)
    return True


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        message = said(error) or "it did not answer"
        raise DeviceError(message, reason(error) or "UNREACHABLE") from error


@contextlib.contextmanager
def _only_rotation(name: str) -> Iterator[None]:
    """Waits until no other command rotates this device.

    Two at once would write down one new id, and the device might take the other.
    """
    folder = data_dir() / "identity" / "rotations" / name
    with contextlib.ExitStack() as stack:
        try:
            _files.make_private(folder)
            stack.enter_context(_files.locked(folder))
        except OSError as error:
            raise EdgeoptError(f"the folder {folder} cannot be locked: {error.strerror}") from error
        yield
