"""Devices at work at once: a thread each, and an end for all by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from edgeopt_host.errors import Cancelled

_Result_co = TypeVar("_Result_co", covariant=True)


class Worker(Protocol[_Result_co]):
    """One device's share of the work."""

    def run(self) -> _Result_co:
        """Does it."""

    def cancel(self) -> None:
        """Ends `run` soon; from any thread."""


def run_all(
    workers: Sequence[Worker[_Result_co]], cancelled: Callable[[], str]
) -> list[_Result_co]:
    """What each of them returns, in their order.

    Args:
        workers: at least one.
        cancelled: what to say after Ctrl-C, when all have ended.

    Raises:
        Cancelled: after Ctrl-C.
    """
    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(worker.run) for worker in workers]
        try:
            wait(futures)
        except KeyboardInterrupt:
            for worker in workers:
                worker.cancel()
            wait(futures)
            raise Cancelled(cancelled()) from None
    return [future.result() for future in futures]
