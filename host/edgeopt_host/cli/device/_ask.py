"""What several of the commands ask a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt_host.cli import _output

if TYPE_CHECKING:
    from edgeopt.agent.v1 import device_pb2
    from edgeopt_host.inventory import Device

ANSWER_S = 5.0


def facts(device: Device, *, refresh: bool = False) -> device_pb2.Device:
    """What a device is.

    Raises:
        DeviceError: when it does not answer.
    """
    from edgeopt_host.client import connect

    with connect(device, ANSWER_S, on_wait=_output.note) as agent:
        return agent.device(refresh=refresh)
