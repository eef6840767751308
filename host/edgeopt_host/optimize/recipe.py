"""Recipes: which steps make what of which model, on which data, as TOML.

    schema = "edgeopt.recipe/1"
    [model]
    path = "model.keras"
    [data]
    source = "data.npz"
    [[step]]
    technique = "quantize:int8"
    io = "int8"

docs/reference/recipe.md has every key. A recipe that a run wrote names its model and data by digest, too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeopt_host import tomlfile
from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import registry
from edgeopt_host.optimize.model import Format
from edgeopt_host.optimize.technique import Parameter, Technique
from edgeopt_host.tomlfile.reader import Reader, between, flag, seen, text, whole, wrong

SCHEMA = "edgeopt.recipe/1"
ORIGINAL = "original"

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_STEPS = 100
_STEP_KEYS = ("technique", "id", "from")


class RecipeError(tomlfile.TomlFileError):
    """A recipe that is none."""


@dataclass(frozen=True)
class Step:
    """One application of a technique.

    Attributes:
        id: names it in the history, and as `source` of others.
        source: the id of the step whose model it takes, or "original".
        technique: its name.
        parameters: as given; those left out have their defaults.
    """

    id: str
    source: str
    technique: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What a run does. Paths are as given, those in a file relative to it.

    Attributes:
        model: a file, a folder, or "FILE.py:FACTORY".
        model_digest: what it must be; empty when it may be anything.
        weights, code: as for `formats.open_model`.
        data: a source as for `data.prepare`; None: without.
        data_digest: what the data must be.
        calibration, validation, field: as for `data.prepare`.
        metric: as for `Metric.of`.
        top_k: accuracies besides.
        robustness: whether noise, blur and the like are tried.
        devices, tags: where its models are measured; both empty: nowhere.
        seed: of all that is drawn.
    """

    steps: tuple[Step, ...] = ()
    model: str | None = None
    model_digest: str = ""
    weights: str | None = None
    code: str | None = None
    data: str | None = None
    data_digest: str = ""
    calibration: int = 200
    validation: float = 0.1
    field: str | None = None
    metric: str | None = None
    top_k: tuple[int, ...] = ()
    robustness: bool = True
    devices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    seed: int = 0


def load(path: Path) -> Recipe:
    """Reads a recipe; its paths become relative to the working folder.

    Raises:
        RecipeError: when it is none; tells all that is wrong.
        UsageError: when the file cannot be read.
    """
    reader = _Reader(tomlfile.load(path, "recipe"))
    recipe = reader.recipe() if not reader.problems else Recipe()
    if reader.problems:
        raise RecipeError(path, reader.sorted_problems())
    changed: dict[str, Any] = {
        name: _beside(path, value)
        for name in ("model", "weights", "code", "data", "field", "metric")
        if (value := getattr(recipe, name)) is not None
    }
    return dataclasses.replace(recipe, **changed)


def parse_steps(given: str) -> tuple[Step, ...]:
    """Steps as the command line has them: "quantize:int8,io=int8; convert:onnx,from=original".

    A list's items are joined by "+": `operators=MatMul+Gemm`.

    Raises:
        UsageError: naming the step.
    """
    steps: list[Step] = []
    for part in filter(None, (part.strip() for part in given.split(";"))):
        name, *settings = (word.strip() for word in part.split(","))
        known = _parameters(registry.named(name))
        values: dict[str, Any] = {}
        for setting in settings:
            key, equals, value = setting.partition("=")
            if not equals:
                raise UsageError(f"step {name}: {setting!r} is not of the form KEY=VALUE")
            if key in values:
                raise UsageError(f"step {name}: {key} is given twice; join items by +")
            values[key] = _from_text(known[key], value) if key in known else value
        problems: list[tuple[str, str]] = []
        step = _step({"technique": name, **values}, steps, _into(problems))
        if step is None:
            raise UsageError(f"step {name}: {': '.join(problems[0])}")
        steps.append(step)
    if not steps:
        raise UsageError("there is no step: give one at least, such as quantize:dynamic")
    return tuple(steps)


def plan(steps: Sequence[Step], original: Format) -> dict[str, Technique]:
    """By step, the technique that its name means for the model it takes.

    Raises:
        UsageError: when a technique does not take what the step before it gives.
    """
    formats = {ORIGINAL: original}
    chosen: dict[str, Technique] = {}
    for step in steps:
        technique = registry.find(step.technique, formats[step.source])
        own = {one.name for one in technique.parameters}
        if other := [key for key in step.parameters if key not in own]:
            raise UsageError(
                f"step {step.id}: {step.technique} of {formats[step.source].value} has no parameter "
                f"{other[0]}; it has {', '.join(sorted(own)) or 'none'}"
            )
        if missing := [
            one.name
            for one in technique.parameters
            if one.required and one.name not in step.parameters
        ]:
            raise UsageError(f"step {step.id}: {step.technique} needs {missing[0]}=…")
        chosen[step.id] = technique
        formats[step.id] = technique.gives
    return chosen


def write(recipe: Recipe, folder: Path) -> str:
    """The recipe as TOML, to be kept in `folder`, which its paths become relative to."""
    import tomlkit

    def away(value: str) -> str:
        return _relative(value, folder)

    document = tomlkit.document()
    document.add("schema", SCHEMA)
    document.add("seed", recipe.seed)
    tables: dict[str, dict[str, Any]] = {
        "model": {
            "path": recipe.model and away(recipe.model),
            "sha256": recipe.model_digest or None,
            "weights": recipe.weights and away(recipe.weights),
            "code": recipe.code and away(recipe.code),
        },
        "data": {
            "source": recipe.data and away(recipe.data),
            "digest": recipe.data_digest or None,
            "calibration": recipe.calibration,
            "validation": recipe.validation,
            "field": recipe.field and away(recipe.field),
        }
        if recipe.data
        else {},
        "evaluate": {
            "metric": recipe.metric and away(recipe.metric),
            "top_k": list(recipe.top_k) or None,
            "robustness": recipe.robustness,
            "devices": list(recipe.devices) or None,
            "tags": list(recipe.tags) or None,
        },
    }
    for name, values in tables.items():
        kept = {key: value for key, value in values.items() if value is not None}
        if kept:
            document.add(name, tomlkit.item(kept))
    steps = tomlkit.aot()
    for step in recipe.steps:
        table = {"technique": step.technique, "id": step.id, "from": step.source}
        steps.append(tomlkit.item({**table, **_plain(step.parameters)}))
    document.add("step", steps)
    return tomlkit.dumps(document)


class _Reader(Reader):
    def recipe(self) -> Recipe:
        self.known((), self.content, ("schema", "seed", "model", "data", "evaluate", "step"))
        self.schema(SCHEMA)
        values = self.values((), self.content, {"seed": _SEED})
        for name, checks in _TABLES.items():
            table = self.table(name)
            self.known((name,), table, checks)
            found = self.values((name,), table, checks)
            values |= {_FIELDS.get(f"{name}.{key}", key): value for key, value in found.items()}
        return Recipe(steps=self._steps(), **values)

    def _steps(self) -> tuple[Step, ...]:
        tables = self.tables("step")
        if tables is None:
            return ()
        if not tables:
            self.add((), "there is no [[step]]: a recipe needs one at least")
        if len(tables) > _MOST_STEPS:
            self.add(("step", _MOST_STEPS), f"a recipe has at most {_MOST_STEPS} steps")
            return ()
        steps: list[Step] = []
        for index, table in enumerate(tables):

            def problem(key: str, why: str, index: int = index) -> None:
                self.add(("step", index, key), why)

            step = _step(table, steps, problem)
            if step is not None:
                steps.append(step)
        return tuple(steps)


def _step(
    table: Mapping[str, Any], before: Sequence[Step], problem: Callable[[str, str], None]
) -> Step | None:
    """One step of a table; None when something is wrong with it, which `problem` is told."""
    name = table.get("technique")
    if not isinstance(name, str):
        problem("technique", "a step needs a technique, such as quantize:int8")
        return None
    try:
        found = registry.named(name)
    except UsageError as error:
        problem("technique", error.message)
        return None
    ids = [step.id for step in before]
    id_ = table.get("id", _new_id(name, ids))
    source = table.get("from", ids[-1] if ids else ORIGINAL)
    good = True
    if not isinstance(id_, str) or not _ID.fullmatch(id_) or id_ == ORIGINAL:
        problem("id", f"{seen(id_)} is no id: small letters, digits, - and _")
        good = False
    elif id_ in ids:
        problem("id", f"another step is called {id_} already")
        good = False
    if source not in (*ids, ORIGINAL):
        problem(
            "from",
            f"{seen(source)} is no step before this one; there are {', '.join([ORIGINAL, *ids])}",
        )
        good = False
    known = _parameters(found)
    parameters: dict[str, Any] = {}
    for key, value in table.items():
        if key in _STEP_KEYS:
            continue
        if key not in known:
            problem(key, f"{name} has no such parameter; it has {', '.join(known) or 'none'}")
            good = False
            continue
        try:
            parameters[key] = known[key].check(value)
        except ValueError as error:
            problem(key, str(error))
            good = False
    return Step(id_, source, name, parameters) if good else None


def _into(problems: list[tuple[str, str]]) -> Callable[[str, str], None]:
    return lambda key, why: problems.append((key, why))


def _parameters(found: Sequence[Technique]) -> dict[str, Parameter]:
    """Of all techniques of one name: which one is meant depends on the model."""
    return {one.name: one for technique in found for one in technique.parameters}


def _new_id(name: str, ids: Sequence[str]) -> str:
    stem = name.replace(":", "-")
    taken = [id_ for id_ in ids if re.fullmatch(rf"{re.escape(stem)}(-\d+)?", id_)]
    return f"{stem}-{len(taken) + 1}" if taken else stem


def _from_text(parameter: Parameter, value: str) -> Any:
    items = [_item_from_text(parameter, item) for item in value.split("+")]
    return items if parameter.many else _item_from_text(parameter, value)


def _item_from_text(parameter: Parameter, value: str) -> Any:
    if parameter.kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    if parameter.kind in {int, float}:
        try:
            return parameter.kind(value)
        except ValueError:
            return value
    return value


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in parameters.items()
        if value is not None
    }


def _beside(recipe: Path, value: str) -> str:
    """A path of a recipe; "module:function" and names of metrics stay what they are."""
    there = recipe.parent / value
    return str(there) if _is_path(value, recipe.parent) else value


def _relative(value: str, folder: Path) -> str:
    import os

    return os.path.relpath(value, folder) if _is_path(value, Path()) else value


def _is_path(value: str, base: Path) -> bool:
    file = value.partition("?")[0]
    file = file.rpartition(":")[0] if re.search(r"\.py:\w+$", file) else file
    name = file.rpartition("/")[2]
    return "/" in file or ("." in name[1:] and ":" not in name) or (base / file).exists()


def _a_digest(value: Any) -> str:
    found = text(value)
    if not _DIGEST.fullmatch(found):
        wrong(f"{seen(value)} is no SHA-256: 64 hexadecimal digits")
    return found


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        wrong(f"{seen(value)} is no list of texts")
    return tuple(value)


def _ranks(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        wrong(f"{seen(value)} is no list of whole numbers, such as [5]")
    return tuple(whole(2, 1000)(one) for one in value)


_SEED = whole(0, 2**31 - 1)
_TABLES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "model": {"path": text, "sha256": _a_digest, "weights": text, "code": text},
    "data": {
        "source": text,
        "digest": _a_digest,
        "calibration": whole(1, 1_000_000),
        "validation": between(0, 1_000_000, " examples, or their share below 1"),
        "field": text,
    },
    "evaluate": {
        "metric": text,
        "top_k": _ranks,
        "robustness": flag,
        "devices": _texts,
        "tags": _texts,
    },
}
# Keys whose field in Recipe has another name.
_FIELDS = {
    "model.path": "model",
    "model.sha256": "model_digest",
    "data.source": "data",
    "data.digest": "data_digest",
}
