"""How a launch tells what it measured: all of it, in messages that gRPC takes."""

from __future__ import annotations

from array import array
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_agent.worker.launch import Launch, _Block
from edgeopt_agent.worker.task import Task
from edgeopt_agent.worker.turns import Turns

GRPC_LIMIT = 4 * 2**20


def reported(
    samples: list[int],
    blocks: list[tuple[int, int]],
    readings: int = 0,
    channels: int = 0,
    stream_samples: tuple[int, ...] = (),
) -> list[benchmark_pb2.BenchmarkEvent]:
    """What a launch sends of blocks, each given by its start and the place of its first sample."""
    events: list[benchmark_pb2.BenchmarkEvent] = []
    model = benchmark_pb2.File(name="model.onnx")
    benchmark = benchmark_pb2.Benchmark(subjects=[benchmark_pb2.Subject(files=[model])])
    launch = Launch(Task(benchmark, 0, Path(), events.append), Turns(None, events.append))
    values = [device_pb2.SensorValue(channel=f"channel-{n}", value=n) for n in range(channels)]
    reading = benchmark_pb2.StateReading(sensors=device_pb2.SensorSample(values=values))
    ends = [first for _, first in blocks[1:]] + [len(samples)]
    timed = [
        _Block(start, 1000, 500, first, last, stream_samples)
        for (start, first), last in zip(blocks, ends, strict=True)
    ]
    launch._report(array("q", samples), timed, [reading] * readings)
    return events


def test_every_sample_arrives_in_its_block() -> None:
    events = reported([1, 2, 3, 4, 5], [(100, 0), (200, 2)])
    blocks = [block for event in events for block in event.samples.blocks]
    assert [(b.start_time_ns, b.round, list(b.latency_ns)) for b in blocks] == [
        (100, 0, [1, 2]),
        (200, 1, [3, 4, 5]),
    ]
    assert {(block.duration_ns, block.cpu_ns) for block in blocks} == {(1000, 500)}


def test_a_block_too_large_for_a_message_comes_as_several() -> None:
    count = 1_000_000
    events = reported([10] * count, [(7, 0)], stream_samples=(count // 4, 3 * count // 4))
    blocks = [block for event in events for block in event.samples.blocks]
    assert sum(len(block.latency_ns) for block in blocks) == count
    assert max(event.ByteSize() for event in events) < GRPC_LIMIT
    assert len(blocks) > 1
    # By the round the host knows that they are one.
    assert {(b.round, b.start_time_ns, *b.stream_samples) for b in blocks} == {
        (0, 7, count // 4, 3 * count // 4)
    }


def test_readings_of_a_long_launch_fit_too() -> None:
    events = reported([1], [(0, 0)], readings=12_000, channels=60)
    assert sum(len(event.state.readings) for event in events) == 12_000
    assert max(event.ByteSize() for event in events) < GRPC_LIMIT
