"""Sentences of the reports."""

from __future__ import annotations

VERDICTS = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "not_measurable": "not measurable",
}
SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not_measurable": "\u2013"}
MEANINGS = {
    "pass": "Every required rule holds. Each was tested so that a model exactly at its limit passes "
    "no more often than the policy's error rate says.",
    "fail": "At least one required rule is broken, by more than the noise of the device explains.",
    "inconclusive": "At least one required rule could be neither confirmed nor refuted within the "
    "budget: its interval holds the limit. This is no pass. The model may be at the limit, or the "
    "device too noisy for so narrow a margin: raise budget_s in the policy, quieten or cool the "
    "device, or widen the margin.",
    "not_measurable": "At least one required rule could not be measured, so nothing is known about "
    "it. This is no pass. The reasons stand beside the rules.",
}
RATIOS = (
    "Candidate against baseline: the estimate and its 95 % interval. Left of 0 is less. The dotted "
    "mark is where the rule's margin ends."
)
LIMITS = (
    "Figures against their limits: the estimate and its 95 % interval, in percent of the limit. "
    "The dotted mark is the limit."
)
COMPARED = (
    "Each metric against A: the estimate and its 95 % interval. Left of 0 is less than A. Grey: "
    "no difference found."
)
COMPARED_SIZES = "Start, memory and file size against A, the same way."
DISTRIBUTION = (
    "How many of the inferences took at most so long. A curve further left is faster; a long slope "
    "at the top is a long tail."
)
SERIES = (
    "Median latency of each block over time, one line per launch. Shaded: launches that do not "
    "count. Triangles: the device throttled."
)


def short(metric: str) -> str:
    """A metric's name as a plot has room for: "p50 latency"."""
    name = metric
    for unit in ("_ms", "_mb", "_mj", "_per_s"):
        name = name.removesuffix(unit)
    return name.removesuffix("_per_inference").replace("_", " ")
