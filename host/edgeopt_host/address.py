"""Where an agent listens, as people write it and as gRPC dials it."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from edgeopt_host.errors import UsageError

DEFAULT_PORT = 50551

_ADDRESS = re.compile(r"(?:\[(?P<six>[^][]*)\]|(?P<host>[^][:/\s]+))(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK = IPv4Network("127.0.0.0/8")
# Before a colon, gRPC takes these for something else than a machine's name.
_SCHEMES = {"unix", "unix-abstract", "dns", "ipv4", "ipv6", "vsock", "xds"}
# sockaddr_un holds 108 bytes, one of them the closing zero.
_SOCKET_PATH_BYTES = 107


def parse_address(text: str, *, enrolled: bool = False) -> str:
    """Reads HOST, HOST:PORT or unix:PATH, and returns "HOST:PORT" or "unix:/absolute/path".

    Raises:
        UsageError: when it is malformed, or names another machine though the device is not
            `enrolled`: there is no encryption then.
    """
    if text.startswith("unix:"):
        return _parse_socket(text)
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no address: use HOST, HOST:PORT or unix:PATH, IPv6 in brackets like "
            f"[::1]:{DEFAULT_PORT}"
        )
    if match["host"] and match["host"].lower() in _SCHEMES:
        raise UsageError(f"{text!r} begins like a gRPC target: give the machine's full name or IP")
    port = int(match["port"] or DEFAULT_PORT)
    if not 1 <= port <= 65535:  # noqa: PLR2004 - TCP's range
        raise UsageError(f"{text!r} has the port {port}: use 1 to 65535")
    if match["six"] is not None:
        loopback, host = _is_loopback6(match["six"], text), f"[{match['six']}]"
    else:
        host = match["host"].lower()
        loopback = host == "localhost" or _is_loopback4(host)
    if not loopback and not enrolled:
        raise UsageError(
            f"{match['six'] or host} is not this machine, and plain text is never sent off "
            f"loopback: enrol the device, with `edgeopt-host device add NAME --ssh USER@HOST`, or "
            f"`edgeopt-agent serve --enroll` there and `edgeopt-host device enroll` here"
        )
    return f"{host}:{port}"


def _parse_socket(text: str) -> str:
    # gRPC writes unix:///absolute as well.
    path = re.sub(r"^unix:(//(?=/))?", "", text)
    if not path or "\0" in path:
        raise UsageError(f"{text!r} names no socket: use unix:/path/agent.sock")
    try:
        absolute = str(Path(path).expanduser().absolute())
    except RuntimeError as error:  # ~nobody-of-this-name
        raise UsageError(f"{text!r} names no socket: {error}") from error
    if len(absolute.encode("utf-8", "surrogateescape")) > _SOCKET_PATH_BYTES:
        raise UsageError(
            f"the socket path {absolute} is longer than {_SOCKET_PATH_BYTES} bytes, which is the "
            f"most that a socket may have: use a shorter one"
        )
    return f"unix:{absolute}"


def _is_loopback4(host: str) -> bool:
    try:
        return IPv4Address(host) in _LOOPBACK
    except AddressValueError:
        return False


def _is_loopback6(host: str, text: str) -> bool:
    try:
        return IPv6Address(host) == IPv6Address("::1")
    except AddressValueError:
        raise UsageError(f"{text!r} has no IPv6 address in its brackets") from None
