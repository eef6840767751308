"""What this device is, as far as it tells: everything but the runtimes, which take a worker."""

from __future__ import annotations

import os
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import __version__, sensors
from edgeopt_agent.facts import board, cpu, emulation, memory, system
from edgeopt_agent.facts.system import refuse_reason

__all__ = ["read_device", "refuse_reason", "sensor_facts"]

# What a host may ask for that the first release would have ignored; see device.proto.
_FEATURES = (
    "comparisons",
    "load_shapes",
    "sustained",
    "start_condition",
    "looks",
    "energy",
    "evaluation",
)


def read_device(state_dir: Path, root: Path = Path("/")) -> device_pb2.Device:
    """Reads the facts below `root` ("/", or a recorded tree); what is unknown stays empty.

    Never fails. `runtimes` stays empty. `state_dir` is where blobs will lie; it need not exist yet.
    """
    emulator = emulation.read(root)
    return device_pb2.Device(
        agent_version=__version__,
        board=board.read(root),
        cpu=cpu.read(root),
        memory=memory.read(root),
        os=system.read(root),
        emulated=bool(emulator),
        emulator=emulator,
        sensors=sensor_facts(root),
        storage_free_bytes=_free_bytes(state_dir),
        features=_FEATURES,
    )


def sensor_facts(root: Path = Path("/")) -> list[device_pb2.SensorFacts]:
    """Every sensor with its channels, or with the reason why it is unavailable."""
    facts = []
    for found in sensors.discover(root):
        sensor = found.sensor
        facts.append(
            device_pb2.SensorFacts(
                name=found.name,
                channels=[_channel(channel) for channel in sensor.channels] if sensor else [],
                min_interval_ns=sensor.min_interval_ns if sensor else 0,
                unavailable_reason=found.unavailable_reason,
                slow=sensor.slow if sensor else False,
            )
        )
        found.close()
    return facts


def _channel(channel: sensors.Channel) -> device_pb2.SensorChannel:
    return device_pb2.SensorChannel(
        name=channel.name,
        quantity=f"QUANTITY_{channel.quantity.name}",
        scope=f"SCOPE_{channel.scope.name}" if channel.scope else None,
        gain_error=channel.gain_error,
        averaged=channel.averaged,
        wraps_at=channel.wraps_at,
    )


def _free_bytes(folder: Path) -> int:
    """Bytes free for this user where the folder is or will be; 0 where that is not told."""
    for existing in (folder, *folder.absolute().parents):
        try:
            room = os.statvfs(existing)
        except FileNotFoundError:
            continue
        except OSError:
            return 0
        return room.f_bavail * room.f_frsize
    return 0
