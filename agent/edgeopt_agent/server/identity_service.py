"""IdentityService: renewal, revocation, and the end of trust. For administrators; see `access`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import grpc.aio

from edgeopt.agent.v1 import identity_pb2, identity_pb2_grpc
from edgeopt_agent.errors import FailedPrecondition, ResourceExhausted
from edgeopt_agent.identity import MAX_REVOKED, Identity, IdentityFiles, child, not_enrolled
from edgeopt_agent.server import validate
from edgeopt_agent.server.status import unary

Context = grpc.aio.ServicerContext[Any, Any]


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    def __init__(self, files: IdentityFiles, busy: Callable[[], bool]) -> None:
        self._files = files
        self._busy = busy

    @unary
    async def BeginRenewal(  # noqa: N802
        self, request: identity_pb2.BeginRenewalRequest, _: Context
    ) -> identity_pb2.BeginRenewalResponse:
        self._refuse_while_busy()
        identity = self._identity()
        key, made = await child.signing_request(None if request.new_key else identity.key)
        self._files.set_pending_key(key)
        return identity_pb2.BeginRenewalResponse(signing_request=made)

    @unary
    async def FinishRenewal(  # noqa: N802
        self, request: identity_pb2.FinishRenewalRequest, _: Context
    ) -> identity_pb2.FinishRenewalResponse:
        validate.certificate("certificate", request.certificate)
        self._refuse_while_busy()
        identity = self._identity()
        # No pending key: a repeated call, whose first answer was lost.
        key = self._files.pending_key() or identity.key
        made = await child.check(key, request.certificate, identity.ca)
        revoked = self._identity().revoked
        self._files.install(dataclasses.replace(made, revoked=revoked))
        return identity_pb2.FinishRenewalResponse()

    @unary
    async def RevokeCertificates(  # noqa: N802
        self, request: identity_pb2.RevokeCertificatesRequest, _: Context
    ) -> identity_pb2.RevokeCertificatesResponse:
        validate.fingerprints(request.fingerprints)
        revoked = {*self._identity().revoked, *request.fingerprints}
        if len(revoked) > MAX_REVOKED:
            raise ResourceExhausted(
                "TOO_MANY_REVOKED",
                f"{len(revoked)} certificates would be revoked on this device, which keeps "
                f"{MAX_REVOKED}; enrol it anew by a new CA",
            )
        self._files.revoke(revoked)
        return identity_pb2.RevokeCertificatesResponse()

    @unary
    async def Forget(  # noqa: N802
        self, request: identity_pb2.ForgetRequest, _: Context
    ) -> identity_pb2.ForgetResponse:
        del request
        self._files.forget()
        return identity_pb2.ForgetResponse()

    def _identity(self) -> Identity:
        identity = self._files.load()
        if identity is None:
            raise not_enrolled()
        return identity

    def _refuse_while_busy(self) -> None:
        if self._busy():
            raise FailedPrecondition(
                "BENCHMARK_RUNNING",
                "a benchmark runs on this device, and making keys would disturb it; renew again when "
                "it has ended",
            )
