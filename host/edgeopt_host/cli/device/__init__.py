"""`edgeopt-host device`: the inventory, what its devices are, and who may use them."""

from __future__ import annotations

import click

from edgeopt_host.cli.device.add import add
from edgeopt_host.cli.device.enroll import enroll
from edgeopt_host.cli.device.lease import release, reserve
from edgeopt_host.cli.device.queue import queue
from edgeopt_host.cli.device.remove import remove
from edgeopt_host.cli.device.rotate import rotate
from edgeopt_host.cli.device.show import info, list_
from edgeopt_host.cli.device.tag import tag
from edgeopt_host.cli.device.uninstall import uninstall


@click.group()
def device() -> None:
    """The devices of your bench: add, enrol, list, reserve, remove."""


for command in (add, enroll, rotate, list_, info, tag, uninstall, remove, reserve, release, queue):
    device.add_command(command)
