"""BlobService: content-addressed uploads that resume, and downloads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

import grpc.aio

from edgeopt.agent.v1 import blob_pb2, blob_pb2_grpc
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.server import validate
from edgeopt_agent.server.stall import STALL_S, StallTimer
from edgeopt_agent.server.status import streaming, unary
from edgeopt_agent.threads import in_thread, start_in_thread

Context = grpc.aio.ServicerContext[Any, Any]


class BlobService(blob_pb2_grpc.BlobServiceServicer):
    def __init__(self, blobs: BlobStore, stall_s: float = STALL_S) -> None:
        self._blobs = blobs
        self._stall_s = stall_s
        # By SHA-256, for as long as somebody holds it.
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @unary
    async def FindMissingBlobs(  # noqa: N802
        self, request: blob_pb2.FindMissingBlobsRequest, _: Context
    ) -> blob_pb2.FindMissingBlobsResponse:
        validate.count("digests", request.digests)
        response = blob_pb2.FindMissingBlobsResponse()
        for asked in request.digests:
            digest = _digest(asked)
            if not self._blobs.has(digest):
                response.missing.add(
                    digest=asked, committed_size_bytes=self._blobs.committed_bytes(digest)
                )
        return response

    @unary
    async def WriteBlob(  # noqa: N802
        self, requests: AsyncIterator[blob_pb2.WriteBlobRequest], _: Context
    ) -> blob_pb2.WriteBlobResponse:
        with StallTimer(self._stall_s):
            first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidArgument(
                "INVALID_FIELD", "the first message must name a digest", field="digest"
            )
        digest = _digest(first.digest)
        validate.at_least_zero("write_offset", first.write_offset)
        # A second client that sends the same blob waits, and then finds it there.
        async with self._writing.setdefault(digest.sha256, asyncio.Lock()):
            if self._blobs.has(digest):
                return blob_pb2.WriteBlobResponse(committed_size_bytes=digest.size_bytes)
            with contextlib.ExitStack() as stack:
                opened = self._blobs.write(digest, first.write_offset)
                writer = await in_thread(stack.enter_context, opened)
                writing = start_in_thread(writer.write, first.data)
                try:
                    # While one piece is hashed and written, the next one arrives.
                    with StallTimer(self._stall_s) as timer:
                        async for request in requests:
                            await asyncio.shield(writing)
                            timer.touch()
                            writing = start_in_thread(writer.write, request.data)
                    await asyncio.shield(writing)
                finally:
                    # A client that went away leaves a piece under way; it still counts.
                    await asyncio.wait([writing])
                committed = await in_thread(writer.finish)
        return blob_pb2.WriteBlobResponse(committed_size_bytes=committed)

    @streaming
    async def ReadBlob(  # noqa: N802
        self, request: blob_pb2.ReadBlobRequest, _: Context
    ) -> AsyncIterator[blob_pb2.ReadBlobResponse]:
        validate.at_least_zero("read_offset", request.read_offset)
        pieces = self._blobs.read(_digest(request.digest), request.read_offset)
        while data := await asyncio.to_thread(next, pieces, b""):
            yield blob_pb2.ReadBlobResponse(data=data)

    @unary
    async def ListBlobs(  # noqa: N802
        self, request: blob_pb2.ListBlobsRequest, _: Context
    ) -> blob_pb2.ListBlobsResponse:
        size, offset = validate.page(request.page_size, request.page_token)
        stored = self._blobs.list()
        response = blob_pb2.ListBlobsResponse()
        for blob in stored[offset : offset + size]:
            response.blobs.add(
                digest=blob_pb2.Digest(
                    sha256=blob.digest.sha256, size_bytes=blob.digest.size_bytes
                ),
            ).last_used_time.FromNanoseconds(int(blob.last_used_s * 1e9))
        if offset + size < len(stored):
            response.next_page_token = str(offset + size)
        return response

    @unary
    async def DeleteBlob(  # noqa: N802
        self, request: blob_pb2.DeleteBlobRequest, _: Context
    ) -> blob_pb2.DeleteBlobResponse:
        self._blobs.delete(_digest(request.digest))
        return blob_pb2.DeleteBlobResponse()


def _digest(message: blob_pb2.Digest) -> Digest:
    return Digest(message.sha256, message.size_bytes)
