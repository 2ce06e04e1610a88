"""Who is next: decisions about locks, without a database."""

from __future__ import annotations

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.locks import (
    PATIENCE_S,
    PRIORITY_S,
    Lease,
    Standing,
    Waiter,
    check_lock_name,
    next_in_line,
    tasks_granted,
    without,
)

LAST = (float("inf"), 0.0)


def waiter(name: str, since: float, priority: int = 0, **needs: int) -> Waiter:
    return Waiter(name, needs or {"orca": 1}, priority, int(since), since, since)


def lease(count: int, *, expires_at: float | None = None, process: str | None = None, name: str = "orca") -> Lease:
    return Lease(name, 1, "somebody", count, 0.0, expires_at, process)


def test_as_much_is_had_as_is_free_and_not_more_than_asked_for() -> None:
    standing = Standing({"orca": 5}, (lease(2),))
    assert tasks_granted(standing, {"orca": 1}, 10, LAST) == 3
    assert tasks_granted(standing, {"orca": 1}, 2, LAST) == 2
    assert tasks_granted(standing, {"orca": 2}, 10, LAST) == 1
    assert tasks_granted(standing, {"orca": 4}, 10, LAST) == 0
    assert tasks_granted(standing, {"orca": 1, "laser": 1}, 10, LAST) == 1, "there is one of what nobody spoke of"


def test_a_large_wish_is_not_starved_by_small_ones() -> None:
    standing = Standing({"orca": 4}, (lease(2),), (waiter("large", 1.0, orca=4),))
    assert tasks_granted(standing, {"orca": 1}, 1, LAST) == 0
    assert tasks_granted(standing, {"laser": 1}, 1, LAST) == 1, "who wants something else does not wait for it"
    free = Standing({"orca": 4}, (), standing.waiters)
    assert [each.name for each in next_in_line(free)] == ["large"]


def test_who_wants_more_than_there_is_holds_nobody_up() -> None:
    standing = Standing({"orca": 4}, (), (waiter("too large", 1.0, orca=5), waiter("second", 2.0)))
    assert [each.name for each in next_in_line(standing)] == ["second"]


def test_priority_overtakes_but_not_for_ever() -> None:
    early, urgent = waiter("early", 0.0), waiter("urgent", 30.0, priority=1)
    late = waiter("late", PRIORITY_S + 1.0, priority=1)
    order = sorted([early, urgent, late], key=lambda each: each.rank)
    assert [each.name for each in order] == ["urgent", "early", "late"]


def test_only_what_ends_by_the_clock_is_ended_by_it() -> None:
    timed, proven, dead = lease(1, expires_at=10.0), lease(1), lease(1, expires_at=99.0, process="dead")
    standing = Standing({}, (timed, proven, dead), (waiter("gone", 1.0), waiter("there", 1e9)))
    assert without(standing, 9.0)[0] == []
    assert without(standing, 10.0)[0] == [timed]
    assert without(standing, 1e9, {"dead"}.__contains__)[0] == [timed, dead]
    assert [each.name for each in without(standing, 1.0 + PATIENCE_S)[1]] == ["gone"]


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x" * 65, "ä"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(SpecError, match="cannot name a lock"):
        check_lock_name(name)
