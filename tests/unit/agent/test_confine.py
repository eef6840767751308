"""What a worker may read, how bubblewrap reports a death, and what a filter of variables keeps."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent import confine, launcher
from edgeopt_agent.confine import Confinement, _reach, bubblewrap
from edgeopt_agent.device import DeviceFacts
from edgeopt_agent.environment import child_environment
from edgeopt_agent.worker import events
from edgeopt_agent.worker.events import Oversized, read_events


def test_a_confinement_travels_to_the_worker() -> None:
    sent = Confinement(("landlock", "rlimits"), ("/usr", "/opt/a b'\""), "/s", 2**33, 7)
    assert Confinement.parse(str(sent)) == sent


def test_what_lies_around_something_private_is_read_without_it(tmp_path: Path) -> None:
    for name in ("a/keys/key", "a/code/x.py", "b/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "keys")
    left = confine.without([tmp_path], [tmp_path / "a" / "keys"])
    assert left == [tmp_path / "a" / "code", tmp_path / "b"]
    assert confine.without([tmp_path / "a" / "keys" / "key"], [tmp_path / "a" / "keys"]) == []
    assert confine.without([tmp_path / "b"], [tmp_path / "a"]) == [tmp_path / "b"]


def test_nothing_is_read_twice_and_never_all() -> None:
    read = _reach.installed()
    assert Path("/") not in read
    assert not [p for p in read if any(other in p.parents for other in read)]
    assert any(Path(os.__file__).is_relative_to(path) for path in read)


def test_no_disk_memory_terminal_or_camera_is_among_the_devices() -> None:
    nodes = [p for d in _reach.devices() for p in ([d] if not d.is_dir() else d.rglob("*"))]
    assert Path("/dev/null") in nodes
    assert not [node for node in nodes if stat.S_ISBLK(node.stat().st_mode)]
    kept = {node.name for node in nodes}
    assert not kept & {
        "mem",
        "kmem",
        "port",
        "kmsg",
        "tty",
        "console",
        "ptmx",
        "watchdog",
        "video0",
    }


@pytest.mark.parametrize(
    ("reported", "own"), [(0, 0), (1, 1), (128, 128), (139, -11), (137, -9), (192, -64), (193, 193), (-9, -9)]
)  # fmt: skip
def test_bubblewraps_exit_code_tells_the_workers_death(reported: int, own: int) -> None:
    assert bubblewrap.exit_code(reported) == own


def test_secrets_are_not_passed_on_and_settings_of_runtimes_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "SSH_AUTH_SOCK", "API_KEY"]
    kept = ["OMP_NUM_THREADS", "LD_LIBRARY_PATH", "QNN_SDK_ROOT", "MALLOC_ARENA_MAX", "KEYBOARD"]
    for name in secret + kept:
        monkeypatch.setenv(name, "x")
    passed = child_environment()
    assert [name for name in secret if name in passed] == []
    assert [name for name in kept if name not in passed] == []


def test_events_that_are_too_long_are_not_read() -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(struct.pack("<I", 2**22 - 2**16 + 1))
        reader.feed_eof()
        async for _ in read_events(reader):
            pass

    with pytest.raises(Oversized, match="4128769 bytes, more than 4128768"):
        asyncio.run(read())


def test_the_largest_event_fits_into_what_is_sent_on() -> None:
    text = "m" * (events._MAX_EVENT_BYTES - 100)
    warning = benchmark_pb2.BenchmarkWarning(code="NOISY", message=text)
    sent = benchmark_pb2.BenchmarkEvent(launch=99, sequence=2**62, warning=warning)
    response = agent_pb2.WatchBenchmarkResponse(event=sent)
    assert sent.ByteSize() <= events._MAX_EVENT_BYTES < response.ByteSize() + 100
    # gRPC's limit, with room for what the agent adds.
    assert response.ByteSize() < 2**22 - 2**15


def _message(tag: int, body: bytes) -> bytes:
    length = bytearray()
    left = len(body)
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    return bytes([tag << 3 | 2, *length, left]) + body


@pytest.mark.parametrize(
    "event",
    [
        lambda many: _message(6, _message(1, b"") * many),
        lambda many: _message(7, _message(1, b"") * many),
        lambda many: _message(7, _message(1, _message(2, _message(2, b"") * many))),
        lambda many: _message(10, _message(2, b"") * many),
    ],
    ids=["blocks", "readings", "values", "names"],
)
def test_an_event_of_a_million_empty_messages_is_not_kept(
    event: Callable[[int], bytes],
) -> None:
    data = event(2_000_000)

    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(struct.pack("<I", len(data)) + data)
        reader.feed_eof()
        return len([event async for event in read_events(reader)])

    with pytest.raises(Oversized, match="more than 200000 parts"):
        asyncio.run(read())


def test_small_messages_count_for_what_they_take_in_memory() -> None:
    data = _message(6, _message(1, b"") * 100_000)

    kept = 0

    async def read() -> None:
        nonlocal kept
        reader = asyncio.StreamReader()
        reader.feed_data((struct.pack("<I", len(data)) + data) * 100)
        reader.feed_eof()
        async for event in read_events(reader):
            kept += event.HasField("event")

    with pytest.raises(Oversized, match="more than 256 MiB of events"):
        asyncio.run(read())
    # Of 20 MB on the wire.
    assert kept == 40


def test_a_launch_of_millions_of_samples_is_read() -> None:
    blocks = [benchmark_pb2.Samples.Block(start_time_ns=2**62, latency_ns=[2**62] * 100)] * 1000
    event = benchmark_pb2.BenchmarkEvent(launch=1, samples=benchmark_pb2.Samples(blocks=blocks))
    data = event.SerializeToString()

    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data((struct.pack("<I", len(data)) + data) * 50)
        reader.feed_eof()
        return len([event async for event in read_events(reader)])

    assert asyncio.run(read()) == 50


def test_a_workers_reason_is_one_and_its_message_ends() -> None:
    told = launcher._told(benchmark_pb2.Failure(reason="MODEL_INVALID", message="m" * 10**6))
    assert (told.reason, len(told.message)) == ("MODEL_INVALID", 2000)
    assert launcher._told(benchmark_pb2.Failure(reason="<b>")).reason == "WORKER_FAILED"


def test_the_device_tells_what_is_in_force_and_what_it_executes(tmp_path: Path) -> None:
    device = asyncio.run(DeviceFacts(tmp_path, {"torchscript", "delegates"}).get())
    assert tuple(device.confinement.mechanisms) == confine.found().mechanisms
    assert tuple(device.confinement.missing) == confine.found().missing
    assert device.allowed_code == ["delegates", "torchscript"]
    assert not asyncio.run(DeviceFacts(tmp_path).get()).allowed_code
