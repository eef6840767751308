"""The meter of docs/how-to/external-meters.md, with a local stream in the place of a meter."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from edgeopt_agent import sensors
from edgeopt_agent.sensors import Quantity, Scope, Sensor

ROOT = Path(__file__).parents[3]
PLUGINS = ROOT / "tests" / "plugins"
PAGE = ROOT / "docs" / "how-to" / "external-meters.md"


class Stream:
    """A meter that sends what it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connection: socket.socket | None = None
        self._accepted = threading.Event()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # nobody came
            self._connection, _ = self._listener.accept()
            self._connection.sendall(b"5000\n")
            self._accepted.set()

    def send(self, data: bytes) -> None:
        assert self._accepted.wait(10)
        assert self._connection
        self._connection.sendall(data)

    def close(self) -> None:
        # Wakes accept, which close would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        if self._connection:
            self._connection.close()


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    monkeypatch.syspath_prepend(str(PLUGINS))
    point = EntryPoint("meter", "edgeopt_meter:Meter", "edgeopt.sensors")
    monkeypatch.setattr(sensors, "entry_points", lambda group: EntryPoints([point]))  # noqa: ARG005
    stream = Stream()
    monkeypatch.setenv("METER", stream.address)
    yield stream
    stream.close()
    sys.modules.pop("edgeopt_meter", None)


@pytest.fixture
def meter(stream: Stream) -> Iterator[Sensor]:
    del stream
    found = {one.name: one for one in sensors.discover()}
    for name, one in found.items():
        if name != "meter":
            one.close()
    assert found["meter"].sensor, found["meter"].unavailable_reason
    yield found["meter"].sensor
    found["meter"].close()


def test_the_page_shows_the_plug_in_that_is_tested_here() -> None:
    (shown,) = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert shown == (PLUGINS / "edgeopt_meter.py").read_text("utf-8")


def test_the_meter_is_the_input_and_is_left_to_the_agents_process(meter: Sensor) -> None:
    (channel,) = meter.channels
    assert (channel.quantity, channel.scope) == (Quantity.POWER_MW, Scope.INPUT)
    assert channel.averaged
    names = [c.name for sensor in sensors.working() for c in sensor.channels]
    assert "meter" not in names


def test_a_reading_is_the_mean_since_the_one_before(meter: Sensor, stream: Stream) -> None:
    stream.send(b"4000\n5000.5\n6000\n70")
    assert meter.read() == [pytest.approx(5000.1667)]
    stream.send(b"00\n")
    assert meter.read() == [7000]


def test_damage_and_the_end_of_the_stream_are_no_values(meter: Sensor, stream: Stream) -> None:
    stream.send(b"OVERLOAD\n")
    assert math.isnan(meter.read()[0])
    stream.close()
    assert math.isnan(meter.read()[0])


@pytest.mark.parametrize(
    ("address", "reason"),
    [("", "set it to HOST:PORT"), ("127.0.0.1:1", "does not answer"), ("x:99999", "answer")],
)
def test_a_meter_that_is_not_there_has_a_reason(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    del stream
    monkeypatch.setenv("METER", address)
    found = {one.name: one.unavailable_reason for one in sensors.discover()}
    assert reason in found["meter"]
