"""First contact with an agent that prints an enrolment line."""

from __future__ import annotations

import hmac
import socket
import ssl
from collections.abc import Callable
from typing import Any

import grpc

from edgeopt.agent.v1 import enrollment_pb2, enrollment_pb2_grpc
from edgeopt_host.client import _channel
from edgeopt_host.client._calls import reason, said
from edgeopt_host.client._diagnose import client_context, split_address
from edgeopt_host.errors import DeviceError, Unreachable, Untrusted
from edgeopt_host.identity import HostIdentity, certificates, new_device_id
from edgeopt_host.identity.line import EnrollmentLine

_CONNECT_S = 5.0
# The device starts a process for its key.
_CALL_S = 60.0


def enroll(
    line: EnrollmentLine, identity: HostIdentity, step: Callable[[str], None] = lambda _: None
) -> str:
    """Enrols the agent that printed this line. Nothing is sent before its pin was checked.

    It can be repeated with the same line for as long as that lives; also when the agent took the
    certificate and only its answer was lost.

    Returns:
        The device id that the agent's certificate now carries.

    Raises:
        Unreachable: when nothing answers there.
        Untrusted: PIN_MISMATCH, or the agent is another host's by now.
        DeviceError: TOKEN_REFUSED, and whatever else the agent refuses.
        EdgeoptError: NOT_ADMIN, when this host cannot sign.
    """
    der = fetch_certificate(line.address)
    _check_pin(line, der)
    step(f"the key of {line.address} is the one in the line")
    shown = ssl.DER_cert_to_PEM_cert(der)
    _common, names = certificates.names(shown)
    if certificates.ENROLLING_NAME not in names:
        return _enrolled_before(line, shown, names, identity)
    device_id = new_device_id()
    # This one certificate is all that the channel trusts.
    credentials = grpc.ssl_channel_credentials(shown.encode())
    options = (*_channel.OPTIONS, ("grpc.ssl_target_name_override", certificates.ENROLLING_NAME))
    with grpc.secure_channel(line.address, credentials, options=options) as channel:
        service = enrollment_pb2_grpc.EnrollmentServiceStub(channel)
        begin = enrollment_pb2.BeginEnrollmentRequest(token=line.token)
        request: str = _call(line, service.BeginEnrollment, begin).signing_request
        if not certificates.same_key(request, der):
            raise Untrusted(
                f"the agent at {line.address} asked for a certificate for another key than the line's; "
                "nothing was signed",
                "PIN_MISMATCH",
            )
        finish = enrollment_pb2.FinishEnrollmentRequest(
            token=line.token,
            certificate=identity.sign_device(request, device_id),
            ca_certificate=identity.ca_certificate,
        )
        step("signed its certificate")
        try:
            _call(line, service.FinishEnrollment, finish)
        except Unreachable:
            # It may have taken the certificate: then it shows it now.
            return _after_lost_answer(line, identity)
    return device_id


def fetch_certificate(address: str) -> bytes:
    """The certificate (DER) that is shown at an address; no byte of ours is sent inside TLS.

    Raises:
        Unreachable: when nothing answers, or not by TLS.
    """
    try:
        with (
            socket.create_connection(split_address(address), _CONNECT_S) as connection,
            client_context().wrap_socket(
                connection, server_hostname=certificates.ENROLLING_NAME
            ) as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""
    except ssl.SSLEOFError as error:
        raise Unreachable(
            f"what listens at {address} closes connections at once; does the agent just start, or is there "
            "something between that cannot reach it? Repeat the command"
        ) from error
    except ssl.SSLError as error:
        raise Untrusted(
            f"what listens at {address} does not speak TLS, so it is not `edgeopt-agent serve "
            "--enroll`: is the address right?",
            "PLAIN_TEXT",
        ) from error
    except OSError as error:
        raise Unreachable(
            f"nothing answers at {address} ({error.strerror or error}); is `edgeopt-agent serve "
            "--enroll` still running there, and the address right? --address HOST:PORT gives another"
        ) from error


def _check_pin(line: EnrollmentLine, der: bytes) -> None:
    try:
        same = hmac.compare_digest(certificates.pin(der), line.pin)
    except ValueError:
        same = False
    if not same:
        raise Untrusted(
            f"what answers at {line.address} has another key than the line says, so it is another device "
            "or somebody in between, and nothing was sent: copy the line that the agent printed last",
            "PIN_MISMATCH",
        )


def _enrolled_before(
    line: EnrollmentLine, shown: str, names: list[str], identity: HostIdentity
) -> str:
    """The id of an agent that shows a certificate of a CA: ours, when only the answer was lost."""
    if not certificates.is_issued_by(shown, identity.ca_certificate):
        raise Untrusted(
            f"the agent at {line.address} was enrolled by another host meanwhile: "
            "`edgeopt-agent serve --enroll --replace` there takes it back",
            "HOST_REFUSED",
        )
    return names[0].removesuffix(f".{certificates.AGENT_DOMAIN}")


def _after_lost_answer(line: EnrollmentLine, identity: HostIdentity) -> str:
    der = fetch_certificate(line.address)
    _check_pin(line, der)
    shown = ssl.DER_cert_to_PEM_cert(der)
    _common, names = certificates.names(shown)
    if certificates.ENROLLING_NAME in names:
        raise Unreachable(
            f"the connection to {line.address} broke off before the agent was enrolled; repeat the "
            "command with the same line"
        )
    return _enrolled_before(line, shown, names, identity)


def _call(line: EnrollmentLine, method: Any, request: Any) -> Any:
    try:
        return method(request, timeout=_CALL_S)
    except grpc.RpcError as error:
        why = reason(error)
        if not why:
            raise Unreachable(
                f"the agent at {line.address} stopped answering; repeat the command with the same line"
            ) from error
        raise DeviceError(said(error), why) from error
