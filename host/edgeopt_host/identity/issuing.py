"""What an administrator does with the CA: identities for others, and their end."""

from __future__ import annotations

import dataclasses

from edgeopt_host.errors import UsageError
from edgeopt_host.identity._name import MAX_NAME
from edgeopt_host.identity.host import HostIdentity, Issued, certified, change


def issue(
    here: HostIdentity, name: str, *, admin: bool, days: int
) -> tuple[HostIdentity, HostIdentity]:
    """Makes an identity for somebody else.

    Args:
        here: this host's.
        name: the other's, as `check_holder` returns it.
        admin: with the CA's key.
        days: how long its certificate is valid.

    Returns:
        This host's identity, which now lists the new certificate, and the other's.

    Raises:
        EdgeoptError: NOT_ADMIN, when this host does not have the CA's key.
    """
    made = certified(here, name, admin=admin, days=days)
    entry = Issued(name, made.fingerprint, made.expires.isoformat(), admin)
    listing = change(lambda there: dataclasses.replace(there, issued=(*there.issued, entry)), here)
    kept = dataclasses.replace(
        made,
        ca_key=here.ca_key if admin else None,
        issued=listing.issued if admin else (),
    )
    return listing, kept


def revoke(here: HostIdentity, name: str) -> HostIdentity:
    """Marks every certificate of this name as revoked.

    Raises:
        UsageError: when there is none, or it is this host's own.
        EdgeoptError: NOT_ADMIN, when this host does not have the CA's key.
    """
    here.require_ca_key()

    def mark(there: HostIdentity) -> HostIdentity:
        known = sorted({i.name for i in there.issued if i.fingerprint != there.fingerprint})
        if name not in known:
            raise UsageError(
                f"no certificate was issued to {name!r}; there are {', '.join(known)}"
                if known
                else "no certificate was issued to anybody else (`identity export --name` does)"
            )
        marked = [
            dataclasses.replace(i, revoked=True)
            if i.name == name and i.fingerprint != there.fingerprint
            else i
            for i in there.issued
        ]
        return dataclasses.replace(there, issued=tuple(marked))

    return change(mark, here)


def check_holder(name: str) -> str:
    """Returns a name that may stand in a client's certificate.

    Raises:
        UsageError: when it may not.
    """
    if not 1 <= len(name) <= MAX_NAME or any(not "!" <= letter <= "~" for letter in name):
        raise UsageError(
            f"{name[:80]!r} is no name for a certificate: use 1 to {MAX_NAME} ASCII characters without "
            "spaces, like alice@laptop"
        )
    return name
