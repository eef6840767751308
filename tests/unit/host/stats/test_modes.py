"""Where latencies gather: on distributions of known shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeopt_host.stats import modes

Floats = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator, int], Floats]


def correlated(generator: np.random.Generator, count: int, rho: float) -> Floats:
    steps = generator.normal(size=count) * np.sqrt(1 - rho**2)
    values = np.empty(count)
    values[0] = generator.normal()
    for place in range(1, count):
        values[place] = rho * values[place - 1] + steps[place]
    return values


ONE: dict[str, Draw] = {
    "lognormal": lambda g, n: 1e7 * np.exp(0.03 * g.normal(size=n)),
    "a long tail": lambda g, n: 1e7 * (1 + 0.1 * g.exponential(size=n)),
    "heavy tails": lambda g, n: 1e7 * np.exp(0.02 * g.standard_t(3, size=n)),
    "uniform": lambda g, n: 1e7 * g.uniform(1, 1.2, n),
    "a coarse clock": lambda g, n: 100 * np.round(20 * np.exp(0.03 * g.normal(size=n))),
    "a drift": lambda g, n: 1e7 * np.exp(0.03 * (correlated(g, n, 0.99) + g.normal(size=n))),
    "a ramp": lambda g, n: 1e7 * np.exp(np.linspace(0, 0.2, n) + 0.02 * g.normal(size=n)),
    "always the same": lambda _, n: np.full(n, 1e7),
}


@pytest.mark.parametrize("shape", ONE)
def test_what_gathers_in_one_place_has_no_two(shape: str) -> None:
    generator = np.random.default_rng(1)
    called = [modes.two(ONE[shape](generator, n).astype(np.int64)) for n in (200, 2000) * 20]
    assert sum(found is not None for found in called) <= 1


@pytest.mark.parametrize(("share", "factor"), [(0.3, 1.2), (0.5, 1.15), (0.2, 2.0)])
def test_what_gathers_in_two_places_is_found_there(share: float, factor: float) -> None:
    generator = np.random.default_rng(2)
    for _ in range(10):
        second = np.where(generator.random(2000) < share, np.log(factor), 0)
        latencies = 1e7 * np.exp(0.02 * generator.normal(size=2000) + second)
        found = modes.two(latencies.astype(np.int64))
        assert found is not None
        assert found.low == pytest.approx(1e7, rel=0.02)
        assert found.high == pytest.approx(factor * 1e7, rel=0.02)
        assert found.share == pytest.approx(share, abs=0.05)


def test_few_and_no_latencies_tell_nothing() -> None:
    assert modes.two(np.array([], np.int64)) is None
    assert modes.two(np.array([1, 2] * 20, np.int64)) is None
