"""What the end of an attempt makes of its job."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.actors.results import Response, conclude_attempt, not_run_result
from penstock.domain.calculation import BLAMELESS, Evidence, Exit, FailureClass, Outcome, Resume
from penstock.domain.remedy import AppliedRemedy, Change, Rule
from penstock.domain.resources import Resources
from penstock.domain.retry import BLAMELESS_MAX, RetryPolicy
from penstock.domain.states import AttemptState, JobState
from penstock.store.rows import AttemptResult, JobFacts, OpenAttempt

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
    response = Response(policy, "{}", Parameters)
    return conclude_attempt(
        "U", ATTEMPT, EXIT, outcome, JobFacts(*facts), response, had=HAD, now=100.0, cancelled=cancelled
    )


class Parameters(msgspec.Struct, frozen=True):
    cycles: int = 50
    keywords: tuple[str, ...] = ()


MORE = Rule("more", FailureClass.SCF_NOT_CONVERGED, limit=2, change={"cycles": Change(add=100)})
DAMP = Rule("damp", FailureClass.SCF_NOT_CONVERGED, change={"keywords": Change(append=["SlowConv"])}, restart=True)
LONGER = Rule("longer", FailureClass.WALLTIME, walltime=2.0, walltime_most_s=10_000, restart=True, limit=5)
ASK = Rule("ask", FailureClass.BASIS_ERROR, person="give the basis set")
WRONG = Rule("wrong", FailureClass.MPI_ERROR, change={"cycles": Change(set="many")})


PLAIN = '{"cycles": 50, "keywords": []}'
NO_FACTS = JobFacts()
ONCE = RetryPolicy()


def mended(
    outcome: Outcome,
    facts: JobFacts = NO_FACTS,
    policy: RetryPolicy = ONCE,
    total: int = 3,
) -> AttemptResult:
    response = Response(policy, PLAIN, Parameters, (MORE, DAMP, LONGER, ASK, WRONG), total)
    return conclude_attempt("U", ATTEMPT, EXIT, outcome, facts, response, had=HAD, now=100.0, cancelled=False)


def told(result: AttemptResult) -> tuple[str, str]:
    assert result.event is not None
    return result.event.kind, result.event.data["decision"]


def test_a_remedy_changes_the_parameters_and_is_recorded() -> None:
    evidence = Evidence("stdout", 7, "SCF NOT CONVERGED AFTER 50 CYCLES")
    result = mended(Outcome(FailureClass.SCF_NOT_CONVERGED, "no convergence", evidence=evidence))
    assert states(result) == (AttemptState.FAILED, JobState.READY)
    assert told(result) == ("job_remedied", "rule more: cycles 50 → 150")
    assert result.event is not None
    assert result.event.data["evidence"] == "stdout:7: SCF NOT CONVERGED AFTER 50 CYCLES"
    assert (result.blamed, result.blameless, result.resume) == (0, 0, None)
    assert json.loads(result.parameters or "") == {"cycles": 150, "keywords": []}
    assert json.loads(result.remedies or "") == [{"rule": "more", "changes": ["cycles 50 → 150"], "after": 2}]


def test_remedies_follow_one_another_within_their_limits_and_the_last_goes_on_from_the_files() -> None:
    outcome = Outcome(FailureClass.SCF_NOT_CONVERGED, geometry="1\n\nH 0 0 1\n", checkpoint=["job.gbw"])
    used = [AppliedRemedy("more", ("cycles",), n) for n in (1, 2)]
    facts = JobFacts(parameters='{"cycles": 250, "keywords": []}', remedies=tuple(used))
    result = mended(outcome, facts)
    assert told(result)[1].startswith('rule damp: keywords [] → ["SlowConv"], on from the last')
    assert result.resume == Resume("jobs/0000/7/2", ("job.gbw",), "1\n\nH 0 0 1\n")
    assert json.loads(result.parameters or "") == {"cycles": 250, "keywords": ["SlowConv"]}
    exhausted = mended(outcome, JobFacts(remedies=(*used, AppliedRemedy("damp", (), 3))), total=9)
    assert states(exhausted) == (AttemptState.FAILED, JobState.FAILED)
    assert told(exhausted)[1].startswith("no remedy is left: more was used 2 of 2 times; damp was used 1 of 1 times; ")
    limited = mended(outcome, JobFacts(remedies=tuple(used)), total=2)
    assert "2 remedies were tried, and no more are allowed" in told(limited)[1]


def test_what_left_nothing_to_go_on_from_is_told_to_begin_again() -> None:
    result = mended(Outcome(FailureClass.WALLTIME))
    assert result.resume is None
    assert told(result)[1].endswith(
        "01:00:00 → 02:00:00, again as it began, for the failed attempt left nothing to go on from"
    )


def test_more_walltime_up_to_what_there_is() -> None:
    outcome = Outcome(FailureClass.WALLTIME)
    result = mended(outcome)
    assert (result.walltime_s, states(result)) == (7200, (AttemptState.TIMEOUT, JobState.READY))
    assert mended(outcome, policy=RetryPolicy(walltime_max_s=5000)).walltime_s == 5000


def test_what_no_program_can_mend_waits_for_a_person_whatever_the_policy() -> None:
    result = mended(Outcome(FailureClass.BASIS_ERROR), policy=RetryPolicy(9))
    assert states(result) == (AttemptState.FAILED, JobState.FAILED)
    assert told(result) == ("job_failed", "needs a person: give the basis set")


def test_a_rule_whose_parameters_the_engine_cannot_take_breaks_nothing() -> None:
    result = mended(Outcome(FailureClass.MPI_ERROR))
    assert states(result) == (AttemptState.FAILED, JobState.FAILED)
    assert "rule wrong makes parameters that the engine cannot take" in told(result)[1]


def test_never_rerun_and_lost_attempts_are_not_mended() -> None:
    assert told(mended(Outcome(FailureClass.SCF_NOT_CONVERGED), JobFacts(never_rerun=True)))[0] == "job_failed"
    assert told(mended(Outcome(FailureClass.RUNNER_LOST)))[0] == "job_retried"


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


def progressed(failure: FailureClass, progress: int, policy: RetryPolicy = ONCE) -> AttemptResult:
    files = ["state.npz", "positions.npy"] if progress else []
    return mended(Outcome(failure, checkpoint=files, progress=progress), JobFacts(0, 3), policy)


@pytest.mark.parametrize("failure", [FailureClass.RUNNER_LOST, FailureClass.WALLTIME])
def test_an_attempt_that_was_stopped_is_gone_on_from_at_no_cost(failure: FailureClass) -> None:
    outcome = Outcome(failure, checkpoint=["state.npz", "positions.npy"], progress=400)
    response = Response(ONCE, PLAIN, Parameters)
    facts = JobFacts(0, 3)
    result = conclude_attempt("U", ATTEMPT, EXIT, outcome, facts, response, had=HAD, now=100.0, cancelled=False)
    assert result.job_state is JobState.READY
    assert (result.blamed, result.blameless) == (0, 0)
    assert result.resume == Resume("jobs/0000/7/2", ("state.npz", "positions.npy"))
    assert "after 400 more steps; the next goes on from there" in told(result)[1]


def test_without_progress_the_next_goes_on_from_where_the_last_did_and_it_counts() -> None:
    result = progressed(FailureClass.RUNNER_LOST, 0)
    assert (result.blamed, result.blameless, result.resume) == (0, 1, None)


def test_what_broke_goes_on_from_its_checkpoint_too_but_counts() -> None:
    result = progressed(FailureClass.ENGINE_ERROR, 400, RetryPolicy(2))
    assert (result.job_state, result.blamed) == (JobState.READY, 1)
    assert result.resume == Resume("jobs/0000/7/2", ("state.npz", "positions.npy"))
    last = progressed(FailureClass.ENGINE_ERROR, 400)
    assert (last.job_state, last.blamed, last.resume) == (JobState.FAILED, 1, None)
