"""EnrollmentService: first contact with an agent that trusts nobody yet. Served alone."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from edgeopt.agent.v1 import enrollment_pb2, enrollment_pb2_grpc
from edgeopt_agent.errors import Unauthenticated
from edgeopt_agent.identity import Identity, IdentityFiles, child
from edgeopt_agent.identity.enrollment import Token
from edgeopt_agent.server import validate
from edgeopt_agent.server.status import unary

Context = grpc.aio.ServicerContext[Any, Any]


class EnrollmentService(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """`finished` is set once the agent is enrolled, or the tries are used up."""

    def __init__(self, files: IdentityFiles, token: Token, key: str) -> None:
        self._files = files
        self._token = token
        self._key = key
        self._enrolling = asyncio.Lock()
        self.enrolled: Identity | None = None
        self.finished = asyncio.Event()

    @unary
    async def BeginEnrollment(  # noqa: N802
        self, request: enrollment_pb2.BeginEnrollmentRequest, _: Context
    ) -> enrollment_pb2.BeginEnrollmentResponse:
        self._check(request.token)
        _key, made = await child.signing_request(self._key)
        return enrollment_pb2.BeginEnrollmentResponse(signing_request=made)

    @unary
    async def FinishEnrollment(  # noqa: N802
        self, request: enrollment_pb2.FinishEnrollmentRequest, _: Context
    ) -> enrollment_pb2.FinishEnrollmentResponse:
        self._check(request.token)
        validate.certificate("certificate", request.certificate)
        validate.certificate("ca_certificate", request.ca_certificate)
        async with self._enrolling:
            # Two hosts with one line: the first that gets here has the device.
            if self.enrolled is None:
                made = await child.check(self._key, request.certificate, request.ca_certificate)
                self._files.install(made)
                self._token.use_up()
                self.enrolled = made
            elif self.enrolled.certificate.split() != request.certificate.split():
                raise Unauthenticated("TOKEN_REFUSED", "another host has enrolled this device")
        self.finished.set()
        return enrollment_pb2.FinishEnrollmentResponse()

    def _check(self, token: str) -> None:
        validate.token(token)
        try:
            self._token.check(token)
        finally:
            if self._token.ended is not None:
                self.finished.set()
