"""All figures of one run, a line for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.report import _cells, _units, sustained
from edgeopt_host.report._console import Cell, grid, is_terminal, table
from edgeopt_host.run import Energy, Memory, Operator, Run

_OPERATORS = 10
_NAME = 48
# As much of it as `--model` needs to find it again, and more.
_DIGEST = 16


def facts(run: Run, *, stored: bool) -> RenderableType:
    """The figures, what executed the model, the device's state, and what to be careful about."""
    rows: list[tuple[str, Cell]] = []
    if run.error:
        message = plain(f"{run.error.reason}: {run.error.message}")
        rows.append(("Failed", Text.assemble((message, "red"))))
    if run.latency_ms.p50 is not None:
        rows += _figures(run)
    rows.append(("Size", f"{_cells.model_size(run)} ({plain(run.model.format or 'no model')})"))
    if not run.error:
        rows += _behaviour(run)
    if run.runtime.version or not run.error:
        rows.append(("Executed by", _executed(run)))
    if device := _device(run):
        rows.append(("Device", device))
    if shape := _shape(run):
        rows.append(("Input", shape))
    if run.labels:
        pairs = (f"{key}={value}" for key, value in run.labels.items())
        rows.append(("Labels", plain(", ".join(pairs))))
    if stored:
        digest = plain(run.model.sha256[:_DIGEST])
        rows.append(("Measured", f"{plain(run.time)}, model sha256 {digest}…"))
        rows.append(("Command", plain(run.command)))
    for warning in run.warnings:
        code, message = plain(warning.code), plain(warning.message)
        rows.append(("Warning", Text.assemble((code, "yellow"), f": {message}")))
    return grid(rows)


def operators(profile: Sequence[Operator]) -> RenderableType:
    """Where the time goes: the operators that take the most."""
    total = sum(operator.mean_us for operator in profile) or 1.0
    slowest = sorted(profile, key=lambda operator: operator.mean_us, reverse=True)
    rows = [
        [
            _units.duration(operator.mean_us / 1000),
            _units.percent(operator.mean_us / total),
            str(operator.calls),
            plain(operator.type),
            _shortened(plain(operator.name)),
            plain(operator.provider or ""),
        ]
        for operator in slowest[:_OPERATORS]
    ]
    if rest := slowest[_OPERATORS:]:
        time = sum(operator.mean_us for operator in rest)
        share = _units.percent(time / total)
        calls = sum(operator.calls for operator in rest)
        rows.append(
            [_units.duration(time / 1000), share, str(calls), f"{len(rest)} others", "", ""]
        )
    titles = [("Time", "right"), ("Share", "right"), ("Calls", "right")]
    titles += [(title, "left") for title in ("Operator", "Name", "Provider")]
    return Padding(table(titles, rows, boxed=is_terminal()), (1, 0, 0, 2))


def _shortened(name: str) -> str:
    """Names of exported models are paths of scopes; their ends tell them apart."""
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


def _figures(run: Run) -> Iterator[tuple[str, Cell]]:
    latency = run.latency_ms
    known = " (95 % interval)" if latency.p50_ci95 else ", no interval from one launch"
    yield "p50 latency", Text.assemble((_cells.p50(run), "bold"), known)
    others = {
        name: _units.duration(value)
        for name in ("min", "p90", "p95", "p99", "max")
        if (value := getattr(latency, name)) is not None
    }
    yield "", "  ".join(f"{name} {value}" for name, value in others.items())
    if latency.count is not None and latency.launches is not None:
        many = "es" if latency.launches != 1 else ""
        yield "", f"{latency.count} inferences in {latency.launches} launch{many}"
    if run.throughput_per_s is not None:
        what = "samples" if run.shape.batch > 1 else "inferences"
        ends = run.throughput_ci95
        interval = f" [{', '.join(map(_units.number, ends))}]" if ends else ""
        yield "Throughput", f"{_units.number(run.throughput_per_s)} {what}/s{interval}"
    if run.shape.missed_deadlines is not None:
        rate = _units.number(run.shape.rate_hz or 0.0)
        yield "Deadlines", f"{_units.percent(run.shape.missed_deadlines)} missed at {rate} Hz"
    if run.load_ms is not None and run.first_inference_ms is not None:
        first = _units.duration(run.first_inference_ms)
        yield "Start", f"load {_units.duration(run.load_ms)}, first inference {first}"
    peak, model = run.memory.peak_rss_bytes, run.memory.model_rss_bytes
    if peak is None:
        yield "Memory", "unknown: this device does not tell"
    else:
        of = "" if model is None else f", the model's share {_units.size(model)}"
        yield "Memory", f"peak {_units.size(peak)}{of}{_streams(run.memory)}"


def _streams(memory: Memory) -> str:
    if memory.per_stream_bytes is None or memory.streams_that_fit is None:
        return ""
    fit = memory.streams_that_fit
    return f", {_units.size(memory.per_stream_bytes)} for each stream more, of which {fit} fit"


def _behaviour(run: Run) -> Iterator[tuple[str, Cell]]:
    """What comes beside the timed figures."""
    if run.accuracy:
        yield "Accuracy", _accuracy(run.accuracy)
    yield "Energy", _energy(run)
    yield "State", _state(run)
    if run.sustained:
        yield "Sustained", sustained.summary(run.sustained)


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    value, low, high = (f"{100 * one:.2f} %" for one in (accuracy["value"], *accuracy["ci95"]))
    of = f"{accuracy['correct']} of {accuracy['examples']} examples"
    return f"{value} [{low}, {high}] (95 % interval), {of}"


def _energy(run: Run) -> str:
    energy = run.energy
    if energy.status == "measured" and energy.per_inference_mj is not None:
        ends = energy.ci95
        interval = f" [{', '.join(map(_units.number, ends))}]" if ends else ""
        source = f" ({plain(energy.source)})" if energy.source else ""
        return f"{_units.number(energy.per_inference_mj)} mJ per inference{interval}{source}{_beside(energy)}"
    reason = plain(energy.reason or "")
    if energy.status == "unavailable":
        return f"not measured: {reason or 'the device did not say why'}"
    return f"not requested{': ' if reason else ''}{reason}"


def _beside(energy: Energy) -> str:
    """What an energy figure is to be read with."""
    parts = []
    if energy.total_per_inference_mj is not None and energy.idle_mw is not None:
        total = _units.number(energy.total_per_inference_mj)
        parts.append(f"{total} mJ with idling at {_units.number(energy.idle_mw)} mW")
    if energy.rate_hz is not None:
        parts.append(f"{_units.number(energy.rate_hz)} samples/s")
    if energy.gain_error is None:
        parts.append("gain error unknown")
    else:
        parts.append(f"gain error up to {100 * energy.gain_error:g} %")
    return f", {', '.join(parts)}"


def _state(run: Run) -> Text:
    temperature, throttled = run.state.temperature_c, run.state.throttled
    parts = []
    if temperature.start is not None and temperature.max is not None:
        parts.append(f"{temperature.start:.1f} °C at the start, {temperature.max:.1f} °C at most")
    else:
        parts.append("temperature unknown")
    if throttled is None:
        parts.append("throttling unknown")
    elif not throttled:
        parts.append("not throttled")
    if run.state.clock_mhz:
        low, high = min(run.state.clock_mhz.values()), max(run.state.clock_mhz.values())
        clock = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
        parts.append(f"clock {clock} MHz")
    if run.state.governor:
        parts.append(f"governor {plain(run.state.governor)}")
    return Text.assemble(("THROTTLED, " if throttled else "", "red"), ", ".join(parts))


def _executed(run: Run) -> Text:
    used = run.runtime
    text = Text(_cells.executed(run))
    if used.quantized_engine:
        text.append(f", quantized engine {plain(used.quantized_engine)}")
    wanted = used.requested_provider
    if wanted and used.actual_provider and wanted != used.actual_provider:
        text.append(f"; {plain(wanted)} was asked for", style="yellow")
    return text


def _device(run: Run) -> str:
    device = run.device
    parts = [
        device.board,
        device.cpu,
        f"{device.cores} core{'s' if device.cores > 1 else ''}" if device.cores else None,
        _units.size(device.memory_bytes) if device.memory_bytes else None,
        device.os,
    ]
    return plain(", ".join(part for part in parts if part))


def _shape(run: Run) -> str:
    shape = run.shape
    inputs = [
        f"{tensor.name} {tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
        for tensor in shape.inputs
    ]
    if shape.batch > 1:
        inputs.append(f"batch {shape.batch}")
    if shape.streams > 1:
        inputs.append(f"{shape.streams} streams")
    if shape.rate_hz is not None:
        inputs.append(f"{_units.number(shape.rate_hz)} Hz")
    return plain("; ".join(inputs))
