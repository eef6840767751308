"""The states in which a benchmark stays."""

from __future__ import annotations

from edgeopt.agent.v1 import benchmark_pb2

ENDED_BADLY = frozenset(
    {benchmark_pb2.Benchmark.STATE_FAILED, benchmark_pb2.Benchmark.STATE_CANCELLED}
)
ENDED = ENDED_BADLY | {benchmark_pb2.Benchmark.STATE_SUCCEEDED}
