"""One agent, as the host sees it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

import grpc

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, device_pb2
from edgeopt_host.client._blobs import BlobCalls
from edgeopt_host.client._calls import (
    CALL_S,
    PATIENCE_S,
    PAUSE_S,
    gone,
    passing,
    reason,
    result_lost,
)
from edgeopt_host.errors import OutcomeUnknown

# The first question makes the agent probe its runtimes, one process each.
_DEVICE_S = 120.0
# To tell a device that its work is not wanted any more: Ctrl-C waits for this.
_FAREWELL_S = 3.0
_PAGE = 1000
# Of an agent that cannot look up whether it has taken a request before.
_JOURNAL_LOST = {"STORAGE_FULL", "STATE_READ_ONLY", "STATE_UNUSABLE", "STATE_TOO_NEW"}

_NS = 1_000_000_000

_Answer = agent_pb2.AnswerLookRequest.Answer


class Agent(BlobCalls):
    """A connected agent, for one thread; `cancel` and `renew_lease` may come from others."""

    def device(self, *, refresh: bool = False, timeout_s: float = _DEVICE_S) -> device_pb2.Device:
        """Facts of the device; `refresh` probes its runtimes again.

        Raises:
            DeviceError: when it does not answer, or with an error.
            Cancelled: after `cancel`.
        """
        with self._errors():
            request = agent_pb2.GetDeviceRequest(refresh=refresh)
            response: agent_pb2.GetDeviceResponse = self._ask(
                self._agent.GetDevice, request, timeout_s
            )
            return response.device

    def status(self) -> agent_pb2.GetStatusResponse:
        """What the device is doing: its queue, its lease, and what is wrong with it.

        Raises:
            DeviceError: AGENT_TOO_OLD from an agent that cannot tell.
        """
        with self._errors():
            response: agent_pb2.GetStatusResponse = self._ask(
                self._agent.GetStatus, agent_pb2.GetStatusRequest()
            )
            return response

    def benchmarks(self) -> list[benchmark_pb2.Benchmark]:
        """All that the device knows, the oldest first.

        Raises:
            DeviceError: when it does not answer.
        """
        found: list[benchmark_pb2.Benchmark] = []
        request = agent_pb2.ListBenchmarksRequest(page_size=_PAGE)
        with self._errors():
            while True:
                page: agent_pb2.ListBenchmarksResponse = self._ask(
                    self._agent.ListBenchmarks, request
                )
                found += page.benchmarks
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

    def create(
        self,
        benchmark: benchmark_pb2.Benchmark,
        request_id: str,
        *,
        fencing_number: int = 0,
        wait_for_lease: bool = False,
    ) -> str:
        """Queues a benchmark and returns its name; asking again with the same id changes nothing.

        Raises:
            Unreachable: when the device stays away for 30 s; it may or may not have it.
            OutcomeUnknown: when it went away and came back without its journal: the same.
            DeviceError: when the device refuses it.
            Cancelled: after `cancel`, while the device was away; it may or may not have it.
        """
        request = agent_pb2.CreateBenchmarkRequest(
            request_id=request_id,
            benchmark=benchmark,
            fencing_number=fencing_number,
            wait_for_lease=wait_for_lease,
        )
        deadline = time.monotonic() + PATIENCE_S
        asked_before = False
        while True:
            try:
                # Not by `_ask`: cancelled half-way, it might leave a benchmark without a known name.
                return self._agent.CreateBenchmark(request, timeout=CALL_S).benchmark.name
            except grpc.RpcError as error:
                if asked_before and reason(error) in _JOURNAL_LOST:
                    refused = self._translated(error)
                    raise OutcomeUnknown(refused.message, refused.reason) from error
                if not gone(error) or time.monotonic() >= deadline:
                    raise self._translated(error) from error
            asked_before = True
            self._raise_if_cancelled()
            self._cancelled.wait(PAUSE_S)

    def watch(self, name: str) -> Iterator[benchmark_pb2.BenchmarkEvent]:
        """A benchmark's events in order, each once, across broken connections, until it has ended.

        Raises:
            Unreachable: when the device stays away for 30 s.
            DeviceError: RESULT_LOST when the device does not know it any more.
            Cancelled: after `cancel`.
        """
        after = 0
        lost = False
        deadline = 0.0
        while True:
            request = agent_pb2.WatchBenchmarkRequest(name=name, after_sequence=after)
            started = time.monotonic()
            try:
                self._call = self._agent.WatchBenchmark(request)
                self._raise_if_cancelled()
                for response in self._call:
                    # Passing events have no number, and are not asked for again.
                    after = max(after, response.event.sequence)
                    lost = False
                    yield response.event
            except grpc.RpcError as error:
                self._raise_if_cancelled()
                if reason(error) == "BENCHMARK_NOT_FOUND":
                    raise result_lost(self.name) from error
                now = time.monotonic()
                # What lasted longer than that was a connection on which nothing happened.
                if not lost or now - started > PATIENCE_S:
                    deadline = now + PATIENCE_S
                if not passing(error, deadline):
                    raise self._translated(error) from error
                if not lost:
                    self._notice(
                        f"{self.name}: the connection is lost; trying again for {PATIENCE_S:.0f} s"
                    )
                lost = True
                self._cancelled.wait(PAUSE_S)
            else:
                return

    def answer_look(self, name: str, launch: int, answer: _Answer) -> None:
        """Tells a benchmark that has ended a launch how to go on; also while it is watched.

        One that cannot be told goes on to what was planned.
        """
        request = agent_pb2.AnswerLookRequest(name=name, launch=launch, answer=answer)
        with contextlib.suppress(grpc.RpcError):
            self._agent.AnswerLook(request, timeout=_FAREWELL_S)

    def run(self, benchmark: benchmark_pb2.Benchmark) -> Iterator[benchmark_pb2.BenchmarkEvent]:
        """Runs a benchmark whose result nobody else is to fetch: created, watched, forgotten.

        Raises:
            Cancelled: after `cancel`, once the device has been told.
        """
        name = self.create(benchmark, uuid.uuid4().hex)
        try:
            yield from self.watch(name)
        except BaseException:
            self.forget(name)
            raise
        self.acknowledge(name)

    def forget(self, name: str) -> bool:
        """Ends a benchmark that nobody wants any more; False when the device could not be told."""
        request = agent_pb2.CancelBenchmarkRequest(name=name)
        try:
            self._agent.CancelBenchmark(request, timeout=_FAREWELL_S)
        except grpc.RpcError as error:
            return reason(error) == "BENCHMARK_NOT_FOUND"
        return self.acknowledge(name)

    def acknowledge(self, name: str) -> bool:
        """Tells that results have arrived; False when the device could not be told.

        A run is complete without: an agent that keeps its events a while longer is no failure.
        """
        request = agent_pb2.AcknowledgeBenchmarkRequest(name=name)
        try:
            self._agent.AcknowledgeBenchmark(request, timeout=_FAREWELL_S)
        except grpc.RpcError:
            return False
        return True

    def acquire_lease(self, request_id: str, purpose: str, term_s: float) -> agent_pb2.Lease:
        """Reserves the device.

        Raises:
            DeviceError: DEVICE_RESERVED when somebody has it, named in its metadata.
        """
        with self._errors():
            request = agent_pb2.AcquireLeaseRequest(
                request_id=request_id, purpose=purpose, term_ns=round(term_s * _NS)
            )
            response: agent_pb2.AcquireLeaseResponse = self._ask(self._agent.AcquireLease, request)
            return response.lease

    def renew_lease(self, fencing_number: int, term_s: float) -> agent_pb2.Lease:
        """Starts a lease's term anew; also while another thread watches a benchmark.

        Raises:
            DeviceError: LEASE_LOST when it has ended.
        """
        request = agent_pb2.RenewLeaseRequest(
            fencing_number=fencing_number, term_ns=round(term_s * _NS)
        )
        try:
            return self._agent.RenewLease(request, timeout=CALL_S).lease
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def release_lease(self, fencing_number: int, *, force: bool = False) -> None:
        """Ends a lease; one that has ended stays so.

        Raises:
            DeviceError: when it is somebody else's and not forced.
        """
        with self._errors():
            request = agent_pb2.ReleaseLeaseRequest(fencing_number=fencing_number, force=force)
            self._ask(self._agent.ReleaseLease, request)
