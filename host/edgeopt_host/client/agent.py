"""One agent, as the host sees it: calls that end, also by `cancel`, and errors in one sentence."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from edgeopt.agent.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    benchmark_pb2,
    blob_pb2,
    blob_pb2_grpc,
    device_pb2,
)
from edgeopt_host import _files
from edgeopt_host.errors import Cancelled, DeviceError, EdgeoptError, Unreachable
from edgeopt_host.modelfile import Digest

_CALL_S = 10.0
# The first question makes the agent probe its runtimes, one process each.
_DEVICE_S = 120.0
# To tell a device that its work is not wanted any more: Ctrl-C waits for this.
_FAREWELL_S = 3.0
# How long a broken watch or upload tries to come back.
_PATIENCE_S = 30.0
_PAUSE_S = 0.5
_MESSAGE_BYTES = 256 * 1024
_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Agent:
    """A connected agent, for one thread; `cancel` alone may come from others."""

    def __init__(
        self,
        name: str,
        channel: grpc.Channel,
        cancelled: threading.Event | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._notice = notice
        self._agent = agent_pb2_grpc.AgentServiceStub(channel)
        self._blobs = blob_pb2_grpc.BlobServiceStub(channel)
        self._cancelled = cancelled or threading.Event()
        self._call: Any = None  # the call under way that `cancel` is to end

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

    def upload(
        self, path: Path, digest: Digest, progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Sends a file unless the device has it; goes on from where an earlier upload stopped.

        Args:
            path: the file.
            digest: what it holds.
            progress: told how many bytes the device will have with what was sent so far.

        Returns:
            Bytes that were sent: 0 when the device had it.

        Raises:
            DeviceError: when the device refuses it, or stays away for 30 s.
            EdgeoptError: when the file is not any more what `digest` says.
            Cancelled: after `cancel`.
        """
        sent = mismatches = 0
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            messages = None
            try:
                offset = self._committed_bytes(digest)
                if offset is None:
                    progress(digest.size_bytes)
                    return sent
                messages = _Messages(path, digest, offset, progress)
                self._call = self._blobs.WriteBlob.future(iter(messages))
                self._raise_if_cancelled()
                committed = self._call.result().committed_size_bytes
                if committed < digest.size_bytes and messages.ended:
                    raise _changed(path)
            except (grpc.RpcError, grpc.FutureCancelledError) as error:
                self._raise_if_cancelled()
                reason = _reason(error)
                if messages is not None and messages.sent:
                    deadline = time.monotonic() + _PATIENCE_S
                if reason == "DIGEST_MISMATCH":
                    # Once, it may be an earlier upload's part that was damaged; it is gone now.
                    mismatches += 1
                    if mismatches > 1:
                        raise _changed(path) from error
                # Another client's upload of the same file moves the offset.
                elif not _passing(error, deadline) and (
                    reason != "WRONG_WRITE_OFFSET" or time.monotonic() >= deadline
                ):
                    raise self._translated(error) from error
                self._cancelled.wait(_PAUSE_S)
            finally:
                sent += messages.sent if messages is not None else 0

    def download(self, digest: blob_pb2.Digest, path: Path) -> None:
        """Reads a blob into a file; the file changes only when all has come.

        Raises:
            DeviceError: when the device does not have it, or stopped answering.
            OSError: when the file cannot be written.
        """
        with self._errors():
            request = blob_pb2.ReadBlobRequest(digest=digest)
            self._call = self._blobs.ReadBlob(request, timeout=_DEVICE_S)
            self._raise_if_cancelled()
            _files.write_whole(path, (response.data for response in self._call))

    def run(self, benchmark: benchmark_pb2.Benchmark) -> Iterator[benchmark_pb2.BenchmarkEvent]:
        """Runs a benchmark and yields its events in order, each once, across broken connections.

        Raises:
            Cancelled: after `cancel`, once the device has been told.
        """
        with self._errors():
            request = agent_pb2.CreateBenchmarkRequest(
                request_id=uuid.uuid4().hex, benchmark=benchmark
            )
            # Not by `_ask`: cancelled half-way, it might leave a benchmark without a known name.
            name = self._agent.CreateBenchmark(request, timeout=_CALL_S).benchmark.name
        try:
            yield from self._watch(name)
        except BaseException:
            with contextlib.suppress(grpc.RpcError):
                cancel = agent_pb2.CancelBenchmarkRequest(name=name)
                self._agent.CancelBenchmark(cancel, timeout=_FAREWELL_S)
                self._acknowledge(name)
            raise
        # The run is complete: an agent that keeps its events a while longer is no failure.
        with contextlib.suppress(grpc.RpcError):
            self._acknowledge(name)

    def cancel(self) -> None:
        """Ends what is under way, here and on the device; from any thread."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def _acknowledge(self, name: str) -> None:
        request = agent_pb2.AcknowledgeBenchmarkRequest(name=name)
        self._agent.AcknowledgeBenchmark(request, timeout=_FAREWELL_S)

    def _ask(self, method: Any, request: Any, timeout_s: float = _CALL_S) -> Any:
        """A unary call that `cancel` ends."""
        self._call = call = method.future(request, timeout=timeout_s)
        self._raise_if_cancelled()
        return call.result()

    def _watch(self, name: str) -> Iterator[benchmark_pb2.BenchmarkEvent]:
        after = 0
        lost = False
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            request = agent_pb2.WatchBenchmarkRequest(name=name, after_sequence=after)
            try:
                self._call = self._agent.WatchBenchmark(request)
                self._raise_if_cancelled()
                for response in self._call:
                    after = response.event.sequence
                    deadline = time.monotonic() + _PATIENCE_S
                    lost = False
                    yield response.event
            except grpc.RpcError as error:
                self._raise_if_cancelled()
                if after and _reason(error) == "BENCHMARK_NOT_FOUND":
                    raise DeviceError(
                        "the agent restarted and has lost the benchmark under way; push again",
                        "AGENT_RESTARTED",
                    ) from error
                if not _passing(error, deadline):
                    raise self._translated(error) from error
                if not lost:
                    self._notice(
                        f"{self.name}: the connection is lost; trying again for {_PATIENCE_S:.0f} s"
                    )
                lost = True
                self._cancelled.wait(_PAUSE_S)
            else:
                return

    def _committed_bytes(self, digest: Digest) -> int | None:
        """Where to go on from; None when the device has all of it."""
        message = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
        request = blob_pb2.FindMissingBlobsRequest(digests=[message])
        response: blob_pb2.FindMissingBlobsResponse = self._ask(
            self._blobs.FindMissingBlobs, request
        )
        missing = response.missing
        return missing[0].committed_size_bytes if missing else None

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            if self._call is not None:
                self._call.cancel()
            raise Cancelled(f"cancelled on {self.name}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self._raise_if_cancelled()
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> DeviceError:
        """What the agent said, or that it said nothing."""
        if not isinstance(error, grpc.Call):
            return DeviceError(str(error))
        if error.code() in _GONE:
            return Unreachable(
                f"the agent of {self.name!r} stopped answering ({error.code().name.lower()}); is the device "
                "still on, and `edgeopt-agent serve` running?"
            )
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return DeviceError(
                f"the agent of {self.name!r} is older than this host and lacks what was asked of it; "
                "update edgeopt there",
                "AGENT_TOO_OLD",
            )
        return DeviceError(
            error.details() or "the agent gave no reason", _reason(error) or error.code().name
        )


class _Messages:
    """The messages of one upload, counted as gRPC takes them."""

    def __init__(
        self, path: Path, digest: Digest, offset: int, progress: Callable[[int], None]
    ) -> None:
        self.sent = 0
        self.ended = False  # the file had no more to send
        self._path = path
        self._digest = digest
        self._offset = offset
        self._progress = progress

    def __iter__(self) -> Iterator[blob_pb2.WriteBlobRequest]:
        digest = blob_pb2.Digest(sha256=self._digest.sha256, size_bytes=self._digest.size_bytes)
        yield blob_pb2.WriteBlobRequest(digest=digest, write_offset=self._offset)
        # A file that is gone is one that has no more to send.
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._offset)
            # One that has grown is sent as far as it was hashed.
            while data := file.read(min(_MESSAGE_BYTES, self._left())):
                yield blob_pb2.WriteBlobRequest(data=data)
                self.sent += len(data)
                self._progress(self._offset + self.sent)
        self.ended = True

    def _left(self) -> int:
        return self._digest.size_bytes - self._offset - self.sent


def _changed(path: Path) -> EdgeoptError:
    return EdgeoptError(
        f"{path} changed while it was sent, so the device does not have it; push it again once "
        "nothing writes to it any more",
        "FILE_CHANGED",
    )


def _reason(error: Exception) -> str:
    """The agent's reason, such as WRONG_WRITE_OFFSET; empty when it gave none."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    for detail in status.details if status else ():
        detail.Unpack(info)
    return str(info.reason)


def _passing(error: Exception, deadline: float) -> bool:
    """Whether it is worth trying again."""
    return (
        isinstance(error, grpc.Call)
        and error.code() == grpc.StatusCode.UNAVAILABLE
        and time.monotonic() < deadline
    )
