"""Option values with a structure of their own: `--dim`, `--shape` and their like."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from edgeopt_host.plan import InputRange, InputShape, Provider


class _Structured(click.ParamType):  # type: ignore[type-arg,unused-ignore] # click 8.5 made it generic
    """A value of the form that `name` shows; `parse` raises ValueError when it has another."""

    def parse(self, value: str) -> Any:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError:
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)


_INT64 = 2**63 - 1
_DAY_S = 86400
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_HOTTEST_C = 150


class Seconds(click.FloatRange):
    """A duration; NaN lies in no range."""

    name = "S"

    def __init__(self, least: float) -> None:
        super().__init__(least, _DAY_S)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


class Period(_Structured):
    """Seconds, with a unit where they are many: 90s, 10m, 1.5h."""

    name = "90s|10m|1h"

    def parse(self, value: str) -> float:
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)([smh]?)", value.strip())
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 0 < seconds <= _DAY_S:
            raise ValueError
        return seconds


class Celsius(_Structured):
    name = "55C"

    def parse(self, value: str) -> float:
        degrees = float(value.strip().removesuffix("C").removesuffix("°"))
        # 0 is no condition, to the protocol.
        if not 0 < degrees <= _HOTTEST_C:
            raise ValueError
        return degrees


class Hertz(click.FloatRange):
    """A rate; NaN lies in no range."""

    name = "HZ"

    def __init__(self) -> None:
        super().__init__(0.001, 100_000)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        rate = super().convert(value, param, ctx)
        if math.isnan(rate):
            self.fail(f"{value!r} is no rate", param, ctx)
        return rate


class KeyValue(_Structured):
    name = "KEY=VALUE"

    def parse(self, value: str) -> tuple[str, str]:
        key, separator, rest = value.partition("=")
        if not (key and separator):
            raise ValueError
        return key, rest


class Dimension(_Structured):
    name = "SYMBOL=SIZE"

    def parse(self, value: str) -> tuple[str, int]:
        symbol, _, size = value.rpartition("=")
        if not symbol or not 0 <= int(size) <= _INT64:
            raise ValueError
        return symbol, int(size)


class ShapeOption(_Structured):
    # An input's name may hold colons and equal signs, so this is read from the right.
    name = "NAME=1,3,224,224[:DTYPE]"

    def parse(self, value: str) -> InputShape:
        name, _, rest = value.rpartition("=")
        sizes, _, dtype = rest.partition(":")
        if not name:
            raise ValueError
        dimensions = tuple(int(size) for size in sizes.split(",")) if sizes else ()
        if not all(0 <= size <= _INT64 for size in dimensions):
            raise ValueError
        return InputShape(name, dimensions, dtype or None)


class RangeOption(_Structured):
    name = "[NAME=]LOW:HIGH"

    def parse(self, value: str) -> InputRange:
        name, _, rest = value.rpartition("=")
        low, separator, high = rest.partition(":")
        ends = float(low), float(high)
        if not separator or not all(map(math.isfinite, ends)) or ends[0] > ends[1]:
            raise ValueError
        return InputRange(*ends, name or None)


class DelegateOption(_Structured):
    name = "PATH[:KEY=VALUE,…]"

    def parse(self, value: str) -> Provider:
        path, _, options = value.partition(":")
        if not path:
            raise ValueError
        pairs = [KeyValue().parse(option) for option in options.split(",") if option]
        return Provider(path, "tflite", dict(pairs))
