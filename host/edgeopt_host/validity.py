"""Whether a launch's figures count: what the device itself told of throttling while it measured.

Rules of docs/concepts/validity.md. A sustained run is no matter for them: there, throttling is what
is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise

import numpy as np

from edgeopt_host.run import Launch, Reading, Run
from edgeopt_host.stats import load

# Launches that may be repeated per benchmark, before it is INVALID.
RETRIES = 3
_FLAGS = "throttle_flags"
_COUNT = "throttle_count"
# Bits of a Raspberry Pi's flags (docs/reference/sensors.md).
_PI_CHANNELS = {"throttled", "throttled-sticky"}
_PI_BITS = ("under-voltage", "a capped clock", "throttling", "the soft temperature limit")
# A clock has fallen when it stands below this share of what it was, in so many of the readings,
# and the inferences meanwhile took longer by this.
_FELL_TO = 0.95
_FELL_FOR = 0.1
_FELT = 1.02
_FEWEST_CLOCKS = 10
# AndroidX Benchmark takes the same 10 %.
_SLOWER = 1.1
# Warnings of a launch that began though its start condition did not hold.
NOT_READY = {
    "NOT_COOL": "it began although the device was too warm",
    "THROTTLED_AT_START": "it began although the device throttled",
    "CLOCK_UNSTEADY": "it began although the clock was changing",
}


def taint(launches: Sequence[Launch], channels: Mapping[str, str]) -> str | None:
    """Why the launches of one number do not count, in words; None: they do.

    What taints a launch of one subject taints its partners: they are compared.

    Args:
        launches: of all subjects, of one number.
        channels: the quantity of each channel, as `Run.channels` has it.
    """
    for launch in launches:
        signs = (
            _not_ready(launch),
            throttling(launch.readings, channels),
            _clock(launch, channels),
            _canary(launch),
        )
        for sign in chain.from_iterable(signs):
            return sign
    return None


def throttled(readings: Sequence[Reading], channels: Mapping[str, str]) -> bool | None:
    """Whether anything throttled over the readings of a launch; None where no channel tells."""
    if any(throttling(readings, channels)):
        return True
    told = {channels.get(name) for reading in readings for name in reading.values}
    return False if told & {_FLAGS, _COUNT} else None


def is_invalid(run: Run) -> str | None:
    """Why a run decides nothing; None: it may.

    It has the warning INVALID, or more launches that do not count than launches that do.
    """
    if mostly_tainted(run.launches):
        tainted = [launch.tainted for launch in run.launches if launch.tainted is not None]
        return f"{len(tainted)} of {len(run.launches)} launches do not count: {reasons(tainted)}"
    return next((w.message for w in run.warnings if w.code == "INVALID"), None)


def without_latency(run: Run) -> str | None:
    """Why a run's latencies decide nothing, though it is valid; None: they may.

    Where the queue grew all the while, latencies count from due times long ago: they say how long
    was measured. Its throughput stands.

    Args:
        run: with its throughput and missed deadlines; its warnings may be there or not yet.
    """
    found = [w for w in run.warnings if w.code == "OVERLOADED"] or list(load.overloaded(run))
    return next((f"OVERLOADED: {warning.message}" for warning in found), None)


def mostly_tainted(launches: Sequence[Launch]) -> bool:
    """Whether more launches do not count than do."""
    return 2 * sum(launch.tainted is not None for launch in launches) > len(launches)


def reasons(tainted: Sequence[str]) -> str:
    """Each reason once, in order, with how many launches had it."""
    counts = {reason: tainted.count(reason) for reason in dict.fromkeys(tainted)}
    return "; ".join(f"{why} ({n} times)" if n > 1 else why for why, n in counts.items())


def throttling(readings: Sequence[Reading], channels: Mapping[str, str]) -> Iterator[str]:
    """What flags and counts of consecutive readings say of throttling meanwhile, in words."""
    for channel, values in _by_channel(readings).items():
        quantity = channels.get(channel)
        if quantity == _COUNT:
            # It counts since the device was started.
            if (rise := values[-1] - values[0]) > 0:
                yield f"'{channel}' counted {rise} throttling events"
        elif quantity == _FLAGS and channel.endswith("-sticky"):
            # Set since the kernel last cleared them, which it does at any time: what appears from
            # one reading to the next is this launch's.
            new = 0
            for before, now in pairwise(values):
                new |= now & ~before
            if new:
                yield f"{_flags(channel, new)} between two readings"
        elif quantity == _FLAGS and any(values):
            yield _flags(channel, values)


def _not_ready(launch: Launch) -> Iterator[str]:
    if launch.start_warning is not None:
        yield NOT_READY[launch.start_warning]


def _flags(channel: str, values: int | Sequence[int]) -> str:
    if channel not in _PI_CHANNELS:
        return f"'{channel}' stood at {max(values) if isinstance(values, Sequence) else values}"
    bits = 0
    for value in [values] if isinstance(values, int) else values:
        bits |= value
    named = [name for place, name in enumerate(_PI_BITS) if bits >> place & 1]
    return f"the firmware told of {', '.join(named) or f'flags {bits:#x}'}"


def _by_channel(readings: Sequence[Reading]) -> dict[str, list[int]]:
    values: dict[str, list[int]] = {}
    for reading in readings:
        for channel, value in reading.values.items():
            values.setdefault(channel, []).append(int(value))
    return values


def _clock(launch: Launch, channels: Mapping[str, str]) -> Iterator[str]:
    """A clock that fell while the model worked, where the inferences felt it.

    Governors move the clocks of cores that the model does not use, and lower a clock that nothing
    waits for: neither makes an inference longer.
    """
    blocks = [block for block in launch.blocks if block.latency_ns.size]
    starts = np.array([block.start_ns for block in blocks])
    medians = np.array([np.median(block.latency_ns) for block in blocks])
    for channel in (name for name, quantity in channels.items() if quantity == "clock_hz"):
        seen = [
            (reading.time_ns, reading.values[channel])
            for reading in launch.readings
            # Before the launch and after it, the device may have been idle.
            if reading.moment == "between_blocks" and channel in reading.values
        ]
        if len(seen) < _FEWEST_CLOCKS or not blocks:
            continue
        times, clocks = (np.array(column) for column in zip(*seen, strict=True))
        start = float(np.median(clocks[: len(clocks) // _FEWEST_CLOCKS + 2]))
        low = clocks < _FELL_TO * start
        if low.mean() < _FELL_FOR:
            continue
        # Each reading follows the block that it tells of.
        meanwhile = medians[np.maximum(np.searchsorted(starts, times) - 1, 0)]
        if np.median(meanwhile[low]) > _FELT * np.median(meanwhile[~low]):
            fell_to = float(np.median(clocks[low]))
            yield f"the clock of {channel} fell from {start / 1e6:.0f} to {fell_to / 1e6:.0f} MHz"


def _canary(launch: Launch) -> Iterator[str]:
    """A fixed piece of work that takes longer than at the start: twice in a row, or at the end.

    The device has looked again and again before it says so, but neighbours may last longer.
    """
    looks = [(r.moment, r.canary_ns) for r in launch.readings if r.canary_ns is not None]
    if not looks:
        return
    start = looks[0][1]
    sure = [min(one, other) for (_, one), (_, other) in pairwise(looks)]
    sure += [canary_ns for moment, canary_ns in looks if moment == "end"]
    if max(sure, default=0) > _SLOWER * start:
        percent = 100 * (max(sure) / start - 1)
        yield f"a fixed piece of work took {percent:.0f} % longer than at the start"
