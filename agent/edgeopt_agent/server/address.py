"""Where the agent may listen.

Without keys that is a unix socket which only its owner can open, or, when asked for with
--insecure, a loopback address: on a phone, other apps can reach loopback, too. With keys it is any
address, by mutual TLS.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from edgeopt_agent.errors import InvalidArgument

DEFAULT_PORT = 50551
# What sun_path holds, less the terminating NUL.
_MAX_SOCKET_PATH = 107


@dataclass(frozen=True)
class ListenAddress:
    """Either a unix socket's path or a TCP host and port; `secure`: by mutual TLS."""

    path: Path | None = None
    host: str = ""
    port: int = 0
    secure: bool = False

    @classmethod
    def parse(cls, text: str, *, insecure: bool, has_keys: bool = False) -> ListenAddress:
        """Reads `unix:PATH`, `HOST:PORT` or `HOST`; `has_keys`: the agent is or gets enrolled.

        Raises:
            InvalidArgument: when it is none of these, or must not be listened on.
        """
        if text.startswith("unix:"):
            return cls(path=_socket_path(text.removeprefix("unix:")))
        host, port = _host_and_port(text)
        if has_keys and not insecure:
            return cls(host=host, port=port, secure=True)
        if not _is_loopback(host):
            raise InvalidArgument(
                "ADDRESS_REFUSED",
                f"{text} can be reached from the network, where plain text is never spoken: leave "
                "--insecure out"
                if has_keys
                else f"{text} can be reached from the network, and this agent has no keys: enrol it "
                "(`edgeopt-agent serve --enroll`, or `edgeopt-host device add NAME --ssh USER@HOST`), "
                "or listen on a unix socket (--listen unix:PATH)",
            )
        if not insecure:
            raise InvalidArgument(
                "ADDRESS_REFUSED",
                f"{text} is plain TCP, which every user and app of this device can reach; prefer "
                "--listen unix:PATH, enrol this agent (--enroll), or add --insecure",
            )
        return cls(host=host, port=port)

    @property
    def target(self) -> str:
        """What gRPC binds."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def prepare(self) -> None:
        """Makes the socket's folder; removes the socket that a killed agent has left.

        Raises:
            InvalidArgument: when something else lies there, or a living agent listens.
        """
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise InvalidArgument("ADDRESS_REFUSED", f"{self.path} exists and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.path)) == 0:
                raise InvalidArgument(
                    "ADDRESS_REFUSED", f"an agent listens on unix:{self.path} already"
                )
        self.path.unlink()

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _socket_path(text: str) -> Path:
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~nobody-of-this-name
        raise InvalidArgument("ADDRESS_REFUSED", f"unix:{text} names no socket: {error}") from error
    if not text or len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise InvalidArgument(
            "ADDRESS_REFUSED",
            f"the socket path {path} has {len(os.fsencode(path))} bytes; unix sockets hold 1 to "
            f"{_MAX_SOCKET_PATH}: choose a shorter one with --listen unix:PATH",
        )
    return path


def _host_and_port(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004 - the last port there is
        raise InvalidArgument(
            "ADDRESS_REFUSED", f"{text!r} is no address; give HOST:PORT or unix:PATH"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
