"""What is said before anything is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ctl.top.seen import JOBS, job, workflow

from penstock.control.messages import Cancel, Changed, Pause, Resume, Retry
from penstock.ctl.top.action import FAILED, Verb, outcome, propose, propose_for_jobs, ranges
from penstock.ctl.top.state import Dialog, Notice
from penstock.domain.states import WorkflowState
from penstock.domain.views import Selection

RUNNING = workflow("w")


def said(found: Dialog | Notice) -> str:
    return " ".join((found.title, *found.lines)) if isinstance(found, Dialog) else found.text


def test_pausing_says_what_waits_and_what_runs_on() -> None:
    found = propose(Verb.PAUSE, RUNNING)
    assert isinstance(found, Dialog)
    assert found.action.request == Pause("w")
    assert "Pause the whole workflow w?" in said(found)
    assert "10 jobs that wait" in said(found)
    assert "(4 queued, 5 running) runs on" in said(found)


def test_cancelling_says_what_is_stopped_and_what_stays() -> None:
    found = propose(Verb.CANCEL, RUNNING)
    assert isinstance(found, Dialog)
    assert found.action.request == Cancel("w")
    assert "(4 queued, 5 running) is stopped" in said(found)
    assert "10 jobs not yet begun are cancelled" in said(found)
    assert "21 jobs that ended stay" in said(found)


def test_retrying_takes_what_failed_or_ran_out_of_time() -> None:
    found = propose(Verb.RETRY, workflow("w", "failed"))
    assert isinstance(found, Dialog)
    assert found.action.request == Retry("w", FAILED)
    assert "3 jobs (2 failed, 1 out of time) are made ready again" in said(found)
    assert "w, which is failed, runs again" in said(found)


@pytest.mark.parametrize("state", ["paused", "faulted", "failed", "cancelled"])
def test_resuming_gives_the_reason_it_stood_still_for(state: str) -> None:
    found = propose(Verb.RESUME, workflow("w", state, reason="because"))
    assert isinstance(found, Dialog)
    assert found.action.request == Resume("w")
    assert f"It is {state}: because." in said(found)


@pytest.mark.parametrize(
    ("verb", "states"),
    [
        (Verb.PAUSE, set(WorkflowState) - {"running"}),
        (Verb.CANCEL, set(WorkflowState) - {"running", "paused"}),
        (Verb.RESUME, {"running", "completed"}),
    ],
)
def test_where_there_is_nothing_to_do_there_is_nothing_to_ask(verb: Verb, states: set[str]) -> None:
    for state in WorkflowState:
        found = propose(verb, workflow("w", state))
        assert isinstance(found, Notice) == (state in states), state
    assert isinstance(propose(Verb.RETRY, workflow("w", states={"completed": 3})), Notice)


def test_jobs_are_named_and_those_left_alone_are_counted() -> None:
    found = propose_for_jobs(Verb.CANCEL, RUNNING, JOBS)
    assert isinstance(found, Dialog)
    assert found.action.request == Cancel("w", Selection(jobs=(7, 9, 10, 11, 12, 13)))
    assert "Cancel 6 jobs (7, 9-13) of w?" in said(found)
    assert "2 jobs under way (9-10) are stopped" in said(found)
    assert "2 jobs not yet begun (11-12) are cancelled" in said(found)
    assert "2 jobs of those chosen are left" in said(found)


@pytest.mark.parametrize(
    ("verb", "state", "told"),
    [
        (Verb.PAUSE, "ready", "1 job (3) is held"),
        (Verb.RESUME, "held", "1 job (3) is released"),
        (Verb.RETRY, "failed", "1 job (3) is made ready again"),
        (Verb.RETRY, "completed", "Of these 1 completed (3): the result is set aside"),
        (Verb.CANCEL, "running", "1 job under way (3) is stopped"),
    ],
)
def test_one_job_has_its_name_in_the_question(verb: Verb, state: str, told: str) -> None:
    found = propose_for_jobs(verb, RUNNING, [job(3, state)])
    assert isinstance(found, Dialog)
    assert "job 3 (mol-3)" in found.title
    assert told in said(found)


@pytest.mark.parametrize(
    ("verb", "state"),
    [(Verb.PAUSE, "running"), (Verb.RESUME, "ready"), (Verb.RETRY, "running"), (Verb.CANCEL, "completed")],
)
def test_jobs_that_it_does_not_fit_are_not_asked_about(verb: Verb, state: str) -> None:
    assert isinstance(propose_for_jobs(verb, RUNNING, [job(3, state)]), Notice)
    assert isinstance(propose_for_jobs(Verb.RETRY, RUNNING, [job(3, "failed", never_rerun=True)]), Notice)


@given(st.sets(st.integers(1, 40), min_size=1))
def test_ranges_name_each_number_once(numbers: set[int]) -> None:
    text = ranges(numbers)
    named = [
        number
        for part in text.removesuffix(", ...").split(", ")
        for number in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)
    ]
    assert len(named) == len(set(named))
    assert set(named) <= numbers
    assert text.endswith("...") or set(named) == numbers


def test_what_came_of_it() -> None:
    found = propose(Verb.PAUSE, RUNNING)
    assert isinstance(found, Dialog)
    assert outcome(found.action, Changed(1, 2, "two are marked")) == (
        "w: paused, 1 job, 2 left as they were (two are marked)"
    )
