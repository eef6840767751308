"""What several of the commands ask a device."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edgeopt_host.cli import _output
from edgeopt_host.errors import EdgeoptError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from edgeopt.agent.v1 import device_pb2
    from edgeopt_host.client import Agent
    from edgeopt_host.inventory import Device

ANSWER_S = 5.0


def agent(
    device: Device, timeout_s: float = ANSWER_S, stop: threading.Event | None = None
) -> AbstractContextManager[Agent]:
    """A connection to a device's agent, for a question that is not worth waiting with.

    Raises:
        EdgeoptError: BUSY, when another command uses `local`, which a push may do for minutes.
    """
    from edgeopt_host.client import connect

    def give_up(message: str) -> None:
        raise EdgeoptError(message.partition(";")[0], "BUSY")

    return connect(device, timeout_s, on_wait=give_up, stop=stop)


def facts(device: Device, *, refresh: bool = False) -> device_pb2.Device:
    """What a device is.

    Raises:
        DeviceError: when it does not answer.
    """
    from edgeopt_host.client import connect

    with connect(device, ANSWER_S, on_wait=_output.note) as agent:
        return agent.device(refresh=refresh)
