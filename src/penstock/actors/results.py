"""What the end of an attempt makes of its job: a decision over values."""

from __future__ import annotations

from penstock.domain.calculation import BLAMELESS, Exit, FailureClass, Outcome
from penstock.domain.resources import Resources
from penstock.domain.retry import Again, RetryPolicy, decide_retry
from penstock.domain.states import AttemptState, JobState
from penstock.store.events import Event
from penstock.store.rows import AttemptResult, OpenAttempt


def conclude_attempt(  # noqa: PLR0913 - a decision over everything that is known
    ulid: str,
    attempt: OpenAttempt,
    exit_: Exit,
    outcome: Outcome,
    facts: tuple[int, int, bool],
    policy: RetryPolicy,
    *,
    had: Resources,
    now: float,
    cancelled: bool,
) -> AttemptResult:
    """How an attempt ended that `had` these resources.

    `facts`: the job's counted and uncounted failures before this one, and its never-rerun mark.
    """
    failure = outcome.failure
    if failure is None:
        data = {"attempt": attempt.number, "energy_hartree": outcome.final_energy_hartree}
        event = Event("job_completed", attempt.job_id, data)
        return AttemptResult(ulid, attempt, AttemptState.COMPLETED, JobState.COMPLETED, exit_, outcome, event=event)
    if failure is FailureClass.CANCELLED or cancelled:
        event = Event("job_cancelled", attempt.job_id, {"attempt": attempt.number})
        return AttemptResult(
            ulid,
            attempt,
            AttemptState.CANCELLED,
            JobState.CANCELLED,
            exit_,
            outcome,
            FailureClass.CANCELLED,
            event=event,
        )
    blameless = int(failure in BLAMELESS)
    blamed = 1 - blameless
    decision = decide_retry(policy, failure, facts[0] + blamed, facts[1] + blameless, never_rerun=facts[2], had=had)
    again = decision if isinstance(decision, Again) else None
    timeout = failure is FailureClass.WALLTIME
    message = outcome.message or str(failure)
    why = {"attempt": attempt.number, "failure": failure, "message": message, "decision": decision.reason}
    ended = JobState.TIMEOUT if timeout else JobState.FAILED
    return AttemptResult(
        ulid,
        attempt,
        AttemptState.TIMEOUT if timeout else AttemptState.FAILED,
        JobState.READY if again else ended,
        exit_,
        outcome,
        failure,
        message,
        not_before=now + again.after_s if again and again.after_s else None,
        blamed=blamed,
        blameless=blameless,
        event=Event("job_retried" if again else "job_failed", attempt.job_id, why),
        memory_mb=again.memory_mb if again else None,
        walltime_s=again.walltime_s if again else None,
    )


def not_run_result(ulid: str, attempt: OpenAttempt, reason: str, *, cancelled: bool) -> AttemptResult:
    """An attempt that never started: the job is ready again, or cancelled when that was asked for."""
    data = {"attempt": attempt.number, "reason": reason}
    return AttemptResult(
        ulid,
        attempt,
        AttemptState.CANCELLED if cancelled else AttemptState.NOT_RUN,
        JobState.CANCELLED if cancelled else JobState.READY,
        None,
        None,
        message=reason,
        event=Event("job_cancelled" if cancelled else "job_not_run", attempt.job_id, data),
    )
