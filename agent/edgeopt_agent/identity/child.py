"""What needs the package cryptography, in a process of its own: the idle agent stays small."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from edgeopt_agent.errors import AgentError, FailedPrecondition, InvalidArgument
from edgeopt_agent.identity import Identity

_DONE_S = 60.0
_KINDS = {
    "CERTIFICATE_REFUSED": InvalidArgument,
    "ENROLL_UNAVAILABLE": FailedPrecondition,
}


async def signing_request(key: str | None) -> tuple[str, str]:
    """A key, the given one or a new one, and its signing request."""
    made = await _run("request", {"key": key or ""})
    return made["key"], made["signing_request"]


async def first_contact(key: str | None) -> tuple[str, str, str]:
    """A key, a certificate that it signs itself, and its pin (base32)."""
    made = await _run("first-contact", {"key": key or ""})
    return made["key"], made["certificate"], made["pin"]


async def check(key: str, certificate: str, ca: str) -> Identity:
    """The identity that these make.

    Raises:
        InvalidArgument: CERTIFICATE_REFUSED, when they do not fit.
    """
    made = await _run("check", {"key": key, "certificate": certificate, "ca": ca})
    return Identity(**{**made, "revoked": ()})


async def _run(task: str, given: dict[str, str]) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "edgeopt_agent.identity", task),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(json.dumps(given).encode()), _DONE_S)
        answer = json.loads(out)
    except (asyncio.TimeoutError, ValueError) as error:
        raise AgentError(
            "INTERNAL", "the process that handles keys failed; its words are in the agent's log"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if failure := answer.get("error"):
        kind = _KINDS.get(failure["reason"], AgentError)
        raise kind(failure["reason"], failure["message"], **failure["metadata"])
    return answer["result"]
