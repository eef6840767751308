"""`edgeopt-host device list` and `info`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import DeviceError, EdgeoptError

if TYPE_CHECKING:
    from edgeopt.agent.v1 import agent_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device
    from edgeopt_host.report.device import Answer

_LIST_S = 3.0
_AT_ONCE = 32


@click.command("list")
@_output.format_option()
def list_(format_: str) -> None:
    """List the devices, and ask each what it is."""
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import devices as report
    from edgeopt_host.report.device import render_document

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
        _output.show(render_document(report.document(answers)))
    else:
        _output.show(report.render(answers))


@click.command()
@click.argument("name")
@click.option("--refresh", is_flag=True, help="Probe its runtimes again.")
@_output.format_option()
def info(name: str, *, refresh: bool, format_: str) -> None:
    """Show everything a device tells of itself."""
    from edgeopt_host.client import connect
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import device as report

    wanted = Inventory.load().get(name)
    with connect(wanted, _ask.ANSWER_S, on_wait=_output.note) as agent:
        facts, status = agent.device(refresh=refresh), _status(agent)
    if format_ == "json":
        answer = report.Answer(wanted, facts, status)
        _output.show(report.render_document(report.document(answer)))
    else:
        _output.show(report.render_facts(wanted, facts, status))


def _try(device: Device, stop: threading.Event, agents: list[Agent]) -> Answer:
    """What a device says. Connected agents join `agents`, to be cancelled."""
    from edgeopt_host.report.device import Answer

    try:
        with _ask.agent(device, _LIST_S, stop) as agent:
            agents.append(agent)
            return Answer(device, agent.device(), _status(agent))
    except EdgeoptError as error:
        return Answer(device, error=(error.reason, error.message))


def _status(agent: Agent) -> agent_pb2.GetStatusResponse | None:
    """What a device does; None where the agent is too old to tell."""
    try:
        return agent.status()
    except DeviceError as error:
        if error.reason != "AGENT_TOO_OLD":
            raise
        return None
