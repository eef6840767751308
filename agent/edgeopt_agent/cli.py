"""The command line: `edgeopt-agent`. The only place that prints and exits."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeopt_agent.errors import AgentError, FailedPrecondition, InvalidArgument
from edgeopt_agent.facts import refuse_reason

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SERVICE_STATE = Path("/var/lib/edgeopt-agent")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeopt", prog_name="edgeopt-agent")
def cli() -> None:
    """Execute models on this device and report what they cost."""


@cli.command()
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="unix:PATH, or HOST:PORT together with --insecure; port 0 picks one. "
    "Default: unix:agent.sock in the state directory.",
)
@click.option("--insecure", is_flag=True, help="Allow plain TCP, on a loopback address only.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where blobs and work in progress live. Default: /var/lib/edgeopt-agent for the service "
    "(root), else the XDG state folder.",
)
@click.option(
    "--blob-quota",
    metavar="MB",
    type=click.IntRange(min=1),
    help="The most that models and data may take. Default: half of the disk.",
)
@click.option("--reflection", is_flag=True, help="Serve gRPC reflection, for grpcurl.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def serve(
    listen: str | None,
    state_dir: Path | None,
    blob_quota: int | None,
    *,
    insecure: bool,
    reflection: bool,
    until_stdin_closes: bool,
) -> None:
    """Serve hosts until stopped. The first line printed is `listening on ADDRESS`."""
    # Its own log lines would stand before the sentence that says the same.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from edgeopt_agent.server.address import ListenAddress
    from edgeopt_agent.server.serve import Options, run

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    folder = (state_dir or _default_state_dir()).expanduser().absolute()
    address = ListenAddress.parse(listen or f"unix:{folder / 'agent.sock'}", insecure=insecure)
    quota = blob_quota * 2**20 if blob_quota else _half_of_the_disk(folder)
    run(Options(address, folder, quota, reflection, until_stdin_closes))


@cli.command()
def probe() -> None:
    """Print what this device is, as JSON: board, CPU, runtimes, sensors."""
    from edgeopt_agent.facts import read_device
    from edgeopt_agent.probe import probe_runtimes

    device = read_device(_default_state_dir())
    device.runtimes.extend(asyncio.run(probe_runtimes()))
    click.echo(json.dumps(_plain(device), indent=2, ensure_ascii=False))


def _plain(message: Message) -> dict[str, Any]:
    """Every field by its name in the .proto; protobuf's own JSON makes strings of 64-bit numbers."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
    }


def _value(field: Any, value: Any) -> Any:
    if field.is_repeated:
        return [_item(field, item) for item in value]
    # Empty is what the device could not tell.
    return _item(field, value) if value or isinstance(value, bool) else None


def _item(field: Any, item: Any) -> Any:
    if field.message_type is not None:
        return _plain(item)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[item].name
    return item


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return _SERVICE_STATE
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "edgeopt-agent"


def _half_of_the_disk(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).total // 2


def main() -> None:
    """Runs the command line; exit codes as in docs/reference/exit-codes.md."""
    sys.exit(_run())


def _run() -> int:
    if reason := refuse_reason():
        return _say(reason, 4)
    try:
        result = cli.main(standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - every end has a documented exit code
        return _exit_code(error)
    return result if isinstance(result, int) else 0


def _exit_code(error: BaseException) -> int:
    """Says in one sentence what went wrong, on standard error."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.UsageError():
            error.show()
            return 2
        case click.ClickException():
            return _say(error.format_message(), 2)
        case click.Abort() | KeyboardInterrupt():
            return _say("interrupted", 130)
        case SystemExit():
            # The reader of our output has gone (`| head`); click would exit with 1.
            return 0
        case InvalidArgument() | FailedPrecondition():
            return _say(error.message, 2)
        case AgentError():
            return _say(error.message, 4)
    if not isinstance(error, Exception):
        raise error
    if os.environ.get("EDGEOPT_DEBUG"):
        traceback.print_exception(error)
    return _say(
        f"internal error, a bug in edgeopt: {type(error).__name__}: {error} "
        "(EDGEOPT_DEBUG=1 shows where)",
        4,
    )


def _say(message: str, code: int) -> int:
    click.echo(f"edgeopt-agent: {message}", err=True)
    return code
