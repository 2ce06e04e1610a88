"""The log of calls counts every call once, in bounded memory."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.actors.call_budget import Budget
from penstock.actors.call_log import BUCKETS_S, CallLog
from penstock.domain.views import CallCount, CallTotal


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_040.0  # the beginning of a minute

    def time(self) -> float:
        return self.now

    monotonic = time


def call_log(hands: Hands) -> CallLog:
    return CallLog(cast("Any", hands))  # a log only reads the time


def test_calls_are_counted_by_minute_command_and_outcome() -> None:
    hands = Hands()
    log = call_log(hands)
    assert (log.last_minute(), log.per_minute(), log.totals(), log.latencies(), log.rate_limited) == (0, (), (), (), 0)
    log.record("squeue", 0.2)
    log.record("squeue", 0.4, "rate_limited")
    log.record("sbatch", 0.1)
    hands.now += 60
    log.record("squeue", 0.3, "failed")
    assert log.per_minute() == (
        CallCount(1_700_000_040.0, "sbatch", 1),
        CallCount(1_700_000_040.0, "squeue", 2),
        CallCount(1_700_000_100.0, "squeue", 1),
    )
    assert log.totals() == (
        CallTotal("sbatch", "ok", 1),
        CallTotal("squeue", "failed", 1),
        CallTotal("squeue", "ok", 1),
        CallTotal("squeue", "rate_limited", 1),
    )
    assert log.rate_limited == 1
    assert log.last_minute() == 1


def test_the_last_minute_slides() -> None:
    hands = Hands()
    log = call_log(hands)
    for _ in range(90):
        log.record("squeue", 0.1)
        hands.now += 1
    assert log.last_minute() == 59  # the newest ended a second ago
    hands.now += 58
    assert log.last_minute() == 1
    hands.now += 1
    assert log.last_minute() == 0


def test_an_hour_is_kept_and_totals_for_ever() -> None:
    hands = Hands()
    log = call_log(hands)
    for _ in range(100):
        log.record("squeue", 0.1)
        hands.now += 60
    hands.now -= 60
    minutes = [count.minute for count in log.per_minute()]
    assert minutes == [hands.now - 60.0 * n for n in range(59, -1, -1)]
    assert log.totals() == (CallTotal("squeue", "ok", 100),)


def test_latencies() -> None:
    log = call_log(Hands())
    for hundredths in range(100, 0, -1):
        log.record("sacct", hundredths / 100)
    (latency,) = log.latencies()
    assert (latency.command, latency.count, latency.median_s, latency.p95_s, latency.max_s) == (
        "sacct",
        100,
        0.505,
        0.96,
        1.0,
    )
    for _ in range(1000):
        log.record("sacct", 0.01)
    (latency,) = log.latencies()
    assert (latency.count, latency.median_s, latency.p95_s, latency.max_s) == (1100, 0.01, 0.01, 1.0)


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_every_call_is_in_one_bucket(seconds: list[float]) -> None:
    log = call_log(Hands())
    for took_s in seconds:
        log.record("squeue", took_s)
    for filled in log.histograms().values():
        buckets = filled.counts
        for n, bound in enumerate(BUCKETS_S):
            assert sum(buckets[: n + 1]) == sum(took_s <= bound for took_s in seconds)
        assert sum(buckets) == len(seconds)
        assert filled.total == pytest.approx(sum(seconds))


def test_how_a_budget_was_kept() -> None:
    hands = Hands()
    hands.now = 0.0
    log = call_log(hands)
    log.budgets = {"query": Budget(12.0, 0.0), "submit": Budget(60.0, 0.0)}
    assert [(b.kind, b.last_min, b.most_per_min) for b in log.budget_infos()] == [("query", 0, 0), ("submit", 0, 0)]
    for at in (0.0, 10.0, 59.0, 61.0, 200.0):
        hands.now = at
        log.record_spent("query")
    log.record_wait("query", 1.5)
    log.record_wait("query", 0.25)
    (queries, submits) = log.budget_infos()
    assert (queries.allowed_per_min, queries.last_min, queries.most_per_min, queries.waited_s) == (12.0, 1, 3, 1.75)
    assert (submits.left, submits.waited_s) == (20.0, 0.0)
    hands.now = 4000.0
    log.record_spent("query")
    assert log.budget_infos()[0].most_per_min == 1  # of the last hour
