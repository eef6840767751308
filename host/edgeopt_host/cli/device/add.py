"""`edgeopt-host device add`."""

from __future__ import annotations

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import Unreachable


@click.command()
@click.argument("name")
@click.argument("address")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A group it belongs to.")
@click.option("--no-check", is_flag=True, help="Add it even though no agent answers yet.")
def add(name: str, address: str, tags: tuple[str, ...], *, no_check: bool) -> None:
    """Add a device whose agent listens at ADDRESS: HOST:PORT, HOST or unix:PATH."""
    from edgeopt_host.inventory import Inventory

    inventory = Inventory.load()
    candidate = inventory.check(name, address, tags)
    facts = None
    if not no_check:
        try:
            facts = _ask.facts(candidate)
        except Unreachable as error:
            raise Unreachable(
                f"nothing was added (--no-check adds it all the same): {error.message}"
            ) from error
    added = inventory.add(name, address, tags)
    if facts is not None:
        from edgeopt_host.report.device import render_facts

        _output.show(render_facts(added, facts))
    _output.note(f"added {added.name} at {added.address}")
