"""The agent's wheel, made from the edgeopt that is installed here.

So a device gets the very agent that fits this host, without a package index and also from a
development installation. The host's own package, its extra and its command are left out.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from edgeopt_host.errors import EdgeoptError

_PACKAGES = ("edgeopt", "edgeopt_agent")
_HOST_ONLY = ("host", "dev")
_WHEEL = """\
Wheel-Version: 1.0
Generator: edgeopt
Root-Is-Purelib: true
Tag: py3-none-any
"""
_ENTRY_POINTS = """\
[console_scripts]
edgeopt-agent = edgeopt_agent.cli:main
"""
# The earliest that a zip file can hold: the same installation always makes the same wheel.
_TIME = (1980, 1, 1, 0, 0, 0)
_FILE = 0o100644 << 16


def build(folder: Path) -> Path:
    """Writes `edgeopt-VERSION-py3-none-any.whl` into a folder.

    Raises:
        EdgeoptError: when edgeopt is not installed as a package here, or the file cannot be written.
    """
    try:
        installed = distribution("edgeopt")
        metadata = installed.read_text("METADATA")
    except PackageNotFoundError:
        metadata = None
    if not metadata:
        raise EdgeoptError(
            "edgeopt is not installed here as a package, so there is no agent to install: "
            "pip install 'edgeopt[host]'",
            "WHEEL_MISSING",
        )
    path = folder / f"edgeopt-{installed.version}-py3-none-any.whl"
    info = f"edgeopt-{installed.version}.dist-info"
    files = {
        **dict(_sources()),
        f"{info}/METADATA": _metadata(metadata).encode(),
        f"{info}/WHEEL": _WHEEL.encode(),
        f"{info}/entry_points.txt": _ENTRY_POINTS.encode(),
        f"{info}/licenses/LICENSE": (installed.read_text("licenses/LICENSE") or "").encode(),
    }
    record = f"{info}/RECORD"
    files[record] = _record(files, record).encode()
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, _TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = _FILE
                archive.writestr(entry, content)
    except OSError as error:
        raise EdgeoptError(
            f"the agent's wheel {path} cannot be written: {error.strerror}", "WHEEL_MISSING"
        ) from error
    return path


def extras() -> frozenset[str]:
    """What may be installed with the agent."""
    try:
        names = distribution("edgeopt").metadata.get_all("Provides-Extra") or []
    except PackageNotFoundError:
        names = []
    return frozenset(names) - set(_HOST_ONLY)


def _sources() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        # Found, not imported: nothing of the agent runs in the host.
        spec = importlib.util.find_spec(package)
        places = sorted((spec.submodule_search_locations if spec else None) or [])
        for place in map(Path, places):
            for path in sorted(place.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield f"{package}/{path.relative_to(place).as_posix()}", path.read_bytes()


def _metadata(text: str) -> str:
    """Without the host's extras, which need a package that is not in this wheel."""
    left_out = tuple(f"extra == {quote}{extra}{quote}" for extra in _HOST_ONLY for quote in "'\"")
    head, _, body = text.partition("\n\n")
    lines = [
        line
        for line in head.splitlines()
        if line not in {f"Provides-Extra: {extra}" for extra in _HOST_ONLY}
        and not (line.startswith("Requires-Dist:") and line.endswith(left_out))
    ]
    return "\n".join(lines) + "\n\n" + body


def _record(files: dict[str, bytes], record: str) -> str:
    rows = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(rows) + f"{record},,\n"
