"""A gRPC server with this agent's limits, bound to its addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import grpc.aio

from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.server.address import ListenAddress

# Below the 1024 files that a process may usually open.
MAX_CONNECTIONS = 512
_MAX_CALLS = 256
_OPTIONS = (
    # Pings that the host's keepalive sends are welcome at this rate; the pair must agree.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two agents must never share a port, each getting some of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.max_concurrent_streams", 64),
    # Until TLS and HTTP/2 are agreed on: a connection that says nothing is dropped.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Without any call on it; a host connects anew by itself.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
)
# A port that was just closed is free again at once; another process may have it for a moment.
_BIND_TRIES = 20
_BIND_PAUSE_S = 0.1


def new_server(*interceptors: grpc.aio.ServerInterceptor) -> grpc.aio.Server:
    """A server that listens nowhere yet."""
    return grpc.aio.server(
        interceptors=interceptors, options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CALLS
    )


def server_names(*protos: Any) -> tuple[str, ...]:
    """The full names of the services in generated modules."""
    return tuple(
        service.full_name
        for proto in protos
        for service in proto.DESCRIPTOR.services_by_name.values()
    )


async def bind(
    server: grpc.aio.Server,
    listen: Sequence[ListenAddress],
    credentials: grpc.ServerCredentials | None,
) -> tuple[ListenAddress, ...]:
    """Binds every address, those that are `secure` with the credentials; fills in chosen ports.

    Raises:
        InvalidArgument: ADDRESS_REFUSED, when one cannot be listened on.
    """
    bound = []
    for address in listen:
        address.prepare()
        tries = _BIND_TRIES
        while (port := _bind(server, address, credentials)) is None:
            tries -= 1
            if not tries:
                raise InvalidArgument(
                    "ADDRESS_REFUSED", f"cannot listen on {address.target}: is the port taken?"
                )
            await asyncio.sleep(_BIND_PAUSE_S)
        bound.append(address if address.path else replace(address, port=port))
    return tuple(bound)


def _bind(
    server: grpc.aio.Server, address: ListenAddress, credentials: grpc.ServerCredentials | None
) -> int | None:
    try:
        if address.secure and credentials is not None:
            return int(server.add_secure_port(address.target, credentials))
        return int(server.add_insecure_port(address.target))
    except RuntimeError:
        return None
