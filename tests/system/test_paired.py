"""Several models in one benchmark, through the local agent and one in another process."""

from __future__ import annotations

import dataclasses
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import tiny
from conftest import PLUGINS, AgentProcess
from edgeopt_host import Bench
from edgeopt_host.inventory import Inventory
from edgeopt_host.looks import Answer
from edgeopt_host.plan import Execution, Plan
from edgeopt_host.run import Launch, Run
from edgeopt_host.stats.launches import figure

StartAgent = Callable[..., AgentProcess]

SHORT = Plan(launches=3, warmup_s=0.1, duration_s=0.4, settle_inferences=2)


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [tiny.matmul(tmp_path / f"{size}.onnx", size) for size in (64, 512)]


def intervals(launch: Launch) -> list[tuple[int, int]]:
    return [(block.start_ns, block.start_ns + block.duration_ns) for block in launch.blocks]


def by_number(runs: Sequence[Run]) -> Iterator[list[Launch]]:
    yield from (list(launches) for launches in zip(*(run.launches for run in runs), strict=True))


def test_models_are_measured_in_turns_and_never_at_once(models: list[Path]) -> None:
    ((small, large),) = Bench().compare(models, plan=SHORT)
    assert (small.error, large.error) == (None, None)
    assert [launch.number for launch in small.launches] == [0, 1, 2]
    for one, other in by_number([small, large]):
        assert [b.round for b in one.blocks] == list(range(len(one.blocks)))
        assert len(one.blocks) == len(other.blocks)
        # No two blocks overlap.
        blocks = sorted(intervals(one) + intervals(other))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(blocks))
        # Blocks of a round are neighbours.
        order = sorted(
            (block.start_ns, block.round) for launch in (one, other) for block in launch.blocks
        )
        assert [round_ for _, round_ in order] == sorted(round_ for _, round_ in order)
    assert (large.latency_ms.p50 or 0) > (small.latency_ms.p50 or 0)


def test_the_order_within_rounds_varies(models: list[Path]) -> None:
    ((one, other),) = Bench().compare(models, plan=SHORT)
    firsts = {
        a.start_ns < b.start_ns
        for launches in by_number([one, other])
        for a, b in zip(launches[0].blocks, launches[1].blocks, strict=True)
    }
    assert firsts == {True, False}


def test_each_benchmark_has_an_order_of_its_own_that_its_runs_tell(models: list[Path]) -> None:
    brief = dataclasses.replace(SHORT, launches=1, duration_s=0.1)
    seeds = []
    for plan in (brief, brief, dataclasses.replace(brief, order_seed=7)):
        (runs,) = Bench().compare(models, plan=plan)
        stored = [Bench().run(str(run.id)).request or {} for run in runs]
        (seed,) = {request["plan"]["order_seed"] for request in stored}
        seeds.append(seed)
    assert len(set(seeds)) == 3
    assert seeds[2] == 7


def test_siblings_know_of_each_other_and_are_stored_together(models: list[Path]) -> None:
    ((one, other),) = Bench().compare([*models[:1], *models[:1]], plan=SHORT)
    ids = [one.id, other.id]
    assert one.paired is not None
    assert (one.paired.runs, one.paired.subject) == (ids, 0)
    assert other.paired is not None
    assert (other.paired.runs, other.paired.subject) == (ids, 1)
    assert {run.id for run in Bench().runs()} == set(ids)
    again = Bench().run(str(other.id))
    assert [b.round for b in again.launches[0].blocks] == [
        b.round for b in other.launches[0].blocks
    ]


def test_the_judge_sees_the_launches_so_far_and_ends_it(models: list[Path]) -> None:
    seen: list[list[int]] = []

    def judge(runs: Sequence[Run]) -> Answer:
        seen.append([len(run.launches) for run in runs])
        assert all(figure(run.launches[-1], "p50") > 0 for run in runs)
        assert all(run.runtime.version for run in runs)
        return Answer.STOP if len(seen) == 2 else Answer.CONTINUE

    ((one, other),) = Bench().compare(models, plan=SHORT, judge=judge)
    assert seen == [[1, 1], [2, 2]]
    assert len(one.launches) == len(other.launches) == 2


def test_a_judge_that_fails_is_no_result(models: list[Path]) -> None:
    def judge(_: Sequence[Run]) -> Answer:
        raise ZeroDivisionError("division by zero")

    ((one, other),) = Bench().compare(models, plan=SHORT, judge=judge)
    assert one.error is not None
    assert other.error is not None
    assert one.error.reason == "INTERNAL"
    assert "ZeroDivisionError" in one.error.message
    assert Bench().runs() == []


def test_one_that_fails_is_named_and_its_partner_has_no_figures(
    models: list[Path], tmp_path: Path
) -> None:
    broken = tiny.unknown_operator(tmp_path / "broken.onnx")
    ((good, bad),) = Bench().compare([models[0], broken], plan=SHORT)
    assert bad.error is not None
    assert bad.error.reason in {"UNSUPPORTED_OPERATOR", "MODEL_INVALID"}
    assert good.error is not None
    assert good.error.reason == "PARTNER_FAILED"
    assert good.error.message.endswith(bad.error.message)


def test_a_crash_of_one_worker_ends_the_other(
    tmp_path: Path, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start_agent()
    Inventory.load().add("board", agent.address)
    paths = []
    for fault in ("none", "segfault"):
        path = tmp_path / f"{fault}.fault"
        path.write_text(f"{fault}\n")
        paths.append(path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    ((good, bad),) = Bench().compare(
        paths, devices=["board"], plan=SHORT, execution=Execution(runtime="faulty")
    )
    assert bad.error is not None
    assert bad.error.reason == "WORKER_CRASHED"
    assert good.error is not None
    assert good.error.reason == "PARTNER_FAILED"
    # The agent is well, and has no worker left.
    ((again, _),) = Bench().compare(
        [paths[0], paths[0]], devices=["board"], plan=SHORT, execution=Execution(runtime="faulty")
    )
    assert again.error is None


def test_a_worker_that_ends_turns_it_does_not_have_wins_nothing(
    tmp_path: Path, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start_agent()
    Inventory.load().add("board", agent.address)
    paths = []
    for fault in ("none", "thief"):
        path = tmp_path / f"{fault}.fault"
        path.write_text(f"{fault}\n")
        paths.append(path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    ((good, bad),) = Bench().compare(
        paths, devices=["board"], plan=SHORT, execution=Execution(runtime="faulty")
    )
    assert bad.error is not None
    assert bad.error.reason == "WORKER_FAILED"
    assert "ended a turn that it did not have" in bad.error.message
    assert good.error is not None
    assert good.error.reason == "PARTNER_FAILED"


def test_a_device_that_was_killed_in_the_middle_measures_all_of_it_again(
    models: list[Path], start_agent: StartAgent
) -> None:
    agent = start_agent()
    Inventory.load().add("board", agent.address)
    killed: list[AgentProcess] = []

    def judge(_: Sequence[Run]) -> Answer:
        if not killed:
            agent.process.send_signal(signal.SIGKILL)
            agent.process.wait()
            killed.append(start_agent(f"--listen={agent.address}", state_dir=agent.state_dir))
        return Answer.CONTINUE

    ((one, other),) = Bench().compare(models, devices=["board"], plan=SHORT, judge=judge)
    assert [run.error for run in (one, other)] == [None, None]
    assert [len(run.launches) for run in (one, other)] == [3, 3]
    assert "INTERRUPTED" in {warning.code for warning in one.warnings}


def test_fast_models_are_compared_like_others(tmp_path: Path) -> None:
    model = tiny.relu(tmp_path / "relu.onnx")
    ((one, other),) = Bench().compare([model, model], plan=SHORT)
    ratio = np.log((one.latency_ms.p50 or 0) / (other.latency_ms.p50 or 1))
    assert abs(ratio) < np.log(3)


def test_a_file_that_is_no_model_is_named_and_its_partner_is_not_blamed(
    models: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    ((good, bad),) = Bench().compare([models[0], broken], plan=SHORT)
    assert bad.error is not None
    assert bad.error.reason == "MODEL_INVALID"
    assert good.error is not None
    assert good.error.reason == "PARTNER_FAILED"
    assert "broken.onnx" in good.error.message
