"""`serve --enroll`: waits for the host that has this agent's one-time line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from edgeopt.agent.v1 import enrollment_pb2, enrollment_pb2_grpc
from edgeopt_agent.errors import AgentError, FailedPrecondition, InvalidArgument
from edgeopt_agent.identity import IdentityFiles, child, fingerprint
from edgeopt_agent.identity.enrollment import Token
from edgeopt_agent.server.access import Access
from edgeopt_agent.server.address import ListenAddress
from edgeopt_agent.server.advertise import primary_address
from edgeopt_agent.server.enrollment_service import EnrollmentService
from edgeopt_agent.server.listen import bind, new_server, server_names

_GRACE_S = 1.0
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound


async def enroll(
    state_dir: Path,
    listen: Sequence[ListenAddress],
    told_to_stop: asyncio.Event,
    *,
    replace_identity: bool,
    advertise: str | None,
) -> ListenAddress | None:
    """Serves EnrollmentService alone, on the one TCP address, until a host has enrolled this agent.

    Returns:
        The address with the port that was bound; None when told to stop.

    Raises:
        InvalidArgument: when there is not exactly one TCP address.
        FailedPrecondition: when the agent is enrolled already, or lacks the package for keys.
        AgentError: ENROLLMENT_ENDED, when time or tries are used up.
    """
    address = _tcp_address(listen)
    files = IdentityFiles(state_dir)
    if not replace_identity and files.load() is not None:
        raise FailedPrecondition(
            "ALREADY_ENROLLED",
            "this agent is enrolled already: leave --enroll out, or add --replace to let another host "
            "enrol it",
        )
    key, certificate, pin = await child.first_contact(files.pending_key())
    files.set_pending_key(key)
    token = Token(state_dir, key)
    service = EnrollmentService(files, token, key)
    server = new_server(Access(None))
    enrollment_pb2_grpc.add_EnrollmentServiceServicer_to_server(service, server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    credentials = grpc.ssl_server_credentials([(key.encode(), certificate.encode())])
    (bound,) = await bind(server, [address], credentials)
    await server.start()
    for name in ("", *server_names(enrollment_pb2)):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    host = advertise or (primary_address() if bound.host in _WILDCARDS else bound.host)
    line = f"edgeopt1/{host}/{bound.port}/{pin}/{token.text}"
    print(f"listening on {bound.target}")  # noqa: T201 - the documented first line
    print(f"edgeopt-host device enroll NAME {line}", flush=True)  # noqa: T201 - and the second
    try:
        await _end(service.finished, told_to_stop, token.left_s)
    finally:
        # The answer to the last call still goes out.
        await server.stop(_GRACE_S)
    if service.enrolled is not None:
        ca = fingerprint(service.enrolled.ca)
        print(f"enrolled by CA {ca}", file=sys.stderr, flush=True)  # noqa: T201 - documented output
        return bound
    if told_to_stop.is_set():
        return None
    why = token.ended or "the token has ended"
    raise AgentError(
        "ENROLLMENT_ENDED",
        f"nobody enrolled this agent: {why}; start `edgeopt-agent serve --enroll` again for a new line",
    )


async def _end(finished: asyncio.Event, told_to_stop: asyncio.Event, left_s: float) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in (finished, told_to_stop)]
    try:
        await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _tcp_address(listen: Sequence[ListenAddress]) -> ListenAddress:
    addresses = [address for address in listen if address.path is None]
    if len(addresses) != 1:
        raise InvalidArgument(
            "ADDRESS_REFUSED",
            f"--enroll needs one address that a host can reach, and was given {len(addresses)}: "
            "--listen HOST:PORT",
        )
    return addresses[0]
