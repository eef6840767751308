"""Every target by its name."""

from __future__ import annotations

from fuzz import archives, blob_store, host_files, requests, trees, trust
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (archives, blob_store, host_files, requests, trees, trust)
    for target in module.TARGETS
}
