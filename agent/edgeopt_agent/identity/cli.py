"""`edgeopt-agent identity`: what provisioning runs over SSH, and the way out by hand."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import click

from edgeopt_agent.errors import FailedPrecondition, InvalidArgument
from edgeopt_agent.identity import Identity, IdentityFiles, fingerprint
from edgeopt_agent.state_dir import state_dir_option

# Two certificates in JSON are a few kilobytes.
_MAX_BYTES = 256 * 1024


@click.group()
def identity() -> None:
    """Keys and trust: request, install, show, forget."""


@identity.command()
@state_dir_option
def request(state_dir: Path) -> None:
    """Print a signing request (PEM) for a host CA; repeated, for the same key."""
    keys = _keys()
    files = IdentityFiles(state_dir)
    key = files.pending_key()
    if key is None:
        key = keys.new_key()
        files.set_pending_key(key)
    click.echo(keys.signing_request(key), nl=False)


@identity.command()
@state_dir_option
def install(state_dir: Path) -> None:
    """Install {"certificate", "ca"} from standard input, for the last signing request."""
    keys = _keys()
    given = _given()
    files = IdentityFiles(state_dir)
    earlier = files.load()
    key = files.pending_key()
    if key is None:
        # Its answer may have been lost: what is there already is as good as installed.
        if earlier is None:
            raise FailedPrecondition(
                "NO_REQUEST",
                "there is no signing request to install a certificate for: request one",
            )
        key = earlier.key
    made: Identity = keys.check(key, given["certificate"], given["ca"])
    if earlier is not None and earlier.ca == made.ca:
        made = Identity(
            made.key, made.certificate, made.ca, made.device_id, made.expires_s, earlier.revoked
        )
    files.install(made)


@identity.command()
@state_dir_option
def show(state_dir: Path) -> None:
    """Print as JSON whether this agent is enrolled, as which device, and until when."""
    there = IdentityFiles(state_dir).load()
    shown: dict[str, Any] = dict.fromkeys(
        ("enrolled", "device_id", "certificate_sha256", "expires", "ca_sha256")
    )
    shown["enrolled"] = there is not None
    if there is not None:
        expires = dt.datetime.fromtimestamp(there.expires_s, dt.timezone.utc)
        shown |= {
            "device_id": there.device_id,
            "certificate_sha256": fingerprint(there.certificate),
            "expires": expires.isoformat(),
            "ca_sha256": fingerprint(there.ca),
        }
    click.echo(json.dumps(shown, indent=2))


@identity.command()
@state_dir_option
def forget(state_dir: Path) -> None:
    """Remove this agent's keys and trust nobody any more; work, results and blobs stay."""
    IdentityFiles(state_dir).forget()


def _keys() -> Any:
    try:
        from edgeopt_agent.identity import keys
    except ModuleNotFoundError as error:
        from edgeopt_agent.identity.__main__ import NEEDS_EXTRA

        raise FailedPrecondition("ENROLL_UNAVAILABLE", NEEDS_EXTRA) from error
    return keys


def _given() -> dict[str, str]:
    try:
        given = json.loads(sys.stdin.buffer.read(_MAX_BYTES))
        return {name: str(given[name]) for name in ("certificate", "ca")}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgument(
            "INVALID_FIELD",
            'standard input is not {"certificate": "PEM", "ca": "PEM"}; nothing was installed',
        ) from error
