"""Under which address other machines reach this device."""

from __future__ import annotations

import contextlib
import socket

# Documentation networks (RFC 5737, RFC 3849): routed like any other, and nothing is sent.
_ELSEWHERE = (
    (socket.AF_INET, "192.0.2.1"),
    (socket.AF_INET6, "2001:db8::1"),
)


def primary_address() -> str:
    """The address of the default route, found without sending anything; else the host's name."""
    for family, elsewhere in _ELSEWHERE:
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as probe,
        ):
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    return socket.gethostname()
