"""The pipe between a worker and its agent: BenchmarkEvents, length-prefixed.

The agent reads them right into the message that it will send to the host: a launch of a fast model
has megabytes of samples, and copying them would be most of what the agent does.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2

_LENGTH = struct.Struct("<I")


class EventWriter:
    """The worker's end."""

    def __init__(self, descriptor: int, launch: int) -> None:
        self._descriptor = descriptor
        self._launch = launch

    def __call__(self, event: benchmark_pb2.BenchmarkEvent) -> None:
        event.launch = self._launch
        data = event.SerializeToString()
        view = memoryview(_LENGTH.pack(len(data)) + data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def fail(self, reason: str, message: str) -> None:
        """Ends this launch with a reason the user can act on."""
        failure = benchmark_pb2.Failure(reason=reason, message=message)
        self(benchmark_pb2.BenchmarkEvent(benchmark=benchmark_pb2.Benchmark(failure=failure)))


async def read_events(
    reader: asyncio.StreamReader,
) -> AsyncIterator[agent_pb2.WatchBenchmarkResponse]:
    """The agent's end. A worker that dies in the middle of an event ends the stream."""
    while True:
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            data = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return
        response = agent_pb2.WatchBenchmarkResponse()
        response.event.ParseFromString(data)
        yield response
