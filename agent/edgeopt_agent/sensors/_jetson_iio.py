"""Power of Jetson boards with JetPack 4, whose INA3221 driver is NVIDIA's own."""

from __future__ import annotations

from pathlib import Path

from edgeopt_agent.sensors import _jetson
from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sysfs import FileSensor, Search


class JetsonIio(FileSensor):
    """mW of each rail: in_powerN_input beside rail_nameN of the industrial I/O devices.

    /sys/bus/i2c/drivers/ina3221x/*/iio:device*, or "iio_device" on some kernels for the TX2 (NVIDIA,
    Tegra Linux Driver Package Development Guide, "Power Monitor"; NVIDIA's
    drivers/staging/iio/meter/ina3221.c). JetPack 5 and later have the kernel's driver, which is a
    hwmon chip.
    """

    # The chips average over several conversions of three channels.
    min_interval_ns = 10_000_000

    @classmethod
    def discover(cls, root: Path) -> JetsonIio:
        search = Search()
        rails: dict[Path, str] = {}
        for chip in search.folders(root / "sys/bus/i2c/drivers/ina3221x", r"\d+-[0-9a-f]{4}"):
            # Both names, where they exist, are the same device.
            for device in search.folders(chip, r"iio:device\d+|iio_device")[:1]:
                for number in search.numbers(device, r"rail_name_(\d+)"):
                    label = search.text(device / f"rail_name_{number}")
                    if label and _jetson.connected(label):
                        rails[device / f"in_power{number}_input"] = label
        for path, label in rails.items():
            scope = _jetson.scope(label, rails.values())
            channel = Channel(label, Quantity.POWER_MW, scope, _jetson.GAIN_ERROR)
            search.add(channel, path)
        return cls(search.require("no Jetson with JetPack 4: NVIDIA's driver ina3221x is missing"))
