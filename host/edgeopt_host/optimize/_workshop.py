"""Where a run's work is done: in children, whose results are kept and found again."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import _child, cache, formats
from edgeopt_host.optimize.cache import Cache, Kept
from edgeopt_host.optimize.data.prepared import Prepared, open_prepared
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.recipe import ORIGINAL, Recipe, Step
from edgeopt_host.optimize.technique import Technique
from edgeopt_host.optimize.watcher import Watcher


@dataclass
class Workshop:
    """Does what a recipe's parts ask for.

    Attributes:
        recipe: of the run.
        logs: a folder for what libraries print.
        watcher: told how it goes.
        fresh: whether what is kept is made anew.
        kept: what runs keep.
        outputs: a folder for what models gave for examples.
        data: what `prepare` made of the recipe's data.
    """

    recipe: Recipe
    logs: Path
    watcher: Watcher
    fresh: bool
    kept: Cache
    outputs: Path
    data: Prepared | None = None

    def original(self, scratch: Path) -> Model:
        """The recipe's model, from where it says, or as an earlier run kept it.

        Args:
            scratch: a folder.

        Raises:
            UsageError: when it is not there, or not what the recipe was made with.
            EdgeoptError: when it is no model.
        """
        given = self.recipe
        copy = self.kept.model(given.model_digest) if given.model_digest else None
        try:
            found = formats.open_model(
                str(given.model),
                into=scratch,
                weights=Path(given.weights) if given.weights else None,
                code=Path(given.code) if given.code else None,
            )
        except UsageError:
            if copy is None:
                raise
            self.watcher.notice(f"{given.model} cannot be read; the copy kept of it is taken")
            return copy
        if not given.model_digest or found.digest == given.model_digest:
            return self.kept.add_model(found)
        if copy is None:
            raise UsageError(
                f"{given.model} is not what the recipe was made with (SHA-256 "
                f"{given.model_digest[:12]}…): name the model on the command line to use this one"
            )
        self.watcher.notice(
            f"{given.model} has changed since the recipe was written; the copy kept of it is taken"
        )
        return copy

    def prepare(self) -> None:
        """Makes the recipe's data ready, or finds what an earlier run made ready.

        Raises:
            UsageError: when they are not there, or not what the recipe was made with.
            EdgeoptError: DATA_INVALID.
        """
        given = self.recipe
        if given.data is None:
            return
        asked: dict[str, Any] = {
            "calibration": given.calibration,
            "validation": given.validation,
            "seed": given.seed,
        }
        wanted = given.data_digest
        if wanted and (kept := self.kept.data(wanted)):
            prepared = open_prepared(kept)
            document = prepared.document()
            if document["asked"] == asked and (document["field"] is None) == (given.field is None):
                self.data = prepared
                return
            # The recipe was edited since.
            wanted = ""
        with self.kept.new_data() as folder:
            document = self._call(
                "data",
                "edgeopt_host.optimize.data:prepare_in_child",
                source=given.data,
                into=str(folder),
                field=given.field,
                **asked,
            )
            digest = document["digest"]
            if wanted and digest != wanted:
                raise UsageError(
                    f"{given.data} is not what the recipe was made with: give it with --data to use it "
                    "as it is now"
                )
            self.data = open_prepared(self.kept.add_data(folder, digest))

    def load(self, name: str, model: Model) -> list[dict[str, Any]]:
        """Loads a model in its runtime and runs it once; tells its inputs (`_step.load_test`)."""
        found: list[dict[str, Any]] = self._call(
            name,
            "edgeopt_host.optimize._step:load_test",
            told=False,
            model=model.document(),
            data=self._folder,
            seed=self.recipe.seed,
        )
        return found

    def make(
        self, step: Step, technique: Technique, source: Model, parameters: dict[str, Any]
    ) -> tuple[Kept, bool]:
        """A step's model, and whether it was there already.

        Raises:
            EdgeoptError: when it cannot be made, or its runtime does not run it.
        """
        digest = self._key(technique, source, parameters)
        found = None if self.fresh else self.kept.step(digest)
        if found is not None:
            return found, True
        make = functools.partial(self._make, step, technique, source, parameters)
        return self.kept.add_step(digest, make, replace=self.fresh), False

    def evaluate(self, name: str, model: Model, original: Model) -> dict[str, Any]:
        """What is known of a model without a device (`evaluate.job.run`).

        Raises:
            EdgeoptError: when it cannot be evaluated.
        """
        given = self.recipe
        digest = cache.key(
            model=[model.format.value, model.digest],
            original=[original.format.value, original.digest],
            data=self.data.digest if self.data else None,
            metric=cache.metric_key(given.metric),
            top_k=list(given.top_k),
            robustness=given.robustness,
            versions=cache.runtime_versions(),
            seed=given.seed,
        )
        if not self.fresh and (known := self.kept.evaluation(digest)):
            return known
        settings: dict[str, Any] = {"top_k": list(given.top_k)} if given.top_k else {}
        found: dict[str, Any] = self._call(
            name,
            "edgeopt_host.optimize.evaluate.job:run",
            model=model.document(),
            original=original.document(),
            data=self._folder,
            metric=given.metric,
            robustness=given.robustness,
            outputs_cache=str(self.outputs),
            host=False,
            seed=given.seed,
            **settings,
        )
        self.kept.add_evaluation(digest, found)
        return found

    def time_original(self, original: Model) -> dict[str, Any] | None:
        """Its latency in its own framework on this host, as of now; None when its shapes are not known."""
        found: dict[str, Any] | None = self._call(
            ORIGINAL,
            "edgeopt_host.optimize.evaluate.job:time_host",
            original=original.document(),
            data=self._folder,
            seed=self.recipe.seed,
        )
        return found

    @property
    def _folder(self) -> str | None:
        return str(self.data.folder) if self.data else None

    def _make(
        self,
        step: Step,
        technique: Technique,
        source: Model,
        parameters: dict[str, Any],
        folder: Path,
    ) -> tuple[Model, dict[str, Any]]:
        begun = time.monotonic()
        answer = self._call(
            step.id,
            "edgeopt_host.optimize._step:apply",
            technique=technique.function,
            source=source.document(),
            target=str(folder / f"model{technique.gives.suffix}"),
            parameters=parameters,
            data=self._folder,
            metric=self.recipe.metric,
            seed=self.recipe.seed,
        )
        model = Model.from_document(answer.pop("model"))
        inputs = self.load(step.id, model)
        seconds = round(time.monotonic() - begun, 3)
        self.watcher.done(step.id, f"made in {seconds:.1f} s")
        return model, {**answer, "inputs": inputs, "seconds": seconds}

    def _key(self, technique: Technique, source: Model, parameters: dict[str, Any]) -> str:
        reads_data = technique.splits or "metric" in technique.extras
        return cache.key(
            model=[source.format.value, source.digest],
            technique=technique.function,
            code=cache.code_of(technique),
            parameters=parameters,
            seed=self.recipe.seed,
            data=self.data.digest if self.data and reads_data else None,
            metric=cache.metric_key(self.recipe.metric) if "metric" in technique.extras else None,
            versions=cache.versions(technique),
        )

    def _call(self, what: str, function: str, *, told: bool = True, **arguments: Any) -> Any:
        progress = functools.partial(self.watcher.progress, what) if told else None
        return _child.call(function, arguments, log=self.logs / f"{what}.log", progress=progress)
