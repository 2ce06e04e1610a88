"""Whether a failed job is tried again: a decision over values, recorded by whoever carries it out."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.domain.calculation import BLAMELESS, FailureClass

_HOPELESS: Final = frozenset({FailureClass.INPUT_ERROR, FailureClass.CANCELLED})
BLAMELESS_MAX: Final = 20
_BACKOFF_MAX_S: Final = 300.0


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a job is tried in all, and how long to wait in between."""

    max_attempts: int = 1
    delay_s: float = 0.0


class Again(msgspec.Struct, frozen=True):
    """Try again, not before `after_s` seconds from now."""

    after_s: float
    reason: str


class GiveUp(msgspec.Struct, frozen=True):
    """Leave the job failed."""

    reason: str


def decide_retry(
    policy: RetryPolicy, failure: FailureClass, blamed: int, blameless: int, *, never_rerun: bool
) -> Again | GiveUp:
    """What to do after a failure. `blamed` and `blameless` count the job's failed attempts, this one included."""
    if never_rerun:
        return GiveUp("marked never-rerun")
    if failure in _HOPELESS:
        return GiveUp(f"trying again cannot help ({failure})")
    if failure in BLAMELESS:
        if blameless > BLAMELESS_MAX:
            return GiveUp(f"{blameless} attempts were lost without fault of the calculation; something is wrong here")
        wait = min(2.0 ** (blameless - 1), _BACKOFF_MAX_S)
        return Again(wait, f"{failure} is not the calculation's fault; it costs no attempt")
    if blamed >= policy.max_attempts:
        return GiveUp(f"attempt {blamed} of {policy.max_attempts}")
    return Again(policy.delay_s, f"attempt {blamed} of {policy.max_attempts} failed")
