"""`edgeopt-host device remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output

if TYPE_CHECKING:
    from edgeopt_host.inventory import Device

_ANSWER_S = 5.0


@click.command()
@click.argument("name")
@click.option("--keep-trust", is_flag=True, help="Leave the device enrolled; forget it only here.")
def remove(name: str, *, keep_trust: bool) -> None:
    """Take a device out of the inventory, on both sides. Its stored runs stay.

    An enrolled device is told to forget this host's CA. Where it cannot be told, this host drops it
    all the same and says how to end its trust by hand.
    """
    from edgeopt_host.inventory import Inventory

    inventory = Inventory.load()
    device = inventory.get(name)
    told = False
    if device.identity is not None and not keep_trust:
        told = _tell(device)
    inventory.remove(name)
    _output.note(f"removed {name}" + (", which has forgotten this host's CA" if told else ""))


def _tell(device: Device) -> bool:
    """Asks the device to forget; whether it did."""
    import grpc

    from edgeopt.agent.v1 import identity_pb2, identity_pb2_grpc
    from edgeopt_host.client import _trust
    from edgeopt_host.client.connect import open_channel
    from edgeopt_host.errors import EdgeoptError

    try:
        with open_channel(device, _ANSWER_S) as link:
            if link.identity is None or not link.identity.is_admin:
                why = "this host does not administer it"
            else:
                service = identity_pb2_grpc.IdentityServiceStub(link.channel)
                service.Forget(identity_pb2.ForgetRequest(), timeout=_ANSWER_S)
                return True
    except EdgeoptError as error:
        why = error.message
    except grpc.RpcError as error:
        why = _trust.said(error) or "it did not answer"
    _output.note(
        f"{device.name} still trusts this host's CA, for it could not be told ({why}); on the device, "
        "`edgeopt-agent identity forget` ends that"
    )
    return False
