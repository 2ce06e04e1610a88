"""Whether a failed job is tried again: a decision over values, recorded by whoever carries it out."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from penstock.domain.calculation import BLAMELESS, FailureClass
from penstock.domain.resources import Resources, render_walltime

_HOPELESS: Final = frozenset({FailureClass.INPUT_ERROR, FailureClass.CANCELLED})
BLAMELESS_MAX: Final = 20
_BACKOFF_MAX_S: Final = 300.0
_GOING_ON: Final = ", the next goes on from its files"
_STOPPED: Final = frozenset({FailureClass.WALLTIME, FailureClass.RUNNER_LOST})
WALLTIME_MAX_S: Final = 366 * 86400
MEMORY_MAX_MB: Final = 10**9


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a job is tried in all, how long to wait in between, and what the next attempt gets more.

    A growth of 1 is none. `continues`: an attempt goes on from files of the one that ran out of walltime.
    """

    max_attempts: int = 1
    delay_s: float = 0.0
    walltime_growth: float = 1.0
    walltime_max_s: int = WALLTIME_MAX_S
    memory_growth: float = 1.0
    memory_max_mb: int = MEMORY_MAX_MB
    continues: bool = False


class Again(msgspec.Struct, frozen=True):
    """Try again, not before `after_s` seconds from now; with another walltime or memory where given.

    `counts`: whether the attempt that failed is one of those the policy, or the patience with losses, allows.
    """

    after_s: float
    reason: str
    walltime_s: int | None = None
    memory_mb: int | None = None
    counts: bool = True


class GiveUp(msgspec.Struct, frozen=True):
    """Leave the job failed."""

    reason: str


def decide_retry(
    policy: RetryPolicy,
    failure: FailureClass,
    blamed: int,
    blameless: int,
    *,
    never_rerun: bool,
    had: Resources,
    progress: int = 0,
) -> Again | GiveUp:
    """What to do after a failure of an attempt that `had` these resources.

    `blamed` and `blameless` count the job's failed attempts, this one included. `progress` is how many steps further
    its checkpoint is than where it began. An attempt that was stopped and has made some costs nothing: what it did is
    not lost, and since a calculation has an end, so have attempts that each bring it nearer.
    """
    if never_rerun:
        return GiveUp("marked never-rerun")
    if failure in _HOPELESS:
        return GiveUp(f"trying again cannot help ({failure})")
    if failure in _STOPPED and progress > 0:
        reason = f"{failure} after {progress} more steps; the next goes on from there, and it costs no attempt"
        return Again(policy.delay_s, reason, counts=False)
    if failure in BLAMELESS:
        if blameless > BLAMELESS_MAX:
            return GiveUp(f"{blameless} attempts were lost without fault of the calculation; something is wrong here")
        wait = min(2.0 ** (blameless - 1), _BACKOFF_MAX_S)
        return Again(wait, f"{failure} is not the calculation's fault; it costs no attempt")
    tried = f"attempt {blamed} of {policy.max_attempts}"
    return GiveUp(tried) if blamed >= policy.max_attempts else _try_again(policy, failure, tried, had)


def _try_again(policy: RetryPolicy, failure: FailureClass, tried: str, had: Resources) -> Again | GiveUp:
    """The next attempt, with more of what this one ran out of."""
    if failure is FailureClass.WALLTIME and policy.walltime_growth > 1.0:
        return _with_more_walltime(policy, tried, had.walltime_s)
    if failure is FailureClass.OUT_OF_MEMORY and policy.memory_growth > 1.0:
        return _with_more_memory(policy, tried, had.memory_mb)
    going_on = failure is FailureClass.WALLTIME and policy.continues
    return Again(policy.delay_s, f"{tried} failed" + (_GOING_ON if going_on else ""))


def _with_more_walltime(policy: RetryPolicy, tried: str, had_s: int) -> Again | GiveUp:
    going_on = _GOING_ON if policy.continues else ""
    if had_s >= policy.walltime_max_s:
        most = f"it had the greatest walltime allowed, {render_walltime(had_s)}"
        return Again(policy.delay_s, f"{tried} failed; {most}{going_on}") if going_on else GiveUp(f"{tried}; {most}")
    more_s = min(math.ceil(had_s * policy.walltime_growth), policy.walltime_max_s)
    change = f"walltime {render_walltime(had_s)} → {render_walltime(more_s)}"
    return Again(policy.delay_s, f"{tried} failed; {change}{going_on}", walltime_s=more_s)


def _with_more_memory(policy: RetryPolicy, tried: str, had_mb: int) -> Again | GiveUp:
    if had_mb >= policy.memory_max_mb:
        return GiveUp(f"{tried}; it had the greatest memory allowed, {had_mb} MB")
    more_mb = min(math.ceil(had_mb * policy.memory_growth), policy.memory_max_mb)
    return Again(policy.delay_s, f"{tried} failed; memory {had_mb} MB → {more_mb} MB", memory_mb=more_mb)
