"""The log of calls counts every call once, in bounded memory."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.actors.call_log import BUCKETS_S, CallLog
from penstock.domain.views import CallCount, CallTotal


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_040.0  # the beginning of a minute

    def time(self) -> float:
        return self.now


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
