"""The wheels that a device without internet needs, downloaded by this host's pip."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

from edgeopt_host.errors import EdgeoptError

# pip chooses files for the platform that it is told, but evaluates conditions such as
# `platform_machine != 'aarch64'` for the machine that it runs on. There is no option for that.
_PIP = """\
import json, sys
from pip._vendor.packaging import markers
device = json.loads(sys.argv.pop(1))
here = markers.default_environment
markers.default_environment = lambda: {**here(), **device}
from pip._internal.cli.main import main
sys.exit(main())
"""
# glibc's first 64-bit release that a wheel may ask for, by machine.
_FIRST_MINOR = {"x86_64": 5, "aarch64": 17}
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def download(
    wheel: Path, extras: list[str], facts: dict[str, str], folder: Path, *, dry_run: bool = False
) -> list[str]:
    """Puts the agent's wheel and all that it needs on the device into a folder.

    Args:
        wheel: the agent's.
        extras: what is installed with it.
        facts: what `install.sh check` printed.
        folder: where to.
        dry_run: only make the command.

    Returns:
        The command, as one would type it.

    Raises:
        EdgeoptError: when the device's platform has no wheels, or pip cannot get them.
    """
    platforms = _platforms(facts)
    markers = json.loads(facts["markers"])
    arguments = [
        *("download", "--disable-pip-version-check", "--no-input", "--quiet"),
        *("--only-binary=:all:", "--dest", str(folder)),
        *("--implementation", "cp", "--python-version", markers["python_version"]),
        *("--abi", facts["tag"]),
        *(word for platform in platforms for word in ("--platform", platform)),
        f"{wheel}[{','.join(extras)}]",
    ]
    if not dry_run:
        _run([sys.executable, "-c", _PIP, facts["markers"], *arguments])
    return [sys.executable, "-m", "pip", *arguments]


def _platforms(facts: dict[str, str]) -> list[str]:
    """Tags of wheels that run on the device, the best first.

    PEP 600: a wheel for glibc 2.N runs on every later one.
    """
    machine = json.loads(facts["markers"])["platform_machine"]
    libc = re.fullmatch(r"glibc 2\.(\d+)(?:\..*)?", facts["libc"])
    if libc is None:
        raise EdgeoptError(
            f"--offline carries wheels for glibc, and the device has {facts['libc'] or 'none'}: "
            f"install without --offline",
            "OFFLINE_UNSUPPORTED",
        )
    if machine not in _FIRST_MINOR:
        raise EdgeoptError(
            f"--offline carries wheels for {' and '.join(_FIRST_MINOR)}, and the device is {machine}: "
            f"install without --offline",
            "OFFLINE_UNSUPPORTED",
        )
    tags = []
    for minor in range(int(libc[1]), _FIRST_MINOR[machine] - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[minor]}_{machine}")
    return [*tags, f"linux_{machine}"]


def _run(command: list[str]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise EdgeoptError(
            f"--offline needs pip on this host: {sys.executable} -m ensurepip", "OFFLINE_FAILED"
        )
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = " ".join(lines[-2:] or done.stderr.splitlines()[-1:]) or "it gave no reason"
        raise EdgeoptError(
            f"pip cannot get the wheels for the device: {why}; leave out a runtime that it has no "
            f"wheels for",
            "OFFLINE_FAILED",
        )
