"""Numbers for people: three significant digits, and the unit in which they are short."""

from __future__ import annotations

import math

_TIMES = ((1e-6, "ns"), (1e-3, "µs"), (1.0, "ms"), (1e3, "s"))  # in ms
_SIZES = ((1.0, "B"), (2.0**10, "KB"), (2.0**20, "MB"), (2.0**30, "GB"))

_MOST_DECIMALS = 6
_MOST_OF_PERCENT = 4
# From here on, tenths of a percent tell nothing.
_WHOLE_PERCENT = 100


def number(value: float) -> str:
    """Three significant digits: 0.0123, 1.23, 12.3, 123, 1234.

    >>> [number(x) for x in (0.01234, 0.9996, 12.34, 123.4, 1234.4)]
    ['0.0123', '1.00', '12.3', '123', '1234']
    """
    return f"{value:.{_decimals(value)}f}"


def duration(*milliseconds: float, unit_of: float | None = None) -> str:
    """Times in one unit, that of `unit_of` or the first: "412 µs", "0.41, 0.43 ms"."""
    return _scaled(_TIMES, milliseconds, unit_of)


def size(*byte_counts: float) -> str:
    """Sizes in one unit, where a MB is 2²⁰ bytes: "38.1 MB"."""
    return _scaled(_SIZES, byte_counts, None)


def interval(middle: float, low: float, high: float) -> str:
    """A time in ms with its interval, all with the same unit and digits: "1.23 ms [1.20, 1.31]"."""
    factor, unit = _unit(_TIMES, middle)
    decimals = _decimals(middle / factor)
    # Ends that read the same would say that nothing is uncertain.
    while decimals < _MOST_DECIMALS and f"{high / factor:.{decimals}f}" == (
        f"{low / factor:.{decimals}f}" if low != high else ""
    ):
        decimals += 1
    first, *ends = (f"{value / factor:.{decimals}f}" for value in (middle, low, high))
    return f"{first} {unit} [{', '.join(ends)}]"


def percent(share: float) -> str:
    """A share of 1: "97 %", with digits where rounding would hide that it is not all or nothing.

    >>> [percent(x) for x in (1, 0.97, 0.998, 0.0002, 0)]
    ['100 %', '97 %', '99.8 %', '0.02 %', '0 %']
    """
    for decimals in range(_MOST_OF_PERCENT):
        text = f"{100 * share:.{decimals}f}"
        if float(text) not in {0, 100} or share in {0, 1}:
            break
    return f"{text} %"


def change(ratio: float) -> str:
    """A ratio as a difference in percent, in digits that tell it from none.

    >>> [change(x) for x in (1.032, 0.88, 1.0001, 1.0, 4.14)]
    ['+3.2 %', '-12.0 %', '+0.01 %', '0.0 %', '+314 %']
    """
    value = 100 * (ratio - 1)
    if abs(value) >= _WHOLE_PERCENT:
        return f"{value:+.0f} %"
    for decimals in range(1, _MOST_OF_PERCENT):
        text = f"{value:+.{decimals}f}"
        if float(text) != 0:
            return f"{text} %"
    return "0.0 %"


def figure(value: float, unit: str) -> str:
    """A figure of a metric of `METRICS`: "12.3 ms", "38.1 MB", "235600/s", "0.912".

    Args:
        value: in `unit`.
        unit: the metric's.
    """
    match unit:
        case "ms":
            return duration(value)
        case "MB":
            return size(value * 2**20)
        case "samples/s":
            return f"{number(value)}/s"
    return f"{number(value)} {unit}".strip()


def time_unit(milliseconds: float) -> tuple[float, str]:
    """The unit in which a time is short: how many milliseconds it has, and its name."""
    return _unit(_TIMES, milliseconds)


def _scaled(
    units: tuple[tuple[float, str], ...], values: tuple[float, ...], unit_of: float | None
) -> str:
    factor, unit = _unit(units, values[0] if unit_of is None else unit_of)
    whole = unit == "B"
    return f"{', '.join(f'{v:.0f}' if whole else number(v / factor) for v in values)} {unit}"


def _unit(units: tuple[tuple[float, str], ...], value: float) -> tuple[float, str]:
    # By what will be written: 999.6 µs are 1.00 ms.
    fits = (u for u in reversed(units) if float(f"{abs(value) / u[0]:.3g}") >= 1)
    return next(fits, units[0])


def _decimals(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = math.floor(math.log10(float(f"{abs(value):.3g}")))
    return min(max(2 - exponent, 0), _MOST_DECIMALS)
