"""The document `edgeopt.push/1`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgeopt_host.run import SCHEMA, Run


def render(runs: Sequence[Run]) -> str:
    """Strict JSON: every key is there, null where it does not apply, NaN and infinities never."""
    document = {"schema": SCHEMA, "runs": [run.document() for run in runs]}
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
