"""Retrying: a decision over values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.calculation import BLAMELESS, FailureClass
from penstock.domain.resources import Resources
from penstock.domain.retry import BLAMELESS_MAX, Again, GiveUp, RetryPolicy, decide_retry

HAD = Resources()
POLICIES = st.builds(RetryPolicy, st.integers(1, 10), st.floats(0, 1000))


@given(POLICIES, st.sampled_from(FailureClass), st.booleans())
def test_every_job_is_given_up_in_the_end(policy: RetryPolicy, failure: FailureClass, never_rerun: bool) -> None:
    blamed = blameless = tries = 0
    while True:
        tries += 1
        blameless += failure in BLAMELESS
        blamed += failure not in BLAMELESS
        decision = decide_retry(policy, failure, blamed, blameless, never_rerun=never_rerun, had=HAD)
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
        if isinstance(
            decision := decide_retry(policy, FailureClass.RUNNER_LOST, 1, lost, never_rerun=False, had=HAD), Again
        )
    ]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]


@pytest.mark.parametrize(("blamed", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_the_limit_counts_attempts_not_retries(blamed: int, again: bool) -> None:
    decision = decide_retry(RetryPolicy(3, 9.0), FailureClass.SIGNAL, blamed, 5, never_rerun=False, had=HAD)
    assert isinstance(decision, Again) == again
    if isinstance(decision, Again):
        assert decision.after_s == 9.0


@given(POLICIES, st.sampled_from(FailureClass), st.integers(0, 100), st.integers(0, 100), st.integers(-5, 10**9))
def test_progress_makes_an_attempt_that_was_stopped_cost_nothing(
    policy: RetryPolicy, failure: FailureClass, blamed: int, blameless: int, progress: int
) -> None:
    with_it = decide_retry(policy, failure, blamed, blameless, never_rerun=False, had=HAD, progress=progress)
    without = decide_retry(policy, failure, blamed, blameless, never_rerun=False, had=HAD)
    if failure in {FailureClass.WALLTIME, FailureClass.RUNNER_LOST} and progress > 0:
        assert isinstance(with_it, Again)
        assert (with_it.counts, with_it.after_s, with_it.walltime_s) == (False, policy.delay_s, None)
        assert f"after {progress} more steps" in with_it.reason
    else:
        assert with_it == without
        assert isinstance(with_it, GiveUp) or with_it.counts


def test_progress_runs_nothing_that_is_marked_never_rerun() -> None:
    decision = decide_retry(RetryPolicy(), FailureClass.WALLTIME, 1, 0, never_rerun=True, had=HAD, progress=5)
    assert isinstance(decision, GiveUp)


GROWING = RetryPolicy(9, 5.0, walltime_growth=1.5, walltime_max_s=8000, memory_growth=2.0, memory_max_mb=3000)


def steps(policy: RetryPolicy, failure: FailureClass) -> list[tuple[int, int]]:
    """Walltime and memory of every attempt until it is given up."""
    had, found = HAD, []
    for blamed in range(1, 99):
        found.append((had.walltime_s, had.memory_mb))
        decision = decide_retry(policy, failure, blamed, 0, never_rerun=False, had=had)
        if isinstance(decision, GiveUp):
            break
        had = Resources(1, decision.memory_mb or had.memory_mb, decision.walltime_s or had.walltime_s)
    return found


def test_what_ran_out_grows_up_to_its_cap_and_is_then_given_up() -> None:
    assert steps(GROWING, FailureClass.WALLTIME) == [(3600, 1000), (5400, 1000), (8000, 1000)]
    assert steps(GROWING, FailureClass.OUT_OF_MEMORY) == [(3600, 1000), (3600, 2000), (3600, 3000)]
    assert steps(GROWING, FailureClass.EXIT_CODE) == [(3600, 1000)] * 9
    assert steps(RetryPolicy(3), FailureClass.WALLTIME) == [(3600, 1000)] * 3


def test_a_cap_below_what_a_job_has_never_makes_it_less() -> None:
    policy = RetryPolicy(9, walltime_growth=2.0, walltime_max_s=60)
    assert steps(policy, FailureClass.WALLTIME) == [(3600, 1000)]


def test_a_job_that_goes_on_from_its_files_is_worth_another_try_at_the_cap() -> None:
    policy = RetryPolicy(5, walltime_growth=2.0, walltime_max_s=7200, continues=True)
    assert [walltime for walltime, _ in steps(policy, FailureClass.WALLTIME)] == [3600, 7200, 7200, 7200, 7200]
    decision = decide_retry(policy, FailureClass.WALLTIME, 2, 0, never_rerun=False, had=Resources(1, 1, 7200))
    most = "it had the greatest walltime allowed, 02:00:00"
    assert decision.reason == f"attempt 2 of 5 failed; {most}, the next goes on from its files"
    plain = decide_retry(RetryPolicy(2, continues=True), FailureClass.WALLTIME, 1, 0, never_rerun=False, had=HAD)
    assert plain.reason == "attempt 1 of 2 failed, the next goes on from its files"
