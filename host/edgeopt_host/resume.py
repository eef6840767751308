"""Fetches what devices finished while nobody watched: after a killed host or a cut network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_host import _enums, fill
from edgeopt_host._states import ENDED
from edgeopt_host._workers import run_all
from edgeopt_host.client import Agent, connect, result_lost
from edgeopt_host.collect import Collector
from edgeopt_host.delivery import deliver, keep
from edgeopt_host.errors import Cancelled, EdgeoptError, Unreachable
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.observer import Observer, tell
from edgeopt_host.owner import Owner, is_alive
from edgeopt_host.request import model_names
from edgeopt_host.run import Failure, Run
from edgeopt_host.store import PendingRun, RunStore, run_id_of

_State = benchmark_pb2.Benchmark.State


@dataclass
class Resumed:
    """What came of it.

    Args:
        runs: fetched and stored, failed ones too.
        complete: whether everything was fetched that could be.
        under_way: how many still wait or run on their devices.
    """

    runs: list[Run] = field(default_factory=list)
    complete: bool = True
    under_way: int = 0


def resume(
    inventory: Inventory,
    names: Sequence[str],
    store: RunStore,
    observer: Observer,
    *,
    wait_for_end: bool = False,
) -> Resumed:
    """Fetches and stores what devices owe to pushes that are no more.

    Args:
        inventory: the devices.
        names: of those to ask; without any, all that owe something.
        store: where runs are pending, and stored.
        observer: told what happens, from several threads; of runs that are not fetched, why.
        wait_for_end: also for benchmarks that wait or run.

    Raises:
        UsageError: for an unknown name.
        Cancelled: after Ctrl-C; the devices go on.
    """
    devices = [inventory.get(name) for name in dict.fromkeys(names)]
    by_device: dict[str, list[PendingRun]] = {device.name: [] for device in devices}
    with Owner() as owner:
        for pending in orphans(store):
            found = _device_of(pending, inventory)
            if found is None and not names:
                observer.notice(
                    f"run {pending.run.id} is owed by {pending.device}, which is not in the "
                    "inventory any more; add it again to fetch the run, or forget it by "
                    f"`edgeopt-host runs resume --drop --device {pending.device}`"
                )
            elif found is not None and (found in devices or not names):
                by_device.setdefault(found.name, []).append(pending)
        workers = [
            _Fetch(inventory.get(name), owed, store, owner.token, observer, wait_for_end)
            for name, owed in by_device.items()
        ]
        if not workers:
            return Resumed()
        results = run_all(workers, lambda: "no longer waiting; the devices go on")
    return Resumed(
        [run for one in results for run in one.runs],
        all(one.complete for one in results),
        sum(one.under_way for one in results),
    )


def fetch_finished(
    agent: Agent, device: Device, store: RunStore, owner: str, observer: Observer
) -> None:
    """Fetches what this device has finished for pushes that are no more; waits for nothing.

    Whatever goes wrong is left for `resume`.
    """
    fetch = _Fetch(device, [], store, owner, _Notices(observer), wait_for_end=False)
    try:
        fetch.finished(agent)
    except Cancelled:
        raise
    except EdgeoptError as error:
        observer.notice(f"{device.name}: nothing was fetched: {error.message}")
    if count := len(fetch.fetched.runs):
        runs = "1 run" if count == 1 else f"{count} runs"
        observer.notice(f"{device.name}: fetched {runs} that finished meanwhile")


def orphans(store: RunStore) -> list[PendingRun]:
    """Pending runs that no living process takes care of.

    Raises:
        StoreError: when they cannot be read.
    """
    alive: dict[str, bool] = {}
    return [
        pending
        for pending in store.pending()
        if not alive.setdefault(pending.owner, is_alive(pending.owner))
    ]


class _Notices(Observer):
    """Passes on what the user should know, and none of the progress of runs that are not asked for."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def notice(self, message: str) -> None:
        self._observer.notice(message)


class _Fetch:
    """One device's share, in a thread of its own."""

    def __init__(
        self,
        device: Device,
        owed: Sequence[PendingRun],
        store: RunStore,
        owner: str,
        observer: Observer,
        wait_for_end: bool,
    ) -> None:
        self.fetched = Resumed()
        self._device = device
        self._owed = owed
        self._store = store
        self._owner = owner
        self._observer = observer
        self._wait = wait_for_end
        self._stop = threading.Event()
        self._agent: Agent | None = None

    def cancel(self) -> None:
        self._stop.set()
        if self._agent is not None:
            self._agent.cancel()

    def run(self) -> Resumed:
        try:
            with connect(self._device, on_wait=self._observer.notice, stop=self._stop) as agent:
                self._agent = agent
                self._fetch(agent)
        except Cancelled:
            pass
        except EdgeoptError as error:
            self.fetched.complete = False
            self._observer.notice(f"{self._device.name}: {error.message}")
        return self.fetched

    def finished(self, agent: Agent) -> None:
        """Fetches what has ended, and says nothing of the rest."""
        owed = [p for p in orphans(self._store) if _is_of(p, self._device)]
        known = _Known(agent.benchmarks())
        for pending in owed:
            benchmark = known.find(pending)
            if benchmark is not None and (benchmark.state in ENDED or pending.cancelled):
                self._try(pending, partial(self._one, agent, pending, benchmark))
        self._acknowledge_stored(agent, known)

    def _fetch(self, agent: Agent) -> None:
        # Asked after the owners were found dead: what they had created is among these.
        known = _Known(agent.benchmarks())
        for pending in self._owed:
            benchmark = known.find(pending)
            if benchmark is None:
                self._try(pending, partial(self._missing, agent, pending))
            elif benchmark.state in ENDED or pending.cancelled or self._wait:
                self._try(pending, partial(self._one, agent, pending, benchmark))
            else:
                self.fetched.under_way += 1
                state = _enums.name(_State, benchmark.state, "STATE_")
                self._say(pending, f"{state} on the device; --wait waits for it")
        self._acknowledge_stored(agent, known)

    def _try(self, pending: PendingRun, fetch: Callable[[], None]) -> None:
        """One run that cannot be fetched must not keep the others from it."""
        try:
            fetch()
        except (Cancelled, Unreachable):
            raise
        except Exception as error:  # noqa: BLE001 - it stays pending
            self.fetched.complete = False
            if isinstance(error, EdgeoptError):
                why = error.message
            else:
                why = f"internal error, a bug in edgeopt: {type(error).__name__}: {error}"
            self._say(pending, f"not fetched: {why}")

    def _one(self, agent: Agent, pending: PendingRun, benchmark: benchmark_pb2.Benchmark) -> None:
        if not self._store.claim(pending, self._owner):
            return  # by another process, or fetched by now
        if pending.cancelled:
            if agent.forget(benchmark.name):
                self._store.drop(pending.request_id)
            return
        run = pending.run
        launches = int(((run.request or {}).get("plan") or {}).get("launches") or 1)
        collector = Collector(len(pending.runs))
        for event in agent.watch(benchmark.name):
            collector.add(event)
            tell(self._observer, self._device.name, model_names(pending.runs), launches, event)
        deliver(
            agent,
            self._store,
            pending,
            benchmark.name,
            collector.collected(),
            self._observer.notice,
        )
        self._ended(pending.runs)

    def _missing(self, agent: Agent, pending: PendingRun) -> None:
        """A run that the device knows nothing of."""
        certain = pending.identity is not None and pending.identity == self._device.identity
        if not certain and not _same_board(agent, pending):
            self._say(pending, "another device answers at that address now; the run stays pending")
            return
        if not self._store.claim(pending, self._owner):
            return
        if pending.benchmark is None or pending.cancelled:
            self._store.drop(pending.request_id)
            if not pending.cancelled:
                self._say(pending, "never reached the device, and is dropped; push it again")
            return
        lost = result_lost(self._device.name)
        for run in pending.runs:
            run.error = Failure(lost.reason, lost.message)
        if keep(self._store, pending, self._observer.notice):
            self._ended(pending.runs)

    def _ended(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.id is None:
                self.fetched.complete = False
            self.fetched.runs.append(run)
            self._observer.finished(run)

    def _acknowledge_stored(self, agent: Agent, known: _Known) -> None:
        """What was stored by a process that then could not say so."""
        ended = {
            run_id: benchmark.name
            for request_id, benchmark in known.by_request_id.items()
            if benchmark.state in ENDED and (run_id := run_id_of(request_id))
        }
        for run_id in self._store.stored(ended):
            agent.acknowledge(ended[run_id])

    def _say(self, pending: PendingRun, what: str) -> None:
        name = pending.run.model.name.encode("utf-8", "replace").decode()
        self._observer.notice(f"{self._device.name}: {name} (run {pending.run.id}): {what}")


class _Known:
    """The benchmarks of a device, to be found by what a host remembers of them."""

    def __init__(self, benchmarks: Sequence[benchmark_pb2.Benchmark]) -> None:
        self.by_request_id = {b.request_id: b for b in benchmarks if b.request_id}
        self._by_name = {b.name: b for b in benchmarks}

    def find(self, pending: PendingRun) -> benchmark_pb2.Benchmark | None:
        # Agents of the first release do not tell request ids.
        return self.by_request_id.get(pending.request_id) or self._by_name.get(
            pending.benchmark or ""
        )


def _is_of(pending: PendingRun, device: Device) -> bool:
    """Whether this device, or another of its name, was asked. Request ids tell for certain."""
    if pending.identity is not None and pending.identity == device.identity:
        return True
    return pending.device == device.name


def _device_of(pending: PendingRun, inventory: Inventory) -> Device | None:
    found = [device for device in inventory.devices if _is_of(pending, device)]
    # The same device under another name, rather than another one under its name.
    found.sort(key=lambda device: device.identity != pending.identity)
    return found[0] if found else None


def _same_board(agent: Agent, pending: PendingRun) -> bool:
    """Whether this may be the device, where no identity tells: an address may lead anywhere."""
    asked, now = pending.run.device, fill.device("", agent.device())
    return (asked.board, asked.cpu, asked.architecture) == (now.board, now.cpu, now.architecture)
