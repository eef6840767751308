"""Brings the agent up and takes it down."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from edgeopt.agent.v1 import agent_pb2, agent_pb2_grpc, blob_pb2, blob_pb2_grpc
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.device import DeviceFacts
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument
from edgeopt_agent.facts import cpu
from edgeopt_agent.journal import Journal
from edgeopt_agent.queue import BenchmarkQueue
from edgeopt_agent.server.address import ListenAddress
from edgeopt_agent.server.agent_service import AgentService
from edgeopt_agent.server.blob_service import BlobService
from edgeopt_agent.server.state import AgentState

_SERVICES = (
    agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name,
    blob_pb2.DESCRIPTOR.services_by_name["BlobService"].full_name,
)
# Pings that the host's keepalive sends are welcome at this rate; the pair must agree.
_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two agents must never share a port, each getting some of the calls.
    ("grpc.so_reuseport", 0),
)
_GRACE_S = 1.0


@dataclass(frozen=True)
class Options:
    listen: ListenAddress
    state_dir: Path
    blob_quota_bytes: int
    reflection: bool = False
    # Ends when standard input closes: for whoever starts an agent for the length of a command.
    until_stdin_closes: bool = False


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        InvalidArgument: when the address cannot be listened on.
        FailedPrecondition: when another agent uses the state directory.
    """
    with _sole_user_of(options.state_dir):
        asyncio.run(_serve(options))


async def _serve(options: Options) -> None:
    told_to_stop = _stop_event(watch_stdin=options.until_stdin_closes)
    blobs = BlobStore(options.state_dir, options.blob_quota_bytes)
    state = AgentState(options.state_dir, lambda: _open_queue(options, blobs))
    health = HealthServicer()
    server = grpc.aio.server(options=_OPTIONS)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(
        AgentService(DeviceFacts(options.state_dir), state), server
    )
    blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(blobs), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if options.reflection:
        _add_reflection(server)
    address = _bind(server, options.listen)
    await server.start()
    state.start()
    for service in ("", *_SERVICES):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    print(f"listening on {address}", flush=True)  # noqa: T201 - the documented first line
    try:
        await told_to_stop.wait()
    finally:
        await health.enter_graceful_shutdown()
        await state.stop()
        await server.stop(_GRACE_S)
        options.listen.remove()


def _open_queue(options: Options, blobs: BlobStore) -> BenchmarkQueue:
    return BenchmarkQueue(
        options.state_dir,
        Journal(options.state_dir),
        blobs,
        _default_threads,
        # An agent that lives for one command begins what others left when it is asked for it.
        eager=not options.until_stdin_closes,
    )


def _default_threads() -> int:
    """One per performance core: slower cores in the team make all of it wait."""
    return max(1, cpu.read(Path("/")).performance_cores)


def _bind(server: grpc.aio.Server, listen: ListenAddress) -> str:
    listen.prepare()
    # The socket is made with these rights; changing them afterwards would leave a gap.
    previous = os.umask(0o077)
    try:
        port = server.add_insecure_port(listen.target)
    except RuntimeError as error:
        raise InvalidArgument(
            "ADDRESS_REFUSED", f"cannot listen on {listen.target}: is the port taken?"
        ) from error
    finally:
        os.umask(previous)
    return listen.target if listen.path else f"{listen.target.rpartition(':')[0]}:{port}"


def _add_reflection(server: grpc.aio.Server) -> None:
    try:
        from grpc_reflection.v1alpha import reflection
    except ImportError as error:
        raise InvalidArgument(
            "REFLECTION_UNAVAILABLE",
            "--reflection needs the package grpcio-reflection: pip install 'edgeopt[reflection]'",
        ) from error
    reflection.enable_server_reflection((*_SERVICES, reflection.SERVICE_NAME), server)


def _stop_event(*, watch_stdin: bool) -> asyncio.Event:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if watch_stdin:
        loop.add_reader(sys.stdin.fileno(), told.set)
    return told


@contextlib.contextmanager
def _sole_user_of(state_dir: Path) -> Iterator[None]:
    """Two agents on one state directory would delete each other's scratch and blobs."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state_dir / "lock").open("w")
    except OSError as error:
        raise InvalidArgument(
            "STATE_DIR_UNUSABLE",
            f"the state directory {state_dir} cannot be written: {error.strerror}",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FailedPrecondition(
                "STATE_DIR_IN_USE",
                f"another agent uses the state directory {state_dir}; stop it, or give this one its own "
                "with --state-dir",
            ) from error
        yield
