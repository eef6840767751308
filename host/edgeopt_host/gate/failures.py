"""Who is to blame where a gate's runs failed: one model must not look broken for the other."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt_host.blame import is_innocent
from edgeopt_host.run import Run


def reason(runs: Sequence[Run]) -> str | None:
    """Why runs of one benchmark failed, naming who is to blame; None: none did.

    What happened to all alike is the device's, or its message says which file it is about.
    """
    failed = {
        run.model.name: run.error.message
        for run in sorted(runs, key=lambda run: is_innocent(run, runs))
        if run.error is not None
    }
    guilty = {
        run.model.name for run in runs if run.error is not None and not is_innocent(run, runs)
    }
    said: dict[str, list[str]] = {}
    for name, message in failed.items():
        if name in guilty or not guilty:
            said.setdefault(message, []).append(name)
    alike = len(runs) > 1 and len(said) == 1 and len(guilty) == len({r.model.name for r in runs})
    parts = [
        message if alike or names[0] in message else f"{' and '.join(names)}: {message}"
        for message, names in said.items()
    ]
    return "; ".join(parts) or None


def once(runs: Sequence[Run]) -> list[Run]:
    """The runs, without those that never began where another says the same, or is to blame.

    Args:
        runs: of a gate, in the order of their benchmarks.
    """
    kept: list[Run] = []
    seen: set[tuple[str, str, str]] = set()
    for run in runs:
        if run.error is not None and run.id is None:
            here = [r for r in runs if r.device.name == run.device.name and r.id is None]
            failed = [r for r in here if r.error is not None]
            if is_innocent(run, failed) and not all(is_innocent(r, failed) for r in failed):
                continue
            key = run.device.name, run.error.reason, run.error.message
            if key in seen:
                continue
            seen.add(key)
        kept.append(run)
    return kept
