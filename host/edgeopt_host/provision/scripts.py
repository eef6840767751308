"""What is carried to a device beside the agent's wheel: the files of deploy/linux."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import IO

from edgeopt_host.errors import EdgeoptError

INSTALL = "install.sh"
UNINSTALL = "uninstall.sh"
UNITS = ("edgeopt-agent.service", "edgeopt-agent.user.service")


def read(name: str) -> str:
    """The text of a file of deploy/linux.

    Raises:
        EdgeoptError: when this installation lacks it.
    """
    inside = files("edgeopt_host") / "deploy" / "linux" / name
    if inside.is_file():
        return inside.read_text("utf-8")
    # An editable installation runs from the repository, where it lies beside `host`.
    beside = Path(__file__).parents[3] / "deploy" / "linux" / name
    try:
        return beside.read_text("utf-8")
    except OSError as error:
        raise EdgeoptError(
            f"this installation of edgeopt lacks {name}: install it again, with "
            f"pip install --force-reinstall 'edgeopt[host]'",
            "INSTALL_FILES_MISSING",
        ) from error


def send(pipe: IO[bytes], wheels: Iterable[Path], scripts: Iterable[str]) -> None:
    """Writes a tar archive with `wheels/` and the scripts."""
    with tarfile.open(fileobj=pipe, mode="w|") as archive:
        for name in scripts:
            content = read(name).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
        for path in wheels:
            entry = tarfile.TarInfo(f"wheels/{path.name}")
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
