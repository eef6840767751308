"""The queue's order, leases and restarts; launches are stood in for, everything else is real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import execution
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.errors import FailedPrecondition, Stopping, StorageError, WorkerError
from edgeopt_agent.journal import Journal, Response
from edgeopt_agent.queue import BenchmarkQueue

Benchmark = benchmark_pb2.Benchmark
MINUTE = 60 * 10**9


class Workers:
    """Stands in for worker processes: a launch ends when the test says so."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.hold = False
        self.fail: WorkerError | None = None

    async def __call__(
        self,
        benchmark: Any,
        _folder: Path,
        launch: int,
        on_event: Any,
        *,
        kind: str = "",
        **_: object,
    ) -> None:
        self.started.append(benchmark.request_id)
        on_event(_event(progress=benchmark_pb2.Progress(fraction=0.5)))
        if self.fail:
            raise self.fail
        while self.hold:  # noqa: ASYNC110 - a stand-in may poll
            await asyncio.sleep(0.01)
        if not kind:
            on_event(_event(result=benchmark_pb2.LaunchResult(load_ns=launch, timed_ns=1000)))


def _event(**event: Any) -> Response:
    return Response(event=benchmark_pb2.BenchmarkEvent(**event))


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    stand_in = Workers()
    monkeypatch.setattr(execution, "run_worker", stand_in)
    return stand_in


def opened(folder: Path, *, eager: bool = True) -> BenchmarkQueue:
    journal = Journal(folder)
    return BenchmarkQueue(folder, journal, BlobStore(folder, 2**30), lambda: 1, eager=eager)


def ask(*, launches: int = 1, rerun: bool = True) -> benchmark_pb2.Benchmark:
    plan = benchmark_pb2.Plan(launches=launches, timeout_ns=MINUTE, rerun=rerun)
    return Benchmark(subjects=[benchmark_pb2.Subject(runtime="onnx")], plan=plan)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def ended(queue: BenchmarkQueue, name: str) -> list[Response]:
    return [response async for response in queue.watch(name, 0)]


def kinds(events: list[Response]) -> list[str]:
    return [str(e.event.WhichOneof("event")) for e in events if e.event.sequence]


def states(events: list[Response]) -> list[str]:
    return [
        Benchmark.State.Name(e.event.benchmark.state).removeprefix("STATE_")
        for e in events
        if e.event.HasField("benchmark")
    ]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_benchmarks_run_in_arrival_order_and_tell_who_waits(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        first = queue.create(ask(), "first", "alice")
        second = queue.create(ask(), "second", "bob")
        await until(lambda: workers.started == ["first"])
        waiting = await anext(e async for e in queue.watch(second.name, 99) if not e.event.sequence)
        assert waiting.event.progress.phase == benchmark_pb2.Progress.PHASE_WAITING
        assert waiting.event.progress.ahead == 1
        assert [b.holder for b in queue.pending()] == ["alice", "bob"]
        workers.hold = False
        assert states(await ended(queue, first.name)) == ["QUEUED", "RUNNING", "SUCCEEDED"]
        await ended(queue, second.name)
        assert workers.started == ["first", "second"]
        await queue.stop()

    run(scenario)


@pytest.mark.usefixtures("workers")
def test_kept_events_have_no_gaps_and_progress_has_no_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        name = queue.create(ask(launches=2), "r").name
        events = await ended(queue, name)
        numbered = [e.event.sequence for e in events if e.event.sequence]
        assert numbered == list(range(1, len(numbered) + 1))
        assert kinds(events) == ["benchmark", "benchmark", "result", "result", "benchmark"]
        (last,) = [e async for e in queue.watch(name, numbered[-2])]
        assert last.event.sequence == numbered[-1]
        await queue.stop()

    run(scenario)


def test_a_request_runs_once_also_when_it_is_repeated_after_its_end(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        name = queue.create(ask(), "r").name
        assert queue.create(ask(), "r").name == name
        await ended(queue, name)
        queue.acknowledge(name)
        again = queue.create(ask(), "r")
        assert (again.name, again.state) == (name, Benchmark.STATE_SUCCEEDED)
        assert workers.started == ["r"]
        await queue.stop()
        assert opened(tmp_path).create(ask(), "r").name == name

    run(scenario)


def kill(queue: BenchmarkQueue) -> None:
    """What kill -9 leaves: nothing is written any more."""
    queue._journal._path = Path("/nowhere")
    queue._journal.append = _dead  # type: ignore[method-assign]


def _dead(*_: object) -> bool:
    raise StorageError("STATE_UNUSABLE", "this agent is dead")


def killed_while_running(folder: Path, workers: Workers, *, rerun: bool = True) -> str:
    async def scenario() -> str:
        queue = opened(folder)
        queue.start()
        workers.hold = True
        name = queue.create(ask(rerun=rerun), "r").name
        await until(lambda: len(workers.started) > 0)
        kill(queue)
        assert queue._running is not None
        queue._running[1].cancel()
        return name

    return asyncio.run(scenario())


def recovered(folder: Path, name: str) -> benchmark_pb2.Benchmark:
    """How a benchmark ended for the next agent."""

    async def scenario() -> benchmark_pb2.Benchmark:
        queue = opened(folder)
        queue.start()
        await ended(queue, name)
        end = queue.get(name)
        await queue.stop()
        return end

    return asyncio.run(scenario())


def test_what_an_agent_died_over_runs_once_more_and_says_so(
    tmp_path: Path, workers: Workers
) -> None:
    name = killed_while_running(tmp_path, workers)
    workers.hold = False

    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        events = await ended(queue, name)
        assert states(events) == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"]
        attempts = [e.event.benchmark.attempt for e in events if e.event.HasField("benchmark")]
        assert attempts == [1, 1, 2, 2, 2]
        await queue.stop()

    run(scenario)


def test_an_agent_that_dies_twice_over_a_benchmark_gives_it_up(
    tmp_path: Path, workers: Workers
) -> None:
    name = killed_while_running(tmp_path, workers)

    async def again() -> None:
        queue = opened(tmp_path)
        queue.start()
        await until(lambda: len(workers.started) > 1)
        kill(queue)
        assert queue._running is not None
        queue._running[1].cancel()

    run(again)
    failure = recovered(tmp_path, name).failure
    assert failure.reason == "AGENT_RESTARTED"
    assert "died in the middle again" in failure.message


def test_a_plan_may_forbid_running_again(tmp_path: Path, workers: Workers) -> None:
    name = killed_while_running(tmp_path, workers, rerun=False)
    assert recovered(tmp_path, name).failure.reason == "AGENT_RESTARTED"


def test_an_agent_that_is_stopped_goes_on_as_often_as_that_happens(
    tmp_path: Path, workers: Workers
) -> None:
    async def stopped() -> str:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        before = len(workers.started)
        name = queue.create(ask(), "r").name
        await until(lambda: len(workers.started) > before)
        await queue.stop()
        assert queue.get(name).state == Benchmark.STATE_QUEUED
        return name

    for _ in range(3):
        name = asyncio.run(stopped())
    workers.hold = False

    async def finished() -> None:
        queue = opened(tmp_path)
        queue.start()
        assert states(await ended(queue, name))[-1] == "SUCCEEDED"
        assert queue.get(name).attempt == 4
        await queue.stop()

    run(finished)


def test_who_watches_an_agent_that_stops_hears_of_it_and_is_let_go(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        name = queue.create(ask(), "r").name
        await until(lambda: workers.started == ["r"])
        events: list[Response] = []

        async def watch() -> None:
            async for response in queue.watch(name, 0):
                events.append(response)  # noqa: PERF401 - what came before the end counts

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        await queue.stop()
        with pytest.raises(Stopping):
            await asyncio.wait_for(watching, 10)
        assert states(events)[-1] == "QUEUED"

    run(scenario)


def test_an_embedded_agent_begins_leftovers_when_it_is_used(
    tmp_path: Path, workers: Workers
) -> None:
    name = killed_while_running(tmp_path, workers)
    workers.hold = False

    async def scenario() -> None:
        queue = opened(tmp_path, eager=False)
        queue.start()
        await asyncio.sleep(0.1)
        assert len(workers.started) == 1
        await ended(queue, name)
        assert len(workers.started) == 2
        await queue.stop()

    run(scenario)


def test_a_lease_holds_others_back_but_not_those_before_it(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        queue.create(ask(), "running", "carol")
        queue.create(ask(), "before", "carol")
        await until(lambda: workers.started == ["running"])
        queue.acquire_lease("l", "alice", "", MINUTE)
        lease = queue.leases.message()
        assert lease is not None
        with pytest.raises(FailedPrecondition, match="alice holds this device"):
            queue.create(ask(), "refused", "bob")
        queue.create(ask(), "patient", "bob", wait_for_lease=True)
        queue.create(ask(), "under", "alice", lease.fencing_number)
        workers.hold = False
        await until(lambda: workers.started == ["running", "before", "under"])
        await asyncio.sleep(0.05)
        assert len(workers.started) == 3
        queue.release_lease(lease.fencing_number, "alice", force=False)
        await until(lambda: workers.started[-1] == "patient")
        await queue.stop()

    run(scenario)


def test_what_was_started_under_a_lost_lease_ends_as_lost(tmp_path: Path, workers: Workers) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        queue.acquire_lease("l", "alice", "", MINUTE)
        lease = queue.leases.message()
        assert lease is not None
        name = queue.create(ask(), "under", "alice", lease.fencing_number).name
        await until(lambda: workers.started == ["under"])
        queue.release_lease(lease.fencing_number, "bob", force=True)
        events = await ended(queue, name)
        assert states(events)[-1] == "CANCELLED"
        assert queue.get(name).failure.reason == "LEASE_LOST"
        with pytest.raises(FailedPrecondition) as caught:
            queue.create(ask(), "late", "alice", lease.fencing_number)
        assert caught.value.reason == "LEASE_LOST"
        await queue.stop()

    run(scenario)


@pytest.mark.usefixtures("workers")
def test_a_lease_that_runs_out_lets_the_next_begin(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        queue.acquire_lease("l", "alice", "", 10**8)
        name = queue.create(ask(), "patient", "bob", wait_for_lease=True).name
        await ended(queue, name)
        await queue.stop()

    run(scenario)


@pytest.mark.usefixtures("workers")
def test_results_wait_for_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt_agent.keeper._RETRY_S", 0.02)

    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        append = queue._journal.append
        full = True

        def sometimes(*arguments: Any) -> bool:
            if full:
                raise StorageError("STORAGE_FULL", "the disk is full")
            return append(*arguments)

        monkeypatch.setattr(queue._journal, "append", sometimes)
        name = queue.create(ask(), "r").name
        await until(lambda: queue.storage_error is not None)
        full = False
        assert states(await ended(queue, name))[-1] == "SUCCEEDED"
        assert queue.storage_error is None
        await queue.stop()

    run(scenario)


def test_a_launch_that_fails_keeps_what_came_before(tmp_path: Path, workers: Workers) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.fail = WorkerError("WORKER_CRASHED", "it crashed")
        name = queue.create(ask(), "r").name
        assert states(await ended(queue, name))[-1] == "FAILED"
        assert queue.get(name).failure.reason == "WORKER_CRASHED"
        await queue.stop()

    run(scenario)


def test_who_begins_to_watch_in_the_moment_of_a_cancel_hears_of_it(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        name = queue.create(ask(), "r").name
        await until(lambda: workers.started == ["r"])
        watching = asyncio.create_task(ended(queue, name))
        # Until it waits for news; then both in one turn of the loop.
        await asyncio.sleep(0)
        queue.cancel(name)
        events = await asyncio.wait_for(watching, 10)
        assert states(events)[-1] == "CANCELLED"
        await queue.stop()

    run(scenario)


def test_a_lease_and_what_runs_under_it_end_together_or_not_at_all(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        workers.hold = True
        queue.acquire_lease("l", "alice", "", MINUTE)
        names = [queue.create(ask(), f"{i}", "alice", 1).name for i in range(3)]
        await until(lambda: workers.started == ["0"])
        with monkeypatch.context() as broken:
            broken.setattr(queue._journal, "keep_lease", _dead)
            with pytest.raises(StorageError):
                queue.release_lease(1, "alice", force=False)
        assert queue.leases.current() is not None
        assert queue.get(names[0]).state == Benchmark.STATE_RUNNING
        queue.release_lease(1, "alice", force=False)
        reasons = {queue.get(name).failure.reason for name in names}
        assert reasons == {"LEASE_LOST"}
        await queue.stop()

    run(scenario)


def test_what_was_queued_under_a_lease_of_the_past_does_not_run(
    tmp_path: Path, workers: Workers
) -> None:
    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.acquire_lease("l", "alice", "", MINUTE)
        name = queue.create(ask(), "r", "alice", 1).name
        # What a kill between two commits would leave, were they two.
        over = queue.leases.to_release(1, "alice", force=False)
        assert over is not None
        queue._journal.keep_lease(over)
        queue._journal.close()
        again = opened(tmp_path)
        again.start()
        await ended(again, name)
        assert again.get(name).failure.reason == "LEASE_LOST"
        assert workers.started == []
        await again.stop()

    run(scenario)


def test_outputs_stay_until_their_benchmark_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithOutputs(Workers):
        async def __call__(self, *arguments: Any, kind: str = "", **settings: Any) -> None:
            await super().__call__(*arguments, kind=kind, **settings)
            if kind == "outputs":
                (arguments[1] / "outputs.npz").parent.mkdir(parents=True, exist_ok=True)
                (arguments[1] / "outputs.npz").write_bytes(b"outputs")
                arguments[3](_event(outputs=benchmark_pb2.Outputs()))

    monkeypatch.setattr(execution, "run_worker", WithOutputs())

    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        asked = ask()
        asked.plan.outputs = True
        name = queue.create(asked, "r").name
        await ended(queue, name)
        (outputs,) = queue._blobs.list()
        assert queue._blobs.in_use() == {outputs.digest.sha256}
        await queue.stop()
        again = opened(tmp_path)
        assert again._blobs.in_use() == {outputs.digest.sha256}
        again.acknowledge(name)
        assert again._blobs.in_use() == set()

    run(scenario)


def looks_of(events: list[Response]) -> list[tuple[int, int]]:
    return [
        (e.event.look.launch, e.event.look.timed_ns) for e in events if e.event.HasField("look")
    ]


def answering(
    tmp_path: Path, answers: dict[int, int], launches: int
) -> tuple[list[tuple[int, int]], list[bool]]:
    """The looks of a benchmark that is answered so, by launch, and whether each was heard."""
    seen: list[Response] = []
    heard: list[bool] = []

    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        asked = ask(launches=launches)
        asked.plan.looks = True
        name = queue.create(asked, "r").name
        async for response in queue.watch(name, 0):
            seen.append(response)
            if response.event.HasField("look"):
                launch = response.event.look.launch
                # One about another launch is for nobody.
                heard.append(queue.answer_look(name, launch + 1, answers[launch]))
                heard.append(queue.answer_look(name, launch, answers[launch]))
        await queue.stop()

    run(scenario)
    return looks_of(seen), heard


CONTINUE, STOP, REPEAT = 1, 2, 3


def test_a_benchmark_is_asked_about_after_each_launch_and_stops_when_told(
    tmp_path: Path, workers: Workers
) -> None:
    looks, heard = answering(tmp_path, {0: CONTINUE, 1: STOP}, launches=5)
    assert looks == [(0, 1000), (1, 2000)]
    assert heard == [False, True] * 2
    assert len(workers.started) == 2


def test_a_launch_that_came_to_nothing_is_repeated_and_not_for_ever(
    tmp_path: Path, workers: Workers
) -> None:
    looks, _ = answering(tmp_path, dict.fromkeys(range(99), REPEAT), launches=2)
    assert [launch for launch, _ in looks] == list(range(12))
    assert len(workers.started) == 12


def test_a_benchmark_whose_host_is_silent_goes_on_to_the_end_of_its_plan(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_ANSWER_S", 0.05)

    async def scenario() -> None:
        queue = opened(tmp_path)
        queue.start()
        asked = ask(launches=3)
        asked.plan.looks = True
        name = queue.create(asked, "r").name
        events = await ended(queue, name)
        assert [launch for launch, _ in looks_of(events)] == [0, 1, 2]
        assert states(events)[-1] == "SUCCEEDED"
        # It is over, and nobody waits.
        assert not queue.answer_look(name, 2, STOP)
        await queue.stop()

    run(scenario)
    assert len(workers.started) == 3
