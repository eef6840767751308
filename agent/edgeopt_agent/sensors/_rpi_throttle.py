"""Throttling as the Raspberry Pi's firmware tells it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Sensor
from edgeopt_agent.sensors._vcio import Firmware
from edgeopt_agent.sysfs import KeptFile, Search

_FLAGS = Quantity.THROTTLE_FLAGS
_SYSFS = "soc*/soc*:firmware/get_throttled"
_NOW = 0xF
_STICKY_SHIFT = 16


class RaspberryPiThrottle(Sensor):
    """The firmware's flags: what holds now, and what has held.

    Bits of both channels: 0 under-voltage, 1 clock capped, 2 throttled, 3 soft temperature limit
    (raspberrypi/documentation, vcgencmd). "throttled" are the firmware's bits 0-3, which fade over
    about 3 s; "throttled-sticky" its bits 16-19, so that a bit which is new there after a run tells
    of throttling between two readings.

    The kernel's file is preferred, being a read of 2 µs; it repeats what the kernel polled at most
    2 s ago, and that polling clears its sticky bits. Without it the firmware itself is asked, where
    sticky means since boot: through its mailbox, which others use too, hence once a second.
    """

    channels = (Channel("throttled", _FLAGS), Channel("throttled-sticky", _FLAGS))

    def __init__(self, source: KeptFile | Mailbox, min_interval_ns: int) -> None:
        self._source = source
        self.min_interval_ns = min_interval_ns

    @classmethod
    def discover(cls, root: Path) -> RaspberryPiThrottle:
        search = Search()
        for path in (root / "sys/devices/platform").glob(_SYSFS):
            search.add(Channel("throttled", _FLAGS), path, open_file=_Hexadecimal)
        for file in search.found.values():
            return cls(file, 100_000_000)
        try:
            return cls(Mailbox(Firmware.find(root)), 1_000_000_000)
        except Unavailable as reason:
            raise search.refusal or reason from None

    def read(self) -> list[float]:
        flags = self._source.read_number()
        if math.isnan(flags):
            return [math.nan, math.nan]
        return [float(int(flags) & _NOW), float(int(flags) >> _STICKY_SHIFT & _NOW)]

    def close(self) -> None:
        self._source.close()


class _Hexadecimal(KeptFile):
    """Without 0x in front, as drivers/firmware/raspberrypi.c prints it."""

    def parse(self, content: bytes) -> float:
        return float(int(content, 16))


class Mailbox:
    """`vcgencmd get_throttled`, without the command."""

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware

    def read_number(self) -> float:
        try:
            return parse(self._firmware.gencmd("get_throttled"))
        except (OSError, ValueError):
            return math.nan

    def close(self) -> None:
        self._firmware.close()


def parse(answer: str) -> float:
    """The flags in "throttled=0x50005"; NaN in anything else."""
    flags = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", answer.strip())
    return float(int(flags[1], 16)) if flags else math.nan
