from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt_agent.errors import FailedPrecondition
from edgeopt_agent.journal import Journal
from edgeopt_agent.leases import Leases

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.ns = 1000 * SECOND

    def __call__(self) -> int:
        return self.ns

    def wait(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def used() -> set[int]:
    return set()


@pytest.fixture
def leases(tmp_path: Path, clock: Clock, used: set[int]) -> Leases:
    return Leases(Journal(tmp_path), used.__contains__, clock)


def take(leases: Leases, holder: str, seconds: float = 60, request: str = "") -> int:
    leases.acquire(request or holder, holder, "testing", int(seconds * SECOND), 0)
    current = leases.current()
    assert current is not None
    return current.fencing_number


def test_who_comes_second_hears_who_has_it_and_for_how_long(leases: Leases) -> None:
    take(leases, "alice@laptop", 600)
    with pytest.raises(FailedPrecondition, match=r"alice@laptop .*10 min") as caught:
        take(leases, "bob")
    assert caught.value.reason == "DEVICE_RESERVED"
    assert caught.value.metadata["holder"] == "alice@laptop"


def test_a_repeated_request_gets_the_same_lease(leases: Leases) -> None:
    assert take(leases, "alice", request="r") == take(leases, "alice", request="r")


def test_an_abandoned_lease_frees_itself_and_the_next_has_a_larger_number(
    leases: Leases, clock: Clock
) -> None:
    first = take(leases, "alice", 60)
    clock.wait(61)
    assert leases.current() is None
    assert take(leases, "bob") == first + 1
    with pytest.raises(FailedPrecondition, match="bob holds it now") as caught:
        leases.check(first, "alice")
    assert caught.value.reason == "LEASE_LOST"


def test_renewing_starts_the_term_anew(leases: Leases, clock: Clock) -> None:
    number = take(leases, "alice", 60)
    clock.wait(50)
    leases.renew(number, "alice", 60 * SECOND)
    clock.wait(50)
    assert leases.check(number, "alice").holder == "alice"


def test_a_lease_in_use_outlasts_its_term(leases: Leases, clock: Clock, used: set[int]) -> None:
    number = take(leases, "alice", 60)
    used.add(number)
    clock.wait(3600)
    assert leases.check(number, "alice")
    used.clear()
    assert leases.current() is None


def test_a_number_is_of_use_to_its_holder_only(leases: Leases) -> None:
    number = take(leases, "alice")
    with pytest.raises(FailedPrecondition, match="alice holds it now"):
        leases.renew(number, "bob", SECOND)


def release(leases: Leases, journal: Journal, number: int, holder: str, *, force: bool) -> bool:
    over = leases.to_release(number, holder, force=force)
    if over is None:
        return False
    journal.keep_lease(over)
    leases.released()
    return True


def test_somebody_elses_lease_ends_by_force_only(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path)
    leases = Leases(journal, lambda _: False, clock)
    number = take(leases, "alice")
    with pytest.raises(FailedPrecondition, match="alice holds this device"):
        release(leases, journal, number, "bob", force=False)
    assert release(leases, journal, number, "bob", force=True)
    assert not release(leases, journal, number, "alice", force=False)


def test_renewing_never_shortens(leases: Leases) -> None:
    number = take(leases, "alice", 7200)
    leases.renew(number, "alice", 600 * SECOND)
    assert leases.remaining_ns() == 7200 * SECOND


def test_a_lease_that_ran_out_does_not_come_back_with_a_clock_that_does(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(Journal(tmp_path), lambda _: False, clock)
    take(leases, "alice", 60)
    clock.wait(61)
    assert leases.current() is None
    monkeypatch.setattr("time.time_ns", lambda: 10**9)
    assert Leases(Journal(tmp_path), lambda _: False, clock).current() is None


def test_a_lease_survives_a_restart_but_not_beyond_its_term(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Leases(Journal(tmp_path), lambda _: False, clock)
    number = take(first, "alice", 600)
    # The wall clock goes back by years while the agent is down.
    monkeypatch.setattr("time.time_ns", lambda: 10**9)
    later = Leases(Journal(tmp_path), lambda _: False, clock)
    assert later.check(number, "alice")
    assert later.remaining_ns() == 600 * SECOND
    clock.wait(601)
    assert later.current() is None
    assert take(later, "bob") == number + 1


def test_numbers_never_go_back_after_a_release_and_a_restart(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path)
    leases = Leases(journal, lambda _: False, clock)
    number = take(leases, "alice")
    release(leases, journal, number, "alice", force=False)
    again = Leases(Journal(tmp_path), lambda _: False, clock)
    assert again.current() is None
    assert take(again, "bob") == number + 1
