"""From a device's events to a run that is stored, once, and then forgotten by the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeopt.agent.v1 import blob_pb2
from edgeopt_host import evaluation, fill
from edgeopt_host.client import Agent
from edgeopt_host.collect import Collected
from edgeopt_host.errors import Cancelled, EdgeoptError, StoreError, Unreachable
from edgeopt_host.run import Failure, Run
from edgeopt_host.store import PendingRun, RunStore

# What to say of a run that a device owes: for certain, or perhaps.
RESUME = "the device keeps the result, and `edgeopt-host runs resume` fetches it"
FIND_OUT = "whether the device has taken it, `edgeopt-host runs resume` finds out"


def deliver(
    agent: Agent,
    store: RunStore,
    pending: PendingRun,
    name: str,
    collected: Sequence[Collected],
    notice: Callable[[str], None],
) -> list[Run]:
    """Completes what is pending by what was collected of its benchmark, stores it and tells the device.

    Args:
        agent: the device's.
        store: where the run is pending.
        pending: whose runs are completed.
        name: of the benchmark on the device.
        collected: all of it: the benchmark has ended.
        notice: told of what is no result.

    Returns:
        The runs. Those that could not be stored have their figures and no ids, and the device
        keeps the result.

    Raises:
        Unreachable: when the device went away before its outputs had come: it still owes the runs.
        Cancelled: after `cancel`, meanwhile.
    """
    fill.fill(pending.runs, collected)
    for run, found in zip(pending.runs, collected, strict=True):
        _fetch(agent, pending, run, found, notice)
    if keep(store, pending, notice):
        agent.acknowledge(name)
    return pending.runs


def _fetch(
    agent: Agent,
    pending: PendingRun,
    run: Run,
    found: Collected,
    notice: Callable[[str], None],
) -> None:
    """Fetches the files that a run has on the device."""
    try:
        evaluation.fetch(agent, run, found.predictions)
        _save_outputs(agent, pending, found.outputs, notice)
    except (Unreachable, Cancelled):
        raise
    except EdgeoptError as error:
        run.error = run.error or Failure(error.reason, error.message)


def keep(store: RunStore, pending: PendingRun, notice: Callable[[str], None]) -> bool:
    """Stores pending runs as they are; False, with no ids and errors in them, when that fails."""
    run_id = pending.run.id
    assert run_id is not None  # noqa: S101 - given before the device was asked
    try:
        try:
            store.finish(pending)
        except StoreError:
            # Another process may have taken it over, and have been faster.
            if run_id not in store.stored([run_id]):
                raise
    except EdgeoptError as error:
        for run in pending.runs:
            run.id = None
            if run.error is None:
                run.error = Failure(error.reason, f"{error.message}; {RESUME}")
            else:
                notice(f"the failed run is not stored: {error.message}")
        return False
    except BaseException:
        for run in pending.runs:
            run.id = None
        raise
    return True


def _save_outputs(
    agent: Agent,
    pending: PendingRun,
    outputs: blob_pb2.Digest | None,
    notice: Callable[[str], None],
) -> None:
    path = pending.outputs
    if path is None or outputs is None:
        return
    if not path.parent.is_dir():
        notice(f"the outputs of run {pending.run.id} are not written: {path.parent} is gone")
        return
    try:
        agent.download(outputs, path)
    except OSError as error:
        raise EdgeoptError(
            f"cannot write the outputs to {path}: {error.strerror}", "OUTPUTS_NOT_WRITTEN"
        ) from error
