"""`edgeopt-host device add`."""

from __future__ import annotations

from typing import Any

import click

from edgeopt_host._text import plain, plain_lines
from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask, _steps
from edgeopt_host.errors import Unreachable

_PORTS = click.IntRange(1, 65535)


@click.command()
@click.argument("name")
@click.argument("address", required=False)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A group it belongs to.")
@click.option("--no-check", is_flag=True, help="Add it even though no agent answers yet.")
@click.option(
    "--ssh", "target", metavar="USER@HOST", help="Install the agent there, enrol it and start it."
)
@click.option("--port", type=_PORTS, metavar="P", help="SSH: its port, if not the usual one.")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="SSH: install tflite, tflite-runtime, onnx, torch or tensorflow. Default: tflite and onnx.",
)
@click.option("--system", is_flag=True, help="SSH: a service of the system.")
@click.option(
    "--user",
    is_flag=True,
    help="SSH: a service of the SSH user. Default where that user has no sudo without a password.",
)
@click.option("--no-service", is_flag=True, help="SSH: install no service, start nothing.")
@click.option(
    "--listen-port", type=_PORTS, metavar="P", help="SSH: the agent's port. Default: 50551."
)
@click.option(
    "--address",
    "reached_at",
    metavar="HOST:PORT",
    help="SSH: where the agent is reached, if not at SSH's host.",
)
@click.option(
    "--python", metavar="PATH", help="SSH: the device's Python 3.10 or later, if not found."
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["torchscript", "delegates"]),
    help="SSH: let the agent execute this kind of code.",
)
@click.option("--offline", is_flag=True, help="SSH: carry all wheels; the device has no internet.")
@click.option("--take-over", is_flag=True, help="SSH: even if another host has enrolled it.")
@click.option("--dry-run", is_flag=True, help="SSH: print the commands, change nothing.")
def add(
    name: str,
    address: str | None,
    tags: tuple[str, ...],
    target: str | None,
    *,
    no_check: bool,
    dry_run: bool,
    **ssh_options: Any,
) -> None:
    """Add a device whose agent listens at ADDRESS, or bring an agent onto it over SSH.

    ADDRESS is HOST:PORT, HOST or unix:PATH. With --ssh there is no ADDRESS; the same command again
    upgrades the agent.
    """
    given = {key: value for key, value in ssh_options.items() if value}
    if target is not None:
        if address is not None or no_check:
            raise click.UsageError("--ssh goes without ADDRESS and without --no-check")
        if "system" in given and "user" in given:
            raise click.UsageError("--system and --user exclude each other")
        _add_over_ssh(name, target, tags, given, dry_run=dry_run)
    elif address is None:
        raise click.UsageError("give the ADDRESS of its agent, or --ssh USER@HOST")
    elif given or dry_run:
        option = "--dry-run" if dry_run else "--" + next(iter(given)).replace("_", "-")
        raise click.UsageError(f"{option.replace('reached-at', 'address')} is for --ssh")
    else:
        _add(name, address, tags, no_check=no_check)


def _add(name: str, address: str, tags: tuple[str, ...], *, no_check: bool) -> None:
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


def _add_over_ssh(
    name: str, target: str, tags: tuple[str, ...], given: dict[str, Any], *, dry_run: bool
) -> None:
    from edgeopt_host import provision
    from edgeopt_host.report.device import render_facts

    options = {"address" if key == "reached_at" else key: value for key, value in given.items()}
    options["service"] = not options.pop("no_service", False)
    options["scope"] = next((s for s in ("system", "user") if options.pop(s, False)), None)
    request = provision.Request(name=name, target=target, tags=tags, **options)
    if dry_run:
        _output.show(plain_lines(provision.dry_run(request, _steps.write)))
        return
    done = provision.install(request, _steps.write)
    _output.note(f"added {done.device.name} at {done.device.address}")
    if done.facts is not None:
        _output.show(render_facts(done.device, done.facts))
    if done.command is not None:
        _output.note(f"on {target}, this starts its agent:")
        _output.show(f"{plain(done.command)}\n")
