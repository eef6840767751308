"""`edgeopt-host device`: the inventory, and what its devices are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output
from edgeopt_host.errors import EdgeoptError, Unreachable

if TYPE_CHECKING:
    from edgeopt.agent.v1 import device_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device

_LIST_S = 3.0
_ANSWER_S = 5.0
_AT_ONCE = 32


@click.group()
def device() -> None:
    """The devices of your bench: add, list, info, tag, remove."""


@device.command()
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
            facts = _ask(candidate, _ANSWER_S)
        except Unreachable as error:
            raise Unreachable(
                f"nothing was added (--no-check adds it all the same): {error.message}"
            ) from error
    added = inventory.add(name, address, tags)
    if facts is not None:
        from edgeopt_host.report.device import render_facts

        _output.show(render_facts(added, facts))
    _output.note(f"added {added.name} at {added.address}")


@device.command("list")
@_output.format_option()
def list_(format_: str) -> None:
    """List the devices, and ask each what it is."""
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import device as report

    devices = Inventory.load().devices
    stop = threading.Event()
    agents: list[Agent] = []
    with ThreadPoolExecutor(min(len(devices), _AT_ONCE)) as pool:
        futures = [pool.submit(_try, device, stop, agents) for device in devices]
        try:
            wait(futures)
        except KeyboardInterrupt:
            stop.set()
            for agent in agents:
                agent.cancel()
            raise
    answers = [future.result() for future in futures]
    if format_ == "json":
        entries = [report.entry(*answer) for answer in answers]
        document = {"schema": report.LIST_SCHEMA, "devices": entries}
        _output.show(report.render_document(document))
    else:
        _output.show(report.render_list(answers))


@device.command()
@click.argument("name")
@click.option("--refresh", is_flag=True, help="Probe its runtimes again.")
@_output.format_option()
def info(name: str, *, refresh: bool, format_: str) -> None:
    """Show everything a device tells of itself."""
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import device as report

    wanted = Inventory.load().get(name)
    facts = _ask(wanted, _ANSWER_S, refresh=refresh)
    if format_ == "json":
        _output.show(report.render_document(report.document(wanted, facts)))
    else:
        _output.show(report.render_facts(wanted, facts))


@device.command()
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


@device.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a device out of the inventory. Its stored runs stay."""
    from edgeopt_host.inventory import Inventory

    Inventory.load().remove(name)
    _output.note(f"removed {name}")


def _ask(device: Device, timeout_s: float, *, refresh: bool = False) -> device_pb2.Device:
    from edgeopt_host.client import connect

    with connect(device, timeout_s, on_wait=_output.note) as agent:
        return agent.device(refresh=refresh)


def _try(
    device: Device, stop: threading.Event, agents: list[Agent]
) -> tuple[Device, device_pb2.Device | None, tuple[str, str] | None]:
    """A device's facts, or (reason, message). Connected agents join `agents`, to be cancelled."""
    from edgeopt_host.client import connect

    def give_up(message: str) -> None:
        # `local` may be held by a push for minutes: a list doesn't wait for that.
        raise EdgeoptError(message.partition(";")[0], "BUSY")

    try:
        with connect(device, _LIST_S, on_wait=give_up, stop=stop) as agent:
            agents.append(agent)
            return device, agent.device(), None
    except EdgeoptError as error:
        return device, None, (error.reason, error.message)
