"""What a battery's gauge means, whose sign and unit differ between devices.

Seen on public record: positive µA while discharging (Xiaomi Mi A1), negative mA while discharging
(Huawei P8 Lite 2017; community-code/amps #1), negative µA while charging (Xiaomi Mi 8; AccA #27),
µA times -1000 (OnePlus 7T; BatteryNotification #13). So the sign is taken from the battery's
status, and the unit from the size.
"""

from __future__ import annotations

import math

# What a current in µA reaches on a device that is awake, and one in mA does not.
_LEAST_UA = 10_000


def drawn_mw(voltage_mv: float, current: float, flow: float) -> float:
    """Power that a battery gives, in mW; negative: what goes into it.

    Args:
        voltage_mv: mV.
        current: as the gauge gives it: µA, or mA, of either sign.
        flow: 1 while the battery discharges, -1 while it charges, else NaN.

    Returns:
        NaN where flow is unknown, or where only a discharging device could tell the unit.
    """
    size = abs(current)
    if size < _LEAST_UA:
        # 0 is a gauge that does not measure.
        milliamperes = size if flow > 0 and size > 0 else math.nan
    else:
        milliamperes = size / 1e3
    return flow * voltage_mv * milliamperes / 1e3
