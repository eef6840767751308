"""Opens the way to a device's agent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc

from edgeopt_host.client import _channel, _diagnose, _plain, trust
from edgeopt_host.client.agent import Agent
from edgeopt_host.client.local import LocalAgent
from edgeopt_host.errors import DeviceError, Unreachable
from edgeopt_host.identity import HostIdentity
from edgeopt_host.inventory import Device

# Longer than an agent waits for a handshake (edgeopt_agent/server/listen.py).
_FULL_S = 15.0


class Link(NamedTuple):
    """An open way to an agent; over TLS, who this host and the device are to each other."""

    channel: grpc.Channel
    identity: HostIdentity | None
    device_id: str


@contextlib.contextmanager
def connect(
    device: Device,
    timeout_s: float = 5.0,
    on_wait: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Agent]:
    """A connection to a device's agent; for `local`, to one started for this purpose.

    Args:
        device: from the inventory.
        timeout_s: how long the agent may take to answer.
        on_wait: told when another command holds the local agent and this one waits for it.
        stop: once it is set, waiting here ends, and every call of the agent is refused.

    Raises:
        Cancelled: after `stop`.
        Unreachable: when no agent answers.
        Untrusted: when the agent and this host do not trust each other.
    """
    stop = stop or threading.Event()
    notice = on_wait or (lambda _: None)
    with contextlib.ExitStack() as stack:
        if device.name == "local":
            local = stack.enter_context(LocalAgent(on_wait, stop))
            channel = stack.enter_context(_channel.plain(local.address))
            if not _channel.answers(channel, timeout_s, stop):
                raise _silent(device, timeout_s)
        else:
            link = stack.enter_context(open_channel(device, timeout_s, stop))
            channel = link.channel
            if link.identity is not None:
                trust.keep(link.device_id, channel, link.identity)
        yield Agent(device.name, channel, stop, notice)


@contextlib.contextmanager
def open_channel(
    device: Device, timeout_s: float = 5.0, stop: threading.Event | None = None
) -> Iterator[Link]:
    """A channel to an agent that answers.

    Raises:
        Cancelled, Unreachable, Untrusted: as `connect` does.
    """
    stop = stop or threading.Event()
    identity = _channel.host_identity(device)
    device_id = ""
    with contextlib.ExitStack() as stack:
        if identity is None:
            channel = stack.enter_context(_channel.plain(device.address))
            refused = _await(channel, device, "", None, timeout_s, stop)
            if refused is not None:
                raise refused
        else:
            channel, device_id = _secure(device, identity, timeout_s, stop)
            stack.enter_context(contextlib.closing(channel))
        yield Link(channel, identity, device_id)


def _secure(
    device: Device, identity: HostIdentity, timeout_s: float, stop: threading.Event
) -> tuple[grpc.Channel, str]:
    """Tries the identity that the device has, then the one that a broken rotation may have given it."""
    refused: DeviceError | None = None
    for device_id in (device.identity, device.next_identity):
        if device_id is None:
            continue
        channel = _channel.secure(device.address, device_id, identity)
        try:
            refused = _await(channel, device, device_id, identity, timeout_s, stop)
        except BaseException:
            channel.close()
            raise
        if refused is None:
            if device_id == device.next_identity:
                trust.adopt(device, device_id)
            return channel, device_id
        channel.close()
        if refused.reason != "WRONG_DEVICE":
            break
    raise refused or _silent(device, timeout_s)


def _await(
    channel: grpc.Channel,
    device: Device,
    device_id: str,
    identity: HostIdentity | None,
    timeout_s: float,
    stop: threading.Event,
) -> DeviceError | None:
    """Waits for the agent; returns what stands between, at once where waiting does not mend it."""

    def diagnose() -> DeviceError | None:
        if identity is None:
            return _plain.diagnose(device)
        return _diagnose.diagnose(device, device_id, identity)

    deadline = time.monotonic() + timeout_s
    if _channel.answers(channel, timeout_s, stop, persistent=False):
        return None
    if time.monotonic() < deadline:
        found = diagnose()
        if found is not None and not isinstance(found, Unreachable):
            return found
        # An agent that restarts comes back; one whose connections are taken by who says nothing
        # gives them up.
        full = isinstance(found, _diagnose.ClosesAtOnce)
        if _channel.answers(channel, max(timeout_s, _FULL_S) if full else timeout_s, stop):
            return None
    # What takes connections and is silent, without TLS, is not asked by TLS.
    found = None if identity is None else diagnose()
    return found or _silent(device, timeout_s)


def _silent(device: Device, timeout_s: float) -> Unreachable:
    return Unreachable(
        f"no agent answers for device {device.name!r} at {device.address} within {timeout_s:g} s; "
        "is `edgeopt-agent serve` running there, and listening at that address?"
    )
