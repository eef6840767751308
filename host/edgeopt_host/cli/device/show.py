"""`edgeopt-host device list` and `info`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import EdgeoptError

if TYPE_CHECKING:
    from edgeopt.agent.v1 import device_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device

_LIST_S = 3.0
_AT_ONCE = 32


@click.command("list")
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


@click.command()
@click.argument("name")
@click.option("--refresh", is_flag=True, help="Probe its runtimes again.")
@_output.format_option()
def info(name: str, *, refresh: bool, format_: str) -> None:
    """Show everything a device tells of itself."""
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import device as report

    wanted = Inventory.load().get(name)
    facts = _ask.facts(wanted, refresh=refresh)
    if format_ == "json":
        _output.show(report.render_document(report.document(wanted, facts)))
    else:
        _output.show(report.render_facts(wanted, facts))


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
