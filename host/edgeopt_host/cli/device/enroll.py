"""`edgeopt-host device enroll`."""

from __future__ import annotations

import dataclasses
import time

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.device import _ask
from edgeopt_host.errors import DeviceError, Unreachable, Untrusted, UsageError

# The agent changes over from enrolment to mutual TLS.
_CHANGEOVER_S = 15.0
_PAUSE_S = 0.5


@click.command()
@click.argument("name")
@click.argument("line")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A group it belongs to.")
@click.option(
    "--address", metavar="HOST:PORT", help="Where it is reached, if not where the line says."
)
def enroll(name: str, line: str, tags: tuple[str, ...], address: str | None) -> None:
    """Enrol a device by the LINE that `edgeopt-agent serve --enroll` printed there."""
    from edgeopt_host.address import parse_address
    from edgeopt_host.client.enroll import enroll as enroll_device
    from edgeopt_host.identity import HostIdentity, new_device_id
    from edgeopt_host.identity.line import EnrollmentLine
    from edgeopt_host.inventory import Inventory
    from edgeopt_host.report.device import render_facts

    read = EnrollmentLine.parse(line)
    if address is not None:
        read = dataclasses.replace(read, address=parse_address(address, enrolled=True))
    inventory = Inventory.load()
    # What cannot be added is refused before the line is used.
    inventory.check(name, read.address, tags, identity=new_device_id())
    device_id = enroll_device(read, HostIdentity.open(), _output.note)
    if known := [d.name for d in inventory.devices if d.identity == device_id]:
        raise UsageError(
            f"this device is enrolled already, as {known[0]}: use that name, or remove it first"
        )
    device = inventory.add(name, read.address, tags, identity=device_id)
    _output.note(f"enrolled {name} at {device.address} as {device_id}")
    deadline = time.monotonic() + _CHANGEOVER_S
    while True:
        try:
            facts = _ask.facts(device)
            break
        except (Unreachable, Untrusted) as error:
            # The one mistrust that passes: it still shows what it was enrolled by.
            waits = isinstance(error, Unreachable) or error.reason == "NOT_ENROLLED"
            if not waits or time.monotonic() >= deadline:
                raise DeviceError(
                    f"{name} is enrolled and in the inventory, but does not answer yet: {error.message}",
                    error.reason,
                ) from error
            time.sleep(_PAUSE_S)
    _output.show(render_facts(device, facts))
