"""The command line: `edgeopt-agent`. The only place that prints and exits."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeopt_agent.errors import AgentError, FailedPrecondition, InvalidArgument
from edgeopt_agent.facts import refuse_reason
from edgeopt_agent.identity.cli import identity
from edgeopt_agent.state_dir import default_state_dir, state_dir_option

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_PORT = 50551
_CODE = ("torchscript", "delegates")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeopt", prog_name="edgeopt-agent")
def cli() -> None:
    """Execute models on this device and report what they cost."""


def _kinds(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> frozenset[str]:
    kinds = frozenset(kind for value in values for kind in value.replace(",", " ").split())
    if unknown := kinds - set(_CODE):
        wrong = f"{min(unknown)!r} is not one of {', '.join(_CODE)}"
        if ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
            raise click.UsageError(f"EDGEOPT_AGENT_ALLOW: {wrong}")
        raise click.BadParameter(wrong, param=param)
    return kinds


@cli.command()
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="unix:PATH or HOST:PORT; port 0 picks one. May be given several times. TCP needs keys "
    "(--enroll), or --insecure on loopback. Default: unix:agent.sock in the state directory.",
)
@click.option("--insecure", is_flag=True, help="Allow plain TCP, on a loopback address only.")
@click.option(
    "--enroll",
    is_flag=True,
    help="Wait for a host to enrol this agent, by the line that is printed, then serve it. "
    f"Default address: 0.0.0.0:{DEFAULT_PORT}.",
)
@click.option("--replace", is_flag=True, help="With --enroll: let another host have this agent.")
@click.option(
    "--advertise",
    metavar="HOST",
    help="With --enroll: the name or IP address in the line. Default: this device's own.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="KIND",
    envvar="EDGEOPT_AGENT_ALLOW",
    callback=_kinds,
    help="Execute models that are code: torchscript, delegates. May be given several times, or "
    "several with commas.",
)
@state_dir_option
@click.option(
    "--blob-quota",
    metavar="MB",
    type=click.IntRange(min=1),
    help="The most that models and data may take. Default: half of the disk.",
)
@click.option("--reflection", is_flag=True, help="Serve gRPC reflection, for grpcurl.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def serve(
    listen: tuple[str, ...],
    state_dir: Path,
    blob_quota: int | None,
    advertise: str | None,
    allow: frozenset[str],
    *,
    insecure: bool,
    enroll: bool,
    replace: bool,
    reflection: bool,
    until_stdin_closes: bool,
) -> None:
    """Serve hosts until stopped. The first line printed is `listening on ADDRESS`."""
    # Its own log lines would stand before the sentence that says the same.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _import_asyncio_lightly()
    from edgeopt_agent.server.address import ListenAddress
    from edgeopt_agent.server.serve import Options, run

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if enroll and insecure:
        raise click.UsageError("--enroll and --insecure exclude each other")
    if not enroll and (replace or advertise):
        raise click.UsageError("--replace and --advertise belong to --enroll")
    if advertise and not re.fullmatch(r"[0-9A-Za-z:][0-9A-Za-z.:_-]{0,252}", advertise):
        raise click.UsageError(f"--advertise {advertise[:80]!r} is no host name or IP address")
    default = f"0.0.0.0:{DEFAULT_PORT}" if enroll else f"unix:{state_dir / 'agent.sock'}"
    # Whether keys are usable, serving finds out.
    has_keys = enroll or (state_dir / "identity.json").exists()
    addresses = tuple(
        ListenAddress.parse(text, insecure=insecure, has_keys=has_keys)
        for text in listen or (default,)
    )
    quota = blob_quota * 2**20 if blob_quota else _half_of_the_disk(state_dir)
    run(
        Options(
            addresses,
            state_dir,
            quota,
            reflection,
            until_stdin_closes,
            enroll,
            replace,
            advertise,
            allow,
        )
    )


cli.add_command(identity)


@cli.command()
def probe() -> None:
    """Print what this device is, as JSON: board, CPU, runtimes, sensors."""
    import asyncio

    from edgeopt_agent.facts import read_device
    from edgeopt_agent.probe import probe_runtimes

    device = read_device(default_state_dir())
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


def _import_asyncio_lightly() -> None:
    """Imports asyncio without OpenSSL, as it allows: TLS is gRPC's here, and a MiB is a MiB."""
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    # Whoever wants it later, such as a sensor's plug-in, gets it.
    del sys.modules["ssl"]


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
    return _unexpected(error)


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _full_output(error)
    if os.environ.get("EDGEOPT_DEBUG"):
        traceback.print_exception(error)
    return _say(
        f"internal error, a bug in edgeopt: {type(error).__name__}: {error} "
        "(EDGEOPT_DEBUG=1 shows where)",
        4,
    )


def _full_output(error: OSError) -> int:
    # What Python would try to flush at its end goes nowhere.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return _say(f"standard output cannot be written: {error.strerror}", 4)


def _say(message: str, code: int) -> int:
    click.echo(f"edgeopt-agent: {message}", err=True)
    return code
