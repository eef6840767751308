"""What a history of an optimization (`edgeopt.history/1`) says, as figures for people.

Anything in a history may be null. What was not measured says so, here and nowhere as 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt_host._text import plain
from edgeopt_host.report import _units

NOT_MEASURED = "not measured"
NO_INTERVAL = "no interval"
ORIGINAL = "original"
# The first conversion to float, where the device cannot execute the original.
REFERENCE = "reference"
# The device that is this host.
_LOCAL = "local"
_DONE = "done"
POINTS = "pt"


def at(document: Any, *keys: str) -> Any:
    """What stands at a path; None where the path ends before."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def number(document: Any, *keys: str) -> float | None:
    """A finite figure at a path."""
    value = at(document, *keys)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if known and math.isfinite(value) else None


def ends(document: Any, *keys: str) -> tuple[float, float] | None:
    """Both ends of an interval: a list at a path, or `low` and `high` of what stands there."""
    value = at(document, *keys)
    if isinstance(value, list) and len(value) == 2:  # noqa: PLR2004 - low and high
        value = {"low": value[0], "high": value[1]}
    low, high = number(value, "low"), number(value, "high")
    return None if low is None or high is None else (low, high)


def part(document: Any, *keys: str) -> Mapping[str, Any]:
    """What stands at a path, when it has keys; else nothing."""
    value = at(document, *keys)
    return value if isinstance(value, Mapping) else {}


def items(document: Any, *keys: str) -> list[Any]:
    """A list at a path; empty when there is none."""
    value = at(document, *keys)
    return value if isinstance(value, list) else []


@dataclass(frozen=True)
class Figure:
    """A figure for people, with what says how far to trust it."""

    text: str
    interval: str = ""
    aside: str = ""

    @property
    def behind(self) -> str:
        """All but the figure."""
        return ", ".join(one for one in (self.interval, self.aside) if one)


NOTHING = Figure(NOT_MEASURED)


@dataclass(frozen=True)
class Made:
    """The original, or what a step made of a model.

    Attributes:
        index: 0 for the original, then in the order of the steps.
        id: as devices and `from` name it.
        step: its entry in `steps`; empty for the original.
        model: what is known of its files.
        evaluation: what was measured on this host.
    """

    index: int
    id: str
    step: Mapping[str, Any]
    model: Mapping[str, Any]
    evaluation: Mapping[str, Any]

    @property
    def technique(self) -> str:
        """Its technique, or "original"."""
        return plain(str(self.step.get("technique") or ORIGINAL)) if self.step else ORIGINAL

    @property
    def title(self) -> str:
        if not self.step:
            return ORIGINAL
        # An id that nobody chose is the technique's name.
        own = not self.id.startswith(self.technique.replace(":", "-"))
        return f"{plain(self.id)} {self.technique}" if own else plain(self.id)

    @property
    def source(self) -> str:
        """The id of the model that it was made of."""
        return str(self.step.get("from") or ORIGINAL) if self.step else ""

    @property
    def done(self) -> bool:
        return not self.step or self.step.get("status") == _DONE

    @property
    def error(self) -> str:
        """Why there is no model, or why the one that there is was not evaluated; empty without."""
        return error(self.step)

    @property
    def failure(self) -> str:
        """Why there is no model; empty when there is one."""
        if self.done:
            return ""
        status = plain(str(self.step.get("status") or "unknown status"))
        return f"{status}: {self.error}" if self.error else status


def models(history: Mapping[str, Any]) -> list[Made]:
    """The original, and a line for each step."""
    original = Made(
        0, ORIGINAL, {}, part(history, "model"), part(history, ORIGINAL)
    )  # fmt: skip
    steps = [step for step in items(history, "steps") if isinstance(step, Mapping)]
    return [original] + [
        Made(
            i,
            str(step.get("id") or i),
            step,
            part(step, "model"),
            part(step, "evaluation"),
        )
        for i, step in enumerate(steps, 1)
    ]


def chained(made: list[Made]) -> bool:
    """Whether every step goes on from the one before it."""
    return all(one.source == before.id for before, one in itertools.pairwise(made))


def error(document: Any) -> str:
    """The reason and message of an `error`; empty without one."""
    found = at(document, "error")
    if isinstance(found, str):
        return plain(found)
    parts = (at(found, "reason"), at(found, "message"))
    return ": ".join(plain(str(part)) for part in parts if part)


def clock(document: Any) -> str:
    """Its `time` to the minute: "2026-11-24 18:40 UTC"; empty without."""
    time = str(at(document, "time") or "")
    return f"{plain(time.replace('T', ' ')[:16])} UTC" if time else ""


def metric(history: Mapping[str, Any]) -> str:
    return plain(str(at(history, "metric", "name") or "score"))


def in_points(history: Mapping[str, Any]) -> bool:
    """Whether the metric is a share, whose differences are percentage points."""
    return unit(history) == POINTS


def unit(history: Mapping[str, Any]) -> str:
    """Of differences of the metric: "pt", or empty."""
    steps = (at(step, "evaluation", "drop", "unit") for step in items(history, "steps"))
    known = (one for one in (at(history, "metric", "unit"), *steps) if one is not None)
    return plain(str(next(known, "")))


def size(evaluation: Any) -> str:
    count = number(evaluation, "size", "bytes")
    return NOT_MEASURED if count is None else _units.size(count)


def times_smaller(evaluation: Any) -> str:
    """How many times as small as the original: "3.85"."""
    ratio = number(evaluation, "size", "compression_ratio")
    return NOT_MEASURED if ratio is None else f"{ratio:.2f}"


def gzip(evaluation: Any) -> str:
    count = number(evaluation, "size", "gzip_bytes")
    if count is None:
        return NOT_MEASURED
    ratio = number(evaluation, "size", "gzip_ratio")
    return _units.size(count) + ("" if ratio is None else f" (÷ {ratio:.2f})")


def value(figure: float, *, points: bool) -> str:
    """A score: "91.02 %" of a share, else a number."""
    return f"{100 * figure:.2f} %" if points else _units.number(figure)


def score(score: Any, *, points: bool) -> Figure:
    """A score with its interval, and on how many examples."""
    figure = number(score, "value")
    if figure is None:
        return NOTHING
    interval = NO_INTERVAL
    if (between := ends(score, "ci95")) is not None:
        interval = " to ".join(value(end, points=points) for end in between)
    return Figure(value(figure, points=points), interval, examples(score))


def difference(figure: float, unit: str) -> str:
    """With its sign: "+0.16 pt"."""
    return f"{signed(figure, unit)} {plain(unit)}".rstrip()


def drop(drop: Any) -> Figure:
    """A drop with its interval, and on how many examples. Positive is worse."""
    figure = number(drop, "value")
    if figure is None:
        return NOTHING
    unit = str(at(drop, "unit") or "")
    interval = NO_INTERVAL
    if (between := ends(drop)) is not None:
        interval = " to ".join(signed(end, unit) for end in between)
    return Figure(difference(figure, unit), interval, examples(drop))


def agreement(agreement: Any) -> Figure:
    """How far outputs are those of the original."""
    same, most = number(agreement, "argmax_same"), number(agreement, "max_abs")
    mean = number(agreement, "mean_abs")
    more = [] if mean is None else [f"mean {mean:.2g}"]
    if same is None and most is None:
        return NOTHING
    if same is not None and most is not None:
        more.insert(0, f"outputs differ by {most:.2g} at most")
    more += [told] if (told := examples(agreement)) else []
    text = f"within {most:.2g}" if same is None else f"{_units.percent(same)} same class"
    return Figure(text, "", ", ".join(more))


def latency(measured: Any) -> Figure:
    """A p50 latency with its interval; why there is none when it failed."""
    middle = number(measured, "p50_latency_ms")
    if middle is None:
        return Figure(NOT_MEASURED, "", error(measured))
    if (between := ends(measured, "p50_ci95")) is None:
        return Figure(_units.duration(middle), NO_INTERVAL)
    text, _, interval = _units.interval(middle, *between).partition(" [")
    return Figure(text, interval.rstrip("]").replace(", ", " to "))


def speedup(speedup: Any) -> Figure:
    """How many times as fast, with the interval."""
    ratio = number(speedup, "value")
    if ratio is None:
        return NOTHING
    between = ends(speedup)
    if between is None:
        return Figure(f"{rough(ratio)}×", NO_INTERVAL)  # noqa: RUF001 - times
    return Figure(f"{ratio:.2f}×", f"{between[0]:.2f} to {between[1]:.2f}")  # noqa: RUF001 - times


def against_original(history: Mapping[str, Any], measured: Any) -> Figure:
    """How many times as fast as the original in its own framework, both on this host.

    The two were timed by different programs at different times, so there is no interval.
    """
    host = at(history, ORIGINAL, "host")
    before = number(host, "median_ms")
    before = number(host, "mean_ms") if before is None else before
    after = number(measured, "p50_latency_ms")
    if before is None or not after:
        return NOTHING
    return Figure(f"{rough(before / after)}×", NO_INTERVAL)  # noqa: RUF001 - times


def rough(ratio: float) -> str:
    """Two significant digits: without an interval, more would say what nobody knows."""
    short = float(f"{ratio:.2g}")
    decimals = 1 - math.floor(math.log10(abs(short))) if short else 0
    return f"{short:.{max(decimals, 0)}f}"


@dataclass(frozen=True)
class Device:
    """What one device measured of models of one format.

    Attributes:
        name: of the device.
        label: the same, with the format where it measured several.
        board: what it is; empty when unknown.
        reference: the id of what the others are compared with.
        models: what was measured, by id.
    """

    name: str
    label: str
    board: str
    reference: str
    models: Mapping[str, Mapping[str, Any]]

    @property
    def local(self) -> bool:
        """Whether it is this host."""
        return self.name == _LOCAL


def devices(history: Mapping[str, Any]) -> list[Device]:
    """In their order."""
    entries = items(history, "devices")
    names = [plain(str(at(entry, "name") or "unnamed device")) for entry in entries]
    found = []
    for name, entry in zip(names, entries, strict=True):
        format_ = at(entry, "format") if names.count(name) > 1 else None
        found.append(
            Device(
                name,
                f"{name} {plain(str(format_))}" if format_ else name,
                plain(str(at(entry, "board") or "")),
                str(at(entry, "reference") or REFERENCE),
                {str(at(one, "step")): one for one in items(entry, "models") if part(one)},
            )
        )
    return found


def reference_name(device: Device, made: Iterable[Made]) -> str:
    """What the others of a device are compared with."""
    found = (one.title for one in made if one.id == device.reference)
    return next(found, "the first float conversion")


def flat(document: Any) -> str:
    """JSON on one line, without the signs that programs need."""
    if isinstance(document, Mapping):
        return ", ".join(f"{plain(str(key))} {flat(one)}" for key, one in document.items())
    if isinstance(document, list):
        return ", ".join(map(flat, document)) or "none"
    if document is None:
        return "none"
    if isinstance(document, bool):
        return "yes" if document else "no"
    return f"{document:.6g}" if isinstance(document, float) else plain(str(document))


def similarity(history: Mapping[str, Any]) -> list[str]:
    """What comparing calibration data with test data, and with those of the field, said."""
    found = at(history, "data", "similarity")
    told = (at(found, name, "text") for name in ("test", "field"))
    return [plain(str(one)) for one in told if one]


def signed(figure: float, unit: str) -> str:
    """A difference with its sign, in digits that suit the unit: points have two."""
    text = f"{figure:+.2f}" if unit == POINTS else f"{figure:+.3g}"
    return text.lstrip("+-") if float(text) == 0 else text


def examples(document: Any) -> str:
    """How many: "10,000 examples"; empty when unknown."""
    count = number(document, "examples")
    return "" if count is None else f"{count:,.0f} example{'' if count == 1 else 's'}"


def listed(counts: Any) -> str:
    """Counts by name, the largest first: "CONV_2D 20, MEAN 1"."""
    if not isinstance(counts, Mapping):
        return ""
    known: Iterable[tuple[str, float]] = (
        (str(name), one) for name, one in counts.items() if isinstance(one, (int, float))
    )
    return ", ".join(f"{plain(n)} {c:,.0f}" for n, c in sorted(known, key=lambda one: -one[1]))
