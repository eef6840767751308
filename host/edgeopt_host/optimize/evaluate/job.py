"""`evaluate` for a process of its own: of and to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeopt_host.optimize.data import open_prepared
from edgeopt_host.optimize.evaluate.evaluation import TOP_K, evaluate
from edgeopt_host.optimize.evaluate.host import time_original
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.technique import Progress


def run(
    model: Mapping[str, Any],
    original: Mapping[str, Any],
    data: str | None,
    metric: str | None,
    *,
    outputs_cache: str,
    robustness: bool = True,
    top_k: Sequence[int] = TOP_K,
    host: bool = True,
    fresh: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates a model (`evaluate`).

    Returns:
        `Evaluation.document`, and besides it the "metric" of the scores: its "name" and the "unit" of
        differences; null without data.

    Args:
        model: as of `Model.document`.
        original: likewise.
        data: the folder of prepared data.
        metric: as of `Metric.of`.
        outputs_cache: a folder.
        robustness: whether inputs are disturbed.
        top_k: as of `evaluate`.
        host: whether the original is timed; `time_host` does it alone.
        fresh: whether outputs that are in the folder are computed again.
        seed: of what is drawn.
        progress: called as it goes.
    """
    prepared = open_prepared(Path(data)) if data else None
    chosen = Metric.of_data(metric, prepared) if prepared else None
    found = evaluate(
        Model.from_document(model),
        Model.from_document(original),
        prepared,
        chosen,
        robustness=robustness,
        top_k=top_k,
        host=host,
        outputs_cache=Path(outputs_cache),
        fresh=fresh,
        seed=seed,
        progress=progress,
    )
    return found.document() | {"metric": chosen and {"name": chosen.name, "unit": chosen.unit}}


def time_host(
    original: Mapping[str, Any],
    data: str | None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Times the original alone: `host` of an evaluation, of this machine at this time.

    Args:
        original: as of `Model.document`.
        data: the folder of prepared data.
        seed: of the random input, without data.
        progress: called as it begins.

    Returns:
        None when the shapes of its inputs are not known (`host.UNTIMED`).

    Raises:
        EdgeoptError: as of `time_original`.
    """
    if progress is not None:
        progress(0.0, "latency in its own framework")
    prepared = open_prepared(Path(data)) if data else None
    found = time_original(Model.from_document(original), prepared, seed)
    return None if found is None else found.document()
