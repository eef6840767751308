"""Why a ratio differs from that of the two figures beside it, where a reader would wonder."""

from __future__ import annotations

import math

from edgeopt_host.metrics import METRICS

IN_TURNS = (
    "measured in turns: the ratio is taken launch by launch; the two figures are over all launches"
)
STORED = "the ratio is that of typical launches; the two figures are over all launches"
# Of logarithms: what three digits of two figures show, and what contradicts another sign.
_VISIBLE = 0.01
_SIGN = 0.004


def apart(metric: str, ratio: float, candidate: float | None, reference: float | None) -> bool:
    """Whether a ratio visibly differs in size or sign from candidate over reference."""
    if metric not in METRICS or not METRICS[metric].sequential:
        return False
    if not candidate or not reference or not ratio > 0 or candidate / reference <= 0:
        return False
    told, seen = math.log(ratio), math.log(candidate / reference)
    return abs(told - seen) >= _VISIBLE or (told * seen < 0 and abs(told - seen) >= _SIGN)
