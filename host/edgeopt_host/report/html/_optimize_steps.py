"""How each model of an optimization was made, and what is in it: for those who ask for more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeopt_host._text import plain
from edgeopt_host.report import _history, _history_words, _units
from edgeopt_host.report._history import NOT_MEASURED, Figure, Made, at

# Of a classification report, what else would hide the classes that changed.
_CLASSES = 40
# More layers than so many are folded away.
_LAYERS = 40
_SUMMARIES = ("macro avg", "weighted avg", "micro avg", "samples avg")
# Notes that have a place of their own.
_PLACED = {"sensitivity", "validation", "agreement", "engine", "fallback", "warnings"}
# Empty, these leave nothing out.
_ALL = ("operators", "layers")


def minus(figure: Figure) -> Figure:
    """With the sign that a page has for it."""
    return Figure(signed(figure.text), signed(figure.interval), figure.aside)


def signed(text: str) -> str:
    """With that sign before each number below 0."""
    return re.sub(r"(?<!\w)-(?=\d)", "\u2212", text)


def detail(history: Mapping[str, Any], made: Made, original: Made) -> dict[str, Any]:
    layers = _sensitivity(_history.items(made.step, "notes", "sensitivity"), _unit(history, made))
    return {
        "title": made.title,
        "words": signed(_history_words.words(history, made)) if made.step else "",
        "failed": bool(made.error) or not made.done,
        "facts": [*_made(made), *_content(made)],
        "layers": layers,
        "folded": len(layers) > _LAYERS,
        "classes": _classes(made, original),
    }


def data(history: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the data are and how they were divided."""
    found = at(history, "data")
    if not found:
        return []
    labels = at(found, "labels")
    splits = at(found, "splits")
    sizes = [
        f"{plain(str(name))} {count:,.0f}{_part(one)}"
        for name, one in (splits.items() if isinstance(splits, Mapping) else ())
        if (count := _history.number(one, "examples")) is not None
    ]
    digest = at(found, "digest")
    rows = [
        ("Source", at(found, "source") or ""),
        ("Field data", at(found, "field") or ""),
        ("Examples", ", ".join(sizes)),
        ("Labels", _labels(labels)),
        ("Left out as duplicates", _duplicates(at(found, "duplicates"))),
        ("Digest", f"sha256 {str(digest)[:16]}…" if digest else ""),
    ]
    return [(title, str(text)) for title, text in rows if text]


def _part(split: Any) -> str:
    return f" of {plain(str(at(split, 'from')))}" if at(split, "from") else ""


def _labels(labels: Any) -> str:
    if labels is None:
        return "none"
    count = _history.number(labels, "classes")
    if count is None:
        return plain(str(at(labels, "kind") or "of an unknown kind"))
    return f"{count:.0f} classes"


def _made(made: Made) -> list[tuple[str, str]]:
    """How it came to be."""
    if not made.step:
        return _known([("Digest", _digest(made))])
    step = made.step
    seconds = _history.number(step, "seconds")
    took = "" if seconds is None else f"{_units.number(seconds)} s"
    took += " when it was made; taken from the cache" if step.get("cached") else ""
    used = step.get("used")
    counts = (
        ", ".join(f"{_history.flat(count)} {plain(str(split))}" for split, count in used.items())
        if isinstance(used, Mapping)
        else "unknown"
    )
    same = step.get("deterministic")
    notes = step.get("notes")
    others = [
        (plain(str(name)).replace("_", " ").capitalize(), _history.flat(note))
        for name, note in (notes.items() if isinstance(notes, Mapping) else ())
        if name not in _PLACED and note is not None
    ]
    return _known([
        ("Made of", plain(made.source)),
        ("Parameters", _parameters(step.get("parameters")) or "none"),
        ("Examples used", counts or "none"),
        ("Took", took),
        ("Versions", _history.flat(step.get("versions") or {})),
        ("Made again", "" if same is None else "gives the same bytes" if same else
         "may give other bytes: the technique is not deterministic"),
        ("Engine", str(at(notes, "engine") or "")),
        ("Stayed in float", _fallback(at(notes, "fallback"))),
        ("Agrees with source", _agreement(at(notes, "agreement"))),
        ("Lost on validation examples", _validation(at(notes, "validation"))),
        *others,
        ("Digest", _digest(made)),
    ])  # fmt: skip


def _content(made: Made) -> list[tuple[str, str]]:
    """What is in it."""
    found = made.evaluation
    parameters, macs = _history.number(found, "parameters"), _history.number(found, "macs")
    if not made.done:
        return []
    best = at(found, "scores", "test", "top_k")
    tops = [
        f"top {plain(str(k))}: {100 * share:.2f} %"
        for k, share in (best.items() if isinstance(best, Mapping) else ())
        if isinstance(share, (int, float))
    ]
    return _known([
        ("Model's parameters", "unknown" if parameters is None else f"{parameters:,.0f}"),
        ("MACs", "unknown" if macs is None else f"{macs:,.0f} multiply-accumulates an inference"),
        ("Stored as", _history.listed(found.get("dtypes"))),
        ("Operators", _history.listed(found.get("operators"))),
        ("Top k", ", ".join(tops)),
    ])  # fmt: skip


def _parameters(given: Any) -> str:
    if not isinstance(given, Mapping):
        return ""
    told = {key: "all" if key in _ALL and one == [] else one for key, one in given.items()}
    return _history.flat(told)


def _agreement(found: Any) -> str:
    """How far outputs are those of its source: "100 % same class, outputs differ by 9e-07 at most"."""
    figure = _history.agreement(found)
    return "" if figure == _history.NOTHING else f"{figure.text}, {figure.behind}".rstrip(", ")


def _duplicates(counts: Any) -> str:
    """Of what was left out, how many are in what: "12 in test, 31 repeated"."""
    if not isinstance(counts, Mapping):
        return ""
    known = {name: _history.number(counts, name) for name in counts}
    told = [
        f"{count:,.0f} {plain(str(name)).replace('_', ' ')}"
        for name, count in known.items()
        if count
    ]
    return ", ".join(told) or ("none" if None not in known.values() else "")


def _fallback(operators: Any) -> str:
    return _history.flat(operators) if operators else ""


def _validation(found: Any) -> str:
    """What choices among layers were made by: "+0.21 pt (standard error 0.1), 5,000 examples"."""
    lost = _history.number(found, "drop_pt")
    if lost is None:
        return ""
    error = _history.number(found, "standard_error")
    told = signed(_history.difference(lost, str(at(found, "unit") or "")))
    told += "" if error is None else f" (standard error {error:.2g})"
    return ", ".join(one for one in (told, _history.examples(found)) if one)


def _digest(made: Made) -> str:
    digest = at(made.model, "sha256")
    return f"sha256 {str(digest)[:16]}…" if digest else ""


def _known(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(title, text) for title, text in rows if text]


def _unit(history: Mapping[str, Any], made: Made) -> str:
    """Of what layers lose."""
    own = at(made.step, "notes", "validation", "unit")
    return _history.unit(history) if own is None else str(own)


def _sensitivity(layers: Sequence[Any], unit: str) -> list[dict[str, str]]:
    """Layers, those that cost most when they alone are quantized first; unmeasured ones last."""

    def order(layer: Any) -> tuple[bool, float]:
        drop = _history.number(layer, "drop_pt")
        return drop is None, -(drop or 0.0)

    return [
        {
            "layer": str(at(layer, "layer") or "unnamed"),
            "operator": str(at(layer, "operator") or ""),
            "drop": _shown(layer, "drop_pt", lambda x: signed(_history.difference(x, unit))),
            "error": _shown(layer, "output_error", lambda x: f"{x:.2g}"),
            "size": _shown(layer, "bytes", _units.size),
            "time": _shown(layer, "time_ratio", lambda x: f"× {x:.2f}"),  # noqa: RUF001 - times
            "chosen": str(at(layer, "chosen") or "unknown"),
        }
        for layer in sorted(layers, key=order)
    ]


def _shown(layer: Any, key: str, text: Callable[[float], str]) -> str:
    value = _history.number(layer, key)
    return NOT_MEASURED if value is None else text(value)


def _classes(made: Made, original: Made) -> dict[str, Any] | None:
    """Precision, recall and F1 of each class, with the original's recall beside it."""
    report = at(made.evaluation, "scores", "test", "report")
    if not isinstance(report, Mapping):
        return None
    before = at(original.evaluation, "scores", "test", "report")
    rows, summaries = [], []
    for name, figures in report.items():
        if not isinstance(figures, Mapping):
            continue
        recall, was = _history.number(figures, "recall"), _history.number(before, name, "recall")
        changed = abs(recall - was) if recall is not None and was is not None else 0.0
        cells = [
            "" if was is None or not made.step else f"{100 * was:.1f} %",
            *(_percent(figures, key) for key in ("recall", "precision", "f1-score")),
            _shown(figures, "support", lambda x: f"{x:,.0f}"),
        ]
        if name in _SUMMARIES:
            summaries.append((name.replace("avg", "average"), cells))
        else:
            rows.append((changed, plain(name), cells))
    shown = rows
    if len(rows) > _CLASSES:
        shown = sorted(rows, key=lambda row: -row[0])[:_CLASSES]
    return {
        "rows": [(name, cells) for _, name, cells in shown] + summaries,
        "left_out": len(rows) - len(shown),
        "count": len(rows),
        "before": bool(made.step),
    }


def _percent(figures: Any, key: str) -> str:
    return _shown(figures, key, lambda x: f"{100 * x:.1f} %")
