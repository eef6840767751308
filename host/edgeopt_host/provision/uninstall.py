"""`device uninstall`: everything that `device add --ssh` has brought."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from edgeopt_host.errors import UsageError
from edgeopt_host.inventory import LOCAL, Inventory
from edgeopt_host.provision import scripts
from edgeopt_host.provision.device import Remote
from edgeopt_host.provision.ssh import Ssh
from edgeopt_host.provision.steps import Steps


def uninstall(
    name: str, write: Callable[[str], None], *, keep_state: bool = False, dry_run: bool = False
) -> str:
    """Takes the agent off a device, and the device out of the inventory.

    Args:
        name: of the device in the inventory.
        write: told of each step; pieces of lines.
        keep_state: leave models, results and keys on the device, and the account that owns them.
        dry_run: change nothing.

    Returns:
        The commands, of a dry run.

    Raises:
        UsageError: when it was not installed over SSH.
        DeviceError: what is in the way; the inventory is then as it was.
    """
    inventory = Inventory.load()
    device = inventory.get(name)
    if name == LOCAL:
        raise UsageError(
            f"{LOCAL!r} is this machine, and part of edgeopt-host: no agent was installed for it"
        )
    if device.ssh is None:
        raise UsageError(
            f"{name!r} was not installed over SSH: run uninstall.sh on it, or only take it out of "
            f"the inventory with `edgeopt-host device remove {name}`"
        )
    if device.scope is None:
        raise UsageError(
            f"the inventory does not say whether {name!r} is a service of the system or of its user: "
            f"`edgeopt-host device add {name} --ssh …` once more notes it, or run uninstall.sh on it"
        )
    steps = Steps(2 if dry_run else 3, write)
    with contextlib.ExitStack() as stack:
        with steps.step(f"connecting to {device.ssh}", asks=True):
            remote = Remote(stack.enter_context(Ssh(device.ssh)))
        arguments = ["--keep-state"] * keep_state + ["--dry-run"] * dry_run
        with steps.step("taking the agent away" if not dry_run else "looking at the device"):
            remote.choose(device.scope)
            commands = remote.script(scripts.UNINSTALL, [f"--{device.scope}", *arguments]).out
    if not dry_run:
        with steps.step("taking it out of the inventory"):
            inventory.remove(name)
    return commands
