"""What the commands that show something share: formats, filters, and how text gets out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from edgeopt_host._text import plain
from edgeopt_host.errors import EdgeoptError, UsageError

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Where an output's encoding lacks a sign.
_SPELLED = {"µ": "u", "±": "+-", "…": "...", "°": " deg "}


def format_option(*formats: str, default: str = "table") -> Callable[[_Command], _Command]:
    """`--format`, as the argument `format_`."""
    choice = click.Choice(formats or ("table", "json"))
    return click.option("--format", "format_", type=choice, default=default, show_default=True)


def filter_options(command: _Command) -> _Command:
    """`--device`, `--model` and `--label`: which stored runs are meant."""
    for option in (
        click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_pairs,
            help="With this label.",
        ),
        click.option("--model", metavar="NAME|SHA256", help="Of the model of this name or digest."),
        click.option("--device", metavar="NAME", help="On this device."),
    ):
        command = option(command)
    return command


def _pairs(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    for value in values:
        if value.partition("=")[0] in {"", value}:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE", ctx, param)
    return dict(value.split("=", 1) for value in values)


def show(text: str) -> None:
    """Writes a result to stdout, whatever its encoding can hold."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for sign, spelled in _SPELLED.items():
            text = text.replace(sign, spelled)
        text = text.encode(encoding, "replace").decode(encoding)
    try:
        _write(text, sys.stdout, newline=False)
        sys.stdout.flush()
    except OSError as error:
        # What Python would try to flush at its end.
        _discard(sys.stdout)
        raise EdgeoptError(
            f"the result cannot be written to standard output: {error.strerror}", "OUTPUT"
        ) from error


def note(text: str) -> None:
    """Writes one line beside the result, to stderr; parts of it may come from elsewhere."""
    try:
        _write(plain(text), sys.stderr, newline=True)
    except OSError:
        # Nobody reads it: the result does not depend on that.
        _discard(sys.stderr)


def _write(text: str, stream: TextIO, *, newline: bool) -> None:
    try:
        click.echo(text, file=stream, nl=newline)
    except BrokenPipeError:
        # The reader has gone (`| head`). What the command did, and so its exit code, stands; the
        # rest of its output, and what Python flushes at its end, goes nowhere.
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Sends nowhere what is written from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def check_writable(path: Path | None) -> None:
    """Refuses a file that a result could not be written to: before minutes of measuring, not after.

    Raises:
        UsageError: its folder does not exist, or it is one.
    """
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: its folder does not exist")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")


def write(path: Path, text: str) -> None:
    """Writes a result to a file: whole, or not at all.

    Raises:
        UsageError: when it cannot be written.
    """
    from edgeopt_host import _files

    try:
        _files.write_whole(path, text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal.

    Raises:
        UsageError: without a terminal to ask on.
        click.Abort: when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Without a terminal to ask on, --yes is needed.")
    click.confirm(plain(question), abort=True, err=True)


def counted(items: Sequence[object], what: str) -> str:
    """A count and its noun: "1 run", "3 runs"."""
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"
