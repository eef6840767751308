"""`edgeopt-host device queue`: what a device has to do, and what nobody has fetched from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from edgeopt.agent.v1 import benchmark_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device

_ALL = "all"


@click.command()
@click.argument("name")
@click.option(
    "--discard",
    metavar="HOLDER|all",
    help="Have it forget results of HOLDER that wait to be fetched.",
)
@click.option("--yes", is_flag=True, help="With --discard: don't ask.")
@_output.format_option()
def queue(name: str, discard: str | None, format_: str, *, yes: bool) -> None:
    """Show what a device runs, what waits there, and who has reserved it.

    Also whose results wait to be fetched: `runs resume` on the host that asked for them does that.
    """
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report import queue as report

    device = Inventory.load().get(name)
    with _ask.agent(device) as agent:
        if discard is not None:
            _discard(agent, device, discard, yes=yes)
            return
        status, known = agent.status(), agent.benchmarks()
    render = report.render_json if format_ == "json" else report.render
    _output.show(render(device, status, known))


def _discard(agent: Agent, device: Device, holder: str, *, yes: bool) -> None:
    from edgeopt_host.report.queue import unfetched

    by_holder = unfetched(agent.benchmarks())
    if holder == _ALL:
        chosen = [benchmark for found in by_holder.values() for benchmark in found]
    elif holder in by_holder:
        chosen = by_holder[holder]
    else:
        there = f"those there are of {', '.join(by_holder)}" if by_holder else "nor of anybody else"
        raise UsageError(f"no results of {holder!r} wait on {device.name}, {there}")
    if not chosen:
        _output.note(f"no results wait on {device.name}")
        return
    results = _output.counted(chosen, "result")
    whose = "everybody" if holder == _ALL else holder
    _output.confirm(
        f"Discard {results} of {whose} on {device.name} for good, which nobody can then fetch?",
        yes=yes,
    )
    _acknowledge(agent, device, chosen)
    _output.note(f"{device.name} has forgotten {results} of {whose}")


def _acknowledge(agent: Agent, device: Device, benchmarks: list[benchmark_pb2.Benchmark]) -> None:
    for done, benchmark in enumerate(benchmarks):
        if not agent.acknowledge(benchmark.name):
            raise DeviceError(
                f"{device.name} has forgotten {done} of {len(benchmarks)} results, and then did not "
                "answer or refused: repeat the command"
            )
