"""What this device is, put together once and kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
from collections.abc import Collection
from pathlib import Path

from google.protobuf.message import DecodeError

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import confine, facts, probe


class DeviceFacts:
    """Device facts, with the runtimes remembered: probing them takes seconds.

    They are remembered on disk for as long as the interpreter, what is installed for it and the
    boot are the same, so that an agent that lives for one command does not probe again.
    """

    def __init__(self, state_dir: Path, allowed_code: Collection[str] = ()) -> None:
        """Allowed code: kinds of models that are code and that may be executed here."""
        self._allowed_code = sorted(allowed_code)
        self._state_dir = state_dir
        self._file = state_dir / "runtimes.json"
        self._probing = asyncio.Lock()
        self._last: device_pb2.Device | None = None

    async def get(self, *, refresh: bool = False, quiet: bool = False) -> device_pb2.Device:
        """The facts as of now, with the runtimes as remembered.

        Args:
            refresh: probe the runtimes again.
            quiet: answer with what was told last, if anything was: reading would disturb a run.
        """
        if quiet and self._last is not None:
            return self._last
        async with self._probing:
            runtimes = None if refresh else self._remembered()
            if runtimes is None:
                runtimes = await probe.probe_runtimes()
                self._remember(runtimes)
        # Some boards tell their facts only through a command, which may take seconds.
        device = await asyncio.to_thread(facts.read_device, self._state_dir)
        device.runtimes.extend(runtimes)
        device.confinement.CopyFrom(await asyncio.to_thread(_confinement))
        device.allowed_code.extend(self._allowed_code)
        self._last = device
        return device

    def _remembered(self) -> list[device_pb2.RuntimeFacts] | None:
        try:
            document = json.loads(self._file.read_text())
            if document["fingerprint"] != _fingerprint():
                return None
            kept = device_pb2.Device.FromString(base64.b64decode(document["runtimes"]))
            return list(kept.runtimes)
        except (OSError, ValueError, KeyError, TypeError, DecodeError):
            return None

    def _remember(self, runtimes: list[device_pb2.RuntimeFacts]) -> None:
        # A failure may pass (a slow disk, a library that is installed next); absence does not.
        if any(
            r.unavailable_reason and not r.unavailable_reason.startswith("not installed")
            for r in runtimes
        ):
            return
        # Not protobuf's JSON: that module would stay in memory for this alone.
        kept = device_pb2.Device(runtimes=runtimes).SerializeToString()
        document = {
            "fingerprint": _fingerprint(),
            "runtimes": base64.b64encode(kept).decode(),
        }
        part = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps(document))
            part.replace(self._file)
        except OSError:
            # A full or read-only disk costs the next agent a probe, nothing else.
            with contextlib.suppress(OSError):
                part.unlink()


def _confinement() -> device_pb2.Confinement:
    try:
        found = confine.found()
    except confine.ConfinementError as error:
        return device_pb2.Confinement(missing=[f"{name}: {error}" for name in confine.MECHANISMS])
    return device_pb2.Confinement(mechanisms=found.mechanisms, missing=found.missing)


def _fingerprint() -> str:
    """Changes when a package is installed or removed, the interpreter changes, or after a boot."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    # The folder somebody happens to stand in says nothing about what is installed.
    folders = [Path(entry) for entry in sys.path if entry not in {"", str(Path.cwd())}]
    parts = [sys.version, sys.executable, boot.read_text() if boot.exists() else ""]
    parts += [f"{folder} {folder.stat().st_mtime_ns}" for folder in folders if folder.exists()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
