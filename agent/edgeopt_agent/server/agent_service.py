"""AgentService: device facts, benchmarks and a live view of the sensors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, device_pb2
from edgeopt_agent import sensors
from edgeopt_agent.device import DeviceFacts
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument
from edgeopt_agent.queue import BenchmarkQueue
from edgeopt_agent.server import validate
from edgeopt_agent.server.status import streaming, unary

Context = grpc.aio.ServicerContext[Any, Any]

_MIN_TELEMETRY_NS = 10_000_000


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, facts: DeviceFacts, queue: BenchmarkQueue) -> None:
        self._facts = facts
        self._queue = queue

    @unary
    async def GetDevice(  # noqa: N802
        self, request: agent_pb2.GetDeviceRequest, _: Context
    ) -> agent_pb2.GetDeviceResponse:
        if self._queue.busy and request.refresh:
            raise FailedPrecondition(
                "BENCHMARK_RUNNING",
                "a benchmark runs on this device, and probing its runtimes would disturb it; ask "
                "again when it has ended",
            )
        device = await self._facts.get(refresh=request.refresh, quiet=self._queue.busy)
        return agent_pb2.GetDeviceResponse(device=device)

    @unary
    async def CreateBenchmark(  # noqa: N802
        self, request: agent_pb2.CreateBenchmarkRequest, _: Context
    ) -> agent_pb2.CreateBenchmarkResponse:
        validate.request_id(request.request_id)
        validate.benchmark(request.benchmark)
        created = self._queue.create(request.benchmark, request.request_id)
        return agent_pb2.CreateBenchmarkResponse(benchmark=created)

    @unary
    async def GetBenchmark(  # noqa: N802
        self, request: agent_pb2.GetBenchmarkRequest, _: Context
    ) -> agent_pb2.GetBenchmarkResponse:
        return agent_pb2.GetBenchmarkResponse(benchmark=self._queue.get(request.name).benchmark)

    @unary
    async def ListBenchmarks(  # noqa: N802
        self, request: agent_pb2.ListBenchmarksRequest, _: Context
    ) -> agent_pb2.ListBenchmarksResponse:
        size, offset = validate.page(request.page_size, request.page_token)
        benchmarks = self._queue.list()
        more = offset + size < len(benchmarks)
        return agent_pb2.ListBenchmarksResponse(
            benchmarks=benchmarks[offset : offset + size],
            next_page_token=str(offset + size) if more else "",
        )

    @unary
    async def CancelBenchmark(  # noqa: N802
        self, request: agent_pb2.CancelBenchmarkRequest, _: Context
    ) -> agent_pb2.CancelBenchmarkResponse:
        return agent_pb2.CancelBenchmarkResponse(benchmark=self._queue.cancel(request.name))

    @unary
    async def AcknowledgeBenchmark(  # noqa: N802
        self, request: agent_pb2.AcknowledgeBenchmarkRequest, _: Context
    ) -> agent_pb2.AcknowledgeBenchmarkResponse:
        self._queue.acknowledge(request.name)
        return agent_pb2.AcknowledgeBenchmarkResponse()

    @streaming
    async def WatchBenchmark(  # noqa: N802
        self, request: agent_pb2.WatchBenchmarkRequest, _: Context
    ) -> AsyncIterator[agent_pb2.WatchBenchmarkResponse]:
        async for response in self._queue.get(request.name).watch(request.after_sequence):
            yield response

    @streaming
    async def WatchTelemetry(  # noqa: N802
        self, request: agent_pb2.WatchTelemetryRequest, _: Context
    ) -> AsyncIterator[agent_pb2.WatchTelemetryResponse]:
        self._refuse_while_busy()
        found = await asyncio.to_thread(sensors.working)
        try:
            known = {channel.name for sensor in found for channel in sensor.channels}
            if unknown := sorted(set(request.channels) - known):
                raise InvalidArgument(
                    "INVALID_FIELD",
                    f"channels names {', '.join(unknown)}; this device has "
                    f"{', '.join(sorted(known)) or 'none'}",
                    field="channels",
                )
            wanted = set(request.channels) or known
            chosen = [s for s in found if wanted & {c.name for c in s.channels}]
            slowest = max((sensor.min_interval_ns for sensor in chosen), default=0)
            interval_s = max(request.interval_ns, slowest, _MIN_TELEMETRY_NS) / 1e9
            while True:
                self._refuse_while_busy()
                sample = device_pb2.SensorSample(time_ns=time.monotonic_ns())
                for sensor in chosen:
                    sample.values.extend(v for v in sensors.values(sensor) if v.channel in wanted)
                yield agent_pb2.WatchTelemetryResponse(sample=sample)
                await asyncio.sleep(interval_s)
        finally:
            for sensor in found:
                sensor.close()

    def _refuse_while_busy(self) -> None:
        if self._queue.busy:
            raise FailedPrecondition(
                "BENCHMARK_RUNNING",
                "a benchmark runs on this device, and reading sensors would disturb it; watch again "
                "when it has ended",
            )
