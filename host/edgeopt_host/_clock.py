"""Times as people say them. Moments are by this host's clock: a device's may be years off."""

from __future__ import annotations

from datetime import datetime, timedelta

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_YEAR_S = 365 * _DAY_S
# Units change where two of the larger one are reached, so that no figure is coarse.
_UNITS = (("years", _YEAR_S), ("days", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S))


def span(seconds: float) -> str:
    """A duration in the largest unit of which it has two: "90 s", "12 min", "26 h", "6 years"."""
    for unit, size_s in _UNITS:
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def until(seconds: float) -> str:
    """The moment so long from now, in local time: "14:35", with its date on another day.

    With seconds, "14:35:10", where it comes within two minutes.
    """
    now = datetime.now().astimezone()
    then = now + timedelta(seconds=max(0.0, seconds))
    if seconds < 2 * _MINUTE_S:
        return then.strftime("%H:%M:%S")
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def held(name: str, holder: str, purpose: str, remaining_s: float) -> str:
    """Who has a device: "alice@laptop holds pi4 (night run) for 12 min more, until 14:35"."""
    what = f"{holder} holds {name}{f' ({purpose})' if purpose else ''}"
    if remaining_s <= 0:
        return f"{what} until what runs under the reservation has ended"
    return f"{what} for {span(remaining_s)} more, until {until(remaining_s)}"
