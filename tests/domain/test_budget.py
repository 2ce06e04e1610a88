"""Bundles: large enough to cost little, small enough to be fair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.budget import BUNDLE_MAX, BUNDLE_TARGET_S, PROBE_SIZE, Pace, bundle_size, may_prefetch

PACES = st.builds(Pace, st.none() | st.floats(0, 1e7))


@given(PACES, st.integers(1, 10**7), st.integers(0, 10**5))
def test_a_bundle_holds_something_and_never_more_than_there_is(pace: Pace, ready: int, lanes: int) -> None:
    size = bundle_size(pace, ready, lanes)
    assert 1 <= size <= min(ready, BUNDLE_MAX)
    if lanes > 1 and ready >= lanes:
        assert size * lanes <= ready or size == 1  # enough is left for every lane


@given(st.floats(0.01, 1e6), st.integers(1, 10**6), st.integers(1, 1000))
def test_a_bundle_lasts_about_its_target(mean_s: float, ready: int, lanes: int) -> None:
    size = bundle_size(Pace(mean_s), ready, lanes)
    assert size == 1 or size * mean_s <= BUNDLE_TARGET_S * 1.001


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(-10, 1e6)), max_size=30))
def test_the_mean_stays_between_the_samples(samples: list[tuple[int, float]]) -> None:
    pace = Pace()
    means = []
    for count, total_s in samples:
        pace = pace.with_sample(count, total_s)
        if count:
            means.append(max(total_s, 0.0) / count)
    if means:
        assert pace.mean_s is not None
        assert min(means) - 1e-6 <= pace.mean_s <= max(means) * (1 + 1e-9) + 1e-9
    else:
        assert pace == Pace()


def test_the_first_bundles_are_probes() -> None:
    assert bundle_size(Pace(), 10_000, 2) == PROBE_SIZE
    assert not may_prefetch(Pace())


@pytest.mark.parametrize("mean_s", [0.0, 5e-324, 1e-300])
def test_no_time_at_all_makes_the_largest_bundle(mean_s: float) -> None:
    assert bundle_size(Pace(mean_s), 10 * BUNDLE_MAX, 1) == BUNDLE_MAX


@pytest.mark.parametrize(("mean_s", "expected"), [(0.001, True), (0.4, True), (0.6, False), (60.0, False)])
def test_only_short_attempts_queue_behind_each_other(mean_s: float, expected: bool) -> None:
    assert may_prefetch(Pace(mean_s)) is expected


def test_the_pace_follows_a_change() -> None:
    pace = Pace().with_sample(10, 10.0)
    assert pace.mean_s == 1.0
    for _ in range(50):
        pace = pace.with_sample(1, 5.0)
    assert pace.mean_s == pytest.approx(5.0, rel=1e-3)
