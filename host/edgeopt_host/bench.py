"""The bench as a Python program uses it: what the command line does, without the printing."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgeopt_host import npz
from edgeopt_host.errors import UsageError
from edgeopt_host.inventory import Inventory
from edgeopt_host.looks import Judge
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.plan import Execution, Inputs, Plan
from edgeopt_host.push import Request, push
from edgeopt_host.resume import Resumed, resume
from edgeopt_host.run import Run
from edgeopt_host.store import RunStore

FilePath = str | Path


class Bench:
    """Your devices and your results: the inventory and the store that the command line uses."""

    def __init__(self) -> None:
        self.inventory = Inventory.load()

    def push(
        self,
        models: FilePath | Iterable[FilePath],
        *,
        devices: Sequence[str] = (),
        tags: Sequence[str] = (),
        plan: Plan | None = None,
        execution: Execution | None = None,
        inputs: Inputs | None = None,
        profile: bool = False,
        energy: bool = False,
        data: FilePath | None = None,
        outputs: FilePath | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = False,
        observer: Observer | None = None,
    ) -> list[Run]:
        """Uploads models to devices, runs them there, stores and returns what it cost.

        Args:
            models: files of TFLite, ONNX or PyTorch mobile models.
            devices: names from the inventory; `local` is always there, and the default.
            tags: all devices with one of these tags as well.
            plan: how long to measure, and under what load; the default takes about 10 s per model
                and device.
            execution: runtime, threads, providers.
            inputs: what to feed; by default made from the model's signature.
            profile: add a pass that tells the time per operator.
            energy: add a pass that measures energy per inference; by default 5.5 minutes.
            data: labelled examples (.npz), to tell the accuracy on the device.
            outputs: a file (.npz) for the outputs of one inference.
            labels: kept with the run, to find it again.
            wait: for a device that somebody else has reserved.
            observer: told what happens meanwhile.

        Returns:
            One run per device and model. One that failed has `error` set; others go on.

        Raises:
            UsageError: for an unknown device, an unreadable path, options that do not fit.
        """
        request = Request(
            plan=plan or Plan(),
            execution=execution or Execution(),
            inputs=inputs or Inputs(),
            profile=profile,
            energy=energy,
            outputs=Path(outputs) if outputs is not None else None,
            labels=dict(labels or {}),
            wait=wait,
        )
        return self._push(models, devices, tags, request, data, observer)

    def compare(
        self,
        models: Iterable[FilePath],
        *,
        devices: Sequence[str] = (),
        tags: Sequence[str] = (),
        plan: Plan | None = None,
        execution: Execution | None = None,
        inputs: Inputs | None = None,
        energy: bool = False,
        data: FilePath | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = False,
        judge: Judge | None = None,
        observer: Observer | None = None,
    ) -> list[list[Run]]:
        """Measures models against each other: in one benchmark per device, in turns.

        Args:
            models: one or more; the same file may be given twice.
            devices: as for `push`.
            tags: the same.
            plan: `duration_s` is each launch's, for each model; launches are the most there will be.
            execution: the same for all models.
            inputs: the same.
            energy: as for `push`, for each model.
            data: the same.
            labels: kept with each run.
            wait: for a device that somebody else has reserved.
            judge: asked after each launch whether to go on, in a thread per device.
            observer: told what happens meanwhile.

        Returns:
            For each device one run per model, in their order. When one failed, all of that device
            have `error` set.

        Raises:
            UsageError: as `push`.
        """
        request = Request(
            plan=plan or Plan(),
            execution=execution or Execution(),
            inputs=inputs or Inputs(),
            energy=energy,
            labels=dict(labels or {}),
            wait=wait,
            paired=True,
            judge=judge,
        )
        paths = list(models)
        runs = self._push(paths, devices, tags, request, data, observer)
        count = len(paths)
        return [runs[first : first + count] for first in range(0, len(runs), count)]

    def _push(
        self,
        models: FilePath | Iterable[FilePath],
        devices: Sequence[str],
        tags: Sequence[str],
        request: Request,
        data: FilePath | None,
        observer: Observer | None,
    ) -> list[Run]:
        paths = [models] if isinstance(models, (str, Path)) else list(models)
        if isinstance(devices, str) or isinstance(tags, str):
            raise UsageError('devices and tags are lists of names: devices=["local"]')
        chosen = self.inventory.select(list(devices), list(tags)) if devices or tags else None
        watcher = observer or Observer()
        if request.inputs.file is not None:
            npz.check(request.inputs.file)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        request = dataclasses.replace(request, command=command)
        if data is not None:
            from edgeopt_host.data import LabelledData

            request = dataclasses.replace(request, data=LabelledData.open(Path(data)))
        files = [ModelFile.open(Path(path), request.execution.runtime) for path in paths]
        for file in files:
            if file.note is not None:
                watcher.notice(file.note)
        with RunStore.open() as store:
            return push(files, chosen or [self.inventory.get("local")], request, watcher, store)

    def resume(
        self,
        devices: Sequence[str] = (),
        *,
        wait: bool = False,
        observer: Observer | None = None,
    ) -> Resumed:
        """Fetches and stores what devices finished for pushes that were killed or cut off.

        Args:
            devices: names of those to ask; by default all that owe something.
            wait: also for what still waits or runs there.
            observer: told what happens meanwhile, and what is not fetched and why.

        Raises:
            UsageError: for an unknown device.
        """
        if isinstance(devices, str):
            raise UsageError('devices is a list of names: devices=["pi4"]')
        with RunStore.open() as store:
            return resume(self.inventory, devices, store, observer or Observer(), wait_for_end=wait)

    def runs(
        self,
        *,
        device: str | None = None,
        model: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = 50,
        before: str | None = None,
    ) -> list[Run]:
        """Stored runs, newest first, without their samples; `before` is the id to go on after."""
        with RunStore.open() as store:
            return store.list(
                device=device, model=model, labels=dict(labels or {}), limit=limit, before=before
            )

    def run(self, run_id: str) -> Run:
        """A stored run with everything it was computed from; the beginning of its id will do.

        Raises:
            UsageError: when no run or several begin so.
        """
        with RunStore.open() as store:
            return store.get(run_id, samples=True)
