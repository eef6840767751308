"""Whatever dies at whatever point: no result is lost, none comes twice, nobody has to help."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from faults.cases import FAULTS, measure_push, run_case
from faults.rig import Books, Rig

_POINTS = 20
# What is not worth twenty points each.
_SOME = 3


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig.set_up(tmp_path_factory.mktemp("faults")) as rig:
        yield rig


@pytest.fixture(scope="module")
def nominal(rig: Rig) -> float:
    return measure_push(rig)


def strike(rig: Rig, nominal: float, fault: str, points: int) -> Books:
    rig.books = Books()
    chance = random.Random(fault)  # noqa: S311 - repeatable, not secret
    for point in range(points):
        run_case(rig, fault, f"{fault}-{point}", nominal * (point + 0.5) / points, chance)
    return rig.books


@pytest.mark.parametrize("fault", ["agent_killed", "host_killed"])
def test_a_kill_at_any_of_twenty_points_loses_nothing(rig: Rig, nominal: float, fault: str) -> None:
    books = strike(rig, nominal, fault, _POINTS)
    assert books.clean, f"{books}\n" + "\n".join(books.blemishes)
    assert books.delivered > _POINTS / 2


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"agent_killed", "host_killed"}))
def test_other_faults_lose_nothing_either(rig: Rig, nominal: float, fault: str) -> None:
    books = strike(rig, nominal, fault, _SOME)
    assert books.clean, f"{books}\n" + "\n".join(books.blemishes)


def test_after_all_that_the_device_still_works(rig: Rig, nominal: float) -> None:
    assert measure_push(rig) < nominal * 20
    listed = rig.host("device", "list")
    assert "board" in listed.stdout
