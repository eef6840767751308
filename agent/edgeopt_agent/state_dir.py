"""Which folder is the agent's state directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

_SERVICE_STATE = Path("/var/lib/edgeopt-agent")


def default_state_dir() -> Path:
    """The service's, for root, else the user's own."""
    if os.geteuid() == 0:
        return _SERVICE_STATE
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "edgeopt-agent"


def state_dir_option(command: Any) -> Any:
    """`--state-dir`, as the argument `state_dir`."""
    return click.option(
        "--state-dir",
        metavar="DIRECTORY",
        callback=_state_dir,
        help="Where blobs and work in progress live. Default: /var/lib/edgeopt-agent for the service "
        "(root), else the XDG state folder.",
    )(command)


def _state_dir(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Path:
    if value is None:
        return default_state_dir().absolute()
    # Path("") would be the folder that somebody happens to stand in.
    if not value:
        raise click.BadParameter("an empty text is no folder")
    folder = Path(value).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise click.BadParameter(f"{folder} is no folder")
    return folder
