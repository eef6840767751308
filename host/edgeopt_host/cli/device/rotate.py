"""`edgeopt-host device rotate`."""

from __future__ import annotations

import click

from edgeopt_host.cli import _output


@click.command()
@click.argument("name")
def rotate(name: str) -> None:
    """Give an enrolled device a new key and a new id; what was copied from it is then worthless.

    May be repeated when it broke off: at every moment the device can be reached.
    """
    from edgeopt_host.client import administer

    new_id = administer.rotate(name)
    _output.note(f"{name} has a new key, and is now {new_id}")
