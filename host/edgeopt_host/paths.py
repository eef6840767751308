"""Where the host keeps its things: one folder (`EDGEOPT_HOME`), or the platform's own folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def config_dir() -> Path:
    """The inventory."""
    return _home("config") or platformdirs.user_config_path("edgeopt")


def data_dir() -> Path:
    """Results, and the state of the local agent."""
    return _home("data") or platformdirs.user_data_path("edgeopt")


def cache_dir() -> Path:
    """What can be made again: results of optimization steps."""
    return _home("cache") or platformdirs.user_cache_path("edgeopt")


def _home(name: str) -> Path | None:
    home = os.environ.get("EDGEOPT_HOME")
    return Path(home).expanduser().absolute() / name if home else None
