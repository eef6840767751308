"""How a launch tells what it measured: all of it, in messages that gRPC takes."""

from __future__ import annotations

from array import array
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_agent.worker.launch import Launch

GRPC_LIMIT = 4 * 2**20


def reported(
    samples: list[int], blocks: list[tuple[int, int]], readings: int = 0, channels: int = 0
) -> list[benchmark_pb2.BenchmarkEvent]:
    events: list[benchmark_pb2.BenchmarkEvent] = []
    launch = Launch(
        benchmark_pb2.Benchmark(subjects=[benchmark_pb2.Subject()]), Path(), events.append
    )
    values = [device_pb2.SensorValue(channel=f"channel-{n}", value=n) for n in range(channels)]
    reading = benchmark_pb2.StateReading(sensors=device_pb2.SensorSample(values=values))
    launch._report(array("q", samples), blocks, [reading] * readings)
    return events


def test_every_sample_arrives_in_its_block() -> None:
    events = reported([1, 2, 3, 4, 5], [(100, 0), (200, 2)])
    blocks = [block for event in events for block in event.samples.blocks]
    assert [(block.start_time_ns, list(block.latency_ns)) for block in blocks] == [
        (100, [1, 2]),
        (200, [3, 4, 5]),
    ]


def test_a_block_too_large_for_a_message_comes_as_several() -> None:
    count = 1_000_000
    events = reported([10] * count, [(0, 0)])
    blocks = [block for event in events for block in event.samples.blocks]
    assert sum(len(block.latency_ns) for block in blocks) == count
    assert max(event.ByteSize() for event in events) < GRPC_LIMIT
    starts = [block.start_time_ns for block in blocks]
    assert starts == sorted(set(starts))


def test_readings_of_a_long_launch_fit_too() -> None:
    events = reported([1], [(0, 0)], readings=12_000, channels=60)
    assert sum(len(event.state.readings) for event in events) == 12_000
    assert max(event.ByteSize() for event in events) < GRPC_LIMIT
