"""Runs recipes: each step in a child, kept once made; then evaluates and measures what came out."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import errno
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeopt_host import _files
from edgeopt_host.errors import Cancelled, EdgeoptError, UsageError
from edgeopt_host.inventory import Device
from edgeopt_host.optimize import cache, devices, metric, needs, registry
from edgeopt_host.optimize import recipe as recipe_module
from edgeopt_host.optimize._workshop import Workshop
from edgeopt_host.optimize.cache import Cache
from edgeopt_host.optimize.evaluate.host import UNTIMED
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.recipe import ORIGINAL, Recipe, Step
from edgeopt_host.optimize.technique import Technique
from edgeopt_host.optimize.watcher import Watcher

SCHEMA = "edgeopt.history/1"
_REFERENCE = "reference"
_X86 = {"x86_64", "amd64"}


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
    try:
        return _Run(given, Path(out), watcher or Watcher(), fresh=fresh).run()
    except OSError as error:
        raise _unwritable(error) from error


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
        changed["model"] = str(model)
    if changed.keys() & {"model", "weights", "code"}:
        changed["model_digest"] = ""
    # How they are divided is compared with what is kept, when it is looked for.
    if changed.keys() & {"data", "field"}:
        changed["data_digest"] = ""
    whole = dataclasses.replace(base, **changed)
    if whole.model is None:
        raise UsageError("name the model to optimize, or a recipe that does")
    if not whole.steps:
        raise UsageError('give the steps: --steps "quantize:dynamic", or a recipe that has them')
    return whole


class _Run:
    def __init__(self, given: Recipe, out: Path, watcher: Watcher, *, fresh: bool) -> None:
        self._out = out
        self._watcher = watcher
        kept = Cache()
        self._workshop = Workshop(given, out / "logs", watcher, fresh, kept, kept.predictions)
        self._made: dict[str, _Made] = {}
        self._history: dict[str, Any] = {}
        self._engines: dict[str, str] = {}

    @property
    def _recipe(self) -> Recipe:
        return self._workshop.recipe

    def run(self) -> dict[str, Any]:
        meant = devices.targets(self._recipe.devices, self._recipe.tags)
        if self._recipe.metric is not None:
            metric.check(self._recipe.metric)
        with self._workshop.kept.scratch() as scratch:
            if self._workshop.fresh:
                self._workshop.outputs = scratch / "outputs"
            original = self._workshop.original(scratch)
            chosen = recipe_module.plan(self._recipe.steps, original.format)
            needs.check(chosen, has_data=self._recipe.data is not None)
            self._prepare_out()
            with self._alone():
                self._clear()
                self._engines = self._for_processors(chosen, meant)
                self._workshop.prepare()
                data = self._workshop.data
                if data is not None:
                    needs.check_data(chosen, data)
                self._settle(model_digest=original.digest, data_digest=data.digest if data else "")
                self._begin(original)
                for step in self._recipe.steps:
                    self._step(step, chosen[step.id])
                    self._write()
                if meant:
                    self._measure(scratch)
        return self._history

    def _settle(self, **changes: Any) -> None:
        self._workshop.recipe = dataclasses.replace(self._recipe, **changes)

    def _for_processors(
        self, chosen: Mapping[str, Technique], meant: Sequence[Device]
    ) -> dict[str, str]:
        """By step, the engine of the devices for int8 PyTorch models, where the step leaves it open."""
        open_ = {
            step.id
            for step in self._recipe.steps
            if any(one.name == "engine" for one in chosen[step.id].parameters)
            and step.parameters.get("engine", "auto") == "auto"
        }
        if not meant or not open_:
            return {}
        try:
            engine = "x86" if devices.architectures(meant) <= _X86 else "qnnpack"
        except EdgeoptError as error:
            self._watcher.notice(f"engine=auto stays qnnpack: {error.message}")
            return {}
        return dict.fromkeys(open_, engine)

    def _prepare_out(self) -> None:
        try:
            for folder in (self._out, self._out / "models", self._out / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write into {self._out}: {error.strerror or error}; give another folder to -o"
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Waits for another run into the same folder."""
        with _files.locked(
            self._out,
            on_wait=lambda: self._watcher.notice(f"waiting: another run writes into {self._out}"),
        ):
            yield

    def _clear(self) -> None:
        """Removes the models and logs of the run before, which history and report tell nothing of."""
        if (self._out / "history.json").exists():
            for name in ("models", "logs"):
                shutil.rmtree(self._out / name, ignore_errors=True)
                (self._out / name).mkdir(exist_ok=True)

    def _begin(self, original: Model) -> None:
        prepared = self._workshop.data
        data = prepared.document() if prepared else None
        if data is not None:
            # Kept data may have come from elsewhere.
            data |= {"source": self._recipe.data, "field": self._recipe.field}
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
        self._made[ORIGINAL] = _Made(original, self._workshop.load(ORIGINAL, original))
        evaluation = self._workshop.evaluate(ORIGINAL, original, original)
        self._history["metric"] = evaluation.pop("metric", None)
        evaluation["host"] = self._workshop.time_original(original)
        if evaluation["host"] is None:
            self._history["warnings"].append(UNTIMED)
        self._history["original"] = evaluation
        self._write()

    def _step(self, step: Step, technique: Technique) -> None:
        parameters = _parameters(technique, step)
        if step.id in self._engines:
            parameters["engine"] = self._engines[step.id]
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
            evaluation = self._workshop.evaluate(
                step.id, self._made[step.id].model, self._made[ORIGINAL].model
            )
            evaluation.pop("metric", None)
            told["evaluation"] = evaluation
        except Cancelled:
            told["status"] = "interrupted"
            self._write()
            raise
        except (EdgeoptError, OSError) as caught:
            error = caught if isinstance(caught, EdgeoptError) else _unwritable(caught)
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
        kept, told["cached"] = self._workshop.make(step, technique, source, parameters)
        told.update({name: kept.document[name] for name in ("seconds", "used")})
        told["notes"] = notes = dict(kept.document["notes"])
        told["warnings"] += notes.pop("warnings", [])
        number = len(self._history["steps"])
        made = _copy(kept.model, self._out / "models", f"{number}-{step.id}")
        told["model"] = {
            "path": str(made.path.relative_to(self._out)),
            "name": made.name,
            "format": kept.model.format.value,
            "sha256": kept.model.digest,
            "size_bytes": kept.model.size_bytes,
        }
        self._made[step.id] = _Made(made, kept.document["inputs"])

    def _measure(self, scratch: Path) -> None:
        prepared = self._workshop.data
        data = devices.labelled(prepared, scratch) if prepared else None
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
            if reference is not None and reference not in candidates:
                candidates.insert(0, reference)
            told = devices.measure(
                candidates,
                reference or candidates[0],
                devices=self._recipe.devices,
                tags=self._recipe.tags,
                data=data,
                observer=self._watcher.devices,
                labels={"recipe": self._recipe.model_digest[:12]},
            )
            for device in told:
                device |= {"format": format_.value, "reference": reference and reference.step}
                if reference is None:
                    device["models"] = [{**row, "speedup": None} for row in device["models"]]
            self._history["devices"] += told
            self._write()

    def _reference(
        self, format_: Format, candidates: Sequence[devices.Candidate], scratch: Path
    ) -> devices.Candidate | None:
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
            kept, _ = self._workshop.make(step, technique, original, parameters)
        except Cancelled:
            raise
        except EdgeoptError as error:
            self._history["warnings"].append(
                f"there is no float {format_.value} model to compare with on devices: {error.message}"
            )
            return None
        model = _copy(kept.model, scratch, "float")
        return devices.Candidate.of(_REFERENCE, model, kept.document["inputs"])

    def _write(self) -> None:
        """Recipe, history and report, each whole."""
        from edgeopt_host.report import html

        history = json.dumps(self._history, indent=2, allow_nan=False) + "\n"
        try:
            _files.write_whole(self._out / "recipe.toml", self._history["recipe"])
            _files.write_whole(self._out / "history.json", history)
            _files.write_whole(self._out / "report.html", html.optimize(self._history))
        except OSError as error:
            raise _unwritable(error) from error


def _parameters(technique: Technique, step: Step) -> dict[str, Any]:
    """All of them, as JSON has them."""
    whole = {one.name: one.default for one in technique.parameters} | step.parameters
    return {k: list(value) if isinstance(value, tuple) else value for k, value in whole.items()}


def _unwritable(error: OSError) -> EdgeoptError:
    if error.errno == errno.ENOSPC:
        return EdgeoptError(
            f"the disk is full where {error.filename or 'results are kept'} is: make room and run it again, "
            "finished steps are kept",
            "DISK_FULL",
        )
    where = f"{error.filename}: " if error.filename else ""
    return EdgeoptError(f"cannot write {where}{error.strerror or error}", "OUTPUT")


def _told(error: EdgeoptError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message}


def _copy(model: Model, folder: Path, name: str) -> Model:
    """Copies a model's file or folder under another name; no part of it appears under that."""
    if model.companions:
        # They are found by their names beside it, which other models may have, too.
        folder = folder / name
    path = folder / f"{name}{model.format.suffix}"
    part = path.with_name(f".{path.name}.part")
    try:
        folder.mkdir(exist_ok=True)
        companions = tuple(folder / one.relative_to(model.path.parent) for one in model.companions)
        for source, target in zip(model.companions, companions, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        if path.is_dir():
            shutil.rmtree(path)
        if model.path.is_dir():
            shutil.copytree(model.path, part)
        else:
            shutil.copyfile(model.path, part)
        part.replace(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink()
        raise _unwritable(error) from error
    return dataclasses.replace(model, path=path, companions=companions)
