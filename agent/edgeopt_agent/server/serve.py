"""Brings the agent up and takes it down."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from edgeopt.agent.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    blob_pb2,
    blob_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
)
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.device import DeviceFacts
from edgeopt_agent.errors import AgentError, FailedPrecondition, InvalidArgument
from edgeopt_agent.facts import cpu
from edgeopt_agent.identity import IdentityFiles
from edgeopt_agent.journal import Journal
from edgeopt_agent.queue import BenchmarkQueue
from edgeopt_agent.server.access import Access
from edgeopt_agent.server.address import ListenAddress
from edgeopt_agent.server.agent_service import AgentService
from edgeopt_agent.server.blob_service import BlobService
from edgeopt_agent.server.identity_service import IdentityService
from edgeopt_agent.server.listen import bind, new_server, server_names
from edgeopt_agent.server.state import AgentState
from edgeopt_agent.server.tls import Trust

_SERVICES = server_names(agent_pb2, blob_pb2)
_IDENTITY_SERVICES = server_names(identity_pb2)
_GRACE_S = 1.0
# How often to see whether the identity's file has changed.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Options:
    """What `edgeopt-agent serve` was told."""

    listen: tuple[ListenAddress, ...]
    state_dir: Path
    blob_quota_bytes: int
    reflection: bool = False
    # Ends when standard input closes: for whoever starts an agent for the length of a command.
    until_stdin_closes: bool = False
    # Serve first contact, until a host has enrolled this agent.
    enroll: bool = False
    # Forget an earlier enrolment.
    replace: bool = False
    # Under which host name or IP address the enrolment line says that this device is reached.
    advertise: str | None = None
    # Kinds of models that are code and may be executed: "torchscript", "delegates".
    allow: frozenset[str] = frozenset()


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        InvalidArgument: when an address cannot be listened on.
        FailedPrecondition: when another agent uses the state directory, or this one has been told
            to forget whom it trusts.
        AgentError: when nobody enrolled it in time.
    """
    # Sockets, keys, models and results are their owner's alone, whatever folder they lie in.
    os.umask(0o077)
    with _sole_user_of(options.state_dir):
        asyncio.run(_run(options))


async def _run(options: Options) -> None:
    told_to_stop = _stop_event(watch_stdin=options.until_stdin_closes)
    listen = options.listen
    if options.enroll:
        from edgeopt_agent.server.enroll import enroll

        address = await enroll(
            options.state_dir,
            listen,
            told_to_stop,
            replace_identity=options.replace,
            advertise=options.advertise,
        )
        if address is None:
            return
        # The port stays the one that the enrolment line named.
        listen = tuple(address if one.secure else one for one in listen)
    services = _make_services(options)
    first = True
    try:
        while not told_to_stop.is_set():
            listen = await _serve(options, listen, services, told_to_stop, first=first)
            first = False
    except BaseException:
        await services.state.stop()
        raise
    finally:
        # Calls that were cut off end in a moment; asyncio would log what it has to cancel itself.
        if calls := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(calls, timeout=_GRACE_S)
        services.state.close()


@dataclass(frozen=True)
class _Services:
    """What outlives a change of whom the agent trusts."""

    state: AgentState
    agent: AgentService
    blobs: BlobService
    identity: IdentityService

    def add_to(self, server: grpc.aio.Server, *, secure: bool) -> tuple[str, ...]:
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self.agent, server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(self.blobs, server)
        if not secure:
            return _SERVICES
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(self.identity, server)
        return (*_SERVICES, *_IDENTITY_SERVICES)


def _make_services(options: Options) -> _Services:
    files = IdentityFiles(options.state_dir)
    blobs = BlobStore(options.state_dir, options.blob_quota_bytes)
    state = AgentState(options.state_dir, lambda: _open_queue(options, blobs))
    return _Services(
        state,
        AgentService(DeviceFacts(options.state_dir, options.allow), state, lambda: _expires(files)),
        BlobService(blobs),
        IdentityService(files, lambda: state.busy),
    )


def _open_queue(options: Options, blobs: BlobStore) -> BenchmarkQueue:
    journal = Journal(options.state_dir)
    try:
        return BenchmarkQueue(
            options.state_dir,
            journal,
            blobs,
            _default_threads,
            options.allow,
            # An agent that lives for one command begins what others left when it is asked for it.
            eager=not options.until_stdin_closes,
        )
    except BaseException:
        journal.close()
        raise


def _expires(files: IdentityFiles) -> float | None:
    with contextlib.suppress(AgentError):
        identity = files.load()
        return identity.expires_s if identity else None
    return None


async def _serve(
    options: Options,
    listen: Sequence[ListenAddress],
    services: _Services,
    told_to_stop: asyncio.Event,
    *,
    first: bool,
) -> tuple[ListenAddress, ...]:
    """Serves until told to stop, or until its identity has changed; returns what it listened on.

    Raises:
        FailedPrecondition: NOT_ENROLLED, when there are no keys, or not any more.
    """
    secure = any(address.secure for address in listen)
    trust = Trust(IdentityFiles(options.state_dir)) if secure else None
    health = HealthServicer()
    server = new_server(Access(trust))
    names = services.add_to(server, secure=secure)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if options.reflection:
        _add_reflection(server, names)
    bound = await bind(server, listen, trust.credentials() if trust else None)
    await server.start()
    if first:
        services.state.start()
    for service in ("", *names):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        if first and not options.enroll:
            for address in bound:
                print(f"listening on {address.target}", flush=True)  # noqa: T201 - documented output
        await _until(told_to_stop, trust)
    finally:
        await health.enter_graceful_shutdown()
        if told_to_stop.is_set():
            # Those who watch still hear how what ran has ended.
            await services.state.stop()
        await server.stop(_GRACE_S)
        for address in bound:
            address.remove()
    return bound


async def _until(told_to_stop: asyncio.Event, trust: Trust | None) -> None:
    """Waits for the end of serving: the agent's, or that of the identity it serves with."""
    if trust is None:
        await told_to_stop.wait()
        return
    while not (told_to_stop.is_set() or trust.ended.is_set()):
        # A host that knows the new certificate only never gets as far as a call that would tell.
        trust.refresh()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_first_of(told_to_stop, trust.ended), _LOOK_S)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _default_threads() -> int:
    """One per performance core: slower cores in the team make all of it wait."""
    return max(1, cpu.read(Path("/")).performance_cores)


def _add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    try:
        from grpc_reflection.v1alpha import reflection
    except ImportError as error:
        raise InvalidArgument(
            "REFLECTION_UNAVAILABLE",
            "--reflection needs the package grpcio-reflection: pip install 'edgeopt[reflection]'",
        ) from error
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)


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
        # The folder itself is the lock: that works on a disk that cannot be written, too.
        lock = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(
            "STATE_DIR_UNUSABLE",
            f"the state directory {state_dir} cannot be opened: {error.strerror}",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FailedPrecondition(
            "STATE_DIR_IN_USE",
            f"another agent uses the state directory {state_dir}; stop it, or give this one its own "
            "with --state-dir",
        ) from error
    try:
        yield
    finally:
        os.close(lock)
