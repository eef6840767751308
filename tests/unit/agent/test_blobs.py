"""Blobs: whole or resumable, verified before they are visible, evicted only when not needed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

QUOTA = 1000


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path, QUOTA)


def digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest(), len(data))


def store(blobs: BlobStore, data: bytes, *, used_s: float | None = None) -> Digest:
    named = digest(data)
    with blobs.write(named, 0) as writer:
        writer.write(data)
        assert writer.finish() == len(data)
    if used_s is not None:
        os.utime(blobs.path(named), (used_s, used_s))
    return named


def test_what_was_written_is_read_back(blobs: BlobStore) -> None:
    named = store(blobs, b"hello")
    assert blobs.has(named)
    assert b"".join(blobs.read(named)) == b"hello"
    assert b"".join(blobs.read(named, 3)) == b"lo"
    assert blobs.path(named).stat().st_mode & 0o077 == 0


def test_an_upload_goes_on_from_where_it_stopped(tmp_path: Path) -> None:
    data = b"first half, second half"
    named = digest(data)
    with BlobStore(tmp_path, QUOTA).write(named, 0) as writer:
        writer.write(data[:11])
    # As after a restart of the agent.
    blobs = BlobStore(tmp_path, QUOTA)
    assert not blobs.has(named)
    assert blobs.committed_bytes(named) == 11
    with blobs.write(named, 11) as writer:
        writer.write(data[11:])
        assert writer.finish() == len(data)
    assert b"".join(blobs.read(named)) == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=QUOTA), cuts=st.lists(st.integers(0, QUOTA), max_size=4))
def test_however_an_upload_is_cut_the_blob_is_the_same(
    tmp_path: Path, data: bytes, cuts: list[int]
) -> None:
    blobs = BlobStore(tmp_path, 10**9)
    named = digest(data)
    blobs.delete(named)
    for end in [*sorted(cuts), len(data)]:
        offset = blobs.committed_bytes(named)
        if blobs.has(named):
            break
        with blobs.write(named, offset) as writer:
            writer.write(data[offset:end])
            writer.finish()
    assert b"".join(blobs.read(named)) == data


def test_a_wrong_offset_is_told_the_right_one(blobs: BlobStore) -> None:
    with (
        pytest.raises(FailedPrecondition, match="0 bytes are committed") as caught,
        blobs.write(digest(b"abc"), 2),
    ):
        pass
    assert caught.value.metadata == {"committed_size_bytes": "0"}


def test_content_that_lacks_its_digest_never_becomes_visible(blobs: BlobStore) -> None:
    named = Digest(digest(b"right").sha256, 5)
    with blobs.write(named, 0) as writer:
        writer.write(b"wrong")
        with pytest.raises(InvalidArgument, match="send them again"):
            writer.finish()
    assert not blobs.has(named)
    assert blobs.committed_bytes(named) == 0


def test_more_than_was_announced_is_refused(blobs: BlobStore) -> None:
    with (
        blobs.write(digest(b"ab"), 0) as writer,
        pytest.raises(InvalidArgument, match="more than the 2 bytes"),
    ):
        writer.write(b"abc")


@pytest.mark.parametrize("sha256", ["", "abc", "G" * 64, "../../../etc/passwd", "A" * 64])
def test_a_digest_is_64_lower_case_hexadecimal_digits(sha256: str) -> None:
    with pytest.raises(InvalidArgument, match="64 lower-case"):
        Digest(sha256, 1)


def test_the_least_recently_used_make_room_and_what_a_job_needs_stays(blobs: BlobStore) -> None:
    old, needed, recent = (
        store(blobs, bytes([n]) * 300, used_s=used) for n, used in enumerate((2.0, 1.0, 3.0))
    )
    blobs.in_use = lambda: {needed.sha256}
    store(blobs, b"new" * 100)
    assert [blobs.has(named) for named in (old, needed, recent)] == [False, True, True]


def test_what_is_asked_for_is_not_the_first_to_go(blobs: BlobStore) -> None:
    asked = store(blobs, b"a" * 400, used_s=1.0)
    other = store(blobs, b"b" * 400, used_s=2.0)
    assert blobs.has(asked)
    store(blobs, b"c" * 400)
    assert (blobs.has(asked), blobs.has(other)) == (True, False)


def test_nothing_is_evicted_for_what_does_not_fit_anyway(blobs: BlobStore) -> None:
    needed = store(blobs, b"n" * 600)
    other = store(blobs, b"o" * 100)
    blobs.in_use = lambda: {needed.sha256}
    with pytest.raises(ResourceExhausted), blobs.write(Digest("0" * 64, 600), 0):
        pass
    assert blobs.has(other)


def test_outputs_need_no_free_disk_for_they_are_there_already(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(blobs, b"kept")
    monkeypatch.setattr(blobs, "_free_bytes", lambda: -1)
    made = tmp_path / "outputs.npz"
    made.write_bytes(b"outputs")
    assert blobs.has(blobs.add(made))
    assert blobs.has(kept)


def test_what_was_verified_cannot_be_written_in_place(blobs: BlobStore) -> None:
    assert blobs.path(store(blobs, b"data")).stat().st_mode & 0o777 == 0o400


def test_what_never_fits_is_refused_with_the_quota(blobs: BlobStore) -> None:
    with (
        pytest.raises(ResourceExhausted, match="exceeds this device's quota"),
        blobs.write(Digest("0" * 64, QUOTA + 1), 0),
    ):
        pass


def test_what_does_not_fit_beside_what_jobs_need_is_refused(blobs: BlobStore) -> None:
    needed = store(blobs, b"x" * 600)
    blobs.in_use = lambda: {needed.sha256}
    with pytest.raises(ResourceExhausted) as caught, blobs.write(Digest("0" * 64, 600), 0):
        pass
    assert caught.value.reason == "NO_SPACE"
    assert blobs.has(needed)


def test_a_needed_blob_cannot_be_deleted(blobs: BlobStore) -> None:
    named = store(blobs, b"data")
    blobs.in_use = lambda: {named.sha256}
    with pytest.raises(FailedPrecondition):
        blobs.delete(named)
    blobs.in_use = set
    blobs.delete(named)
    blobs.delete(named)
    with pytest.raises(NotFound):
        blobs.path(named)


def test_a_file_made_here_is_named_and_moved(blobs: BlobStore, tmp_path: Path) -> None:
    made = tmp_path / "outputs.npz"
    made.write_bytes(b"outputs")
    assert blobs.add(made) == digest(b"outputs")
    assert not made.exists()
    assert b"".join(blobs.read(digest(b"outputs"))) == b"outputs"


def test_an_upload_that_nobody_finishes_makes_room_and_one_under_way_does_not(
    blobs: BlobStore,
) -> None:
    abandoned, under_way = Digest("a" * 64, 600), Digest("b" * 64, 600)
    with blobs.write(abandoned, 0) as writer:
        writer.write(b"x" * 500)
    with blobs.write(under_way, 0) as writer:
        writer.write(b"y" * 300)
        store(blobs, b"z" * 300)
    assert blobs.committed_bytes(abandoned) == 0
    assert blobs.committed_bytes(under_way) == 300
