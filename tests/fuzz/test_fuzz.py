"""A little of every target, the same inputs every time; scripts/soak tries many more."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from fuzz.__main__ import run
from fuzz.engine import fuzz
from fuzz.target import Target
from fuzz.targets import TARGETS

_EXAMPLES = 100


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_taken_or_refused_as_documented(name: str) -> None:
    outcome = fuzz(TARGETS[name], max(20, _EXAMPLES // TARGETS[name].cost))
    if outcome.uncaught is not None:
        pytest.fail(f"{outcome.uncaught}\nfor {outcome.uncaught.value!r:.2000}")
    # Samples are read, so that what lies behind the first check was reached.
    assert outcome.accepted > 0


def _raises_on_b(given: bytes) -> None:
    if b"b" in given:
        raise LookupError("b")
    if len(given) > 3:
        raise ValueError("too long")


@pytest.mark.parametrize("seed", [None, 7])
def test_a_finding_is_told_with_the_smallest_input(seed: int | None) -> None:
    target = Target("broken", st.binary(max_size=9), _raises_on_b, (ValueError,), (b"a", b"aaaa"))
    outcome = fuzz(target, 3000, seed)
    assert outcome.uncaught is not None
    assert outcome.uncaught.value == b"b"
    assert str(outcome.uncaught).startswith("LookupError: b (test_fuzz.py:")


def test_taken_and_refused_are_counted() -> None:
    target = Target("lengths", st.binary(max_size=9), _raises_on_b, (ValueError, LookupError))
    outcome = fuzz(target, 200)
    assert outcome.inputs == 200
    assert outcome.accepted > 0
    assert outcome.refused > 0


def _take_memory(size: int) -> None:
    bytearray(size)


def test_memory_without_bound_is_a_finding() -> None:
    target = Target("greedy", st.just(2**30), _take_memory)
    outcome = fuzz(target, 1)
    assert outcome.uncaught is not None
    assert isinstance(outcome.uncaught.error, MemoryError)


def test_a_soak_reports_every_target_and_saves_findings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sound = Target("sound", st.binary(), lambda _: None)
    broken = Target("broken", st.binary(max_size=9), _raises_on_b, (ValueError,))
    report = run(2000, 5, {"sound": sound, "broken": broken})
    assert [outcome.target for outcome in report.outcomes] == ["sound", "broken"]
    assert [outcome.target for outcome in report.findings] == ["broken"]
    assert report.saved["broken"].read_bytes() == b"b"
    assert "1 uncaught" in str(report)
    assert "the input: " in capsys.readouterr().out
    report.saved["broken"].unlink()
