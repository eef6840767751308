"""What a run's figures look like in one cell of a table. Shared by the formats for people."""

from __future__ import annotations

from edgeopt_host._text import plain
from edgeopt_host.report import _units
from edgeopt_host.run import Run

NONE = "-"


def model(run: Run) -> str:
    return plain(run.model.name)


def device(run: Run) -> str:
    # The latencies of an emulated device must never pass for a board's.
    return plain(run.device.name) + (" (emulated)" if run.device.emulated else "")


def time(run: Run) -> str:
    """The UTC minute: "2026-11-02 14:03"."""
    return plain(run.time.replace("T", " ")[:16])


def p50(run: Run) -> str:
    """With its interval: "1.23 ms [1.20, 1.31]"."""
    middle, ends = run.latency_ms.p50, run.latency_ms.p50_ci95
    if middle is None:
        return NONE
    return _units.interval(middle, *ends) if ends else _units.duration(middle)


def short_p50(run: Run) -> str:
    """With the wider half of its interval: "1.23 ms ±6 %"."""
    middle, ends = run.latency_ms.p50, run.latency_ms.p50_ci95
    if not middle or not ends:
        return p50(run)
    half = 100 * max(ends[1] - middle, middle - ends[0]) / middle
    digits = 0 if half >= 0.95 else 1  # noqa: PLR2004 - what rounds to 1
    return f"{_units.duration(middle)} ±{half:.{digits}f} %"


def only_p50(run: Run) -> str:
    return _time(run.latency_ms.p50)


def p90(run: Run) -> str:
    return _time(run.latency_ms.p90)


def p95(run: Run) -> str:
    return _time(run.latency_ms.p95)


def p99(run: Run) -> str:
    return _time(run.latency_ms.p99)


def load(run: Run) -> str:
    return _time(run.load_ms)


def throughput(run: Run) -> str:
    value = run.throughput_per_s
    return NONE if value is None else f"{_units.number(value)}/s"


def peak(run: Run) -> str:
    return NONE if run.memory.peak_rss_bytes is None else _units.size(run.memory.peak_rss_bytes)


def model_size(run: Run) -> str:
    return _units.size(run.model.size_bytes)


def energy(run: Run) -> str:
    value = run.energy.per_inference_mj
    if run.energy.status != "measured" or value is None:
        return NONE
    return f"{_units.number(value)} mJ"


def executed(run: Run) -> str:
    """Package, version, threads, provider: "onnxruntime 1.23.2, 4 threads, CPUExecution…"."""
    used = run.runtime
    package = used.implementation or used.name
    parts = [" ".join(plain(part) for part in (package, used.version) if part)]
    if used.threads:
        parts.append(f"{used.threads} thread{'s' if used.threads > 1 else ''}")
    if used.actual_provider:
        share, pieces = used.delegated_share, used.partitions
        # Of operators that nothing was delegated to, a share says nothing.
        of = f"{_units.percent(share)} of operators" if share else ""
        of += f" in {pieces} piece{'s' if pieces > 1 else ''}" if of and pieces else ""
        parts.append(plain(used.actual_provider) + (f" ({of})" if of else ""))
    return ", ".join(parts)


def notes(run: Run) -> str:
    """Why it failed, else the codes of its warnings."""
    if run.error is not None:
        return f"failed: {plain(run.error.reason)}"
    return ", ".join(plain(warning.code) for warning in run.warnings)


def _time(milliseconds: float | None) -> str:
    return NONE if milliseconds is None else _units.duration(milliseconds)
