"""Calls to one agent that end, also by `cancel`, and errors in one sentence."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from edgeopt.agent.v1 import agent_pb2_grpc, blob_pb2_grpc
from edgeopt_host.errors import Cancelled, DeviceError, Unreachable

CALL_S = 10.0
# How long a broken watch, upload or download tries to come back.
PATIENCE_S = 30.0
PAUSE_S = 0.5
_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Calls:
    """What every kind of call shares. For one thread; `cancel` alone may come from others."""

    def __init__(
        self,
        name: str,
        channel: grpc.Channel,
        cancelled: threading.Event | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._notice = notice
        self._agent = agent_pb2_grpc.AgentServiceStub(channel)
        self._blobs = blob_pb2_grpc.BlobServiceStub(channel)
        self._cancelled = cancelled or threading.Event()
        self._call: Any = None  # the call under way that `cancel` is to end

    def cancel(self) -> None:
        """Ends what is under way, here and on the device; from any thread."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def _ask(self, method: Any, request: Any, timeout_s: float = CALL_S) -> Any:
        """A unary call that `cancel` ends."""
        self._call = call = method.future(request, timeout=timeout_s)
        self._raise_if_cancelled()
        return call.result()

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            if self._call is not None:
                self._call.cancel()
            raise Cancelled(f"cancelled on {self.name}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self._raise_if_cancelled()
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> DeviceError:
        """What the agent said, or that it said nothing."""
        if not isinstance(error, grpc.Call):
            return DeviceError(str(error))
        if error.code() in _GONE:
            return Unreachable(
                f"the agent of {self.name!r} stopped answering ({error.code().name.lower()}); is the device "
                "still on, and `edgeopt-agent serve` running?"
            )
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return DeviceError(
                f"the agent of {self.name!r} is older than this host and lacks what was asked of it; "
                "update edgeopt there",
                "AGENT_TOO_OLD",
            )
        return DeviceError(
            error.details() or "the agent gave no reason",
            reason(error) or error.code().name,
            _info(error).metadata,
        )


def result_lost(name: str) -> DeviceError:
    """What to say of a benchmark that a device was asked for and does not know any more."""
    return DeviceError(
        f"the agent of {name!r} does not know this benchmark any more: its state directory was "
        "removed or replaced; push again",
        "RESULT_LOST",
    )


def reason(error: Exception) -> str:
    """The agent's reason, such as WRONG_WRITE_OFFSET; empty when it gave none."""
    return str(_info(error).reason)


def said(error: Exception) -> str:
    """What the agent said when it refused a call; empty when it did not answer."""
    return (error.details() or "") if isinstance(error, grpc.Call) and reason(error) else ""


def passing(error: Exception, deadline: float) -> bool:
    """Whether it is worth trying again."""
    return (
        isinstance(error, grpc.Call)
        and error.code() == grpc.StatusCode.UNAVAILABLE
        and time.monotonic() < deadline
    )


def gone(error: Exception) -> bool:
    """Whether the agent may have got the request, and did not answer."""
    return isinstance(error, grpc.Call) and error.code() in _GONE


def _info(error: Exception) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    for detail in status.details if status else ():
        detail.Unpack(info)
    return info
