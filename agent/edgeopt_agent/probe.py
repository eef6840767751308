"""What runtimes this device has, found out without importing any of them here."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterable

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.environment import child_environment

_TIMEOUT_S = 60.0
# Two imports at a time: more would fight over the disk of a small board.
_AT_A_TIME = 2


async def probe_runtimes(
    names: Iterable[str] | None = None, timeout_s: float = _TIMEOUT_S
) -> list[device_pb2.RuntimeFacts]:
    """Imports each runtime in a child process of its own and tells what came of it.

    Args:
        names: which runtimes; all that are built in or registered where left out.
        timeout_s: how long one import may take; slow storage needs tens of seconds for torch.
    """
    turn = asyncio.Semaphore(_AT_A_TIME)

    async def probe(name: str) -> device_pb2.RuntimeFacts:
        async with turn:
            return await _probe(name, timeout_s)

    chosen = runtimes.names() if names is None else names
    return list(await asyncio.gather(*map(probe, chosen)))


async def _probe(name: str, timeout_s: float) -> device_pb2.RuntimeFacts:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeopt_agent.runtimes", name,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Not where the user stands: a numpy.py there would be imported.
        cwd="/",
        env=child_environment(),
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(child.communicate(), timeout_s)
    except asyncio.TimeoutError:
        return _unavailable(name, f"its import did not end within {timeout_s:g} s")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode is not None and child.returncode < 0:
        return _unavailable(name, f"its import died by {_signal_name(-child.returncode)}")
    try:
        answer = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        return _unavailable(name, f"its import ended with {child.returncode}: {last[0]}")
    if "unavailable" in answer:
        return _unavailable(name, answer["unavailable"])
    return device_pb2.RuntimeFacts(name=name, **answer)


def _unavailable(name: str, reason: str) -> device_pb2.RuntimeFacts:
    return device_pb2.RuntimeFacts(name=name, unavailable_reason=reason)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
