"""`edgeopt-host device remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output

if TYPE_CHECKING:
    from edgeopt_host.inventory import Device


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
    from edgeopt_host.client import administer
    from edgeopt_host.errors import EdgeoptError

    try:
        administer.forget(device)
    except EdgeoptError as error:
        if error.reason == "NOT_ADMIN":
            # It stays enrolled, and rightly: others use it.
            return False
        _output.note(
            f"{device.name} still trusts this host's CA, for it could not be told ({error.message}); "
            "on the device, `edgeopt-agent identity forget` ends that"
        )
        return False
    return True
