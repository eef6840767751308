"""The policy's JSON schema, for editors. `gate check` knows more: what keys must be to each other."""

from __future__ import annotations

from importlib import resources


def text() -> str:
    """policy.schema.json (JSON Schema, draft 7), as it is shipped."""
    return resources.files("edgeopt_host.gate").joinpath("policy.schema.json").read_text("utf-8")
