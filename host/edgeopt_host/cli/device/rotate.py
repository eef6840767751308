"""`edgeopt-host device rotate`."""

from __future__ import annotations

import click

from edgeopt_host.cli import _output

_ANSWER_S = 5.0


@click.command()
@click.argument("name")
def rotate(name: str) -> None:
    """Give an enrolled device a new key and a new id; what was copied from it is then worthless.

    May be repeated when it broke off: at every moment the device can be reached.
    """
    import grpc

    from edgeopt_host.client import _trust
    from edgeopt_host.client._calls import reason
    from edgeopt_host.client.connect import open_channel
    from edgeopt_host.errors import DeviceError, UsageError
    from edgeopt_host.identity import new_device_id
    from edgeopt_host.inventory import Inventory

    inventory = Inventory.load()
    device = inventory.get(name)
    if device.identity is None:
        raise UsageError(f"{name} is not enrolled, so it has no keys to rotate")
    new_id = new_device_id()
    with open_channel(device, _ANSWER_S) as link:
        if link.identity is None:
            raise UsageError(
                f"{name} is reached over a socket, where no keys are used; rotate them over its network "
                "address"
            )
        # From here on either of the two ids may be the device's.
        inventory.change(name, next_identity=new_id)
        try:
            _trust.renew(link.channel, link.identity, new_id, new_key=True)
        except grpc.RpcError as error:
            raise DeviceError(
                f"{name} was not told its new keys, or did not confirm them: "
                f"{_trust.said(error) or 'it stopped answering'}; repeat the command",
                reason(error) or "UNREACHABLE",
            ) from error
    # Opening it by the new id confirms it.
    with open_channel(inventory.get(name), _ANSWER_S):
        pass
    _output.note(f"{name} has a new key, and is now {Inventory.load().get(name).identity}")
