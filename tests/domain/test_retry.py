"""Retrying: a decision over values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.calculation import BLAMELESS, FailureClass
from penstock.domain.retry import BLAMELESS_MAX, Again, GiveUp, RetryPolicy, decide_retry

POLICIES = st.builds(RetryPolicy, st.integers(1, 10), st.floats(0, 1000))


@given(POLICIES, st.sampled_from(FailureClass), st.booleans())
def test_every_job_is_given_up_in_the_end(policy: RetryPolicy, failure: FailureClass, never_rerun: bool) -> None:
    blamed = blameless = tries = 0
    while True:
        tries += 1
        blameless += failure in BLAMELESS
        blamed += failure not in BLAMELESS
        decision = decide_retry(policy, failure, blamed, blameless, never_rerun=never_rerun)
        assert decision.reason
        if isinstance(decision, GiveUp):
            break
        assert 0.0 <= decision.after_s <= 1000.0
    if never_rerun or failure in {FailureClass.INPUT_ERROR, FailureClass.CANCELLED}:
        assert tries == 1
    elif failure in BLAMELESS:
        assert tries == BLAMELESS_MAX + 1
    else:
        assert tries == policy.max_attempts


def test_a_lost_runner_is_waited_for_longer_each_time() -> None:
    policy = RetryPolicy(1, 77.0)
    waits = [
        decision.after_s
        for lost in range(1, 13)
        if isinstance(decision := decide_retry(policy, FailureClass.RUNNER_LOST, 1, lost, never_rerun=False), Again)
    ]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]


@pytest.mark.parametrize(("blamed", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_the_limit_counts_attempts_not_retries(blamed: int, again: bool) -> None:
    decision = decide_retry(RetryPolicy(3, 9.0), FailureClass.SIGNAL, blamed, 5, never_rerun=False)
    assert isinstance(decision, Again) == again
    if isinstance(decision, Again):
        assert decision.after_s == 9.0
