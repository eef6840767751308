"""The faults, each struck at a point of a push: a fraction of the time that a push takes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from faults.rig import Rig, wait_for

Strike = Callable[[Rig, random.Random], None]


def agent_killed(rig: Rig, _: random.Random) -> None:
    rig.restart_agent()


def agent_killed_for_a_while(rig: Rig, chance: random.Random) -> None:
    rig.kill_agent()
    time.sleep(chance.uniform(0.5, 3))
    rig.start_agent()


def agent_killed_twice(rig: Rig, chance: random.Random) -> None:
    rig.restart_agent()
    time.sleep(chance.uniform(0, 0.3))
    rig.kill_agent(signal.SIGTERM)
    rig.start_agent()


def agent_stopped(rig: Rig, _: random.Random) -> None:
    rig.kill_agent(signal.SIGTERM)
    rig.start_agent()


def host_killed(rig: Rig, _: random.Random) -> None:
    rig.current.kill()


def both_killed(rig: Rig, _: random.Random) -> None:
    rig.current.kill()
    rig.restart_agent()


def network_cut(rig: Rig, chance: random.Random) -> None:
    rig.proxy.cut()
    time.sleep(chance.uniform(0, 2))
    rig.proxy.heal()


def network_stalled(rig: Rig, chance: random.Random) -> None:
    rig.proxy.stall()
    time.sleep(chance.uniform(0.5, 6))
    rig.proxy.heal()


def network_delayed(rig: Rig, chance: random.Random) -> None:
    rig.proxy.delay(chance.uniform(0.05, 0.5))
    time.sleep(1)
    rig.proxy.heal()


def network_corrupted(rig: Rig, _: random.Random) -> None:
    rig.proxy.corrupt()
    time.sleep(0.3)
    rig.proxy.heal()


def silent_connections(rig: Rig, _: random.Random) -> None:
    with rig.silent_connections(200):
        time.sleep(1)


FAULTS: dict[str, Strike] = {
    strike.__name__: strike
    for strike in (
        agent_killed,
        agent_killed_for_a_while,
        agent_killed_twice,
        agent_stopped,
        host_killed,
        both_killed,
        network_cut,
        network_stalled,
        network_delayed,
        network_corrupted,
        silent_connections,
    )
}


def measure_push(rig: Rig) -> float:
    """How long a push takes from its first connection on, when nothing happens."""
    before = rig.proxy.connections
    process = rig.start_push("undisturbed")
    wait_for(lambda: rig.proxy.connections > before)
    started = time.monotonic()
    code = rig.wait(process)
    took = time.monotonic() - started
    assert code == 0, f"a push does not even work undisturbed: {rig.last_said[-1000:]}"
    rig.settle("undisturbed", code)
    return took


def run_case(rig: Rig, name: str, case: str, after_s: float, chance: random.Random) -> None:
    """One push, one fault `after_s` seconds after its first connection, and the settling."""
    before = rig.proxy.connections
    rig.current = rig.start_push(case)
    wait_for(lambda: rig.proxy.connections > before or rig.current.poll() is not None)
    time.sleep(after_s)
    FAULTS[name](rig, chance)
    code = rig.wait(rig.current)
    rig.settle(case, code)
