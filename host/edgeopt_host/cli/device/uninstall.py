"""`edgeopt-host device uninstall`."""

from __future__ import annotations

import click

from edgeopt_host._text import plain_lines
from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _steps


@click.command()
@click.argument("name")
@click.option(
    "--keep-state",
    is_flag=True,
    help="Leave models, results and keys on the device, and the account that owns them.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands, change nothing.")
def uninstall(name: str, *, keep_state: bool, dry_run: bool) -> None:
    """Take away what `device add --ssh` has brought, and the device out of the inventory."""
    from edgeopt_host import provision

    commands = provision.uninstall(name, _steps.write, keep_state=keep_state, dry_run=dry_run)
    if dry_run:
        _output.show(plain_lines(commands))
    else:
        _output.note(f"uninstalled {name}; its stored runs stay")
