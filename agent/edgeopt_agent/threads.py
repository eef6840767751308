"""Calls that block, in threads."""

from __future__ import annotations

import asyncio
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
