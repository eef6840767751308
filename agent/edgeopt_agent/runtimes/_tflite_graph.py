"""Which part of a TFLite graph delegates execute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def delegated_share(interpreter: Any, first: int | None = None) -> tuple[float | None, int | None]:
    """The share of the main subgraph's operators that delegates execute, and in how many pieces.

    The interpreter keeps the operators that a delegate replaced and appends a DELEGATE per piece;
    `first` counts only so many of them.
    """
    try:
        ops = [
            (op["op_name"], {int(t) for t in op["inputs"] if t >= 0}, set(map(int, op["outputs"])))
            for op in interpreter._get_ops_details()  # noqa: SLF001 - there is no public one
        ]
    except (AttributeError, TypeError, KeyError, ValueError):
        # A private interface: not knowing is an answer.
        return None, None
    originals = [(inputs, outputs) for name, inputs, outputs in ops if name != "DELEGATE"]
    pieces = [(inputs, outputs) for name, inputs, outputs in ops if name == "DELEGATE"][:first]
    results = {int(detail["index"]) for detail in interpreter.get_output_details()}
    taken = set[int]().union(*(_replaced(originals, *piece, results) for piece in pieces))
    return (len(taken) / len(originals) if originals else None), len(pieces)


def _replaced(
    ops: Sequence[tuple[set[int], set[int]]], given: set[int], made: set[int], results: set[int]
) -> set[int]:
    """The operators that fit into a piece with these inputs and outputs (tensor indices).

    They read nothing but the piece's inputs and each other, and whatever of theirs is read outside
    is an output of the piece. Walking back from the outputs alone would miss the ends of a graph
    that only write variables.
    """
    inside = {i for i, (ins, outs) in enumerate(ops) if (ins or outs) and not outs & given}
    while True:
        at_hand = given.union(*(ops[i][1] for i in inside))
        read_outside = results.union(*(ins for i, (ins, _) in enumerate(ops) if i not in inside))
        fit = {i for i in inside if ops[i][0] <= at_hand and not (ops[i][1] - made) & read_outside}
        if fit == inside:
            return inside
        inside = fit
