"""What a step's child does: apply the technique, then prove that its model loads and runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.optimize import formats, registry
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.data.prepared import open_prepared
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.random_inputs import random_inputs
from edgeopt_host.optimize.technique import Progress, Technique

# Enough to see whether a converted model does what its source does.
_VERIFY = 32


def apply(
    technique: str,
    source: dict[str, Any],
    target: str,
    parameters: dict[str, Any],
    data: str | None,
    metric: str | None,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Makes a model.

    Args:
        technique: its function, "module:name".
        source: of `Model.document`.
        target: a file or folder that is not there; nothing is left of one that failed.
        parameters: for its function.
        data: a folder of prepared data.
        metric: as for `Metric.of`.
        seed: of what is drawn.
        progress: called with the share done and a few words.

    Returns:
        The model (`Model.document`), how many examples of which split were used, and notes.

    Raises:
        EdgeoptError: what the technique raises; MODEL_INVALID when it left no model.
    """
    chosen = _technique(technique)
    made = Path(target)
    model = Model.from_document(source)
    prepared = open_prepared(Path(data)) if data else None
    splits = prepared.splits if prepared else {}
    given: dict[str, Any] = {}
    for split in chosen.splits:
        given[split] = _examples(chosen, split, splits, model, seed)
    if "metric" in chosen.extras:
        given["metric"] = Metric.of_data(metric, prepared) if prepared else Metric.of(metric, None)
    settled = {"seed": seed, "progress": progress}
    given |= {name: value for name, value in settled.items() if name in chosen.extras}
    lists = {one.name for one in chosen.parameters if one.many}
    settings = {
        key: tuple(value) if key in lists and value is not None else value
        for key, value in parameters.items()
    }
    # Some libraries leave files where they are run.
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as elsewhere:
        os.chdir(elsewhere)
        try:
            notes = chosen.load()(model, made, **settings, **given) or {}
            result = _open(made, chosen.gives)
        except BaseException:
            _remove(made)
            raise
        finally:
            os.chdir("/")
    return {
        "model": result.document(),
        "used": {name: len(one) for name, one in given.items() if isinstance(one, Examples)},
        "notes": notes,
    }


def load_test(model: dict[str, Any], data: str | None, seed: int) -> list[dict[str, Any]]:
    """Loads a model in its runtime and runs it once.

    Returns:
        Of each input its "name", whether an axis besides the batch is "dynamic", and the shape of one
        "example" of it (null when unknown).

    Raises:
        EdgeoptError: when it does not run.
    """
    loaded = Model.from_document(model)
    if loaded.format is Format.PTE:
        # Its runtime stands in an environment of its own, where the technique has run it.
        return []
    splits = open_prepared(Path(data)).splits if data else {}
    runner = formats.open_runner(loaded)
    inputs = runner.signature.inputs
    example: Examples | None = next(iter(splits.values())).take(slice(0, 1)) if splits else None
    example = example or random_inputs(inputs, 1, seed)
    if example is not None:
        formats.predict(runner, example, batch=1)
    arrays = dict(example.inputs) if example is not None else {}
    if len(inputs) == len(arrays) == 1:
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    return [
        {
            "name": spec.name,
            "dynamic": None in spec.shape[1:],
            "example": list(arrays[spec.name].shape) if spec.name in arrays else None,
        }
        for spec in inputs
    ]


def _technique(function: str) -> Technique:
    return next(one for one in registry.techniques() if one.function == function)


def _examples(
    technique: Technique, split: str, splits: dict[str, Examples], model: Model, seed: int
) -> Examples | None:
    found = splits.get(split)
    if technique.verifies:
        # As good for this as any other.
        found = found or next(iter(splits.values()), None)
        if found is not None:
            return found.sample(_VERIFY, seed)
        made = random_inputs(formats.open_runner(model).signature.inputs, _VERIFY, seed)
        if made is not None:
            return made
    if found is None and split not in technique.optional_splits:
        raise EdgeoptError(
            f"{technique.name} needs {split} examples, and there are none: give --data with x_train, or "
            "more examples",
            "DATA_REQUIRED",
        )
    return found


def _open(path: Path, wanted: Format) -> Model:
    if not path.exists():
        raise EdgeoptError(f"the converter left no {wanted.value} model", "CONVERSION_FAILED")
    companions: tuple[Path, ...] = ()
    if wanted is Format.ONNX:
        companions = tuple(file for _, file, _ in ModelFile.open(path).companions)
    return Model.of(path, wanted, companions)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
