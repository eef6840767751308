"""`edgeopt-host device`: the inventory, what its devices are, and who may use them."""

from __future__ import annotations

import click

from edgeopt_host.cli.device.add import add
from edgeopt_host.cli.device.remove import remove
from edgeopt_host.cli.device.show import info, list_
from edgeopt_host.cli.device.tag import tag


@click.group()
def device() -> None:
    """The devices of your bench: add, list, info, tag, remove."""


for command in (add, list_, info, tag, remove):
    device.add_command(command)
