"""`evaluate` for a process of its own: of and to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeopt_host.optimize.data import open_prepared
from edgeopt_host.optimize.evaluate.evaluation import TOP_K, evaluate
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
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates a model (`evaluate`), and returns `Evaluation.document`.

    Args:
        model: as of `Model.document`.
        original: likewise.
        data: the folder of prepared data.
        metric: as of `Metric.of`.
        outputs_cache: a folder.
        robustness: whether inputs are disturbed.
        top_k: as of `evaluate`.
        host: whether the original is timed.
        seed: of what is drawn.
        progress: called as it goes.
    """
    prepared = open_prepared(Path(data)) if data else None
    return evaluate(
        Model.from_document(model),
        Model.from_document(original),
        prepared,
        Metric.of_data(metric, prepared) if prepared else None,
        robustness=robustness,
        top_k=top_k,
        host=host,
        outputs_cache=Path(outputs_cache),
        seed=seed,
        progress=progress,
    ).document()
