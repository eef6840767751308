"""`edgeopt-host device reserve` and `release`: who may use a device."""

from __future__ import annotations

import re
import threading
import uuid
from typing import TYPE_CHECKING, Any

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from edgeopt.agent.v1 import agent_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device

_UNITS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_S = 24 * 3600
_POLL_S = 2.0
_NS = 1e9


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.5 made it generic
    """Seconds, from a text like 90s, 30m or 2h."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(\d{1,9})([smh])", value.strip())
        if found is None:
            self.fail(f"{value!r} is no duration: write 90s, 30m or 2h", param, ctx)
        seconds = int(found[1]) * _UNITS[found[2]]
        if not 1 <= seconds <= _LONGEST_S:
            self.fail(f"{value!r} is no duration from 1s to 24h", param, ctx)
        return seconds


@click.command()
@click.argument("name")
@click.option(
    "--for", "term_s", type=Duration(), required=True, help="For how long: 90s, 30m or 2h."
)
@click.option("--purpose", default="", metavar="TEXT", help="Shown to others.")
@click.option("--wait", is_flag=True, help="Until whoever has it is done.")
def reserve(name: str, term_s: int, purpose: str, *, wait: bool) -> None:
    """Keep a device for yourself: pushes of others wait or are refused.

    What was queued before still runs first. Pushes from this host keep the reservation while they
    run. Reserving again starts the time anew.
    """
    from edgeopt_host import _clock, reservations

    device = _device(name)
    with _ask.agent(device) as agent:
        lease = _renewed(agent, device, term_s) or _acquired(
            agent, device, term_s, purpose, wait=wait
        )
        reservations.keep(device, lease, term_s)
    _output.note(
        f"{name} is reserved for {lease.holder} for {_clock.span(term_s)}, "
        f"until {_clock.until(lease.remaining_ns / _NS)}"
    )


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if somebody else has it; ends what they run.")
def release(name: str, *, force: bool) -> None:
    """End a reservation before its time. What runs under it ends, too."""
    from edgeopt_host import _clock, reservations

    device = _device(name)
    with _ask.agent(device) as agent:
        own = reservations.find(device)
        lease = agent.status().lease
        if lease.fencing_number == 0:
            said = f"nobody has reserved {name}"
        elif force or (own is not None and own.fencing_number == lease.fencing_number):
            agent.release_lease(lease.fencing_number, force=force)
            said = f"{name} is free; {lease.holder} had it"
        else:
            held = _clock.held(name, lease.holder, lease.purpose, lease.remaining_ns / _NS)
            raise DeviceError(f"{held}: --force ends it all the same", "DEVICE_RESERVED")
    if own is not None:
        reservations.forget(device)
    _output.note(said)


def _device(name: str) -> Device:
    from edgeopt_host.inventory import LOCAL, Inventory

    if name == LOCAL:
        raise UsageError(
            f"{LOCAL!r} is this machine, where commands take turns: it cannot be reserved"
        )
    return Inventory.load().get(name)


def _renewed(agent: Agent, device: Device, term_s: int) -> agent_pb2.Lease | None:
    """The lease that this host has already, with a new term."""
    from edgeopt_host import reservations

    own = reservations.find(device)
    if own is None:
        return None
    try:
        return agent.renew_lease(own.fencing_number, term_s)
    except DeviceError as error:
        if error.reason != "LEASE_LOST":
            raise
        reservations.forget(device)
        return None


def _acquired(
    agent: Agent, device: Device, term_s: int, purpose: str, *, wait: bool
) -> agent_pb2.Lease:
    from edgeopt_host import reservations

    # The same one each time: the answer to the first that was heard may be lost.
    request_id = uuid.uuid4().hex
    holder = ""
    while True:
        try:
            return agent.acquire_lease(request_id, purpose, term_s)
        except DeviceError as error:
            if error.reason != "DEVICE_RESERVED" or not wait:
                raise reservations.explained(agent, device, error) from error
            if holder != (holder := error.metadata.get("holder", "")):
                why = reservations.explained(agent, device, error).message
                _output.note(f"waiting: {why.rpartition(':')[0]}")
        threading.Event().wait(_POLL_S)
