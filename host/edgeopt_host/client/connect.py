"""Opens the way to a device's agent."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator

import grpc

from edgeopt_host.client.agent import Agent
from edgeopt_host.client.local import LocalAgent
from edgeopt_host.errors import Cancelled, Unreachable
from edgeopt_host.inventory import Device

_IDEMPOTENT = [
    {"service": "edgeopt.agent.v1.AgentService", "method": method}
    for method in (
        "GetDevice",
        "CreateBenchmark",  # by its request id
        "GetBenchmark",
        "ListBenchmarks",
        "CancelBenchmark",
        "AcknowledgeBenchmark",
    )
] + [
    {"service": "edgeopt.agent.v1.BlobService", "method": method}
    for method in ("FindMissingBlobs", "ListBlobs", "DeleteBlob")
]
_POLL_S = 0.2
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = (
    (
        "grpc.service_config",
        json.dumps({"methodConfig": [{"name": _IDEMPOTENT, "retryPolicy": _RETRY}]}),
    ),
    # The agent's side of this pair is in edgeopt_agent/server/serve.py.
    ("grpc.keepalive_time_ms", 7_500),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A device on the bench is never behind the web proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


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
    """
    stop = stop or threading.Event()
    with contextlib.ExitStack() as stack:
        address = device.address
        if device.name == "local":
            address = stack.enter_context(LocalAgent(on_wait, stop)).address
        channel = stack.enter_context(grpc.insecure_channel(address, options=_OPTIONS))
        if not _ready(channel, timeout_s, stop):
            raise Unreachable(
                f"no agent answers for device {device.name!r} at {device.address} within {timeout_s:g} s; "
                "is `edgeopt-agent serve` running there, and listening at that address?"
            )
        yield Agent(device.name, channel, stop, on_wait or (lambda _: None))


def _ready(channel: grpc.Channel, timeout_s: float, stop: threading.Event) -> bool:
    """Waits for an answer; False when none comes in time."""
    ready = grpc.channel_ready_future(channel)
    deadline = time.monotonic() + timeout_s
    while not stop.is_set():
        left_s = deadline - time.monotonic()
        try:
            ready.result(timeout=max(0.0, min(left_s, _POLL_S)))
        except grpc.FutureTimeoutError:
            if left_s <= 0:
                return False
        else:
            return True
    raise Cancelled("cancelled while connecting")
