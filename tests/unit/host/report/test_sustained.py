"""The plot of a sustained run: what stands where, and that it fits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgeopt_host.report import sustained


def document(**changes: Any) -> dict[str, Any]:
    """A Raspberry Pi 4B that reaches 80 °C after half of ten minutes."""
    curve = [
        {
            "t_s": 2.5 + 5 * place,
            "p50_ms": 12.0 if place < 60 else 14.4,
            "p95_ms": 13.0 if place < 60 else 16.0,
            "temperature_c": min(50 + place / 2, 80.3),
            "clock_mhz": 1800.0 if place < 60 else 1500.0,
            "throttled": place >= 60,
        }
        for place in range(120)
    ]
    made: dict[str, Any] = {
        "seconds": 600.0,
        "window_s": 60.0,
        "ratio": 1.2,
        "ci95": [1.19, 1.21],
        "first_p50_ms": 12.0,
        "last_p50_ms": 14.4,
        "curve": curve,
    }
    return made | changes


def test_latency_rises_where_the_clock_falls_and_throttling_is_marked() -> None:
    drawn = sustained.lines(document(), 85)
    assert len(drawn) == 12
    top, bottom = drawn[0][27:], drawn[3][27:]
    half = len(bottom) // 2
    assert top == " " * half + "█" * half
    assert bottom == "▁" * half + "█" * half
    clock = drawn[8][27:]
    assert clock == "█" * half
    assert drawn[10][27:] == " " * half + "▀" * half
    assert [line[2:25].split(maxsplit=2) for line in (drawn[0], drawn[6])] == [
        ["p50", "latency", "14.4 ms"],
        ["Temperature", "80.3", "°C"],
    ]
    assert drawn[3][15:25].strip() == "12.0 ms"
    assert drawn[-1].split() == ["0", "10", "min"]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 10_000])
def test_it_fits(width: int) -> None:
    widest = max(map(len, sustained.lines(document(), width)))
    # A name, a label and ten columns are the least.
    assert widest <= max(min(width, 100), 40)


def test_it_is_as_wide_as_the_terminal() -> None:
    text = io.StringIO()
    Console(file=text, width=60, color_system=None).print(sustained.Curve(document()))
    assert {len(line.rstrip()) <= 60 for line in text.getvalue().splitlines()} == {True}
    assert len(text.getvalue().splitlines()) == 12


def test_what_is_not_known_is_left_out() -> None:
    silent = document()
    for point in silent["curve"]:
        point.update(temperature_c=None, clock_mhz=None, throttled=None)
    names = [line[2:15].strip() for line in sustained.lines(silent, 80)]
    assert [name for name in names if name] == ["p50 latency", "p95 latency"]


def test_a_gap_has_no_bar_and_noise_looks_flat() -> None:
    gap = document()
    for place, point in enumerate(gap["curve"]):
        point["p50_ms"] = 12.0 + 0.05 * (place % 3)
        point["temperature_c"] = None if 40 <= place < 80 else 60.0
    drawn = sustained.lines(gap, 200)
    assert not drawn[0][27:].strip()
    assert set(drawn[3][27:]) <= {*"▁▂▃▄▅▆"}
    assert drawn[6].split()[0] == "Temperature"
    assert "▁" + " " * 20 in drawn[6]


def test_what_never_changed_takes_one_line() -> None:
    steady = document()
    for point in steady["curve"]:
        point["clock_mhz"] = 2596.14
    clock = [line for line in sustained.lines(steady, 80) if "2596 MHz" in line]
    assert [line.split()[-1] for line in clock] == ["▁" * 53]


def test_in_words() -> None:
    assert sustained.summary(document()) == (
        "last minute 1.20 times the first [1.19, 1.21] (95 % interval), p50 12.0 ms to 14.4 ms, over 10 min"
    )
    short = document(seconds=100.0, window_s=10.0, ci95=None)
    assert sustained.summary(short).startswith("last tenth 1.20 times the first, p50")
    assert sustained.summary(short).endswith(
        "over 100 s (first and last tenth, because it lasted 100 s; no interval from so few blocks)"
    )
