"""Standard streams that a shell has closed (`>&-`), and a standard output that takes no more."""

from __future__ import annotations

import os
import sys
import traceback

import click


def occupy() -> None:
    """Puts something where a standard stream is closed.

    Else the next file or socket would take its number, and with it what is written to the stream.
    """
    # In this order: opening takes the lowest number that is free.
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), "r")
    if sys.stdout is None:
        # Writing to it fails, as it does to the closed one.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def is_of_output(error: OSError) -> bool:
    """Whether click could not print: --help and --version, which do not go through cli/_output.py.

    What else would be written to standard output is then dropped.
    """
    frames = traceback.walk_tb(error.__traceback__)
    if all(frame.f_code is not click.echo.__code__ for frame, _ in frames):
        return False
    # Python would try once more at its end.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return True
