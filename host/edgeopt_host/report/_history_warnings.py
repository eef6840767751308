"""What a history of an optimization warns of: briefly for all of it, in full for each device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeopt_host._text import plain
from edgeopt_host.report._history import ORIGINAL, Device, devices, items, models

# Signs that others used the device, whatever the figures beside them.
_DISTURBED = re.compile(r"waited for a CPU|wanted a CPU|other work|stop other|other machines")
_WAITED = re.compile(r"waited (\d+) % of the time")
# Advice that names options: those of `push`, which `optimize run` does not have.
_OPTIONS = re.compile(r"[;:,] [^;:]*?--[a-z].*", re.DOTALL)


def warnings(history: Mapping[str, Any]) -> list[str]:
    """Those of the whole history and of its steps, each once, then a sentence per device."""
    whole = [*items(history, "warnings"), *items(history, "data", "warnings")]
    told = list(dict.fromkeys(plain(str(one)) for one in whole))
    found: dict[str, list[str]] = {}
    for made in models(history):
        for one in [*items(made.step, "warnings"), *items(made.evaluation, "warnings")]:
            names = found.setdefault(plain(str(one)), [])
            names += [] if made.title in names else [made.title]
    for text, names in found.items():
        # The whole history's may repeat a step's.
        if not any(text in other for other in told):
            told.append(f"{_named(names)}: {text}")
    ordered = devices(history)
    of_device = {
        name: [one for one in ordered if one.name == name]
        for name in dict.fromkeys(device.name for device in ordered)
    }
    return told + [one for name, each in of_device.items() if (one := _brief(name, each))]


def of_device(device: Device, titles: Mapping[str, str]) -> list[str]:
    """All that was told while a device measured, what several models share once.

    Args:
        device: one of the history's.
        titles: of models, by id.
    """
    found: dict[str, list[str]] = {}
    for id_, text in _told([device]):
        found.setdefault(text, []).append(titles.get(id_, plain(id_)))
    return [f"{', '.join(names)}: {text}" for text, names in found.items()]


def _told(measured: Iterable[Device]) -> list[tuple[str, str]]:
    """The id of a model, and what was told while it was measured."""
    return [
        (id_, _OPTIONS.sub("", plain(str(text))))
        for device in measured
        for id_, one in device.models.items()
        for text in items(one, "warnings")
    ]


def _brief(name: str, measured: Sequence[Device]) -> str:
    """What a device's warnings come to, in a sentence; empty without any."""
    texts = [text for _, text in _told(measured)]
    disturbed = [text for text in texts if _DISTURBED.search(text)]
    parts = []
    if disturbed:
        shares = sorted(int(share) for text in disturbed for share in _WAITED.findall(text))
        around = " to ".join(str(share) for share in dict.fromkeys(shares[:1] + shares[-1:]))
        waited = f" ({around} % of the time waited for a CPU)" if shares else ""
        parts.append(
            f"latencies on {name} were disturbed by other work{waited}: stop it and run again"
        )
    # Of a kind, whose figures alone differ, the first stands for all.
    kinds = {re.sub(r"[\d.]+", "", text): text for text in reversed(texts) if text not in disturbed}
    others = list(reversed(kinds.values()))
    if others:
        parts.append(others[0] if disturbed else f"on {name}: {others[0]}")
    if len(others) > 1:
        parts.append(f"{len(others) - 1} more under Speed in report.html")
    return "; ".join(parts)


def _named(titles: Sequence[str]) -> str:
    """As sentences name them: "original", "step a", "original, steps a and b"."""
    steps = [title for title in titles if title != ORIGINAL]
    *first, last = steps or [""]
    told = [ORIGINAL] if ORIGINAL in titles else []
    if steps:
        told.append(f"steps {', '.join(first)} and {last}" if first else f"step {last}")
    return ", ".join(told)
