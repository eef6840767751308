"""Who is to blame where a gate's runs failed: one model must not look broken for the other."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt_host.run import Run

_PARTNER = "PARTNER_FAILED"


def reason(runs: Sequence[Run]) -> str | None:
    """Why runs of one benchmark failed, naming who is to blame; None: none did.

    What happened to all alike is the device's, or its message says which file it is about.
    """
    failed = {
        run.model.name: run.error.message
        for run in sorted(runs, key=lambda run: run.error is None or run.error.reason == _PARTNER)
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


def is_innocent(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a run failed only because another of its benchmark did.

    Args:
        run: that has an error.
        runs: of the benchmark, itself included.
    """
    error = run.error
    if error is None or error.reason == _PARTNER:
        return True
    # All were given one error: it is about the file that it names.
    same = all(one.error == error for one in runs)
    words = error.message.replace(":", " ").split()
    return same and run.model.name not in words and any(r.model.name in words for r in runs)


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
