"""Blobs of one agent: sending what it lacks, reading what it made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from edgeopt.agent.v1 import blob_pb2
from edgeopt_host import _files
from edgeopt_host.client._calls import PATIENCE_S, PAUSE_S, Calls, gone, passing, reason
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.modelfile import Digest

_READ_S = 120.0
_MESSAGE_BYTES = 256 * 1024


class BlobCalls(Calls):
    """The part of an agent that keeps files."""

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
        deadline = time.monotonic() + PATIENCE_S
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
                why = reason(error)
                if messages is not None and messages.sent:
                    deadline = time.monotonic() + PATIENCE_S
                if why == "DIGEST_MISMATCH":
                    # Once, it may be an earlier upload's part that was damaged; it is gone now.
                    mismatches += 1
                    if mismatches > 1:
                        raise _changed(path) from error
                # Another client's upload of the same file moves the offset.
                elif not passing(error, deadline) and (
                    why != "WRONG_WRITE_OFFSET" or time.monotonic() >= deadline
                ):
                    raise self._translated(error) from error
                self._cancelled.wait(PAUSE_S)
            finally:
                sent += messages.sent if messages is not None else 0

    def download(self, digest: blob_pb2.Digest, path: Path) -> None:
        """Reads a blob into a file; the file changes only when all has come.

        Raises:
            Unreachable: when the device stays away for 30 s.
            DeviceError: when the device does not have it.
            Cancelled: after `cancel`.
            OSError: when the file cannot be written.
        """
        _files.write_whole(path, self._pieces(digest))

    def _pieces(self, digest: blob_pb2.Digest) -> Iterator[bytes]:
        """A blob's content, across broken connections."""
        offset = 0
        deadline = time.monotonic() + PATIENCE_S
        while True:
            request = blob_pb2.ReadBlobRequest(digest=digest, read_offset=offset)
            try:
                self._call = self._blobs.ReadBlob(request, timeout=_READ_S)
                self._raise_if_cancelled()
                for response in self._call:
                    yield response.data
                    offset += len(response.data)
                    deadline = time.monotonic() + PATIENCE_S
            except (grpc.RpcError, grpc.FutureCancelledError) as error:
                self._raise_if_cancelled()
                if not gone(error) or time.monotonic() >= deadline:
                    raise self._translated(error) from error
                self._cancelled.wait(PAUSE_S)
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
