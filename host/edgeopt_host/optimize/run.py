"""Runs recipes: each step in a child, kept once made; then evaluates and measures what came out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeopt_host import _files
from edgeopt_host.errors import Cancelled, EdgeoptError, UsageError
from edgeopt_host.observer import Observer
from edgeopt_host.optimize import _child, cache, devices, formats, needs, registry
from edgeopt_host.optimize import recipe as recipe_module
from edgeopt_host.optimize.cache import Cache
from edgeopt_host.optimize.data.prepared import Prepared, open_prepared
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.recipe import ORIGINAL, Recipe, Step
from edgeopt_host.optimize.technique import Progress, Technique

SCHEMA = "edgeopt.history/1"
_REFERENCE = "reference"


class Watcher:
    """Hears how a run goes; the command line draws it.

    Attributes:
        devices: hears of measuring on devices.
    """

    devices: Observer = Observer()

    def notice(self, message: str) -> None:
        """Something the user should know, that is no result."""

    def progress(self, what: str, share: float, text: str) -> None:
        """How far a step or an evaluation is, from 0 to 1."""

    def done(self, what: str, text: str) -> None:
        """It has ended."""


@dataclass
class _Made:
    """A model of this run: the original, or what a step made.

    Attributes:
        inputs: of `_step.load_test`.
    """

    model: Model
    inputs: list[dict[str, Any]] = field(default_factory=list)


def optimize(
    model: str | Path | None = None,
    *,
    out: str | Path,
    steps: str | Sequence[Step] | None = None,
    recipe: str | Path | None = None,
    fresh: bool = False,
    watcher: Watcher | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Makes models of a model, step by step, and tells what each step did to it.

    Args:
        model: a file, a folder, or "FILE.py:FACTORY" with `weights`.
        out: a folder, made when missing, for models, recipe.toml, history.json and report.html.
        steps: as on the command line, "quantize:int8,io=int8; …", or parsed.
        recipe: a TOML file with all of this; what is given besides wins over it.
        fresh: makes anew what an earlier run has made and kept.
        watcher: told how it goes.
        settings: further fields of `Recipe`: data, seed, metric, devices, …; None leaves the recipe's.

    Returns:
        The history, as docs/reference/history-json.md has it. A step that failed has `error` set.

    Raises:
        UsageError: when recipe, model, data and options do not go together; nothing was begun then.
        EdgeoptError: when model or data are none, or nothing can be written.
        Cancelled: after Ctrl-C. Steps that were finished are kept, and the next run goes on from them.
    """
    given = recipe_of(model, steps=steps, recipe=recipe, **settings)
    return _Run(given, Path(out), watcher or Watcher(), fresh=fresh).run()


def recipe_of(
    model: str | Path | None,
    *,
    steps: str | Sequence[Step] | None,
    recipe: str | Path | None,
    **settings: Any,
) -> Recipe:
    """The recipe that `optimize` is given in parts."""
    base = recipe_module.load(Path(recipe)) if recipe is not None else Recipe()
    changed = {name: value for name, value in settings.items() if value is not None}
    if steps is not None:
        changed["steps"] = (
            recipe_module.parse_steps(steps) if isinstance(steps, str) else tuple(steps)
        )
    if model is not None:
        changed |= {"model": str(model), "model_digest": ""}
    if "data" in changed:
        changed["data_digest"] = ""
    whole = dataclasses.replace(base, **changed)
    if whole.model is None:
        raise UsageError("name the model to optimize, or a recipe that does")
    if not whole.steps:
        raise UsageError('give the steps: --steps "quantize:dynamic", or a recipe that has them')
    return whole


class _Run:
    def __init__(self, given: Recipe, out: Path, watcher: Watcher, *, fresh: bool) -> None:
        self._recipe = given
        self._out = out
        self._watcher = watcher
        self._fresh = fresh
        self._cache = Cache()
        self._data: Prepared | None = None
        self._made: dict[str, _Made] = {}
        self._history: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as scratch:
            original = self._original(Path(scratch))
            chosen = recipe_module.plan(self._recipe.steps, original.format)
            needs.check(chosen, has_data=self._recipe.data is not None)
            self._prepare_out()
            self._data = self._prepared()
            self._recipe = dataclasses.replace(
                self._recipe,
                model_digest=original.digest,
                data_digest=self._data.digest if self._data else "",
            )
            self._begin(original)
            for step in self._recipe.steps:
                self._step(step, chosen[step.id])
                self._write()
            self._measure(Path(scratch))
            self._write()
        return self._history

    def _original(self, scratch: Path) -> Model:
        """The model, from where the recipe says, or as an earlier run kept it."""
        given = self._recipe
        kept = self._cache.model(given.model_digest) if given.model_digest else None
        try:
            found = formats.open_model(
                str(given.model),
                into=scratch,
                weights=Path(given.weights) if given.weights else None,
                code=Path(given.code) if given.code else None,
            )
        except UsageError:
            if kept is None:
                raise
            self._watcher.notice(f"{given.model} cannot be read; the copy kept of it is taken")
            return kept
        if given.model_digest and found.digest != given.model_digest:
            if kept is None:
                raise UsageError(
                    f"{given.model} is not what the recipe was made with (SHA-256 "
                    f"{given.model_digest[:12]}…): name the model on the command line to use this one"
                )
            self._watcher.notice(
                f"{given.model} has changed since the recipe was written; the copy kept of it is taken"
            )
            return kept
        return self._cache.add_model(found)

    def _prepare_out(self) -> None:
        try:
            for folder in (self._out, self._out / "models", self._out / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write into {self._out}: {error.strerror or error}; give another folder to -o"
            ) from error

    def _prepared(self) -> Prepared | None:
        given = self._recipe
        if given.data is None:
            return None
        if given.data_digest and (kept := self._cache.data(given.data_digest)):
            return open_prepared(kept)
        with self._cache.new_data() as folder:
            document = self._call(
                "data",
                "edgeopt_host.optimize.data:prepare_in_child",
                source=given.data,
                into=str(folder),
                calibration=given.calibration,
                validation=given.validation,
                seed=given.seed,
                field=given.field,
            )
            digest = document["digest"]
            if given.data_digest and digest != given.data_digest:
                raise UsageError(
                    f"{given.data} is not what the recipe was made with: give it with --data to use it "
                    "as it is now"
                )
            return open_prepared(self._cache.add_data(folder, digest))

    def _begin(self, original: Model) -> None:
        data = self._data.document() if self._data else None
        name = Path(str(self._recipe.model).rpartition("/")[2]).name
        self._history = {
            "schema": SCHEMA,
            "time": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "seed": self._recipe.seed,
            "recipe": recipe_module.write(self._recipe, self._out),
            "model": {
                "name": name,
                "format": original.format.value,
                "sha256": original.digest,
                "size_bytes": original.size_bytes,
            },
            "data": data,
            "metric": None,
            "original": None,
            "steps": [],
            "devices": [],
            "warnings": list((data or {}).get("warnings", [])),
        }
        inputs = self._call(
            ORIGINAL,
            "edgeopt_host.optimize._step:load_test",
            model=original.document(),
            data=self._folder,
            seed=self._recipe.seed,
        )
        self._made[ORIGINAL] = _Made(original, inputs)
        evaluation = self._evaluate(ORIGINAL, original)
        self._history["metric"] = evaluation.pop("metric", None)
        self._history["warnings"] += evaluation.pop("warnings", [])
        self._history["original"] = evaluation
        self._write()

    @property
    def _folder(self) -> str | None:
        return str(self._data.folder) if self._data else None

    def _step(self, step: Step, technique: Technique) -> None:
        parameters = _parameters(technique, step)
        told: dict[str, Any] = {
            "id": step.id,
            "from": step.source,
            "technique": step.technique,
            "parameters": parameters,
            "status": "failed",
            "cached": False,
            "seconds": None,
            "error": None,
            "used": {},
            "versions": cache.versions(technique),
            "deterministic": technique.deterministic,
            "notes": {},
            "warnings": [],
            "model": None,
            "evaluation": None,
        }
        self._history["steps"].append(told)
        source = self._made.get(step.source)
        if source is None:
            told["error"] = _told(
                EdgeoptError(f"step {step.source}, whose model it takes, failed", "SOURCE_FAILED")
            )
            return
        try:
            self._apply(step, technique, source.model, parameters, told)
            told["status"] = "done"
            told["evaluation"] = self._evaluate(step.id, self._made[step.id].model)
            told["evaluation"].pop("metric", None)
            told["warnings"] += told["evaluation"].pop("warnings", [])
        except Cancelled:
            told["status"] = "interrupted"
            self._write()
            raise
        except EdgeoptError as error:
            told["error"] = _told(error)
            self._watcher.done(step.id, f"failed: {error.message}")

    def _apply(
        self,
        step: Step,
        technique: Technique,
        source: Model,
        parameters: dict[str, Any],
        told: dict[str, Any],
    ) -> None:
        digest = self._key(technique, source, parameters)
        kept = None if self._fresh else self._cache.step(digest)
        told["cached"] = kept is not None
        if kept is None:
            make = functools.partial(self._make, step, technique, source, parameters)
            kept = self._cache.add_step(digest, make, replace=self._fresh)
        told.update({name: kept.document[name] for name in ("seconds", "used")})
        told["notes"] = notes = dict(kept.document["notes"])
        told["warnings"] += notes.pop("warnings", [])
        number = len(self._history["steps"])
        path = self._out / "models" / f"{number}-{step.id}{kept.model.format.suffix}"
        _copy(kept.model, path)
        told["model"] = {
            "path": str(path.relative_to(self._out)),
            "name": path.name,
            "format": kept.model.format.value,
            "sha256": kept.model.digest,
            "size_bytes": kept.model.size_bytes,
        }
        self._made[step.id] = _Made(
            dataclasses.replace(kept.model, path=path, companions=()), kept.document["inputs"]
        )

    def _make(
        self,
        step: Step,
        technique: Technique,
        source: Model,
        parameters: dict[str, Any],
        folder: Path,
    ) -> tuple[Model, dict[str, Any]]:
        """Makes a step's model in a folder, and has it loaded and run by its runtime."""
        begun = time.monotonic()
        answer = self._call(
            step.id,
            "edgeopt_host.optimize._step:apply",
            technique=technique.function,
            source=source.document(),
            target=str(folder / f"model{technique.gives.suffix}"),
            parameters=parameters,
            data=self._folder,
            metric=self._recipe.metric,
            seed=self._recipe.seed,
        )
        inputs = self._call(
            step.id,
            "edgeopt_host.optimize._step:load_test",
            model=answer["model"],
            data=self._folder,
            seed=self._recipe.seed,
        )
        seconds = round(time.monotonic() - begun, 3)
        self._watcher.done(step.id, f"made in {seconds:.1f} s")
        return Model.from_document(answer.pop("model")), {
            **answer,
            "inputs": inputs,
            "seconds": seconds,
        }

    def _key(self, technique: Technique, source: Model, parameters: dict[str, Any]) -> str:
        reads_data = technique.splits or "metric" in technique.extras
        return cache.key(
            model=[source.format.value, source.digest],
            technique=technique.function,
            code=cache.code_of(technique.function),
            parameters=parameters,
            seed=self._recipe.seed,
            data=self._data.digest if self._data and reads_data else None,
            metric=cache.metric_key(self._recipe.metric) if "metric" in technique.extras else None,
            versions=cache.versions(technique),
        )

    def _evaluate(self, name: str, model: Model) -> dict[str, Any]:
        original = self._made[ORIGINAL].model
        digest = cache.key(
            model=[model.format.value, model.digest],
            original=[original.format.value, original.digest],
            data=self._data.digest if self._data else None,
            metric=cache.metric_key(self._recipe.metric),
            top_k=list(self._recipe.top_k),
            robustness=self._recipe.robustness,
            code=cache.code_of_evaluation(),
            seed=self._recipe.seed,
        )
        if not self._fresh and (known := self._cache.evaluation(digest)):
            return known
        settings: dict[str, Any] = {"robustness": self._recipe.robustness}
        if self._recipe.top_k:
            settings["top_k"] = list(self._recipe.top_k)
        found: dict[str, Any] = self._call(
            name,
            "edgeopt_host.optimize.evaluate.job:run",
            model=model.document(),
            original=original.document(),
            data=self._folder,
            metric=self._recipe.metric,
            outputs_cache=str(self._cache.predictions),
            seed=self._recipe.seed,
            **settings,
        )
        self._cache.add_evaluation(digest, found)
        return found

    def _measure(self, scratch: Path) -> None:
        if not (self._recipe.devices or self._recipe.tags):
            return
        data = devices.labelled(self._data, scratch) if self._data else None
        self._history["devices"] = []
        for format_ in Format:
            if format_.runtime is None:
                continue
            candidates = [
                devices.Candidate.of(step, made.model, made.inputs)
                for step, made in self._made.items()
                if made.model.format is format_
            ]
            if not candidates:
                continue
            reference = self._reference(format_, candidates, scratch)
            if reference not in candidates:
                candidates.insert(0, reference)
            told = devices.measure(
                candidates,
                reference,
                devices=self._recipe.devices,
                tags=self._recipe.tags,
                data=data,
                observer=self._watcher.devices,
                labels={"recipe": self._recipe.model_digest[:12]},
            )
            for device in told:
                device |= {"format": format_.value, "reference": reference.step}
            self._history["devices"] += told

    def _reference(
        self, format_: Format, candidates: Sequence[devices.Candidate], scratch: Path
    ) -> devices.Candidate:
        """The first float model of a format: the original, a conversion among the steps, or one more."""
        by_step = {one.step: one for one in candidates}
        if ORIGINAL in by_step:
            return by_step[ORIGINAL]
        for step in self._recipe.steps:
            if (
                step.id in by_step
                and step.source == ORIGINAL
                and step.technique.startswith("convert:")
            ):
                return by_step[step.id]
        original = self._made[ORIGINAL].model
        name = f"convert:{format_.value}"
        try:
            technique = registry.find(name, original.format)
            step = Step(_REFERENCE, ORIGINAL, name)
            parameters = _parameters(technique, step)
            key = self._key(technique, original, parameters)
            make = functools.partial(self._make, step, technique, original, parameters)
            kept = self._cache.step(key) or self._cache.add_step(key, make)
        except EdgeoptError as error:
            self._history["warnings"].append(
                f"there is no float {format_.value} model to compare with on devices: {error.message}"
            )
            return candidates[0]
        path = scratch / f"float{kept.model.format.suffix}"
        _copy(kept.model, path)
        model = dataclasses.replace(kept.model, path=path, companions=())
        return devices.Candidate.of(_REFERENCE, model, kept.document["inputs"])

    def _call(self, what: str, function: str, **arguments: Any) -> Any:
        log = self._out / "logs" / f"{what}.log"
        progress: Progress | None = functools.partial(self._watcher.progress, what)
        if function.endswith(":load_test"):
            progress = None
        return _child.call(function, arguments, log=log, progress=progress)

    def _write(self) -> None:
        """Recipe, history and report, each whole."""
        from edgeopt_host.report import html

        history = json.dumps(self._history, indent=2, allow_nan=False) + "\n"
        try:
            _files.write_whole(self._out / "recipe.toml", self._history["recipe"])
            _files.write_whole(self._out / "history.json", history)
            _files.write_whole(self._out / "report.html", html.optimize(self._history))
        except OSError as error:
            raise EdgeoptError(
                f"cannot write {error.filename or self._out}: {error.strerror or error}", "OUTPUT"
            ) from error


def _parameters(technique: Technique, step: Step) -> dict[str, Any]:
    """All of them, as JSON has them."""
    whole = {one.name: one.default for one in technique.parameters} | step.parameters
    return {k: list(value) if isinstance(value, tuple) else value for k, value in whole.items()}


def _told(error: EdgeoptError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message}


def _copy(model: Model, path: Path) -> None:
    """Copies a model's file or folder; no part of it appears under its name."""
    part = path.with_name(f".{path.name}.part")
    try:
        if path.is_dir():
            shutil.rmtree(path)
        if model.path.is_dir():
            shutil.copytree(model.path, part)
        else:
            shutil.copyfile(model.path, part)
        part.replace(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
        raise EdgeoptError(f"cannot write {path}: {error.strerror or error}", "OUTPUT") from error
