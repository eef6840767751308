"""Calls that block, in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def start_in_thread(function: Callable[..., _Result], *arguments: Any) -> asyncio.Task[_Result]:
    """Begins a call in a thread."""
    return asyncio.create_task(asyncio.to_thread(function, *arguments))


async def in_thread(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Runs a call in a thread; a cancelled caller waits for its end, for a thread has no other."""
    task = start_in_thread(function, *arguments)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


class Aside:
    """A thread for calls that may hang: nobody waits for them for ever, nor for the thread.

    The calls are made one after the other, so that the last finds whatever those before it opened,
    also when their callers have gone.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # Not one of asyncio's: the interpreter waits for those at its end.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Makes a call.

        Raises:
            asyncio.TimeoutError: when it has not returned by then.
        """
        done: concurrent.futures.Future[_Result] = concurrent.futures.Future()

        def work() -> None:
            # From here on a caller that goes away ends no more than its own waiting.
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)

        self._calls.put(work)
        return await asyncio.wait_for(asyncio.wrap_future(done), timeout_s)

    def end(self, last: Callable[[], None]) -> None:
        """Makes a last call once those before it have returned, and waits for none of them."""
        self._calls.put(last)
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
