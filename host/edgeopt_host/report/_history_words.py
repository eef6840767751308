"""What steps of an optimization came to, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeopt_host._text import plain
from edgeopt_host.report import _units
from edgeopt_host.report._history import (
    NO_INTERVAL,
    NOTHING,
    POINTS,
    Made,
    against_original,
    at,
    devices,
    drop,
    ends,
    error,
    examples,
    latency,
    metric,
    models,
    number,
    reference_name,
    rough,
    signed,
)

# An interval of a drop that reaches further than so many points to each side tells next to nothing.
_VAGUE = 5.0


def words(history: Mapping[str, Any], made: Made) -> str:
    """A step in one sentence: what it did to size, to the score, and to speed on each device."""
    if not made.done:
        return f"{made.failure.rstrip('.')}."
    parts = [_size_words(made)]
    parts.append(
        f"not evaluated: {made.error.rstrip('.')}" if made.error else _drop_words(history, made)
    )
    for name in dict.fromkeys(device.name for device in devices(history)):
        parts += _speed_words(history, name, made)
    return f"{'; '.join(parts)}.{_over_budget(history, made)}"


def _size_words(made: Made) -> str:
    count = number(made.evaluation, "size", "bytes")
    count = number(made.model, "size_bytes") if count is None else count
    ratio = number(made.evaluation, "size", "compression_ratio")
    if not count:
        return "size not measured"
    told = _units.size(count)
    if not ratio or ratio < 0:
        return f"{told}, not compared with the original's size"
    if f"{ratio:.2f}" == "1.00":
        return f"{told}, as large as the original"
    if ratio > 1:
        return f"{told}, size divided by {ratio:.2f}"
    return f"{told}, size multiplied by {1 / ratio:.2f}"


def _drop_words(history: Mapping[str, Any], made: Made) -> str:
    name = metric(history)
    found = at(made.evaluation, "drop")
    figure, between = number(found, "value"), ends(found)
    if figure is None:
        return f"{name} not compared with the original's"
    unit = str(at(found, "unit") or "")
    size = f"{signed(abs(figure), unit).lstrip('+')} {plain(unit)}".rstrip()
    if between is None:
        verb = "falls" if figure > 0 else "rises" if figure < 0 else "changes"
        return f"{name} {verb} by {size}, without an interval"
    low, high = between
    vague = unit == POINTS and high - low > 2 * _VAGUE
    count = examples(found).replace(" ", " test ") or "the test examples"
    if low <= 0 <= high:
        around = f"{signed(low, unit)} to {signed(high, unit)} {plain(unit)}".rstrip()
        if vague:
            return f"{count} cannot tell whether the {name} changed (drop {around})"
        return f"no change of {name} found (drop {around})"
    low, high = sorted((abs(low), abs(high)))
    around = " to ".join(signed(end, unit).lstrip("+") for end in (low, high))
    told = f"{name} {'falls' if figure > 0 else 'rises'} by {size} ({around})"
    return f"{told}, which {count} cannot tell more closely" if vague else told


def _over_budget(history: Mapping[str, Any], made: Made) -> str:
    """A sentence where a model lost more on test examples than it was allowed on others."""
    budget = number(made.step, "parameters", "budget_pt")
    found = at(made.evaluation, "drop")
    lost = number(found, "value")
    if budget is None or lost is None:
        return ""
    source = next((one for one in models(history) if one.id == made.source), None)
    before = (number(source.evaluation, "drop", "value") if source else None) or 0.0
    if lost - before <= budget:
        return ""
    unit = str(at(found, "unit") or "")
    asked = f"{budget:g} {plain(unit)}".rstrip()
    around = drop(found).interval
    share = f", of which {signed(before, unit).lstrip('+')} before this step" if before > 0 else ""
    return (
        f" {asked} were allowed on validation examples; on test examples it lost "
        f"{signed(lost, unit).lstrip('+')} ({around}){share}."
    )


def _speed_words(history: Mapping[str, Any], name: str, made: Made) -> list[str]:
    # A device measures models of several formats apart.
    known = [one for one in devices(history) if one.name == name and made.id in one.models]
    if not known:
        return [f"not measured on {name}"]
    device = known[0]
    measured = device.models[made.id]
    if number(measured, "p50_latency_ms") is None:
        why = error(measured)
        return [f"not measured on {name}" + (f" ({why})" if why else "")]
    if made.id == device.reference:
        told = [f"{latency(measured).text} on {name}, which the others are compared with"]
    else:
        told = [_faster(at(measured, "speedup"), name, reference_name(device, models(history)))]
    whole = against_original(history, measured) if device.local else NOTHING
    if whole != NOTHING:
        told.append(f"{whole.text} as fast as the original in its own framework ({NO_INTERVAL})")
    return told


def _faster(speedup: Any, name: str, reference: str) -> str:
    ratio, between = number(speedup, "value"), ends(speedup)
    if ratio is None or ratio <= 0:
        return f"speed-up on {name} not measured"
    if between is not None and between[0] <= 1 <= between[1]:
        low, high = between
        return f"no difference in speed from {reference} found on {name} ({low:.2f} to {high:.2f} times)"
    slower = ratio < 1
    times = 1 / ratio if slower else ratio
    told, around = rough(times), NO_INTERVAL
    if between is not None and min(between) > 0:
        low, high = (1 / between[1], 1 / between[0]) if slower else between
        told, around = f"{times:.2f}", f"{low:.2f} to {high:.2f}"
    if slower:
        return f"slower on {name}: takes {told} times as long as {reference} ({around})"
    return f"on {name} {told} times as fast as {reference} ({around})"
