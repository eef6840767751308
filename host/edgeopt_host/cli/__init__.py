"""The command line: `edgeopt-host`. The only place that prints and exits."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from importlib import import_module

import click

from edgeopt_host._text import plain, plain_lines
from edgeopt_host.cli import _decoded, _streams
from edgeopt_host.errors import EdgeoptError

# Command → module; imported when called, so that --help stays quick.
_COMMANDS = {
    "baseline": "edgeopt_host.cli.baseline:baseline",
    "compare": "edgeopt_host.cli.compare:compare",
    "device": "edgeopt_host.cli.device:device",
    "gate": "edgeopt_host.cli.gate:gate",
    "identity": "edgeopt_host.cli.identity:identity",
    "optimize": "edgeopt_host.cli.optimize:optimize",
    "push": "edgeopt_host.cli.push:push",
    "runs": "edgeopt_host.cli.runs:runs",
}
_HELP = {
    "baseline": "Named runs that gates compare with: set, list, show, delete.",
    "compare": "Measure models against each other on devices, in turns.",
    "device": "The devices of your bench: add, enrol, list, reserve, remove.",
    "gate": "Decide whether a model may ship: init, check, run.",
    "identity": "This host's keys: show, export, import, list, revoke.",
    "optimize": "Make a model smaller and faster: run, techniques.",
    "push": "Upload a model to devices, run it there, report what it cost.",
    "runs": "Stored runs: list, show, export, resume, trend, delete.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        return _decoded.check(getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_HELP.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeopt", prog_name="edgeopt-host")
def cli() -> None:
    """Measure models on the edge devices you own."""


def main() -> None:
    """Runs the command line and maps every way it can end to a documented exit code."""
    sys.exit(_run())


def _run() -> int:
    if sys.platform == "win32":
        return _say("edgeopt-host runs on Linux and macOS; on Windows, use it inside WSL 2.", 4)
    _streams.occupy()
    try:
        result = cli.main(standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - a crash must never look like a verdict
        if isinstance(error, OSError) and _streams.is_of_output(error):
            return _say(f"nothing can be written to standard output: {error.strerror}", 4)
        return _exit_code(error)
    return result if isinstance(result, int) else 0


def _exit_code(error: BaseException) -> int:
    """Says in one sentence what went wrong, on standard error."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.UsageError():
            said = io.StringIO()
            error.show(file=said)
            with contextlib.suppress(OSError, ValueError):
                click.echo(plain_lines(said.getvalue().expandtabs()), err=True, nl=False)
            return 2
        case click.ClickException():
            return _say(error.format_message(), 2)
        case click.Abort() | KeyboardInterrupt():
            return _say("interrupted", 130)
        case EdgeoptError():
            return _say(error.message, error.exit_code)
        case ModuleNotFoundError() if not (error.name or "").startswith("edgeopt"):
            return _say(
                f"this command needs the package {error.name}: pip install 'edgeopt[host]'", 4
            )
        case SystemExit():
            # The reader of --help or --version has gone (`| head`): click then exits with 1, which
            # here would read as a verdict. Commands' output goes through cli/_output.py.
            return 0
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
    # A broken standard error must not change how this ends.
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"edgeopt-host: {plain(message)}", err=True)
    return code
