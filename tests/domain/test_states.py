"""The table of attempt states."""

from __future__ import annotations

from itertools import product

from penstock.domain.states import (
    ACTIVE,
    ATTEMPT_ENDED,
    ATTEMPT_TRANSITIONS,
    ENDED,
    PUBLIC_STATUS,
    AttemptState,
    JobState,
    Status,
    may_follow,
)

LIVE = set(AttemptState) - ATTEMPT_ENDED
ORDER = [AttemptState.INTENT, AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.COLLECTING]


def test_every_state_is_in_the_tables() -> None:
    assert set(ATTEMPT_TRANSITIONS) == set(AttemptState)
    assert set(PUBLIC_STATUS) == set(JobState)
    assert set(PUBLIC_STATUS.values()) == set(Status)


def test_nothing_follows_an_end_and_nothing_follows_itself() -> None:
    for before, after in product(AttemptState, AttemptState):
        if before in ATTEMPT_ENDED or before is after:
            assert not may_follow(before, after)


def test_every_live_state_can_end_and_none_can_be_begun_again() -> None:
    for state in LIVE:
        assert may_follow(state, AttemptState.COMPLETED)
        assert not may_follow(state, AttemptState.INTENT)


def test_attempts_only_move_forward_except_out_of_doubt() -> None:
    for place, before in enumerate(ORDER):
        for after in ORDER[:place]:
            assert not may_follow(before, after)
        assert may_follow(before, AttemptState.IN_DOUBT) == (before is not AttemptState.COLLECTING)
    assert all(may_follow(AttemptState.IN_DOUBT, after) for after in ORDER[1:])


def test_what_has_started_can_no_longer_never_have_run() -> None:
    not_run = {state for state in LIVE if may_follow(state, AttemptState.NOT_RUN)}
    assert not_run == {AttemptState.INTENT, AttemptState.QUEUED, AttemptState.IN_DOUBT}


def test_active_and_ended_jobs_and_those_that_wait_are_all_there_are() -> None:
    assert {JobState.READY, JobState.HELD, JobState.WAITING} | ACTIVE | ENDED == set(JobState)
    assert not ACTIVE & ENDED
    assert {PUBLIC_STATUS[state] for state in ENDED} == set(Status) - {Status.READY, Status.RUNNING}
