"""Figures of one launch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import traces
from edgeopt_host.stats import launches as units


@given(
    st.lists(st.integers(0, 2**62), min_size=1, max_size=60),
    st.sampled_from([0, 25, 50, 95, 99, 100]),
)
def test_a_quantile_is_numpys(values: list[int], percent: float) -> None:
    samples = np.array(values, np.int64)
    expected = np.percentile(samples, percent)
    assert units.quantile(samples, percent) == pytest.approx(expected, rel=1e-12)


def test_figures_have_their_units() -> None:
    """Four inferences of 1, 2, 3 and 4 ms in 10 ms: 400 per second."""
    one = traces.launch(np.array([1.0, 2.0, 3.0, 4.0]), load_ns=7_000_000, blocks=2)
    figures = {name: units.figure(one, name) for name in ("p50", "mean", "throughput", "load")}
    assert figures == {"p50": 2.5, "mean": 2.5, "throughput": 400.0, "load": 7.0}


def test_without_a_duration_a_block_lasted_as_long_as_its_inferences() -> None:
    one = traces.launch(np.array([1.0, 3.0]), blocks=1)
    one.blocks[0].duration_ns = 0
    assert units.figure(one, "throughput") == 500.0


def test_what_does_not_count_is_left_out() -> None:
    good, tainted = (traces.launch(np.ones(20), number) for number in range(2))
    tainted.tainted = "throttled"
    empty = traces.launch(np.empty(0), 2)
    assert units.counted([good, tainted, empty]) == [good]


def test_the_clocks_tick_is_the_smallest_difference() -> None:
    one = traces.launch(np.array([1.0, 1.25, 2.0]))
    assert units.clock_tick_ns([one]) == 250_000
    assert units.clock_tick_ns([traces.launch(np.ones(9))]) is None
