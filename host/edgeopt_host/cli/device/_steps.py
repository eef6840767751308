"""Steps of a command on standard error, as they go."""

from __future__ import annotations

import contextlib

import click

from edgeopt_host._text import plain_lines


def write(piece: str) -> None:
    """Writes a piece of a line; what is done does not depend on anybody reading it."""
    with contextlib.suppress(OSError):
        click.echo(plain_lines(piece), err=True, nl=False)
