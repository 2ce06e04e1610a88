"""Bundles: large enough to cost little, small enough to be fair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.budget import (
    ARRAY_ABOVE_S,
    BUNDLE_MAX,
    BUNDLE_TARGET_S,
    PROBE_SIZE,
    TASK_TARGET_S,
    Batch,
    Pace,
    Queueing,
    Shape,
    bundle_size,
    may_prefetch,
    shape,
)

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


BATCHES = st.builds(Batch, st.sampled_from(["auto", "array", "bundle"]), st.integers(1, 10**5))
LIMITS = st.builds(Queueing, st.integers(0, 5000), st.none() | st.integers(0, 5000))
COUNTS = st.integers(1, 10**6)


@given(BATCHES, PACES, COUNTS, COUNTS, COUNTS, LIMITS, COUNTS)
def test_a_submission_keeps_to_every_limit(
    batch: Batch, pace: Pace, ready: int, free: int, slots: int, limits: Queueing, found: int
) -> None:
    planned = shape(batch, pace, ready, free, slots, limits)
    for one in (planned, planned.fitted(min(found, planned.size))):
        assert 1 <= one.width <= one.size <= min(ready, batch.size)
        assert one.width <= min(free, max(1, limits.width_max))
        assert limits.pending_max is None or one.width <= max(1, limits.pending_max)
    expected_s = planned.expected_s(pace)
    if batch.style == "array":
        assert planned.width == planned.size
    elif batch.style == "auto" and pace.mean_s is not None and expected_s is not None:
        assert expected_s <= max(TASK_TARGET_S * 1.001, pace.mean_s)


@pytest.mark.parametrize(
    ("batch", "mean_s", "ready", "free", "expected"),
    [
        (Batch(), None, 1000, 8, Shape(8, 8)),
        (Batch(), ARRAY_ABOVE_S, 1000, 8, Shape(8, 8)),
        (Batch(), 1.0, 1000, 8, Shape(8, 480)),
        (Batch(), 1.0, 50, 8, Shape(1, 50)),
        (Batch(size=100), 1.0, 1000, 8, Shape(2, 100)),
        (Batch(), 0.0, 5000, 8, Shape(1, 1000)),
        (Batch("array"), 0.1, 1000, 8, Shape(8, 8)),
        (Batch("array", 5), 0.1, 1000, 8, Shape(5, 5)),
        (Batch("bundle"), None, 1000, 8, Shape(8, 1000)),
        (Batch("bundle"), 500.0, 1000, 4, Shape(4, 500)),
        (Batch("bundle"), None, 3, 8, Shape(3, 3)),
        (Batch("bundle", 100), 0.1, 1000, 1, Shape(1, 100)),
    ],
)
def test_shapes(batch: Batch, mean_s: float | None, ready: int, free: int, expected: Shape) -> None:
    assert shape(batch, Pace(mean_s), ready, free, 8, Queueing()) == expected


def test_what_is_expected_of_a_submission() -> None:
    assert Shape(4, 10).expected_s(Pace()) is None
    assert Shape(4, 10).expected_s(Pace(2.0)) == 6.0
    assert Shape(4, 10).fitted(3) == Shape(1, 3)
    assert Shape(4, 4).fitted(3) == Shape(3, 3)
