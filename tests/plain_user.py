"""Tests run by root that need what root does not feel: the bounds of a plain user."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgeopt_agent.confine._privileges import drop_capabilities


def as_a_plain_user(function: Callable[[], object]) -> None:
    """Calls it in a thread without root's powers: on Linux, they are a thread's."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            drop_capabilities([])
            function()
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
