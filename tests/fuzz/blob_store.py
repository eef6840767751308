"""Targets: the blob store, by what it promises after any sequence of calls."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

from hypothesis import strategies as st

from edgeopt.agent.v1 import blob_pb2
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import (
    AgentError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from edgeopt_agent.server.blob_service import BlobService
from fuzz.inputs import ODD_TEXT, messages
from fuzz.target import Target, scratch

_FOLDER = scratch()
_QUOTA = 500
# One of them exceeds the quota, two of them fill it.
_BLOBS = [bytes([65 + i]) * size for i, size in enumerate((0, 1, 10, 100, 200, 250, 300, 501))]
_DIGESTS = [Digest(hashlib.sha256(blob).hexdigest(), len(blob)) for blob in _BLOBS]
# Often the same one.
_WHICH = st.sampled_from((2, 2, 2, 4, 4, 5, *range(len(_BLOBS))))
_OFFSET = st.none() | st.none() | st.sampled_from((-1, 0, 1, 5, 10, 200, 2**63 - 1))
_PIECES = st.lists(st.integers(0, 300), max_size=4)

_OPERATION = st.one_of(
    # Sends the blob from what is committed (or another offset) on, in pieces; some of it damaged.
    st.tuples(
        st.just("write"), _WHICH, _OFFSET, _PIECES, st.sampled_from((False, False, False, True))
    ),
    # The same, and its end goes missing.
    st.tuples(st.just("break"), _WHICH, _OFFSET, _PIECES, st.booleans()),
    st.tuples(st.just("send"), _WHICH),
    st.tuples(st.just("add"), _WHICH),
    st.tuples(st.just("delete"), _WHICH),
    st.tuples(st.just("use"), st.sets(_WHICH, max_size=3)),
    st.tuples(st.just("read"), _WHICH, st.sampled_from((-1, 0, 1, 10, 600, 2**63 - 1))),
    st.tuples(st.just("restart")),
    st.tuples(st.just("room")),
)


class _Model:
    """The store beside what is known of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()
        self.store = self._open()

    def _open(self) -> BlobStore:
        return BlobStore(self.folder, _QUOTA, lambda: self.used)

    def restart(self) -> None:
        self.store = self._open()

    def room(self) -> None:
        self.store.make_some_room()

    def use(self, which: set[int]) -> None:
        self.used = {_DIGESTS[i].sha256 for i in which}

    def send(self, which: int) -> None:
        """What a well-behaved host does: it resumes, and the blob is there afterwards."""
        digest = _DIGESTS[which]
        if self.store.has(digest):
            return
        committed = self.store.committed_bytes(digest)
        arrived = self.store._partial_path(digest)
        sound = committed == 0 or _BLOBS[which].startswith(arrived.read_bytes())
        try:
            with self.store.write(digest, committed) as writer:
                writer.write(_BLOBS[which][committed:])
                assert writer.finish() == digest.size_bytes
        except ResourceExhausted:
            return  # `used` blobs are in the way
        except InvalidArgument:
            assert not sound
            assert self.store.committed_bytes(digest) == 0
        else:
            assert sound
            assert self.store.path(digest).read_bytes() == _BLOBS[which]

    def write(
        self,
        which: int,
        offset: int | None,
        pieces: list[int],
        damaged: bool,
        *,
        finish: bool = True,
    ) -> None:
        digest = _DIGESTS[which]
        committed = self.store.committed_bytes(digest)
        was_there = self.store.has(digest)
        at = committed if offset is None else offset
        sent = 0
        try:
            with self.store.write(digest, at) as writer:
                for size in pieces:
                    piece = _BLOBS[which][at + sent : at + sent + size]
                    writer.write(b"?" * size if damaged else piece)
                    sent += size if damaged else len(piece)
                if finish:
                    assert writer.finish() == committed + sent
        except FailedPrecondition:
            assert at != committed
        except (InvalidArgument, ResourceExhausted):
            assert self.store.committed_bytes(digest) == 0
        else:
            whole = finish and self.store.has(digest)
            if not was_there and not whole:
                # What has arrived stays, to be gone on from.
                assert self.store.committed_bytes(digest) == committed + sent

    def add(self, which: int) -> None:
        source = self.folder / "made"
        source.write_bytes(_BLOBS[which])
        with contextlib.suppress(ResourceExhausted):
            assert self.store.add(source) == _DIGESTS[which]
            assert self.store.has(_DIGESTS[which])

    def delete(self, which: int) -> None:
        digest = _DIGESTS[which]
        try:
            self.store.delete(digest)
        except FailedPrecondition:
            assert digest.sha256 in self.used
        else:
            assert not self.store.has(digest)
            assert self.store.committed_bytes(digest) == 0

    def read(self, which: int, offset: int) -> None:
        there = self.store.has(_DIGESTS[which])
        try:
            data = b"".join(self.store.read(_DIGESTS[which], offset))
        except NotFound:
            assert not there
        except InvalidArgument:
            assert offset < 0
        else:
            assert data == _BLOBS[which][offset:]

    def check(self, used_before: set[str]) -> None:
        """Whatever stands under `blobs` is whole, within the quota; and nothing in use has gone."""
        size = 0
        visible = set()
        for file in (self.folder / "blobs").glob("*/*"):
            data = file.read_bytes()
            assert hashlib.sha256(data).hexdigest() == file.name
            assert file.parent.name == file.name[:2]
            visible.add(file.name)
            size += len(data)
        for file in (self.folder / "partial").glob("*"):
            sha256, _, whole = file.name.partition("-")
            assert sha256 in {digest.sha256 for digest in _DIGESTS}
            assert file.stat().st_size <= int(whole)
            size += file.stat().st_size
        assert {stored.digest.sha256 for stored in self.store.list()} == visible
        assert size <= _QUOTA
        assert used_before <= visible
        assert not self.store._writing


def _operate(operations: list[tuple[Any, ...]]) -> None:
    folder = _FOLDER / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = _Model(folder)
    for name, *arguments in operations:
        kept = {d.sha256 for d in _DIGESTS if d.sha256 in model.used and model.store.has(d)}
        if name == "break":
            which, offset, pieces, damaged = arguments
            model.write(which, offset, pieces, damaged=damaged, finish=False)
        else:
            getattr(model, name)(*arguments)
        model.check(kept)


class _Aborted(Exception):
    """What gRPC raises into a handler that ends its call with a status."""


class _Context:
    """Stands for gRPC's: keeps what the call was ended with."""

    async def abort_with_status(self, status: Any) -> NoReturn:
        raise _Aborted(status.details)


_FIRST = blob_pb2.WriteBlobRequest(
    digest=blob_pb2.Digest(sha256=_DIGESTS[2].sha256, size_bytes=10), data=_BLOBS[2][:5]
)
_SECOND = blob_pb2.WriteBlobRequest(data=_BLOBS[2][5:])
_WRITES = st.lists(messages(_FIRST, _SECOND) | st.sampled_from((_FIRST, _SECOND)), max_size=4)


def _write_stream(requests: list[blob_pb2.WriteBlobRequest]) -> None:
    folder = _FOLDER / "service"
    shutil.rmtree(folder, ignore_errors=True)
    store = BlobStore(folder, _QUOTA)

    async def stream() -> AsyncIterator[blob_pb2.WriteBlobRequest]:
        for request in requests:
            yield request

    async def call() -> None:
        service = BlobService(store)
        try:
            await service.WriteBlob(stream(), _Context())  # type: ignore[arg-type]
        finally:
            await service.FindMissingBlobs(
                blob_pb2.FindMissingBlobsRequest(digests=[_FIRST.digest]),
                _Context(),  # type: ignore[arg-type]
            )

    try:
        asyncio.run(call())
    except _Aborted as aborted:
        # What no handler foresaw is no refusal.
        if "unexpectedly" in str(aborted):
            raise AssertionError(str(aborted)) from aborted
        raise
    finally:
        for file in (folder / "blobs").glob("*/*"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name


def _digest(given: tuple[str, int]) -> None:
    digest = Digest(*given)
    assert len(digest.sha256) == 64


_SHA256 = st.text("0123456789abcdefABCDEFg", min_size=63, max_size=65) | st.sampled_from(
    (*ODD_TEXT, "a" * 64, "a" * 64 + "\n", "٣" * 64, "../" + "a" * 61)
)

TARGETS = [
    Target("blob-store", st.lists(_OPERATION, min_size=5, max_size=30), _operate, cost=3),
    Target("blob-writes", _WRITES, _write_stream, (_Aborted,), cost=3),
    Target("blob-digest", st.tuples(_SHA256, st.integers()), _digest, (AgentError,)),
]
