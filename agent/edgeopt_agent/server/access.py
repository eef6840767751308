"""Who may call what.

Over TLS a client is who its certificate says. Over a unix socket, which only its owner can open,
and over plain loopback it is the owner, and names itself.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio

from edgeopt_agent.errors import AgentError, PermissionDenied
from edgeopt_agent.identity import fingerprint
from edgeopt_agent.server.stall import STALL_S, StallTimer
from edgeopt_agent.server.status import abort
from edgeopt_agent.server.tls import Trust

Context = grpc.aio.ServicerContext[Any, Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

CLIENT_METADATA = "edgeopt-client"
_HOST_NAME = b"host.edgeopt"
_ADMIN_NAME = b"admin.edgeopt"
_ADMIN_SERVICE = "/edgeopt.agent.v1.IdentityService/"
_MAX_NAME = 64


@dataclass(frozen=True)
class Caller:
    """Who calls: a name to show to others, and whether it administers the bench."""

    name: str
    admin: bool


def caller(context: Context) -> Caller:
    """Who calls; access was granted already."""
    auth = context.auth_context()
    if not _is_tls(auth):
        given = dict(context.invocation_metadata() or ()).get(CLIENT_METADATA, "unknown")
        return Caller(_shown(given), admin=True)
    name = b"".join(auth.get("x509_common_name", ())).decode(errors="replace")
    return Caller(_shown(name), _ADMIN_NAME in auth.get("x509_subject_alternative_name", ()))


class Access(grpc.aio.ServerInterceptor):
    """Checks each call, and each message of a stream; cuts off whoever takes none."""

    def __init__(self, trust: Trust | None, stall_s: float = STALL_S) -> None:
        self._trust = trust
        self._stall_s = stall_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Puts the checks before the method's own handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        needs_admin = handler_call_details.method.startswith(_ADMIN_SERVICE)
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            if method := getattr(handler, kind):
                make: Callable[..., _Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
                return make(
                    self._guarded(
                        method, needs_admin=needs_admin, takes_stream=kind.startswith("stream")
                    ),
                    handler.request_deserializer,
                    handler.response_serializer,
                )
        return handler

    def _guarded(
        self, method: Callable[..., Any], *, needs_admin: bool, takes_stream: bool
    ) -> Callable[..., Any]:
        async def checked(
            requests: AsyncIterator[Any], context: Context
        ) -> AsyncGenerator[Any, None]:
            async for request in requests:
                self._raise_unless_allowed(context, needs_admin=needs_admin)
                yield request

        if not inspect.isasyncgenfunction(method):

            async def call(request: Any, context: Context) -> Any:
                await self._check(context, needs_admin=needs_admin)
                try:
                    if not takes_stream:
                        return await method(request, context)
                    async with contextlib.aclosing(checked(request, context)) as requests:
                        return await method(requests, context)
                finally:
                    if needs_admin and self._trust is not None:
                        self._trust.refresh()

            return call

        async def stream(request: Any, context: Context) -> None:
            await self._check(context, needs_admin=needs_admin)
            given = checked(request, context) if takes_stream else request
            try:
                async with contextlib.aclosing(method(given, context)) as responses:
                    async for response in responses:
                        await self._check(context, needs_admin=needs_admin)
                        # While gRPC waits for the client to take it.
                        with StallTimer(self._stall_s):
                            await context.write(response)
            except AgentError as error:
                await abort(context, error)

        return stream

    async def _check(self, context: Context, *, needs_admin: bool) -> None:
        try:
            self._raise_unless_allowed(context, needs_admin=needs_admin)
        except AgentError as error:
            await abort(context, error)

    def _raise_unless_allowed(self, context: Context, *, needs_admin: bool) -> None:
        auth = context.auth_context()
        if not _is_tls(auth) or self._trust is None:
            return
        if _HOST_NAME not in auth.get("x509_subject_alternative_name", ()):
            raise PermissionDenied(
                "CLIENT_REFUSED",
                "this certificate is not one of a host: connect with the one that `edgeopt-host "
                "identity` made",
            )
        if self._trust.is_revoked(_fingerprint(auth)):
            raise PermissionDenied(
                "CERTIFICATE_REVOKED",
                f"the certificate of {caller(context).name} was revoked for this bench; ask who "
                "administers it for a new identity",
            )
        if self._trust.is_over:
            raise PermissionDenied(
                "HOST_REFUSED", "this device does not trust this host's CA any more; enrol it again"
            )
        if needs_admin and not caller(context).admin:
            raise PermissionDenied(
                "NOT_ADMIN",
                f"{caller(context).name} may use this device, but not administer it; ask who enrolled "
                "it",
            )


def _is_tls(auth: Any) -> bool:
    return bool(auth.get("transport_security_type") == [b"ssl"])


def _fingerprint(auth: Any) -> str:
    pem = b"".join(auth.get("x509_pem_cert", ())).decode()
    return fingerprint(pem)


def _shown(name: str | bytes) -> str:
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_NAME] or "unknown"
