"""A figure, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure or a ratio with its 95 % interval.

    A bound that is not known is NaN: a single launch tells nothing about the next.
    """

    value: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether the interval is known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A figure that does not vary: a size, a share of operators."""
        return cls(value, value, value)

    def times(self, factor: float) -> Estimate:
        """In another unit."""
        return Estimate(*(factor * x for x in (self.value, self.low, self.high)))

    def exp(self) -> Estimate:
        """Back from a logarithm: the estimate of a ratio."""
        return Estimate(*(_exp(x) for x in (self.value, self.low, self.high)))


@dataclass(frozen=True)
class Mean:
    """The mean of values of which each stands for one launch, and Student's t about it.

    Args:
        value: the mean.
        error: its standard error; 0 when all values are the same.
        count: of values; the degrees of freedom are one less.
    """

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float], floor: float = 0.0) -> Mean:
        """Of values of which none is known better than `floor`, as a standard deviation.

        Raises:
            ValueError: a value is not finite, or there is none.
        """
        if not values or not all(map(math.isfinite, values)):
            raise ValueError(f"no mean of {len(values)} values, of which some are not finite")
        count = len(values)
        value = math.fsum(values) / count
        if count == 1:
            return cls(value, math.nan, 1)
        squares = math.fsum((x - value) ** 2 for x in values)
        deviation = max(math.sqrt(squares / (count - 1)), floor)
        return cls(value, deviation / math.sqrt(count), count)

    def estimate(self, coverage: float = 0.95) -> Estimate:
        """The mean with its t-interval."""
        if self.count == 1:
            return Estimate(self.value, math.nan, math.nan)
        from scipy.special import stdtrit

        half = float(stdtrit(self.count - 1, (1 + coverage) / 2)) * self.error
        return Estimate(self.value, self.value - half, self.value + half)

    def p_values(self, limit: float) -> tuple[float, float]:
        """One-sided p-values: of being below `limit`, and of being above it."""
        return student(self.value - limit, self.error, self.count - 1)


def student(difference: float, error: float, freedom: float) -> tuple[float, float]:
    """One-sided p-values of a difference with its standard error: below zero, and above.

    Raises:
        ValueError: without a standard error there is no test.
    """
    from scipy.special import stdtr

    if not (math.isfinite(difference) and error > 0 and freedom > 0):
        raise ValueError(f"no test of {difference} with standard error {error}")
    below = float(stdtr(freedom, difference / error))
    return below, 1.0 - below


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # noqa: PLR2004 - the last that fits
