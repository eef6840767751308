"""Channels to agents: mutual TLS for enrolled devices, plain for sockets and loopback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc

from edgeopt_host.errors import Cancelled, EdgeoptError
from edgeopt_host.identity import HostIdentity, client_name
from edgeopt_host.inventory import Device

# Without CreateBenchmark: whoever asks again must know that it does.
_IDEMPOTENT = [
    {"service": "edgeopt.agent.v1.AgentService", "method": method}
    for method in (
        "GetDevice",
        "GetStatus",
        "GetBenchmark",
        "ListBenchmarks",
        "CancelBenchmark",
        "AcknowledgeBenchmark",
        "AcquireLease",  # by its request id
        "RenewLease",
        "ReleaseLease",
    )
] + [
    {"service": "edgeopt.agent.v1.BlobService", "method": method}
    for method in ("FindMissingBlobs", "ListBlobs", "DeleteBlob")
]
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
OPTIONS = (
    (
        "grpc.service_config",
        json.dumps({"methodConfig": [{"name": _IDEMPOTENT, "retryPolicy": _RETRY}]}),
    ),
    # The agent's side of this pair is in edgeopt_agent/server/listen.py.
    ("grpc.keepalive_time_ms", 7_500),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A device on the bench is never behind the web proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_HEALTH = "/grpc.health.v1.Health/Check"
_POLL_S = 0.2
_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def host_identity(device: Device) -> HostIdentity | None:
    """What this host shows to a device; None where there is no TLS.

    Raises:
        EdgeoptError: IDENTITY_MISSING, when the device wants one.
    """
    if device.identity is None or device.address.startswith("unix:"):
        return None
    if HostIdentity.load() is None:
        raise EdgeoptError(
            f"{device.name} is enrolled, but this host has no identity to show to it: bring the one that "
            "enrolled it here (`edgeopt-host identity export` there, `identity import` here)",
            "IDENTITY_MISSING",
        )
    return HostIdentity.open()


@contextlib.contextmanager
def plain(address: str) -> Iterator[grpc.Channel]:
    """A channel without TLS, which tells the agent who calls."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        yield grpc.intercept_channel(channel, _Named(client_name()))


def secure(address: str, device_id: str, identity: HostIdentity) -> grpc.Channel:
    """A channel on which both sides show certificates; another device's is refused."""
    credentials = grpc.ssl_channel_credentials(
        identity.ca_certificate.encode(), identity.key.encode(), identity.certificate.encode()
    )
    name = ("grpc.ssl_target_name_override", f"{device_id}.agent.edgeopt")
    return grpc.secure_channel(address, credentials, options=(*OPTIONS, name))


def answers(
    channel: grpc.Channel, timeout_s: float, stop: threading.Event, *, persistent: bool = True
) -> bool:
    """Waits until somebody answers, whatever it is; not `persistent` means until one attempt failed.

    By a call, not by gRPC's channel_ready_future: that leaves a thread which fails, aloud, when the
    channel is closed early.

    Raises:
        Cancelled: after `stop`.
    """
    check = channel.unary_unary(_HEALTH, request_serializer=bytes, response_deserializer=bytes)
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        call = check.future(b"", timeout=left_s, wait_for_ready=persistent)
        try:
            code = _code(call, stop)
        finally:
            call.cancel()
        if code not in _SILENT:
            return True
        # An agent that restarts in the middle of a call comes back.
        if not persistent or time.monotonic() >= deadline:
            return False
        stop.wait(_POLL_S)


def _code(call: Any, stop: threading.Event) -> grpc.StatusCode | None:
    while not stop.is_set():
        try:
            call.result(timeout=_POLL_S)
        except grpc.FutureTimeoutError:
            continue
        except grpc.RpcError as error:
            return error.code()
        return None
    raise Cancelled("cancelled while connecting")


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Named(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Adds the caller's name to every call; the methods are as grpc calls them."""

    def __init__(self, name: str) -> None:
        self._entry = ("edgeopt-client", name)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Hands on a call."""
        return continuation(self._named(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """Hands on a call that answers with a stream."""
        return continuation(self._named(details), request)

    def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        """Hands on a call that sends a stream."""
        return continuation(self._named(details), requests)

    def _named(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), self._entry],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
