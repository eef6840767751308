"""The pipe between a worker and its agent: BenchmarkEvents, length-prefixed.

The agent reads them right into the message that it will send to the host: a launch of a fast model
has megabytes of samples, and copying them would be most of what the agent does.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2

_LENGTH = struct.Struct("<I")
# gRPC takes 4 MiB, and what is sent on has a sequence number and a frame around it.
_MAX_EVENT_BYTES = 4 * 2**20 - 64 * 2**10
# A launch of 5 million samples and hours of readings needs a third of it.
_MAX_LAUNCH_BYTES = 256 * 2**20
# Each is an object in the agent's memory; a launch of a day tells its progress 86,400 times.
_MAX_LAUNCH_EVENTS = 100_000
# An empty message in a list takes two bytes of an event, and this much memory when it is read.
_PART_BYTES = 64
# Twice what 100,000 samples need that are a block each.
_MAX_EVENT_PARTS = 200_000
_TOO_MUCH = f"more than {_MAX_LAUNCH_BYTES >> 20} MiB of events in one launch"
# As large in memory as they are on the wire.
_FIXED = {
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}


class EventWriter:
    """The worker's end."""

    def __init__(self, descriptor: int, launch: int, subject: int = 0) -> None:
        self._descriptor = descriptor
        self._launch = launch
        self._subject = subject

    def __call__(self, event: benchmark_pb2.BenchmarkEvent) -> None:
        event.launch = self._launch
        event.subject = self._subject
        data = event.SerializeToString()
        view = memoryview(_LENGTH.pack(len(data)) + data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def fail(self, reason: str, message: str) -> None:
        """Ends this launch with a reason the user can act on."""
        failure = benchmark_pb2.Failure(reason=reason, message=message)
        self(benchmark_pb2.BenchmarkEvent(benchmark=benchmark_pb2.Benchmark(failure=failure)))


class Oversized(Exception):
    """A worker reports more than a launch can have to say; the text tells what."""


async def read_events(
    reader: asyncio.StreamReader,
) -> AsyncIterator[agent_pb2.WatchBenchmarkResponse]:
    """The agent's end. A worker that dies in the middle of an event ends the stream.

    Raises:
        Oversized: before the agent's memory takes what exceeds the limits of a launch.
    """
    total = count = 0
    while True:
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            total, count = total + length, count + 1
            if length > _MAX_EVENT_BYTES:
                raise Oversized(f"an event of {length} bytes, more than {_MAX_EVENT_BYTES}")
            if total > _MAX_LAUNCH_BYTES:
                raise Oversized(_TOO_MUCH)
            if count > _MAX_LAUNCH_EVENTS:
                raise Oversized(f"more than {_MAX_LAUNCH_EVENTS} events in one launch")
            data = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return
        response = agent_pb2.WatchBenchmarkResponse()
        response.event.ParseFromString(data)
        total += _PART_BYTES * _count_parts(response.event, _MAX_EVENT_PARTS)
        if total > _MAX_LAUNCH_BYTES:
            raise Oversized(_TOO_MUCH)
        yield response


def _count_parts(message: Message, most: int) -> int:
    """How many messages, strings and numbers there are in lists of it, at any depth.

    Raises:
        Oversized: when they are more than `most`; the rest is not looked at.
    """
    count = 0
    for field, value in message.ListFields():
        nested = field.message_type
        inside = [value]
        if field.is_repeated:
            count += 0 if field.type in _FIXED else len(value)
            inside = [] if nested is None or nested.GetOptions().map_entry else value
        if count > most:
            raise Oversized(f"an event of more than {_MAX_EVENT_PARTS} parts")
        # Most messages are so small that nothing can be in them.
        if nested is not None and any(map(_may_hold, nested.fields)):
            count += sum(_count_parts(one, most - count) for one in inside)
    return count


def _may_hold(field: FieldDescriptor) -> bool:
    if field.type in _FIXED:
        return False
    return field.message_type is not None or field.is_repeated
