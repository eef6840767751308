"""What the rails of Jetson boards contain. Their INA3221 chips show up in two ways."""

from __future__ import annotations

import re
from collections.abc import Collection

from edgeopt_agent.sensors._base import Scope

# Nano; TX1, TX2, Xavier NX, Orin Nano and NX.
_INPUTS = {"POM_5V_IN", "VDD_IN"}
# "NC" as a word of its own: a rail that is not connected.
_NOT_CONNECTED = re.compile(r"(?<![A-Za-z])NC(?![A-Za-z])")

# Shunt and bus voltage 0.25 % each (Texas Instruments SBOS576, INA3221), and NVIDIA's shunts 1 %
# (Jetson AGX Xavier Product Design Guide DG-09840, 5.6.2).
GAIN_ERROR = 0.015


def connected(label: str) -> bool:
    return not _NOT_CONNECTED.search(label)


def scope(label: str, labels: Collection[str]) -> Scope:
    """What a rail is about on a board whose rails have these labels.

    Where the module's input is measured, every other rail is a part of it; the carrier's rails of a
    TX2 (VDD_MUX and others) are none, and must not be added either. AGX Xavier and AGX Orin measure
    no input: each rail has a regulator of its own behind the supply (DG-09840, 5.6.2), so rails add
    up, to less than a meter at the plug shows: one owner of an AGX Orin found 2.28 times the sum.
    """
    if label in _INPUTS:
        return Scope.INPUT
    return Scope.PART if _INPUTS & {*labels} else Scope.RAIL
