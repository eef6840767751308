"""A power meter in the device's supply, which sends a line of mW per measurement over TCP."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import Channel, Quantity, Scope, Sensor


class Meter(Sensor):
    channels = (Channel("meter", Quantity.POWER_MW, Scope.INPUT, gain_error=0.005, averaged=True),)
    min_interval_ns = 10_000_000
    # A worker has no network, and a stream has one reader.
    slow = True

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._rest = b""

    @classmethod
    def discover(cls, root: Path) -> Meter:
        host, _, port = os.environ.get("METER", "").rpartition(":")
        if not host or not port.isdecimal() or root != Path("/"):
            raise Unavailable("METER names no meter: set it to HOST:PORT")
        try:
            stream = socket.create_connection((host, int(port)), timeout=2)
        except (OSError, OverflowError) as error:
            raise Unavailable(f"the meter at {host}:{port} does not answer: {error}") from error
        return cls(stream)

    def read(self) -> list[float]:
        # The mean of what has arrived since the reading before.
        try:
            data = self._rest + self._stream.recv(65536)
            *lines, self._rest = data.split(b"\n")
            measured = [float(line) for line in lines]
        except (OSError, ValueError):
            return [math.nan]
        return [sum(measured) / len(measured) if measured else math.nan]

    def close(self) -> None:
        self._stream.close()
