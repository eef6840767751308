"""Exceptions to gRPC statuses: every error carries google.rpc.ErrorInfo and one sentence."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from edgeopt_agent.errors import (
    AgentError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Stopping,
    StorageError,
    Unauthenticated,
)

DOMAIN = "edgeopt"
_CODES = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StorageError: grpc.StatusCode.FAILED_PRECONDITION,
    Stopping: grpc.StatusCode.UNAVAILABLE,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_log = logging.getLogger(__name__)
_Method = TypeVar("_Method", bound=Callable[..., Any])


def unary(method: _Method) -> _Method:
    """Ends a call that raises with the status that its exception stands for."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await method(self, request, context)
        except Exception as error:  # noqa: BLE001 - this is the boundary
            await abort(context, error)

    return call  # type: ignore[return-value]


def streaming(method: _Method) -> _Method:
    """The same for a call that answers with a stream."""

    @functools.wraps(method)
    async def call(
        self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        try:
            async for response in method(self, request, context):
                yield response
        except Exception as error:  # noqa: BLE001 - this is the boundary
            await abort(context, error)

    return call  # type: ignore[return-value]


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """Ends a call with the status that an exception stands for."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, AgentError):
        code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
        info = error_details_pb2.ErrorInfo(
            reason=error.reason, domain=DOMAIN, metadata=error.metadata
        )
        message = error.message
    else:
        _log.exception("a call failed unexpectedly")
        code = grpc.StatusCode.INTERNAL
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN)
        message = f"the agent failed unexpectedly: {type(error).__name__}: {error}"
    detail = any_pb2.Any()
    detail.Pack(info)
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))
