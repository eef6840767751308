"""`edgeopt-host device remove`."""

from __future__ import annotations

import click

from edgeopt_host.cli import _output


@click.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a device out of the inventory. Its stored runs stay."""
    from edgeopt_host.inventory import Inventory

    Inventory.load().remove(name)
    _output.note(f"removed {name}")
