"""What the end of an attempt makes of its job."""

from __future__ import annotations

import pytest

from penstock.actors.results import conclude_attempt, not_run_result
from penstock.domain.calculation import BLAMELESS, Exit, FailureClass, Outcome
from penstock.domain.resources import Resources
from penstock.domain.retry import BLAMELESS_MAX, RetryPolicy
from penstock.domain.states import AttemptState, JobState
from penstock.store.rows import AttemptResult, OpenAttempt

ATTEMPT = OpenAttempt(0, 7, 2, "jobs/0000/7/2", AttemptState.RUNNING)
EXIT = Exit(1, None, 10.0, 20.0)
HAD = Resources(memory_mb=1000, walltime_s=3600)


def conclude(
    failure: FailureClass | None,
    facts: tuple[int, int, bool] = (0, 0, False),
    policy: RetryPolicy = RetryPolicy(3, 5.0),  # noqa: B008 - frozen
    *,
    cancelled: bool = False,
) -> AttemptResult:
    outcome = Outcome(failure, None if failure is None else "it said so", final_energy_hartree=-1.0)
    return conclude_attempt("U", ATTEMPT, EXIT, outcome, facts, policy, had=HAD, now=100.0, cancelled=cancelled)


def states(result: AttemptResult) -> tuple[AttemptState, JobState]:
    return result.attempt_state, result.job_state


@pytest.mark.parametrize("cancelled", [False, True])
def test_success_counts_even_when_it_was_to_be_cancelled(cancelled: bool) -> None:
    result = conclude(None, cancelled=cancelled)
    assert states(result) == (AttemptState.COMPLETED, JobState.COMPLETED)
    assert result.event is not None
    assert (result.event.kind, result.event.data["energy_hartree"]) == ("job_completed", -1.0)
    assert (result.blamed, result.blameless, result.failure) == (0, 0, None)


@pytest.mark.parametrize("failure", FailureClass)
def test_what_was_cancelled_and_failed_is_cancelled_whatever_the_failure(failure: FailureClass) -> None:
    result = conclude(failure, cancelled=True)
    assert states(result) == (AttemptState.CANCELLED, JobState.CANCELLED)
    assert (result.blamed, result.blameless, result.not_before) == (0, 0, None)


def test_a_failure_with_tries_left_is_tried_again_after_the_delay() -> None:
    result = conclude(FailureClass.EXIT_CODE, facts=(1, 0, False))
    assert states(result) == (AttemptState.FAILED, JobState.READY)
    assert (result.blamed, result.blameless, result.not_before) == (1, 0, 105.0)
    assert result.event is not None
    assert result.event.kind == "job_retried"


def test_the_last_try_leaves_the_job_failed() -> None:
    result = conclude(FailureClass.EXIT_CODE, facts=(2, 0, False))
    assert states(result) == (AttemptState.FAILED, JobState.FAILED)
    assert result.not_before is None
    assert result.event is not None
    assert result.event.kind == "job_failed"
    assert result.event.data["decision"] == "attempt 3 of 3"


def test_a_walltime_is_a_timeout() -> None:
    result = conclude(FailureClass.WALLTIME, facts=(2, 0, False))
    assert states(result) == (AttemptState.TIMEOUT, JobState.TIMEOUT)
    assert states(conclude(FailureClass.WALLTIME)) == (AttemptState.TIMEOUT, JobState.READY)


@pytest.mark.parametrize("failure", sorted(BLAMELESS))
def test_what_is_not_the_calculations_fault_costs_no_attempt(failure: FailureClass) -> None:
    result = conclude(failure, facts=(2, 3, False))
    assert states(result) == (AttemptState.FAILED, JobState.READY)
    assert (result.blamed, result.blameless) == (0, 1)
    given_up = conclude(failure, facts=(0, BLAMELESS_MAX, False))
    assert given_up.job_state is JobState.FAILED


def test_a_marked_job_is_never_run_again() -> None:
    assert conclude(FailureClass.EXIT_CODE, facts=(0, 0, True)).job_state is JobState.FAILED
    assert conclude(FailureClass.RUNNER_LOST, facts=(0, 0, True)).job_state is JobState.FAILED


def test_an_attempt_that_never_started_leaves_its_job_ready_or_cancelled() -> None:
    ready = not_run_result("U", ATTEMPT, "no runner", cancelled=False)
    assert states(ready) == (AttemptState.NOT_RUN, JobState.READY)
    assert (ready.blamed, ready.blameless, ready.exit, ready.outcome) == (0, 0, None, None)
    cancelled = not_run_result("U", ATTEMPT, "no runner", cancelled=True)
    assert states(cancelled) == (AttemptState.CANCELLED, JobState.CANCELLED)
