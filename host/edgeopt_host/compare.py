"""Models compared on one device: how each differs from the first, in figures and in words.

All were measured in turns within one benchmark, so that whatever disturbed one disturbed the others.
Words never say more than the 95 % interval does: a difference is one whose interval leaves out
"none".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_host._text import plain
from edgeopt_host.blame import blame
from edgeopt_host.blame import letter as letter_of
from edgeopt_host.metrics import MB, METRICS
from edgeopt_host.report import _turns, _units
from edgeopt_host.run import Run
from edgeopt_host.stats import paired
from edgeopt_host.stats.estimate import Estimate, Mean
from edgeopt_host.stats.launches import counted

if TYPE_CHECKING:
    from edgeopt_host.looks import Answer, Judge

SCHEMA = "edgeopt.compare/1"

_NS = 1e9
# What is said of less and of more, and of none found.
_WORDS = {
    "p50_latency_ms": ("is {} faster", "is {} slower", "latency"),
    "p90_latency_ms": ("is {} faster at p90", "is {} slower at p90", "p90"),
    "p95_latency_ms": ("is {} faster at p95", "is {} slower at p95", "p95"),
    "p99_latency_ms": ("is {} faster at p99", "is {} slower at p99", "p99"),
    "mean_latency_ms": ("is {} faster on average", "is {} slower on average", "mean latency"),
    "throughput_per_s": ("does {} less per second", "does {} more per second", "throughput"),
    "load_ms": ("loads {} faster", "loads {} slower", "load time"),
    "first_inference_ms": (
        "is {} faster at its first inference", "is {} slower at its first inference",
        "first inference",
    ),
    "peak_memory_mb": ("uses {} less", "uses {} more", "peak memory"),
    "model_memory_mb": ("uses {} less for itself", "uses {} more for itself", "its own memory"),
    "size_mb": ("is {} smaller", "is {} larger", "size"),
    "energy_per_inference_mj": ("takes {} less energy", "takes {} more energy", "energy"),
    "accuracy": ("is {} less accurate", "is {} more accurate", "accuracy"),
}  # fmt: skip
# What one sentence about a model mentions, when there is something to mention.
_HEADLINE = ("peak_memory_mb", "energy_per_inference_mj", "accuracy", "size_mb")
# An interval that is narrow by luck after three launches would end it too early.
_MIN_LAUNCHES = 6
_MOST_DECIMALS = 4


@dataclass(frozen=True)
class Difference:
    """One metric of one model against the reference's.

    Attributes:
        metric: its name in METRICS.
        reference: the first model's figure, in the metric's unit; None: not measured.
        candidate: this model's.
        ratio: candidate over reference, paired; None where the metric is not compared by ratio.
        delta: candidate less reference: MB, or points of accuracy; None for ratios.
        words: what to say of it, such as "is 12.0 % faster (11.2 to 12.9 %)".
    """

    metric: str
    reference: float | None
    candidate: float | None
    ratio: Estimate | None
    delta: Estimate | None
    words: str

    @property
    def puzzling(self) -> bool:
        """Whether the ratio visibly differs from that of the two figures."""
        if self.ratio is None:
            return False
        return _turns.apart(self.metric, self.ratio.value, self.candidate, self.reference)

    @property
    def found(self) -> str:
        """Either "less", "more", "none" (the interval holds it) or "unknown" (there is no interval)."""
        return _found(self.ratio, 1.0) if self.ratio else _found(self.delta, 0.0)

    def document(self) -> dict[str, Any]:
        known = METRICS[self.metric]
        return {
            "metric": self.metric,
            "unit": known.unit,
            "better": "higher" if known.higher_is_better else "lower",
            "reference": self.reference,
            "candidate": self.candidate,
            **_numbers("ratio", self.ratio),
            **_numbers("difference", self.delta),
            "found": self.found,
            "words": self.words,
        }


@dataclass(frozen=True)
class Compared:
    """One model against the reference: `letter` is its name in text and plots."""

    letter: str
    run: Run
    differences: tuple[Difference, ...]
    words: str

    def document(self) -> dict[str, Any]:
        return {
            "letter": self.letter,
            "model": self.run.model.name,
            "run": self.run.id,
            "words": self.words,
            "metrics": [difference.document() for difference in self.differences],
        }


@dataclass(frozen=True)
class OnDevice:
    """All models on one device; `reference`, the first of `runs`, is A."""

    runs: tuple[Run, ...]
    others: tuple[Compared, ...]

    @property
    def reference(self) -> Run:
        return self.runs[0]

    @property
    def single(self) -> bool:
        """Whether one launch counts, which cannot tell a difference."""
        return len(counted(self.reference.launches)) == 1

    def document(self) -> dict[str, Any]:
        return {
            "device": self.reference.device.name,
            "reference": {"model": self.reference.model.name, "run": self.reference.id},
            "others": [other.document() for other in self.others],
        }


@dataclass(frozen=True)
class Comparison:
    devices: tuple[OnDevice, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for device in self.devices for run in device.runs]

    @property
    def measured(self) -> bool:
        """Whether every model was measured on every device."""
        return bool(self.runs) and all(run.error is None for run in self.runs)

    def document(self) -> dict[str, Any]:
        """The document `edgeopt.compare/1` of docs/reference/compare-json.md."""
        return {
            "schema": SCHEMA,
            "devices": [device.document() for device in self.devices],
            "runs": [run.document() for run in self.runs],
        }


def compare(benchmarks: Sequence[Sequence[Run]]) -> Comparison:
    """Compares the runs of paired benchmarks, one benchmark per device, the reference first."""
    return Comparison(tuple(_device(runs) for runs in benchmarks if runs))


def judge(budget_s: float, half_width: float = 0.01) -> Judge:
    """Stops a benchmark when every p50 ratio is known well enough, or the budget is spent.

    Args:
        budget_s: timed seconds on the device, over all models.
        half_width: of the 95 % intervals, relative.
    """
    from edgeopt_host.looks import Answer

    def answer(runs: Sequence[Run]) -> Answer:
        if _spent_s(runs) >= budget_s or all(_narrow(run, runs[0]) for run in runs[1:]):
            return Answer.STOP
        return Answer.CONTINUE

    def _narrow(run: Run, reference: Run) -> bool:
        if len(paired.pairs(run.launches, reference.launches)) < _MIN_LAUNCHES:
            return False
        ratio = paired.ratio(run.launches, reference.launches, "p50")
        return ratio.bounded and ratio.high - ratio.low <= 2 * half_width * ratio.value

    return answer


def _spent_s(runs: Sequence[Run]) -> float:
    return sum(launch.timed_ns for run in runs for launch in run.launches) / _NS


def _device(runs: Sequence[Run]) -> OnDevice:
    others = tuple(_compared(runs, number) for number in range(1, len(runs)))
    return OnDevice(tuple(runs), others)


def _compared(runs: Sequence[Run], number: int) -> Compared:
    letter, run, reference = letter_of(number), runs[number], runs[0]
    name = f"{letter} ({plain(run.model.name)})"
    if (why := blame(runs, number)) is not None:
        return Compared(letter, run, (), f"{name} {'' if why.own else 'was '}{why.words}")
    if (why := blame(runs, 0)) is not None:
        whose = f"A ({plain(reference.model.name)})"
        return Compared(letter, run, (), f"{whose} {'' if why.own else 'was '}{why.words}")
    differences = tuple(
        found
        for metric in _WORDS
        if (found := _difference(metric, run, reference)).ratio or found.delta
    )
    by_name = {difference.metric: difference for difference in differences}
    if "p50_latency_ms" not in by_name:
        return Compared(letter, run, (), f"{name} has no launch in common with A that counts")
    said = [by_name["p50_latency_ms"].words] + [
        by_name[metric].words
        for metric in _HEADLINE
        if metric in by_name and by_name[metric].found in {"less", "more"}
    ]
    if run.model.sha256 == reference.model.sha256:
        said.insert(0, "is the same file as A")
    colon = "" if said[0].startswith("is ") else ":"
    return Compared(letter, run, differences, f"{name}{colon} {', '.join(said)}")


def _difference(metric: str, run: Run, reference: Run) -> Difference:
    ratio = delta = None
    try:
        if METRICS[metric].sequential:
            statistic = METRICS[metric].statistic
            ratio = paired.ratio(run.launches, reference.launches, statistic)
        elif metric == "energy_per_inference_mj":
            ratio = _energy(run, reference)
        else:
            delta = _delta(metric, run, reference)
    except (ValueError, ArithmeticError):
        # Nothing that both have, or too little of it: then nothing is said.
        ratio = delta = None
    values = (METRICS[metric].value(reference), METRICS[metric].value(run))
    return Difference(metric, *values, ratio, delta, _words(metric, ratio, delta))


def _energy(run: Run, reference: Run) -> Estimate | None:
    if "measured" not in {run.energy.status} & {reference.energy.status}:
        return None
    from edgeopt_host.stats.energy import energy_ratio

    return energy_ratio(run, reference)


def _delta(metric: str, run: Run, reference: Run) -> Estimate | None:
    if metric == "size_mb":
        return Estimate.exact((run.model.size_bytes - reference.model.size_bytes) / MB)
    if metric == "accuracy":
        if run.correct is None or reference.correct is None:
            return None
        from edgeopt_host.stats.accuracy import difference

        return difference(run.correct, reference.correct)
    field = METRICS[metric].statistic
    sizes = [
        (getattr(mine, field), getattr(other, field))
        for mine, other in paired.pairs(run.launches, reference.launches)
    ]
    return Mean.of([(a - b) / MB for a, b in sizes if None not in {a, b}]).estimate()


def _found(estimate: Estimate | None, none: float) -> str:
    if estimate is None or not estimate.bounded:
        return "unknown"
    if estimate.high < none:
        return "less"
    return "more" if estimate.low > none else "none"


def _numbers(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None or not math.isfinite(estimate.value):
        return {name: None, f"{name}_ci95": None}
    ends = [estimate.low, estimate.high] if estimate.bounded else None
    return {name: estimate.value, f"{name}_ci95": ends}


def _words(metric: str, ratio: Estimate | None, delta: Estimate | None) -> str:
    less, more, what = _WORDS[metric]
    if ratio is not None:
        value, low, high = (100 * (x - 1) for x in (ratio.value, ratio.low, ratio.high))
        unit = "%"
    elif delta is not None:
        value, low, high = delta.value, delta.low, delta.high
        unit = "points" if metric == "accuracy" else "MB"
    else:
        return f"{what}: not measured"
    digits = _digits(low, high)
    if not (math.isfinite(low) and math.isfinite(high)):
        said = (less if value < 0 else more).format(f"{abs(value):.{digits}f} {unit}")
        return f"{said} in the one launch that counts, which says little about the next"
    if low <= 0 <= high:
        if _signed(low, digits) == _signed(high, digits):
            return f"the same {what}"
        return f"no difference found in {what} ({_signed(low, digits)} to {_signed(high, digits)} {unit})"
    said = (less if value < 0 else more).format(f"{abs(value):.{digits}f} {unit}")
    if low == high:
        size = _units.size(abs(value) * MB)
        return (less if value < 0 else more).format(size)
    near, far = sorted((abs(low), abs(high)))
    return f"{said} ({near:.{digits}f} to {far:.{digits}f} {unit})"


def _digits(low: float, high: float) -> int:
    """Decimals that tell the ends of an interval from each other, and from zero."""
    for digits in range(1, _MOST_DECIMALS):
        ends = {_signed(end, digits) for end in (low, high)}
        if low == high or (len(ends) > 1 and f"{0:.{digits}f}" not in ends):
            return digits
    return _MOST_DECIMALS


def _signed(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    sign = "" if float(text) == 0 else "\u2212" if value < 0 else "+"
    return f"{sign}{text}"
