"""What this device is, put together once and kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import facts, probe


class DeviceFacts:
    """Device facts with the runtimes, which take seconds to probe, remembered."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._runtimes: list[device_pb2.RuntimeFacts] | None = None
        self._probing = asyncio.Lock()

    async def get(self, *, refresh: bool = False) -> device_pb2.Device:
        """The facts as of now; the runtimes as of the first call, or as of a refresh."""
        async with self._probing:
            if self._runtimes is None or refresh:
                self._runtimes = await probe.probe_runtimes()
        # Some boards tell their facts only through a command, which may take seconds.
        device = await asyncio.to_thread(facts.read_device, self._state_dir)
        device.runtimes.extend(self._runtimes)
        return device
