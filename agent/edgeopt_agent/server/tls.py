"""Mutual TLS from the agent's identity file, which may change while it serves."""

from __future__ import annotations

import asyncio
import logging
import os

import grpc

from edgeopt_agent.errors import AgentError
from edgeopt_agent.identity import Identity, IdentityFiles, not_enrolled

_log = logging.getLogger(__name__)


class Trust:
    """The identity that the agent serves with, read again whenever its file changes.

    What was revoked counts from the next call on. A renewed certificate, another CA, or none, set
    `ended`: the server has to begin anew. With another CA, or none, whoever the earlier one let in
    must go at once.
    """

    def __init__(self, files: IdentityFiles) -> None:
        """Reads the identity.

        Raises:
            FailedPrecondition: NOT_ENROLLED or IDENTITY_UNUSABLE.
        """
        self._files = files
        self._seen = self._stamp()
        identity = files.load()
        if identity is None:
            raise not_enrolled()
        self._use(identity)
        self._loop = asyncio.get_running_loop()
        # At once, and from any thread; the event follows.
        self.is_over = False
        self.ended = asyncio.Event()

    @property
    def identity(self) -> Identity:
        """What counts now."""
        self.refresh()
        return self._identity

    def is_revoked(self, fingerprint: str) -> bool:
        """Whether this client certificate is refused."""
        self.refresh()
        return fingerprint in self._revoked

    def credentials(self) -> grpc.ServerCredentials:
        """Of the identity as it is now.

        Not gRPC's dynamic ones, which ask again at every handshake: connections that close during
        it crash the process then (grpcio 1.85; tests/system/test_trust.py).
        """
        identity = self._identity
        return grpc.ssl_server_credentials(
            [(identity.key.encode(), identity.certificate.encode())],
            identity.ca.encode(),
            require_client_auth=True,
        )

    def refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            identity = self._files.load()
        except AgentError as error:
            _log.warning("%s", error.message)
            identity = None
        if identity is None or identity.ca != self._identity.ca:
            self.is_over = True
            self._loop.call_soon_threadsafe(self.ended.set)
            return
        if identity.certificate != self._identity.certificate:
            self._loop.call_soon_threadsafe(self.ended.set)
        self._use(identity)

    def _use(self, identity: Identity) -> None:
        self._identity = identity
        self._revoked = frozenset(identity.revoked)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._files.path)  # noqa: PTH116 - asked at every call; half the time
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
