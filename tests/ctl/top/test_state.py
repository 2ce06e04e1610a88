"""Cursors, and what the daemon is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.top.picture import OneCluster, OneJob, Page
from penstock.ctl.top.state import (
    JOB_KINDS,
    ClusterView,
    Cursor,
    HelpView,
    JobsView,
    JobView,
    Overview,
    State,
    focus_of,
    moved,
    selection_of,
    settled,
)
from penstock.domain.views import Filter, Selection

KEYS = st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=20)


@given(KEYS, KEYS, st.integers(0, 30), st.integers(0, 30), st.integers(1, 12), st.integers(-40, 40))
def test_a_cursor_is_on_a_row_that_is_there_and_shown(
    before: list[str], after: list[str], index: int, top: int, height: int, step: int
) -> None:
    cursor = moved(settled(Cursor(index=index, top=top), before, height), before, step)
    found = settled(cursor, after, height)
    if after:
        assert after[found.index] == found.key
        assert found.top <= found.index < found.top + height
        assert found.top <= max(0, len(after) - height)
    if cursor.key in after:
        assert found.key == cursor.key
    assert settled(found, after, height) == found


def test_a_cursor_stays_with_its_row_when_others_come() -> None:
    cursor = settled(Cursor("c", 2), ["a", "b", "c"], 5)
    assert settled(cursor, ["x", "a", "b", "c"], 5).index == 3
    assert settled(cursor, ["a", "b", "d"], 5).key == "d"


@pytest.mark.parametrize(
    ("view", "focus"),
    [
        (Overview(), None),
        (JobsView("w", offset=32), Page("w", Selection(), "failure", 32, 16)),
        (JobView("w", 7, 2), OneJob("w", 7, 2)),
        (ClusterView("hpc"), OneCluster("hpc")),
    ],
)
def test_what_is_on_top_is_asked_for_help_or_not(view: Overview, focus: object) -> None:
    state = State().over(view)
    assert focus_of(state) == focus
    assert focus_of(state.over(HelpView())) == focus


@pytest.mark.parametrize(
    ("wanted", "selection"),
    [
        ("", Selection()),
        ("12", Selection(jobs=(12,))),
        ("water", Selection(filters=(Filter("name", "~", "water"),))),
        ("natoms>50", Selection(filters=(Filter("natoms", ">", "50"),))),
        ("9" * 30, Selection(filters=(Filter("name", "~", "9" * 30),))),
    ],
)
def test_a_search_is_a_number_a_condition_or_a_part_of_a_name(wanted: str, selection: Selection) -> None:
    assert selection_of(JobsView("w", wanted=wanted)) == selection


def test_kinds_of_jobs_are_states_that_the_daemon_knows() -> None:
    from penstock.domain.states import JobState

    named = [state for kind in JOB_KINDS for state in kind.states]
    assert sorted(named) == sorted(JobState)
