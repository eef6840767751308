"""`python -m edgeopt_agent.identity TASK`: one task on keys; JSON in on stdin, JSON out on stdout."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from typing import Any

from edgeopt_agent.errors import AgentError


def main() -> None:
    """Answers {"result": …}, or {"error": {"reason", "message", "metadata"}}."""
    try:
        answer: dict[str, Any] = {"result": _do(sys.argv[1], json.load(sys.stdin))}
    except AgentError as error:
        answer = {
            "error": {"reason": error.reason, "message": error.message, "metadata": error.metadata}
        }
    except ModuleNotFoundError:
        answer = {"error": {"reason": "ENROLL_UNAVAILABLE", "message": NEEDS_EXTRA, "metadata": {}}}
    json.dump(answer, sys.stdout)


NEEDS_EXTRA = (
    "keys and certificates need the package cryptography on the device: "
    "pip install 'edgeopt[enroll]'"
)


def _do(task: str, given: dict[str, str]) -> Any:
    from edgeopt_agent.identity import keys

    match task:
        case "request":
            key = given.get("key") or keys.new_key()
            return {"key": key, "signing_request": keys.signing_request(key)}
        case "first-contact":
            key = given.get("key") or keys.new_key()
            pin = base64.b32encode(keys.pin(key)).decode().rstrip("=").lower()
            return {"key": key, "certificate": keys.self_signed(key), "pin": pin}
        case _:
            made = keys.check(given["key"], given["certificate"], given["ca"])
            return dataclasses.asdict(made)


if __name__ == "__main__":
    main()
