from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from penstock.analysis.brownian import compute_covariance, compute_memory, variance_of_mean

LAGS = np.array([1, 2, 5, 9])
FRAMES = 40


@pytest.mark.parametrize("rattle", [0.0, 3.0])
def test_the_covariance_is_the_one_of_many_walks(rattle: float) -> None:
    rng = np.random.default_rng(1)
    walks = rng.normal(size=(40_000, FRAMES)).cumsum(axis=1)
    walks += np.sqrt(rattle / 2) * rng.normal(size=walks.shape)
    squares = [(walks[:, lag:] - walks[:, :-lag]) ** 2 for lag in LAGS]
    seen = np.cov([of.mean(axis=1) for of in squares])
    assert_allclose(compute_covariance(LAGS, FRAMES, rattle), seen, rtol=0.06)


def test_one_lag_of_a_free_walk_is_known_by_hand() -> None:
    assert compute_covariance(np.array([1]), 11, 0.0) == pytest.approx(np.array([[2 / 10]]))


def test_the_variance_of_a_weighted_sum_is_that_of_its_covariance() -> None:
    lags = np.array([3])
    memory = compute_memory(lags, np.array([0.7]), 1.5)
    expected = 0.49 * compute_covariance(lags, FRAMES, 1.5)[0, 0]
    assert variance_of_mean(memory, FRAMES - 3) == pytest.approx(expected)
