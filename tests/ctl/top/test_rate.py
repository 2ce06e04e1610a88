"""Rates and what is left, from counts looked at from time to time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.top.rate import WINDOW_S, Track, followed, left_s, rate_per_min


def track_of(*looks: tuple[float, int]) -> Track:
    track = None
    for at, ended in looks:
        track = followed(track, at, ended)
    assert track is not None
    return track


def test_a_first_look_says_nothing() -> None:
    assert rate_per_min(None) is None
    assert rate_per_min(track_of((0, 100))) is None
    assert rate_per_min(track_of((0, 100), (2, 120))) is None  # too soon


def test_a_rate_is_jobs_that_ended_between_looks() -> None:
    track = track_of((0, 100), (2, 101), (4, 104), (30, 130))
    assert rate_per_min(track) == pytest.approx(60.0)
    assert left_s(track, 10) == pytest.approx(10.0)


def test_nothing_is_foretold_from_little() -> None:
    assert left_s(None, 5) is None
    assert left_s(track_of((0, 0), (12, 40)), 5) is None  # too short
    assert left_s(track_of((0, 0), (60, 2)), 5) is None  # too few
    assert left_s(track_of((0, 0), (60, 20)), 0) is None  # nothing is left


def test_a_retry_is_no_negative_rate() -> None:
    track = track_of((0, 50), (10, 60), (20, 20), (30, 25))
    assert rate_per_min(track) == pytest.approx(15 / 30 * 60)


def test_what_was_long_ago_does_not_count() -> None:
    track = track_of((0, 0), (10, 1000), *((10 + n * 10, 1000 + n) for n in range(1, 60)))
    assert rate_per_min(track) == pytest.approx(6.0, rel=0.1)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 1000)), min_size=1, max_size=300))
def test_a_track_stays_short_and_its_rate_is_never_negative(looks: list[tuple[float, int]]) -> None:
    track, at = None, 0.0
    for step, ended in looks:
        at += step
        track = followed(track, at, ended)
    assert track is not None
    assert len(track.points) <= WINDOW_S / 5 + 4
    assert track.points[-1][0] == at
    assert (rate_per_min(track) or 0.0) >= 0
