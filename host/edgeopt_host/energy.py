"""From a power trace to energy per inference: which channels count, and what forbids to believe them.

The estimate itself: stats/energy.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeopt.agent.v1 import device_pb2
from edgeopt_host import _enums
from edgeopt_host.run import Energy, PowerTrace
from edgeopt_host.stats.energy import Figures, figures
from edgeopt_host.stats.power import Integral, Unmeasurable, integrate_counter, integrate_power

_Channel = device_pb2.SensorChannel

# Which channels tell what the device draws: the first kind that there is.
_SCOPES = ("input", "rail", "package", "battery")
_LEFT_OUT = {
    "rail": "what the rails do not feed is left out",
    "package": "the board is left out",
}
_POWER = {"power_mw", "energy_mj"}


@dataclass(frozen=True)
class ChannelFacts:
    """How to read a channel of a power trace.

    Args:
        quantity: "power_mw", "energy_mj" or "charging".
        scope: "input", "rail", "part", "battery", "package", or "unknown".
        gain_error: the sensor's systematic error, relative; None: unknown.
        averaged: values are means over the time since the one before.
        wraps_at: an energy counter starts again at 0 there, mJ; 0: it never does.
    """

    quantity: str
    scope: str = "unknown"
    gain_error: float | None = None
    averaged: bool = False
    wraps_at: float = 0.0


def from_device(facts: device_pb2.Device) -> dict[str, ChannelFacts]:
    """What is known of the power, energy and charging channels of a device, by name."""
    found = {}
    for sensor in facts.sensors:
        for channel in sensor.channels:
            quantity = _enums.name(_Channel.Quantity, channel.quantity, "QUANTITY_")
            if quantity in {*_POWER, "charging"}:
                found[channel.name] = ChannelFacts(
                    quantity,
                    _enums.name(_Channel.Scope, channel.scope, "SCOPE_"),
                    channel.gain_error or None,
                    channel.averaged,
                    channel.wraps_at,
                )
    return found


def measure(
    trace: PowerTrace, facts: Mapping[str, ChannelFacts], named: Sequence[str] = ()
) -> Energy:
    """Energy per inference from what was sampled; "unavailable" with the reason where it tells none.

    Args:
        trace: of one energy pass.
        facts: of its channels.
        named: channels that the plan names: a single one counts whatever it is about.
    """
    energy = Energy("unavailable", windows=len(trace.windows))
    try:
        scope, names = _source(trace, facts, named)
        energy.source = _words(scope, names)
        _refuse_charging(trace, facts, scope)
        gains = [facts[name].gain_error for name in names]
        known = [gain for gain in gains if gain is not None]
        # Of rails that add up, no sum is worse than its worst part.
        energy.gain_error = max(known) if len(known) == len(gains) else None
        energy.averaged = all(_averages(facts[name]) for name in names)
        found = figures([_integrate(trace, name, facts[name]) for name in names], trace.windows)
    except Unmeasurable as reason:
        energy.reason = str(reason)
        return energy
    _fill(energy, found)
    if found.net_mj.low > 0:
        energy.status = "measured"
        energy.per_inference_mj = found.net_mj.value
        energy.ci95 = [found.net_mj.low, found.net_mj.high]
    else:
        net = found.net_mj
        energy.reason = (
            "the model's energy cannot be told from the idle device's: "
            f"{net.value:.3g} mJ per inference, {net.low:.3g} to {net.high:.3g}; longer windows or "
            "more of them would tell"
        )
    return energy


def _fill(energy: Energy, found: Figures) -> None:
    energy.rate_hz = found.rate_hz
    energy.total_per_inference_mj = found.total_mj
    energy.idle_mw = found.idle_mw
    energy.window_s = found.window_s


def _source(
    trace: PowerTrace, facts: Mapping[str, ChannelFacts], named: Sequence[str]
) -> tuple[str, list[str]]:
    """The scope that counts, and its channels in the trace."""
    names = [name for name in trace.values if name in facts and facts[name].quantity in _POWER]
    if len(named) == 1 and names == [*named]:
        return facts[names[0]].scope, names
    for scope in _SCOPES:
        chosen = [name for name in names if facts[name].scope == scope]
        if scope == "input":
            # An external meter comes by a plug-in, and stands after the board's own sensors.
            chosen = chosen[-1:]
        if chosen:
            return scope, chosen
    told = ", ".join(names) or "none"
    raise Unmeasurable(
        f"nothing tells what the device as a whole draws (power channels: {told}); if you know that "
        "one of them does, name it in the plan"
    )


def _words(scope: str, names: Sequence[str]) -> str:
    added = " + ".join(names)
    return f"{added} ({_LEFT_OUT[scope]})" if scope in _LEFT_OUT else added


def _refuse_charging(trace: PowerTrace, facts: Mapping[str, ChannelFacts], scope: str) -> None:
    """Refuses power that goes, or may go, into a battery.

    A processor's own counters know nothing of chargers.
    """
    if scope == "package":
        return
    for name, values in trace.values.items():
        if name in facts and facts[name].quantity == "charging" and np.any(values > 0):
            what = (
                "the device draws from the charger and not from its battery"
                if scope == "battery"
                else "what the device draws holds what the charger puts into the battery"
            )
            raise Unmeasurable(f"{name}: a charger was at work, so {what}; disconnect it")


def _integrate(trace: PowerTrace, name: str, facts: ChannelFacts) -> Integral:
    values = trace.values[name]
    if facts.quantity == "energy_mj":
        return integrate_counter(name, trace.time_ns, values, facts.wraps_at)
    edges = [edge for start, end, _ in trace.windows for edge in (start, end)]
    return integrate_power(name, trace.time_ns, values, edges, averaged=facts.averaged)


def _averages(facts: ChannelFacts) -> bool:
    return facts.averaged or facts.quantity == "energy_mj"
