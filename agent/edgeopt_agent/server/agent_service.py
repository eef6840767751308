"""AgentService: device facts, benchmarks and a live view of the sensors."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, device_pb2
from edgeopt_agent import __version__, sensors
from edgeopt_agent.device import DeviceFacts
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, StorageError
from edgeopt_agent.server import validate
from edgeopt_agent.server.access import caller
from edgeopt_agent.server.state import AgentState
from edgeopt_agent.server.status import streaming, unary

Context = grpc.aio.ServicerContext[Any, Any]

_MIN_TELEMETRY_NS = 10_000_000


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """What hosts ask of this device.

    Args:
        facts: what the device is.
        state: its queue, as far as that can be used.
        certificate_expires: when the agent's certificate ends, in seconds since the epoch.
    """

    def __init__(
        self,
        facts: DeviceFacts,
        state: AgentState,
        certificate_expires: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._facts = facts
        self._state = state
        self._certificate_expires = certificate_expires

    @unary
    async def GetDevice(  # noqa: N802
        self, request: agent_pb2.GetDeviceRequest, _: Context
    ) -> agent_pb2.GetDeviceResponse:
        if self._state.busy and request.refresh:
            raise FailedPrecondition(
                "BENCHMARK_RUNNING",
                "a benchmark runs on this device, and probing its runtimes would disturb it; ask "
                "again when it has ended",
            )
        device = await self._facts.get(refresh=request.refresh, quiet=self._state.busy)
        return agent_pb2.GetDeviceResponse(device=device)

    @unary
    async def GetStatus(  # noqa: N802
        self, _request: agent_pb2.GetStatusRequest, _: Context
    ) -> agent_pb2.GetStatusResponse:
        response = agent_pb2.GetStatusResponse(
            agent_version=__version__,
            storage_free_bytes=self._state.free_bytes(),
            problems=[
                agent_pb2.Problem(reason=error.reason, message=error.message)
                for error in self._state.problems()
            ],
        )
        response.time.GetCurrentTime()
        if expires := self._certificate_expires():
            response.certificate_expire_time.FromSeconds(int(expires))
        with contextlib.suppress(StorageError):
            queue = self._state.queue
            response.unacknowledged_benchmarks = queue.unacknowledged()
            response.lease.MergeFrom(queue.leases.message() or agent_pb2.Lease())
            if not response.lease.fencing_number:
                response.ClearField("lease")
            response.queue.extend(queue.pending())
        return response

    @unary
    async def CreateBenchmark(  # noqa: N802
        self, request: agent_pb2.CreateBenchmarkRequest, context: Context
    ) -> agent_pb2.CreateBenchmarkResponse:
        validate.at_least_zero("fencing_number", request.fencing_number)
        validate.request_id(request.request_id)
        validate.benchmark(request.benchmark)
        created = self._state.queue.create(
            request.benchmark,
            request.request_id,
            caller(context).name,
            request.fencing_number,
            wait_for_lease=request.wait_for_lease,
        )
        return agent_pb2.CreateBenchmarkResponse(benchmark=created)

    @unary
    async def GetBenchmark(  # noqa: N802
        self, request: agent_pb2.GetBenchmarkRequest, _: Context
    ) -> agent_pb2.GetBenchmarkResponse:
        validate.benchmark_name(request.name)
        return agent_pb2.GetBenchmarkResponse(benchmark=self._state.queue.get(request.name))

    @unary
    async def ListBenchmarks(  # noqa: N802
        self, request: agent_pb2.ListBenchmarksRequest, _: Context
    ) -> agent_pb2.ListBenchmarksResponse:
        size, after = validate.page(request.page_size, request.page_token)
        benchmarks, more = self._state.queue.page(after, size)
        return agent_pb2.ListBenchmarksResponse(
            benchmarks=benchmarks, next_page_token=str(more) if more else ""
        )

    @unary
    async def CancelBenchmark(  # noqa: N802
        self, request: agent_pb2.CancelBenchmarkRequest, _: Context
    ) -> agent_pb2.CancelBenchmarkResponse:
        validate.benchmark_name(request.name)
        return agent_pb2.CancelBenchmarkResponse(benchmark=self._state.queue.cancel(request.name))

    @unary
    async def AcknowledgeBenchmark(  # noqa: N802
        self, request: agent_pb2.AcknowledgeBenchmarkRequest, _: Context
    ) -> agent_pb2.AcknowledgeBenchmarkResponse:
        validate.benchmark_name(request.name)
        self._state.queue.acknowledge(request.name)
        return agent_pb2.AcknowledgeBenchmarkResponse()

    @unary
    async def AcquireLease(  # noqa: N802
        self, request: agent_pb2.AcquireLeaseRequest, context: Context
    ) -> agent_pb2.AcquireLeaseResponse:
        validate.request_id(request.request_id)
        validate.lease(request.purpose, request.term_ns)
        queue = self._state.queue
        queue.acquire_lease(
            request.request_id, caller(context).name, request.purpose, request.term_ns
        )
        return agent_pb2.AcquireLeaseResponse(lease=queue.leases.message())

    @unary
    async def RenewLease(  # noqa: N802
        self, request: agent_pb2.RenewLeaseRequest, context: Context
    ) -> agent_pb2.RenewLeaseResponse:
        validate.at_least_zero("fencing_number", request.fencing_number)
        validate.lease("", request.term_ns)
        leases = self._state.queue.leases
        leases.renew(request.fencing_number, caller(context).name, request.term_ns)
        return agent_pb2.RenewLeaseResponse(lease=leases.message())

    @unary
    async def ReleaseLease(  # noqa: N802
        self, request: agent_pb2.ReleaseLeaseRequest, context: Context
    ) -> agent_pb2.ReleaseLeaseResponse:
        validate.at_least_zero("fencing_number", request.fencing_number)
        self._state.queue.release_lease(
            request.fencing_number, caller(context).name, force=request.force
        )
        return agent_pb2.ReleaseLeaseResponse()

    @unary
    async def AnswerLook(  # noqa: N802
        self, request: agent_pb2.AnswerLookRequest, _: Context
    ) -> agent_pb2.AnswerLookResponse:
        validate.benchmark_name(request.name)
        validate.at_least_zero("launch", request.launch)
        validate.answer(request.answer)
        heard = self._state.queue.answer_look(request.name, request.launch, request.answer)
        return agent_pb2.AnswerLookResponse(heard=heard)

    @streaming
    async def WatchBenchmark(  # noqa: N802
        self, request: agent_pb2.WatchBenchmarkRequest, _: Context
    ) -> AsyncIterator[agent_pb2.WatchBenchmarkResponse]:
        validate.benchmark_name(request.name)
        validate.at_least_zero("after_sequence", request.after_sequence)
        async for response in self._state.queue.watch(request.name, request.after_sequence):
            yield response

    @streaming
    async def WatchTelemetry(  # noqa: N802
        self, request: agent_pb2.WatchTelemetryRequest, _: Context
    ) -> AsyncIterator[agent_pb2.WatchTelemetryResponse]:
        validate.channels(request.channels)
        validate.at_least_zero("interval_ns", request.interval_ns)
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
        if self._state.busy:
            raise FailedPrecondition(
                "BENCHMARK_RUNNING",
                "a benchmark runs on this device, and reading sensors would disturb it; watch again "
                "when it has ended",
            )
