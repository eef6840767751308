"""Blobs on disk: content named by its SHA-256 and size.

    blobs/ab/abcd…            complete and verified; the modification time is the last use
    partial/abcd…-1234        what has arrived of a blob of 1234 bytes

A blob is renamed into place only after its digest was verified, so whatever stands under `blobs`
is whole, whenever the power went.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

_SHA256 = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 256 * 1024
# What was verified stays as it is: a worker gets it as a hard link.
_MODE = 0o400
# Left free for the rest of the device.
_RESERVE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Digest:
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise InvalidArgument(
                "BAD_DIGEST",
                f"digest.sha256 is {self.sha256[:80]!r}; 64 lower-case hexadecimal digits are expected",
            )
        if self.size_bytes < 0:
            raise InvalidArgument("BAD_DIGEST", f"digest.size_bytes is {self.size_bytes}, below 0")


@dataclass(frozen=True)
class Stored:
    digest: Digest
    last_used_s: float


class BlobStore:
    """Blobs below `folder`, at most `quota_bytes` of them.

    `in_use` tells which digests a job needs: these are never evicted.
    """

    def __init__(
        self, folder: Path, quota_bytes: int, in_use: Callable[[], set[str]] = set
    ) -> None:
        self._blobs = folder / "blobs"
        self._partial = folder / "partial"
        self._quota_bytes = quota_bytes
        self.in_use = in_use
        # Digests that somebody is sending just now.
        self._writing: set[str] = set()

    def path(self, digest: Digest) -> Path:
        """Where a complete blob lies; marks it as used.

        Raises:
            NotFound: when it is not complete.
        """
        path = self._path(digest.sha256)
        try:
            whole = path.stat().st_size == digest.size_bytes
        except FileNotFoundError:
            whole = False
        if whole:
            # On a disk that cannot be written, nothing is evicted either.
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
        raise NotFound(
            "BLOB_NOT_FOUND",
            f"this device holds no blob {digest.sha256[:12]}… of {digest.size_bytes} bytes; upload it",
            sha256=digest.sha256,
        )

    def has(self, digest: Digest) -> bool:
        """Whether a blob is complete; asking counts as a use, because using it comes next."""
        try:
            self.path(digest)
        except NotFound:
            return False
        return True

    def committed_bytes(self, digest: Digest) -> int:
        """How much of a missing blob has arrived: the offset to go on from."""
        try:
            return self._partial_path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def write(self, digest: Digest, offset: int) -> Iterator[BlobWriter]:
        """A blob opened for writing from its committed size on; what has arrived stays.

        Raises:
            FailedPrecondition: when `offset` is not the committed size.
            ResourceExhausted: when it does not fit, even after evicting what is not needed.
        """
        committed = self.committed_bytes(digest)
        if offset != committed:
            raise FailedPrecondition(
                "WRONG_WRITE_OFFSET",
                f"the write offset is {offset}, but {committed} bytes are committed; go on from there",
                committed_size_bytes=str(committed),
            )
        more = digest.size_bytes - committed
        self._make_folders()
        self._make_room(digest, quota_bytes=more, disk_bytes=more)
        self._writing.add(digest.sha256)
        try:
            with contextlib.closing(
                BlobWriter(self._partial_path(digest), self._path(digest.sha256), digest)
            ) as writer:
                yield writer
        finally:
            self._writing.discard(digest.sha256)

    def read(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The content from `offset` on, in pieces of 256 KiB; nothing past its end.

        Raises:
            NotFound: when it is not complete.
            InvalidArgument: when `offset` is below 0.
        """
        path = self.path(digest)
        if offset < 0:
            raise InvalidArgument(
                "INVALID_FIELD", f"read_offset is {offset}; expected 0 or more", field="read_offset"
            )
        with path.open("rb") as file:
            file.seek(min(offset, digest.size_bytes))
            while data := file.read(_READ_BYTES):
                yield data

    def add(self, source: Path) -> Digest:
        """Takes a file made on the device, such as outputs, and moves it here."""
        hasher = hashlib.sha256()
        with source.open("rb") as file:
            while data := file.read(_READ_BYTES):
                hasher.update(data)
        digest = Digest(hasher.hexdigest(), source.stat().st_size)
        self._make_folders()
        # It is on this disk already.
        self._make_room(digest, quota_bytes=digest.size_bytes, disk_bytes=0)
        target = self._path(digest.sha256)
        source.chmod(_MODE)
        # The event that will name it is on the disk before anybody hears of it; so is the blob.
        with source.open("rb") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(exist_ok=True, mode=0o700)
        source.replace(target)
        return digest

    def list(self) -> list[Stored]:
        """Complete blobs, least recently used first."""
        stored = []
        for path in self._blobs.glob("*/*"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            stored.append(Stored(Digest(path.name, stat.st_size), stat.st_mtime))
        return sorted(stored, key=lambda blob: (blob.last_used_s, blob.digest.sha256))

    def delete(self, digest: Digest) -> None:
        """Removes a blob and what has arrived of it.

        Raises:
            FailedPrecondition: while a benchmark needs it.
        """
        if digest.sha256 in self.in_use():
            raise FailedPrecondition(
                "BLOB_IN_USE", f"a benchmark needs blob {digest.sha256[:12]}…; delete it afterwards"
            )
        self._path(digest.sha256).unlink(missing_ok=True)
        self._partial_path(digest).unlink(missing_ok=True)

    def make_some_room(self) -> None:
        """Evicts what no benchmark needs, least recently used first, until the reserve is free."""
        with contextlib.suppress(OSError):
            kept = self.in_use() | self._writing
            for stored in self.list():
                if self._free_bytes() > 0:
                    return
                if stored.digest.sha256 not in kept:
                    self._path(stored.digest.sha256).unlink(missing_ok=True)

    def _make_folders(self) -> None:
        try:
            self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ResourceExhausted(
                "NO_SPACE", f"this device cannot keep blobs in {self._blobs}: {error.strerror}"
            ) from error

    def _make_room(self, digest: Digest, *, quota_bytes: int, disk_bytes: int) -> None:
        """Evicts the least recently used, but only when that is enough."""
        if digest.size_bytes > self._quota_bytes:
            raise ResourceExhausted(
                "QUOTA_EXCEEDED",
                f"a blob of {_mb(digest.size_bytes)} exceeds this device's quota of "
                f"{_mb(self._quota_bytes)} for blobs (edgeopt-agent serve --blob-quota)",
            )
        files = [
            (path, path.stat()) for path in (*self._blobs.glob("*/*"), *self._partial.iterdir())
        ]
        kept = self.in_use() | self._writing | {digest.sha256}
        # A partial's name begins with its digest, too.
        evictable = [(path, stat) for path, stat in files if path.name[:64] not in kept]
        evictable.sort(key=lambda file: file[1].st_mtime)
        used = sum(stat.st_size for _, stat in files)
        free = self._free_bytes() if disk_bytes else 0
        missing = max(used + quota_bytes - self._quota_bytes, disk_bytes - free)
        if missing > sum(stat.st_size for _, stat in evictable):
            # What has arrived so far would only keep the disk full.
            self._partial_path(digest).unlink(missing_ok=True)
            raise ResourceExhausted(
                "NO_SPACE",
                f"this device has no room for {_mb(digest.size_bytes)} more (free disk or quota is "
                f"{_mb(missing)} short); free some space or raise the quota",
            )
        for path, stat in evictable:
            if missing <= 0:
                return
            path.unlink(missing_ok=True)
            missing -= stat.st_size

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._blobs).free - _RESERVE_BYTES

    def _path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def _partial_path(self, digest: Digest) -> Path:
        return self._partial / f"{digest.sha256}-{digest.size_bytes}"


class BlobWriter:
    """Appends to what has arrived of a blob, and puts it into place when it is whole."""

    def __init__(self, partial: Path, target: Path, digest: Digest) -> None:
        self._partial = partial
        self._target = target
        self._digest = digest
        self._hasher = hashlib.sha256()
        with contextlib.suppress(FileNotFoundError), partial.open("rb") as earlier:
            while data := earlier.read(_READ_BYTES):
                self._hasher.update(data)
        # Models are their owner's business: 0600.
        descriptor = os.open(partial, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self.committed_bytes = self._file.tell()

    def write(self, data: bytes) -> None:
        """Raises ResourceExhausted when the disk is full, InvalidArgument when there is too much."""
        if self.committed_bytes + len(data) > self._digest.size_bytes:
            self._discard()
            raise InvalidArgument(
                "BLOB_TOO_LONG",
                f"more than the {self._digest.size_bytes} bytes that the digest names were sent",
            )
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._discard()
            raise ResourceExhausted(
                "NO_SPACE", "the device's disk is full; free some space and push again"
            ) from error
        self._hasher.update(data)
        self.committed_bytes += len(data)

    def finish(self) -> int:
        """Verifies and publishes the blob when it is whole; returns the committed size.

        Raises:
            InvalidArgument: when the content does not have the digest; what had arrived is gone.
        """
        if self.committed_bytes < self._digest.size_bytes:
            return self.committed_bytes
        if self._hasher.hexdigest() != self._digest.sha256:
            self._discard()
            raise InvalidArgument(
                "DIGEST_MISMATCH",
                f"the {self.committed_bytes} bytes received have the SHA-256 "
                f"{self._hasher.hexdigest()[:12]}…, not {self._digest.sha256[:12]}…; send them again",
            )
        os.fchmod(self._file.fileno(), _MODE)
        os.fsync(self._file.fileno())
        self._target.parent.mkdir(exist_ok=True, mode=0o700)
        self._partial.replace(self._target)
        os.utime(self._target, (time.time(),) * 2)
        return self.committed_bytes

    def close(self) -> None:
        """Keeps what has arrived, so that the next write goes on from there."""
        self._file.close()

    def _discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MB"
