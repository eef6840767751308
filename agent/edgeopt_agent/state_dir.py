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
        type=click.Path(path_type=Path, file_okay=False),
        callback=lambda _ctx, _param, value: (value or default_state_dir()).expanduser().absolute(),
        help="Where blobs and work in progress live. Default: /var/lib/edgeopt-agent for the service "
        "(root), else the XDG state folder.",
    )(command)
