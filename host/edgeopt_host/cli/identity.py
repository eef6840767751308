"""`edgeopt-host identity`: this host's keys, and those it made for others."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeopt_host.cli import _output
from edgeopt_host.errors import EdgeoptError, UsageError

if TYPE_CHECKING:
    from edgeopt_host.identity import HostIdentity
    from edgeopt_host.inventory import Device

_SCHEMA = "edgeopt.identity-info/1"
_LIST_SCHEMA = "edgeopt.issued/1"
# A bench of thousands is far below.
_MAX_FILE_BYTES = 16 * 2**20

_PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Its first line is the passphrase. Otherwise EDGEOPT_PASSPHRASE, or the terminal.",
)


@click.group()
def identity() -> None:
    """This host's keys: show, export, import, list, revoke."""


@identity.command()
@_output.format_option()
def show(format_: str) -> None:
    """Show who this host is to its devices."""
    from edgeopt_host.identity import certificates

    here = _here()
    shown: dict[str, Any] = {
        "schema": _SCHEMA,
        "name": here.name,
        "administers": here.is_admin,
        "certificate_sha256": here.fingerprint,
        "expires": here.expires.isoformat(),
        "ca_sha256": certificates.fingerprint(here.ca_certificate),
    }
    if format_ == "json":
        _output.show(json.dumps(shown, indent=2) + "\n")
        return
    may = "enrol and administer devices" if here.is_admin else "use the devices"
    _output.show(
        f"{here.name} may {may}\n"
        f"certificate  {here.fingerprint}, until {here.expires:%Y-%m-%d}\n"
        f"CA           {shown['ca_sha256']}\n"
    )


@identity.command("list")
@_output.format_option()
def list_(format_: str) -> None:
    """List the certificates that this host has issued."""
    here = _here()
    now = dt.datetime.now(dt.timezone.utc).isoformat()
    if format_ == "json":
        entries = [
            {
                "name": issued.name,
                "sha256": issued.fingerprint,
                "expires": issued.not_after,
                "administers": issued.admin,
                "revoked": issued.revoked,
            }
            for issued in here.issued
        ]
        _output.show(json.dumps({"schema": _LIST_SCHEMA, "issued": entries}, indent=2) + "\n")
        return
    width = max((len(issued.name) for issued in here.issued), default=4)
    _output.show(f"{'Name':<{width}}  {'Role':<11}  {'State':<7}  {'Until':<10}  Certificate\n")
    for issued in here.issued:
        state = "revoked" if issued.revoked else "ended" if issued.not_after <= now else "good"
        role = "administers" if issued.admin else "uses"
        _output.show(
            f"{issued.name:<{width}}  {role:<11}  {state:<7}  {issued.not_after[:10]}  "
            f"{issued.fingerprint[:16]}\n"
        )


@identity.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--name", metavar="NAME", help="Who it is for, like alice@laptop. Default: the file's."
)
@click.option("--with-ca", is_flag=True, help="Let the holder enrol and administer devices, too.")
@click.option(
    "--days",
    type=click.IntRange(1, 397),
    default=397,
    show_default=True,
    help="How long its certificate is valid.",
)
@_PASSPHRASE_FILE
def export(
    file: Path, name: str | None, days: int, passphrase_file: Path | None, *, with_ca: bool
) -> None:
    """Write a fresh identity for somebody else to FILE, encrypted, with the enrolled devices."""
    from edgeopt_host.identity.issuing import check_holder, issue
    from edgeopt_host.identity.transfer import MIN_PASSPHRASE, Exported, seal
    from edgeopt_host.inventory import Inventory

    holder = check_holder(file.stem if name is None else name)
    if file.exists():
        raise UsageError(f"{file} is there already: give another name")
    here = _here()
    passphrase = _passphrase(passphrase_file, new=True)
    if len(passphrase) < MIN_PASSPHRASE:
        raise UsageError(f"the passphrase is too short: use {MIN_PASSPHRASE} characters or more")
    devices = tuple(d for d in Inventory.load().devices if d.identity is not None)
    _, theirs = issue(here, holder, admin=with_ca, days=days)
    _write(file, seal(Exported(theirs, devices), passphrase))
    what = "with the CA's key" if with_ca else "without the CA's key"
    _output.note(
        f"wrote {file} for {holder}, {what}, with {_output.counted(devices, 'device')}; "
        f"`edgeopt-host identity revoke {holder}` ends it"
    )


@identity.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="In place of this host's own; a copy of it is kept.")
@_PASSPHRASE_FILE
def import_(file: Path, passphrase_file: Path | None, *, replace: bool) -> None:
    """Take on the identity in FILE, and the devices that this host does not have yet."""
    from edgeopt_host.identity import HostIdentity
    from edgeopt_host.identity.host import identity_path, install
    from edgeopt_host.identity.transfer import unseal
    from edgeopt_host.inventory import Inventory

    if identity_path().exists() and not replace:
        raise UsageError(
            f"this host has an identity already ({identity_path()}); --replace puts the imported one in "
            "its place and keeps a copy"
        )
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    imported = unseal(content, _passphrase(passphrase_file, new=False), str(file))
    inventory = Inventory.load()
    before = HostIdentity.load()
    # Somebody on the same bench: ids that are new there were rotated, not other devices'.
    same_bench = before is not None and before.ca_certificate == imported.identity.ca_certificate
    backup = install(imported.identity, replace=replace)
    if backup is not None:
        _output.note(f"the identity that was here is kept in {backup}")
    added = _add_missing(inventory, imported.devices, same_bench=same_bench)
    _output.note(
        f"this host is now {imported.identity.name}; {_output.counted(added, 'device')} added"
    )


@identity.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Let no device take the certificates of NAME any more.

    Devices that cannot be told now are told at the next contact.
    """
    from edgeopt_host.identity import issuing
    from edgeopt_host.inventory import Inventory

    here = issuing.revoke(_here(), name)
    _output.note(f"revoked {name}")
    for device in Inventory.load().devices:
        if device.identity is not None:
            _tell(device, here, name)


def _tell(device: Device, here: HostIdentity, name: str) -> None:
    from edgeopt_host.client import administer

    try:
        told = administer.revoke(device, here)
    except EdgeoptError as error:
        _output.note(
            f"{device.name} is not told yet, but will be at the next contact: {error.message}"
        )
    else:
        if told:
            _output.note(f"{device.name} refuses {name} from now on{_reservation(device, name)}")


def _reservation(device: Device, name: str) -> str:
    """What to do about a device that the revoked one still holds."""
    from edgeopt_host.client import connect

    with contextlib.suppress(EdgeoptError), connect(device) as agent:
        if agent.status().lease.holder == name:
            return f"; it is still reserved by {name}: `edgeopt-host device release {device.name} --force`"
    return ""


def _here() -> HostIdentity:
    from edgeopt_host.identity import HostIdentity

    return HostIdentity.open()


def _add_missing(inventory: Any, devices: tuple[Device, ...], *, same_bench: bool) -> list[Device]:
    added = []
    for device in devices:
        there = {d.name: d for d in inventory.devices}
        if device.identity in {d.identity for d in there.values()}:
            continue
        if same_bench and device.name in there and there[device.name].identity is not None:
            inventory.change(device.name, identity=device.identity, next_identity=None)
            _output.note(f"{device.name} has new keys since; they are known now")
            continue
        if device.name in there:
            _output.note(f"{device.name} was not added: another device has this name here")
            continue
        added.append(
            inventory.add(
                device.name,
                device.address,
                device.tags,
                identity=device.identity,
                ssh=device.ssh,
                scope=device.scope,
            )
        )
    return added


def _passphrase(file: Path | None, *, new: bool) -> str:
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} cannot be read as a passphrase: {error}") from error
        return lines[0] if lines else ""
    if given := os.environ.get("EDGEOPT_PASSPHRASE"):
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the passphrase on: give --passphrase-file or "
            "EDGEOPT_PASSPHRASE"
        )
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))


def _write(file: Path, text: str) -> None:
    from edgeopt_host import _files

    try:
        _files.write_private(file, text, replace=False)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
