"""The line that `edgeopt-agent serve --enroll` prints: edgeopt1/HOST/PORT/PIN/TOKEN."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass

from edgeopt_host.address import parse_address
from edgeopt_host.errors import UsageError

_VERSION = "edgeopt1"
_LINE = re.compile(
    r"edgeopt1/(?P<host>[0-9A-Za-z.:_-]{1,253})/(?P<port>[0-9]{1,5})"
    r"/(?P<pin>[a-z2-7]{52})/(?P<token>[a-z2-7]{26})"
)


@dataclass(frozen=True)
class EnrollmentLine:
    """Where the agent waits, and by what the two know each other.

    Attributes:
        address: "HOST:PORT".
        pin: SHA-256 of the agent's public key.
        token: what the agent lets one host in for.
    """

    address: str
    pin: bytes
    token: str

    @classmethod
    def parse(cls, text: str) -> EnrollmentLine:
        """Reads a line.

        Raises:
            UsageError: when it is none, or a part of one.
        """
        text = text.strip()
        match = _LINE.fullmatch(text)
        if match is None:
            if re.match(r"edgeopt[0-9]+/", text) and not text.startswith(f"{_VERSION}/"):
                raise UsageError(
                    f"this enrolment line is of the version {text.partition('/')[0][:20]!r}, newer than "
                    "this host: update edgeopt here"
                )
            raise UsageError(
                f"{text[:60]!r} is no enrolment line: copy what `edgeopt-agent serve --enroll` printed, "
                "from 'edgeopt1/' to its end"
            )
        address = parse_address(f"{_bracketed(match['host'])}:{match['port']}", enrolled=True)
        # 52 characters hold 260 bits, of which 256 count.
        pin = base64.b32decode(match["pin"].upper() + "====")
        return cls(address, pin, match["token"])


def _bracketed(host: str) -> str:
    if ":" not in host:
        return host
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        raise UsageError(f"{host!r} in the enrolment line is no IPv6 address") from None
