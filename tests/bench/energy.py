"""Does the host find the energy of a rail whose power is known? Synthetic passes, the real estimate.

Prints, per sensor, the error of the net energy per inference and how often its 95 % interval holds
the truth, over passes of the default plan (5 windows of 30 s). Fails when a bound of the issue is
missed: at 1 kHz the median error is at most 2 % and the 95th percentile 4 %, and everywhere the
interval holds the truth in at least 90 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from dataclasses import dataclass

import numpy as np

from edgeopt_host.energy import ChannelFacts, measure
from edgeopt_host.run import PowerTrace
from rail import CHANNEL, Gauge, Rail, energy_pass

# RAPL's range, in mJ.
_WRAPS_AT = 262_143_328.85
_MEDIAN, _P95, _COVERAGE = 0.02, 0.04, 0.9


@dataclass(frozen=True)
class Case:
    name: str
    gauge: Gauge
    bounded: bool = False
    counter: bool = False


CASES = (
    Case("1 Hz, of a moment", Gauge(1, averaged=False)),
    Case("1 Hz, averaged", Gauge(1)),
    Case("10 Hz, of a moment", Gauge(10, averaged=False)),
    Case("10 Hz, averaged", Gauge(10)),
    Case("1 kHz, averaged", Gauge(1000), bounded=True),
    Case("1 kHz, counter", Gauge(1000), bounded=True, counter=True),
)


@dataclass(frozen=True)
class Outcome:
    """Relative errors and half widths, and what became of all passes."""

    errors: list[float]
    half_widths: list[float]
    held: int
    refused: int

    @property
    def coverage(self) -> float:
        return self.held / len(self.errors)


def simulate(case: Case, runs: int, rail: Rail = Rail(), seed: int = 0) -> Outcome:  # noqa: B008
    """Measures `runs` passes, each another."""
    facts = ChannelFacts("power_mw", "input", 0.01, case.gauge.averaged)
    if case.counter:
        facts = ChannelFacts("energy_mj", "package", None, averaged=True, wraps_at=_WRAPS_AT)
    errors, half_widths, held = [], [], 0
    for run in range(runs):
        made = energy_pass(rail, case.gauge, np.random.default_rng([seed, run]))
        trace = _counted(made.trace) if case.counter else made.trace
        energy = measure(trace, {CHANNEL: facts})
        if energy.per_inference_mj is None or energy.ci95 is None:
            continue
        low, high = energy.ci95
        errors.append(energy.per_inference_mj / made.net_mj - 1)
        half_widths.append((high - low) / 2 / made.net_mj)
        held += low <= made.net_mj <= high
    return Outcome(errors, half_widths, held, runs - len(errors))


def _counted(trace: PowerTrace) -> PowerTrace:
    """The same, counted up from shortly below where the counter wraps."""
    seconds = np.diff(trace.time_ns, prepend=trace.time_ns[0]) / 1e9
    counted = np.cumsum(trace.values[CHANNEL] * seconds) + _WRAPS_AT - 200_000
    return dataclasses.replace(trace, values={CHANNEL: counted % _WRAPS_AT})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        "| sensor | median error | 95th percentile | bias | interval | holds the truth | refused |"
    )
    print("|---|---|---|---|---|---|---|")
    missed = False
    for case in CASES:
        found = simulate(case, arguments.runs, seed=arguments.seed)
        sizes = [abs(error) for error in found.errors]
        median, p95 = statistics.median(sizes), float(np.percentile(sizes, 95))
        print(
            f"| {case.name} | {median:.2%} | {p95:.2%} | {statistics.mean(found.errors):+.2%} "
            f"| ± {statistics.median(found.half_widths):.2%} | {found.coverage:.1%} "
            f"| {found.refused} of {arguments.runs} |",
            flush=True,
        )
        missed |= found.coverage < _COVERAGE
        missed |= case.bounded and (median > _MEDIAN or p95 > _P95)
    sys.exit(missed)


if __name__ == "__main__":
    main()
