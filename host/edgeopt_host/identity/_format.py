"""The file of a host's identity: JSON of the schema edgeopt.identity/1."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from edgeopt_host.errors import EdgeoptError

_SCHEMA = "edgeopt.identity/1"
_TYPES: dict[str, tuple[type, ...]] = {
    "ca_key": (str, type(None)),
    "admin": (bool,),
    "revoked": (bool,),
}


def encode(identity: dict[str, Any]) -> str:
    """The file's content."""
    return json.dumps({"schema": _SCHEMA, **identity}, indent=1)


def decode(
    content: bytes, what: str, identity: type, issued: type
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `encode` was given: values for the fields of these two dataclasses.

    Raises:
        EdgeoptError: IDENTITY_UNUSABLE, when it is something else, or keys and certificates do not
            belong together.
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return _decoded(content, identity, issued)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        UnsupportedAlgorithm,
    ) as error:
        raise EdgeoptError(
            f"{what} is no identity of a host, or is damaged; restore it from a copy "
            "(`edgeopt-host identity import FILE --replace`)",
            "IDENTITY_UNUSABLE",
        ) from error


def _decoded(
    content: bytes, identity: type, issued: type
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from edgeopt_host.identity import certificates

    data = json.loads(content)
    if (schema := data.pop("schema")) != _SCHEMA:
        raise ValueError(schema)
    entries = [_checked(issued, entry) for entry in data.pop("issued")]
    found = _checked(identity, data)
    certificates.check_fit(
        found["ca_certificate"], found["certificate"], found["key"], found.get("ca_key")
    )
    return found, entries


def _checked(kind: Any, entry: Any) -> dict[str, Any]:
    """An entry with values of the types that a dataclass wants, none unknown, none missing."""
    if not isinstance(entry, dict):
        raise TypeError(entry)
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if missing := needed - entry.keys():
        raise TypeError(f"{kind.__name__} without {min(missing)}")
    for name, value in entry.items():
        if name not in known or not isinstance(value, _TYPES.get(name, (str,))):
            raise TypeError(f"{kind.__name__}.{name}")
    return entry
