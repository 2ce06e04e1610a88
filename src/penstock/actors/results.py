"""What the end of an attempt makes of its job: a decision over values."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from penstock.domain.calculation import BLAMELESS, Exit, FailureClass, Outcome, Resume
from penstock.domain.remedy import GOES_ON, AppliedRemedy, NoRemedy, Remedy, Rule, decide_remedy
from penstock.domain.resources import Resources
from penstock.domain.retry import Again, GiveUp, RetryPolicy, decide_retry
from penstock.domain.states import AttemptState, JobState
from penstock.domain.subject import overlaid
from penstock.store.events import Event
from penstock.store.rows import AttemptResult, JobFacts, OpenAttempt

_FROM_THE_START: Final = "again as it began, for the failed attempt left nothing to go on from"


class Response(msgspec.Struct, frozen=True):
    """How a workflow answers failures: by which remedies, and by which policy where none applies.

    `parameters` are those of the step, JSON; `parameters_type` is what changed ones must fit.
    """

    policy: RetryPolicy
    parameters: str
    parameters_type: type[msgspec.Struct]
    rules: tuple[Rule, ...] = ()
    remedies_total: int = 0


def conclude_attempt(  # noqa: PLR0913 - a decision over everything that is known
    ulid: str,
    attempt: OpenAttempt,
    exit_: Exit,
    outcome: Outcome,
    facts: JobFacts,
    response: Response,
    *,
    had: Resources,
    now: float,
    cancelled: bool,
) -> AttemptResult:
    """How an attempt ended that `had` these resources, and what follows; `facts` are those before it."""
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
    timeout = failure is FailureClass.WALLTIME
    message = outcome.message or str(failure)
    failed = AttemptResult(
        ulid,
        attempt,
        AttemptState.TIMEOUT if timeout else AttemptState.FAILED,
        JobState.TIMEOUT if timeout else JobState.FAILED,
        exit_,
        outcome,
        failure,
        message,
    )
    remedy = _seek_remedy(failure, outcome, facts, response, had)
    if isinstance(remedy, Remedy):
        return _remedied(failed, remedy, facts, response)
    return _retried(failed, remedy, facts, response.policy, had, now)


def _seek_remedy(
    failure: FailureClass, outcome: Outcome, facts: JobFacts, response: Response, had: Resources
) -> Remedy | NoRemedy | None:
    """What the table of rules says; changed parameters that the engine could not read are none."""
    if facts.never_rerun or failure is FailureClass.RUNNER_LOST:
        return None
    text = "\n".join(filter(None, (outcome.message, outcome.evidence.text if outcome.evidence else None)))
    policy = response.policy
    remedy = decide_remedy(
        response.rules,
        failure,
        text,
        msgspec.json.decode(_parameters(facts, response)),
        Counter(applied.rule for applied in facts.remedies),
        total=response.remedies_total,
        had=had,
        most=msgspec.structs.replace(had, memory_mb=policy.memory_max_mb, walltime_s=policy.walltime_max_s),
    )
    if isinstance(remedy, Remedy):
        try:
            msgspec.convert(remedy.parameters, response.parameters_type)
        except msgspec.ValidationError as error:
            return NoRemedy(f"rule {remedy.rule} makes parameters that the engine cannot take: {error}")
    return remedy


def _remedied(failed: AttemptResult, remedy: Remedy, facts: JobFacts, response: Response) -> AttemptResult:
    """Tried again, changed. It costs none of the tries of `[retry]`: remedies have limits of their own."""
    attempt = failed.attempt
    resume = _resume(failed) if remedy.restart else None
    changes = remedy.changes
    if resume is None:
        changes = tuple(_FROM_THE_START if change == GOES_ON else change for change in changes)
    applied = AppliedRemedy(remedy.rule, changes, attempt.number)
    decision = f"rule {remedy.rule}: {', '.join(changes)}"
    data = _told(failed, decision) | {"rule": remedy.rule, "changes": list(changes)}
    had = msgspec.json.decode(_parameters(facts, response))
    return msgspec.structs.replace(
        failed,
        job_state=JobState.READY,
        event=Event("job_remedied", attempt.job_id, data),
        memory_mb=remedy.memory_mb,
        walltime_s=remedy.walltime_s,
        parameters=msgspec.json.encode(remedy.parameters).decode() if remedy.parameters != had else None,
        remedies=msgspec.json.encode((*facts.remedies, applied)).decode(),
        resume=resume,
    )


def _parameters(facts: JobFacts, response: Response) -> str:
    """The engine's parameters (JSON) that the job's attempt had."""
    return facts.parameters or overlaid(response.parameters, facts.own)


def _resume(failed: AttemptResult) -> Resume | None:
    outcome = failed.outcome
    if outcome is None or not (outcome.checkpoint or outcome.geometry or outcome.deck):
        return None
    return Resume(failed.attempt.directory, tuple(outcome.checkpoint), outcome.geometry, outcome.deck)


def _retried(
    failed: AttemptResult,
    remedy: NoRemedy | None,
    facts: JobFacts,
    policy: RetryPolicy,
    had: Resources,
    now: float,
) -> AttemptResult:
    """What `[retry]` says; `remedy`: why no rule was applied, where there were some."""
    assert failed.failure is not None
    blameless = int(failed.failure in BLAMELESS)
    blamed = 1 - blameless
    decision: Again | GiveUp
    if remedy is not None and remedy.person:
        decision = GiveUp(remedy.reason)
    else:
        counts = (facts.blamed + blamed, facts.blameless + blameless)
        never_rerun = facts.never_rerun
        decision = decide_retry(
            policy, failed.failure, *counts, never_rerun=never_rerun, had=had, progress=_progress(failed)
        )
        if remedy is not None:
            decision = msgspec.structs.replace(decision, reason=f"{remedy.reason}; {decision.reason}")
    again = decision if isinstance(decision, Again) else None
    counts_at_all = again is None or again.counts
    event = Event("job_retried" if again else "job_failed", failed.attempt.job_id, _told(failed, decision.reason))
    return msgspec.structs.replace(
        failed,
        job_state=JobState.READY if again else failed.job_state,
        not_before=now + again.after_s if again and again.after_s else None,
        blamed=blamed if counts_at_all else 0,
        blameless=blameless if counts_at_all else 0,
        event=event,
        memory_mb=again.memory_mb if again else None,
        walltime_s=again.walltime_s if again else None,
        resume=_resume(failed) if again and _progress(failed) > 0 else None,
    )


def _progress(failed: AttemptResult) -> int:
    return failed.outcome.progress if failed.outcome is not None else 0


def _told(failed: AttemptResult, decision: str) -> dict[str, Any]:
    """What the history keeps of a failure."""
    told = {
        "attempt": failed.attempt.number,
        "failure": failed.failure,
        "message": failed.message,
        "decision": decision,
    }
    evidence = failed.outcome.evidence if failed.outcome else None
    return told | ({"evidence": f"{evidence.file}:{evidence.line}: {evidence.text}"} if evidence else {})


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
