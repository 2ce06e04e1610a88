"""No minute has more calls than it may, and nothing is asked more often than it is worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.actors.call_budget import Budget, QueryBudget


@given(st.floats(0.5, 600.0), st.floats(1.0, 100.0), st.lists(st.floats(0.0, 30.0), max_size=200))
def test_no_minute_has_more_than_the_budget(per_min: float, burst: float, pauses: list[float]) -> None:
    budget, now, calls = Budget(per_min, 0.0, burst), 0.0, list[float]()
    for pause in pauses:
        now += pause
        wait_s = budget.wait_s(now)
        now += wait_s
        assert budget.left(now) > 1.0 - 1e-6
        budget.take(now)
        calls.append(now)
    most = max((sum(at <= other < at + 60.0 for other in calls) for at in calls), default=0)
    assert most <= max(per_min, 2) + 1e-6


def test_a_burst_goes_at_once_and_the_rest_trickles() -> None:
    budget = Budget(12.0, 0.0)
    for _ in range(4):
        assert budget.wait_s(0.0) == 0.0
        budget.take(0.0)
    assert budget.wait_s(0.0) == pytest.approx(7.5)
    assert budget.wait_s(7.5) == pytest.approx(0.0)
    assert budget.left(3600.0) == pytest.approx(4.0)
    assert Budget(150.0, 0.0, 30.0).left(0.0) == 30.0
    assert Budget(150.0, 0.0, 30.0).wait_s(0.0) == 0.0


def test_what_is_not_urgent_waits_for_its_turn() -> None:
    budget = QueryBudget(2.0, 12.0, 0.0)
    assert budget.wait_s(0.0, urgent=False) == 0.0
    budget.take(0.0)
    assert budget.wait_s(1.0, urgent=False) == pytest.approx(29.0)
    assert budget.wait_s(1.0, urgent=True) == 0.0
    assert budget.wait_s(30.0, urgent=False) == 0.0


def test_a_slow_scheduler_is_asked_less() -> None:
    budget = QueryBudget(2.0, 12.0, 0.0)
    budget.take(0.0)
    budget.answered(2.0, complained=False)
    assert budget.wait_s(2.0, urgent=True) == pytest.approx(38.0)  # it is busy with us a twentieth of the time
    budget.take(40.0)
    budget.answered(0.0, complained=False)
    assert budget.wait_s(40.0, urgent=True) == pytest.approx(20.0)


def test_a_complaint_doubles_the_pause_and_praise_halves_it() -> None:
    budget, now = QueryBudget(2.0, 12.0, 0.0), 0.0
    pauses = []
    for complained in (True, True, True, False, False, False, False):
        budget.take(now)
        budget.answered(0.01, complained=complained)
        pauses.append(budget.wait_s(now, urgent=False))
        now += 10_000.0
    assert pauses == pytest.approx([60.0, 120.0, 240.0, 120.0, 60.0, 30.0, 30.0])
    for _ in range(50):
        budget.answered(0.01, complained=True)
    budget.take(now)
    assert budget.wait_s(now, urgent=False) == pytest.approx(30.0 * 64)


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans()), max_size=100))
def test_who_only_looks_sees_the_same_and_changes_nothing(steps: list[tuple[float, bool]]) -> None:
    watched, alone, now = Budget(12.0, 0.0), Budget(12.0, 0.0), 0.0
    for pause, takes in steps:
        now += pause
        assert watched.peek(now) == pytest.approx(alone.left(now))
        if takes:
            watched.take(now)
            alone.take(now)
    assert watched.left(now) == pytest.approx(alone.left(now))


def test_it_tells_how_many_are_left() -> None:
    budget = QueryBudget(2.0, 12.0, 0.0)
    assert (budget.active_per_min, budget.left(0.0)) == (12.0, 4.0)
    budget.take(0.0)
    assert budget.left(0.0) == pytest.approx(3.0)
