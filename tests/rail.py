"""A power rail whose true power is known, and what a sensor would tell of it.

What disturbs it: a load that is no constant, slow noise, housekeeping bursts, steps of the idle
level, thermal drift; in the sensor white noise, a step of its scale, and an age of its values; on
the way samples that were lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import lfilter

from edgeopt_host.run import PowerTrace

Floats = np.ndarray[Any, np.dtype[np.float64]]

CHANNEL = "VDD_IN"
# Of the true power.
_STEP_S = 1e-3
_BOOT_NS = 5_000_000_000_000


@dataclass(frozen=True)
class Rail:
    """Milliwatts and seconds. The load's power alternates within each inference."""

    idle_mw: float = 2500.0
    net_mw: float = 3000.0
    inference_s: float = 0.018
    # Noise that lasts about 50 ms.
    noise_mw: float = 120.0
    # One burst of housekeeping each 5 s, of 50 to 300 ms.
    burst_mw: float = 600.0
    bursts_hz: float = 0.2
    # Another idle level each 40 s, so far from the mean at most.
    step_mw: float = 300.0
    steps_hz: float = 1 / 40
    # Of the idle power, over the whole pass.
    drift: float = 0.03


@dataclass(frozen=True)
class Gauge:
    """A sensor, and the share of its samples that is lost: half of it in gaps of up to 2 s."""

    rate_hz: float
    averaged: bool = True
    noise_mw: float = 50.0
    resolution_mw: float = 25.0
    lost: float = 0.05


@dataclass(frozen=True)
class Pass:
    """An energy pass over a rail: what was read, and the truth."""

    trace: PowerTrace
    net_mj: float
    total_mj: float


def energy_pass(
    rail: Rail,
    gauge: Gauge,
    generator: np.random.Generator,
    windows: int = 5,
    idle_s: float = 30.0,
    work_s: float = 30.0,
) -> Pass:
    """The truth is per inference, and its net part what the load alone draws."""
    starts = 1.0 + idle_s + np.arange(windows) * (idle_s + work_s)
    time_s = np.arange(0.0, starts[-1] + work_s + idle_s + 1.0, _STEP_S)
    # Times of a real window: it ends with an inference.
    counts = np.floor(work_s / rail.inference_s * generator.uniform(0.98, 1.0, windows))
    ends = starts + counts * rail.inference_s
    net = _load(rail, time_s, starts, ends, generator)
    base = _base(rail, time_s, generator)
    times, values = _read(gauge, time_s, base + net, generator)
    working = sum((time_s >= s) & (time_s < e) for s, e in zip(starts, ends, strict=True)) > 0
    trace = PowerTrace(
        _ns(times),
        {CHANNEL: values},
        [[int(_ns(s)), int(_ns(e)), int(n)] for s, e, n in zip(starts, ends, counts, strict=True)],
    )
    inferences = float(counts.sum())
    return Pass(
        trace,
        float(net.sum()) * _STEP_S / inferences,
        float((base + net)[working].sum()) * _STEP_S / inferences,
    )


def _load(
    rail: Rail, time_s: Floats, starts: Any, ends: Any, generator: np.random.Generator
) -> Floats:
    net = np.zeros_like(time_s)
    for start, end in zip(starts, ends, strict=True):
        inside = (time_s >= start) & (time_s < end)
        # A busy and a lazy part; where they begin wanders from inference to inference.
        phase = (time_s[inside] - start) / rail.inference_s
        phase += 0.1 * np.cumsum(generator.standard_normal(phase.size)) * _STEP_S**0.5
        net[inside] = rail.net_mw * np.where(phase % 1 < 2 / 3, 1.25, 0.5)
    return net


def _base(rail: Rail, time_s: Floats, generator: np.random.Generator) -> Floats:
    seconds = float(time_s[-1])
    decay = np.exp(-_STEP_S / 0.05)
    white = generator.standard_normal(time_s.size) * rail.noise_mw * np.sqrt(1 - decay**2)
    base = rail.idle_mw + lfilter([1], [1, -decay], white)
    for start in generator.uniform(0, seconds, generator.poisson(rail.bursts_hz * seconds)):
        length = generator.uniform(0.05, 0.3)
        base[(time_s >= start) & (time_s < start + length)] += rail.burst_mw
    steps = np.sort(generator.uniform(0, seconds, generator.poisson(rail.steps_hz * seconds)))
    levels = generator.uniform(-rail.step_mw, rail.step_mw, steps.size + 1)
    base += levels[np.searchsorted(steps, time_s)]
    warming = 1 - np.exp(-time_s / 100)
    base += rail.idle_mw * rail.drift * warming * generator.choice([-1, 1])
    return np.asarray(base)


def _read(
    gauge: Gauge, time_s: Floats, power_mw: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    interval = 1 / gauge.rate_hz
    # The agent's clock and the sensor's differ, and the agent is late by turns.
    polls = np.arange(generator.uniform(2, 3) * interval, time_s[-1], interval)
    times = polls + generator.exponential(min(2e-4, interval / 10), polls.size)
    if not gauge.averaged:
        # As PowerSampler reads what tells the power of a moment.
        times += generator.uniform(0, interval / 2, times.size)
    if gauge.averaged:
        energy = np.concatenate([[0.0], np.cumsum(power_mw) * _STEP_S])
        grid = np.append(time_s, time_s[-1] + _STEP_S)
        own, phase = interval * 1.0001, generator.uniform(0, interval)
        done = np.floor((times - phase) / own) * own + phase
        values = (np.interp(done, grid, energy) - np.interp(done - own, grid, energy)) / own
    else:
        values = power_mw[np.minimum((times / _STEP_S).astype(int), power_mw.size - 1)]
    values = values + generator.standard_normal(times.size) * gauge.noise_mw
    values = np.round(values / gauge.resolution_mw) * gauge.resolution_mw
    kept = generator.uniform(size=times.size) >= gauge.lost / 2
    for _ in range(round(gauge.lost / 2 * time_s[-1])):
        gap = generator.uniform(0, time_s[-1])
        kept &= (times < gap) | (times > gap + generator.uniform(0, 2))
    return times[kept], values[kept]


def _ns(seconds: Any) -> Any:
    return _BOOT_NS + np.round(np.asarray(seconds) * 1e9).astype(np.int64)
