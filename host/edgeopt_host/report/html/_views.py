"""What the templates show, as text: figures with unit and interval, and plots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgeopt_host.blame import blame
from edgeopt_host.compare import Comparison, OnDevice
from edgeopt_host.report import _cells, _turns, _units, gate_words, sustained
from edgeopt_host.report import comparison as comparison_words
from edgeopt_host.report.html import _svg, _wording, plots
from edgeopt_host.run import Run

if TYPE_CHECKING:
    from edgeopt_host.gate.result import GateResult, RuleResult
    from edgeopt_host.stats.estimate import Estimate

_COLOURS = {"pass": "pass", "fail": "fail", "inconclusive": "unsure", "not_measurable": "unsure"}
_START = ("load_ms", "first_inference_ms")
_FOUND = {"none": "muted", "unknown": "muted"}
_FIGURES: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("p50 latency", _cells.p50),
    ("p90", _cells.p90),
    ("p95", _cells.p95),
    ("p99", _cells.p99),
    ("Throughput", _cells.throughput),
    ("Deadlines missed", lambda run: _share(run.shape.missed_deadlines)),
    ("Load", _cells.load),
    ("First inference", lambda run: _duration(run.first_inference_ms)),
    ("Peak memory", _cells.peak),
    ("Model's memory", lambda run: _size(run.memory.model_rss_bytes)),
    ("File size", _cells.model_size),
    ("Energy per inference", lambda run: _energy(run)),  # noqa: PLW0108 - it stands below
    ("Launches counted", lambda run: f"{len(plots.counted(run))} of {len(run.launches)}"),
    ("Inferences", lambda run: str(run.latency_ms.count or _cells.NONE)),
)


def gate(result: GateResult) -> dict[str, Any]:
    verdict = result.verdict.value
    rules = [_rule(rule, gate_words.turns(rule, result)) for rule in result.rules]
    devices: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for runs in _benchmarks(result.runs):
        name = runs[0].device.name
        seen[name] = seen.get(name, 0) + 1
        # Rules are drawn once per device, beside its first benchmark.
        of_device = [rule for rule in result.rules if rule.device == name and seen[name] == 1]
        devices.append(_device(runs, _rule_figures(of_device)))
        devices[-1]["unplotted"] = _unplotted(of_device)
        if seen[name] > 1:
            devices[-1]["name"] += f", benchmark {seen[name]}"
    return {
        "title": f"Gate: {_wording.VERDICTS[verdict]}",
        "heading": gate_words.title(result),
        "verdict": verdict,
        "verdicts": _wording.VERDICTS,
        "symbols": _wording.SYMBOLS,
        "meaning": _wording.MEANINGS[verdict],
        "advice": gate_words.advice(result),
        "result": result,
        "rules": rules,
        "devices": devices,
    }


def compare(comparison: Comparison) -> dict[str, Any]:
    devices = []
    for compared in comparison.devices:
        device = _device(compared.runs, _differences(compared))
        device["others"] = compared.others
        device["notes"] = list(comparison_words.notes(compared))
        devices.append(device)
    return {
        "title": "Comparison",
        "devices": devices,
        "runs": comparison.runs,
        "short": _wording.short,
        "figure": _figure,
        "in_turns": _turns.IN_TURNS,
    }


def run(measured: Run) -> dict[str, Any]:
    return {
        "title": f"{measured.model.name} on {measured.device.name}",
        "run": measured,
        "devices": [_device([measured], [])],
        "sustained": _sustained(measured.sustained or {}),
    }


def _sustained(found: dict[str, Any]) -> str:
    """What a sustained run came to, in a sentence."""
    if found.get("ratio") is None:
        return ""
    ends = found.get("ci95")
    known = f" ({plots.change(ends[0])} to {plots.change(ends[1])})" if ends else ""
    span, why = sustained.window(found)
    aside = f" {why[:1].upper()}{why[1:]}." if why else ""
    first = found["first_p50_ms"]
    return (
        f"Over {sustained.time(found['seconds'])} p50 went from {_duration(first)} in the first "
        f"{span} to {_units.duration(found['last_p50_ms'], unit_of=first)} in the last: "
        f"{plots.change(found['ratio'])}{known}.{aside}"
    )


def _benchmarks(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that were measured together, together."""

    def key(run: Run) -> str:
        return run.paired.benchmark if run.paired else f"{id(run)}"

    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.device.name, key(run)), []).append(run)
    return list(groups.values())


def _device(runs: Sequence[Run], figures: list[tuple[str, Markup]]) -> dict[str, Any]:
    """One benchmark on one device."""
    first = runs[0]
    measured = [run for run in runs if run.launches]
    drawn = [
        *figures,
        (_wording.DISTRIBUTION, Markup(plots.distribution(runs))),  # noqa: S704 - escaped there
        (_wording.SERIES, Markup(plots.series(runs))),  # noqa: S704 - escaped there
    ]
    return {
        "name": _cells.device(first),
        "subjects": [
            {"letter": chr(ord("A") + i), "key": i % 4, "run": run, "blame": blame(runs, i)}
            for i, run in enumerate(runs)
        ],
        "facts": _facts(runs),
        "figures": [(caption, svg) for caption, svg in drawn if svg],
        "table": [
            (title, cells)
            for title, cell in _FIGURES
            if any((cells := [cell(run) for run in runs])[i] != _cells.NONE for i in range(len(runs)))
        ] if measured else [],
        "tainted": _tainted(runs),
        "warnings": _warnings(runs),
        "unplotted": "",
    }  # fmt: skip


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What was measured where, when and with which versions: once where all agree."""
    texts: tuple[tuple[str, Callable[[Run], str]], ...] = (
        ("Board", lambda run: _joined(run.device.board, run.device.cpu)),
        ("System", lambda run: _joined(run.device.os, run.device.kernel)),
        ("Executed by", lambda run: _cells.executed(run) if run.runtime.version else ""),
        ("Agent", lambda run: _joined(run.device.agent_version)),
        ("Load shape", _shape),
        ("Inputs", _inputs),
        ("Measured", lambda run: f"{run.time.replace('T', ' ')[:16]} UTC"),
        ("State", _state),
        ("Model digest", lambda run: f"sha256 {run.model.sha256[:16]}…"),
        ("Run", lambda run: run.id or "not stored"),
    )
    rows = []
    for title, text in texts:
        said = [text(run) for run in runs]
        if len(set(said)) == 1:
            rows.append((title, said[0]))
        else:
            each = (f"{chr(ord('A') + i)}: {one or 'unknown'}" for i, one in enumerate(said))
            rows.append((title, "; ".join(each)))
    return [(title, said) for title, said in rows if said]


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _shape(run: Run) -> str:
    shape = run.shape
    if shape.rate_hz is None:
        pace = "back to back"
    else:
        pace = f"{_units.number(shape.rate_hz)} per second, latency from the due time"
        if shape.missed_deadlines is not None:
            pace += f", {_units.percent(shape.missed_deadlines)} of deadlines missed"
    streams = f"{shape.streams} stream{'s' if shape.streams > 1 else ''}"
    return f"{pace}, batch {shape.batch}, {streams}"


def _inputs(run: Run) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
        for tensor in run.shape.inputs
    )


def _state(run: Run) -> str:
    heat, parts = run.state.temperature_c, []
    if heat.start is not None and heat.max is not None:
        parts.append(f"{heat.start:.1f} °C at the start, {heat.max:.1f} °C at most")
    if run.state.throttled is not None:
        parts.append("throttled" if run.state.throttled else "not throttled")
    if run.state.governor:
        parts.append(f"governor {run.state.governor}")
    return ", ".join(parts)


def _tainted(runs: Sequence[Run]) -> list[tuple[int, str]]:
    """Launches that do not count, by their number, counted from 1, and why."""
    return sorted({
        (launch.number + 1, launch.tainted)
        for run in runs
        for launch in run.launches
        if launch.tainted is not None
    })  # fmt: skip


def _warnings(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Letters, code and message; what holds for several subjects stands once."""
    found: dict[tuple[str, str], list[str]] = {}
    for i, run in enumerate(runs):
        for warning in run.warnings:
            found.setdefault((warning.code, warning.message), []).append(chr(ord("A") + i))
    return [(", ".join(letters), code, message) for (code, message), letters in found.items()]


def _rule(rule: RuleResult, aside: str) -> dict[str, Any]:
    interval = gate_words.interval(rule).replace("-", "\u2212")
    looks = f"in {rule.looks} look{'s' if rule.looks != 1 else ''}"
    seconds = f"{rule.device_seconds:.0f} s" if rule.looks else ""
    figures = [
        ("Estimate", _scaled(rule.estimate, rule.unit), interval),
        ("Limit", _scaled(rule.limit, rule.unit), ""),
        ("Candidate", _figure(rule.metric, rule.candidate), ""),
        ("Baseline", _figure(rule.metric, rule.baseline), ""),
        ("Measured", seconds, looks),
    ]
    return {
        **{name: getattr(rule, name) for name in ("metric", "device", "required", "reason")},
        "turns": aside,
        "condition": rule.condition,
        "verdict": rule.verdict.value,
        "figures": [(t, "" if text == _cells.NONE else text, aside) for t, text, aside in figures],
    }


def _rule_figures(rules: Sequence[RuleResult]) -> list[tuple[str, Markup]]:
    relative = [row for rule in rules if rule.unit == "ratio" for row in _row(rule)]
    absolute = [row for rule in rules if rule.unit != "ratio" for row in _row(rule)]
    drawn = (
        (_wording.RATIOS, relative, "Difference from the baseline", "from the baseline (%)"),
        (_wording.LIMITS, absolute, "Distance from the limit", "from the limit (%)"),
    )
    return [
        (caption, Markup(plots.ratios(rows, title, label)))  # noqa: S704 - escaped there
        for caption, rows, title, label in drawn
        if rows
    ]


def _unplotted(rules: Sequence[RuleResult]) -> str:
    """Rules of which no plot shows anything, so that nobody takes the plots for all of them."""
    told = [
        f"{_wording.short(rule.metric)} ({_wording.VERDICTS[rule.verdict.value]})"
        for rule in rules
        if not _row(rule)
    ]
    return f"Not in the plots: {', '.join(told)}." if told else ""


def _row(rule: RuleResult) -> list[plots.Interval]:
    """What a plot shows of a rule; nothing of one in points, or without an interval."""
    scale = 1.0 if rule.unit == "ratio" else rule.limit
    if rule.estimate is None or rule.ci is None or rule.unit == "pt" or not scale > 0:
        return []
    value, low, high = (x / scale for x in (rule.estimate, *rule.ci))
    label = _wording.short(rule.metric)
    kind = _COLOURS[rule.verdict.value]
    row = plots.Interval(label, value, low, high, kind, rule.limit / scale)
    return [row] if plots.drawable(row) else []


def _differences(compared: OnDevice) -> list[tuple[str, Markup]]:
    """Two plots, because some metrics differ by much more than others, or vary more."""
    several = len(compared.others) > 1
    times: list[plots.Interval] = []
    sizes: list[plots.Interval] = []
    found = [(o, d) for o in compared.others for d in o.differences if d.metric != "accuracy"]
    for metric in dict.fromkeys(difference.metric for _, difference in found):
        for other, difference in found:
            ratio = difference.ratio or _ratio(difference.reference, difference.delta)
            if difference.metric != metric or ratio is None:
                continue
            label = f"{_wording.short(metric)}{' ' + other.letter if several else ''}"
            subject = _svg.SUBJECTS[(ord(other.letter) - ord("A")) % len(_svg.SUBJECTS)]
            colour = _FOUND.get(difference.found, subject)
            row = plots.Interval(label, ratio.value, ratio.low, ratio.high, colour)
            (sizes if difference.delta or metric in _START else times).append(row)
    # Of one launch there is nothing but the figures.
    if compared.single:
        return []
    label = "difference from A (%)"
    drawn = (
        (_wording.COMPARED, plots.ratios(times, "Speed and energy against A", label)),
        (_wording.COMPARED_SIZES, plots.ratios(sizes, "Start, memory and size against A", label)),
    )
    return [(caption, Markup(svg)) for caption, svg in drawn]  # noqa: S704 - escaped there


def _ratio(reference: float | None, delta: Estimate | None) -> Estimate | None:
    """Of a difference in MB."""
    if not reference or delta is None:
        return None
    ends = (1 + x / reference for x in (delta.value, delta.low, delta.high))
    return dataclasses.replace(delta, **dict(zip(("value", "low", "high"), ends, strict=True)))


def _figure(metric: str, value: float | None) -> str:
    from edgeopt_host.metrics import METRICS

    return _scaled(value, METRICS[metric].unit) if metric in METRICS else _scaled(value, "")


def _scaled(value: float | None, unit: str) -> str:
    """A figure with its unit."""
    if value is None or not math.isfinite(value):
        return _cells.NONE
    match unit:
        case "ratio":
            return plots.change(value)
        case "pt":
            return f"{value:+.2f} points".replace("-", "\u2212")
        case "ms":
            return _units.duration(value)
        case "MB":
            return _units.size(value * 2**20)
        case "":
            return f"{value:.4g}"
    return f"{_units.number(value)} {unit}"


def _duration(milliseconds: float | None) -> str:
    return _cells.NONE if milliseconds is None else _units.duration(milliseconds)


def _share(share: float | None) -> str:
    return _cells.NONE if share is None else _units.percent(share)


def _size(count: int | None) -> str:
    return _cells.NONE if count is None else _units.size(count)


def _energy(run: Run) -> str:
    text, ends = _cells.energy(run), run.energy.ci95
    if text == _cells.NONE:
        return f"not measured: {run.energy.reason}" if run.energy.status == "unavailable" else text
    return f"{text} [{', '.join(map(_units.number, ends))}]" if ends else text
