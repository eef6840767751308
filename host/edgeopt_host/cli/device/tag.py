"""`edgeopt-host device tag`."""

from __future__ import annotations

import click

from edgeopt_host.cli import _output


@click.command()
@click.argument("name")
@click.option("--add", "added", multiple=True, metavar="TAG")
@click.option("--remove", "removed", multiple=True, metavar="TAG")
def tag(name: str, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Change a device's tags."""
    from edgeopt_host.inventory import Inventory

    if not (added or removed):
        raise click.UsageError("give --add TAG or --remove TAG")
    changed = Inventory.load().tag(name, added, removed)
    _output.note(f"{name}: {', '.join(changed.tags) or 'no tags'}")
