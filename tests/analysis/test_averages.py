from __future__ import annotations

import contextlib

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell
from numpy.testing import assert_allclose

from penstock.analysis.averages import (
    NotEquilibratedError,
    average_cell,
    average_series,
    compute_inefficiency,
    find_start,
)
from penstock.analysis.trajectory import Floats


def correlated(seed: int, count: int, memory: float) -> Floats:
    """Mean 0, variance 1, the autocorrelation exp(-t / memory)."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory)
    values = rng.normal(size=count)
    for at in range(1, count):
        values[at] = keep * values[at - 1] + np.sqrt(1 - keep**2) * values[at]
    return values


def relaxing(seed: int, count: int = 2000) -> Floats:
    return np.asarray(correlated(seed, count, 5.0) + 15 * np.exp(-np.arange(count) / 60))


@pytest.mark.parametrize("memory", [0.1, 5.0, 20.0])
def test_the_inefficiency_is_the_known_one(memory: float) -> None:
    keep = np.exp(-1 / memory)
    found = np.mean([compute_inefficiency(correlated(seed, 4000, memory))[0] for seed in range(20)])
    assert found == pytest.approx((1 + keep) / (1 - keep), rel=0.1)


def test_95_percent_intervals_cover_95_percent() -> None:
    covered = 0
    for seed in range(400):
        low, high = average_series(correlated(seed, 1000, 4.0), "x", 0).interval
        covered += low <= 0 <= high
    assert covered / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("count", "memory"), [(1000, 20.0), (500, 10.0), (100, 1.5)])
def test_intervals_of_few_independent_values_are_honest_where_the_start_is_sought(count: int, memory: float) -> None:
    covered = tried = 0
    for seed in range(300):
        with contextlib.suppress(NotEquilibratedError):
            low, high = average_series(correlated(seed, count, memory), "x").interval
            covered += low <= 0 <= high
            tried += 1
    assert tried > 250
    assert covered / tried > 0.915


def test_what_comes_before_equilibrium_is_left_out() -> None:
    starts = [find_start(relaxing(seed)) for seed in range(20)]
    assert min(starts) > 100
    assert np.median(starts) < 500
    within = [
        abs(found.value) / found.standard_error for found in (average_series(relaxing(s), "x") for s in range(20))
    ]
    assert np.median(within) < 1.5
    assert max(within) < 5


def test_what_does_not_change_is_known_exactly() -> None:
    found = average_series(np.full(100, 90.0), "Angle")
    assert (found.value, found.standard_error, found.interval) == (90.0, 0.0, (90.0, 90.0))


def test_what_still_drifts_is_refused() -> None:
    drifting = correlated(1, 2000, 0.5) + np.linspace(0, 1.0, 2000)
    with pytest.raises(NotEquilibratedError, match="Volume is not equilibrated: from value 0 on it still drifts"):
        average_series(drifting, "Volume", 0)
    with pytest.raises(NotEquilibratedError):
        average_series(np.arange(500.0), "Volume")


def test_refused_for_drift_by_chance_it_is_seldom() -> None:
    refused = 0
    for seed in range(200):
        try:
            average_series(correlated(seed, 1000, 3.0 if seed % 2 else 12.0), "x")
        except NotEquilibratedError:
            refused += 1
    assert refused <= 4


def test_too_short_says_how_long() -> None:
    with pytest.raises(NotEquilibratedError, match="T has 19 values, a mean takes 20"):
        average_series(np.ones(19), "T")
    with pytest.raises(NotEquilibratedError, match=r"worth [0-9.]+ independent ones.* Run on, to about [0-9]+ values"):
        average_series(np.sin(np.linspace(0, 9, 300)), "T")
    with pytest.raises(ValueError, match="finite numbers"):
        average_series(np.array([np.nan] * 50), "T")
    with pytest.raises(ValueError, match="finite numbers"):
        average_series(np.ones((50, 2)), "T")


def cells(seed: int, count: int = 1500) -> Floats:
    """Triclinic ones of 5, 6, 7 Å and 80, 95, 110°, three by two by one, that shake by a percent and relax first."""
    base = np.array(cellpar_to_cell([15.0, 12.0, 7.0, 80.0, 95.0, 110.0]))
    factors = np.stack([1 + 0.01 * correlated(seed + axis, count, 3.0) for axis in range(3)], axis=1)
    factors += 0.1 * np.exp(-np.arange(count) / 30)[:, None]
    return np.asarray(base * factors[:, :, None])


def test_a_cell_is_averaged_with_errors() -> None:
    found = average_cell(cells(1), mass_u=600.0, repeats=(3, 2, 1))
    for mean, truth in zip(found.lengths_a, (5.0, 6.0, 7.0), strict=True):
        assert mean.value == pytest.approx(truth, abs=4 * mean.standard_error)
        assert 0 < mean.standard_error < 0.005
        assert mean.start == found.start > 50
    assert [mean.value for mean in found.angles_deg] == pytest.approx([80.0, 95.0, 110.0])
    assert [mean.standard_error for mean in found.angles_deg] == pytest.approx([0.0] * 3, abs=1e-9)
    truth = abs(np.linalg.det(cellpar_to_cell([5.0, 6.0, 7.0, 80.0, 95.0, 110.0])))
    assert found.volume_a3.value == pytest.approx(truth, abs=4 * found.volume_a3.standard_error)
    assert found.density_g_cm3 is not None
    assert found.density_g_cm3.value == pytest.approx(100.0 * 1.66053907 / truth, rel=0.005)
    assert_allclose(np.linalg.norm(found.cell_a, axis=1), [mean.value for mean in found.lengths_a])
    assert average_cell(cells(1)).density_g_cm3 is None


def test_cells_that_still_shrink_are_refused() -> None:
    shrinking = np.eye(3) * np.linspace(10, 9, 400)[:, None, None]
    with pytest.raises(NotEquilibratedError, match="Length a"):
        average_cell(shrinking)


def test_a_constant_cell_is_its_own_mean() -> None:
    found = average_cell(np.tile(np.diag([4.0, 5.0, 6.0]), (30, 1, 1)))
    assert [mean.value for mean in found.lengths_a] == [4.0, 5.0, 6.0]
    assert found.volume_a3.value == pytest.approx(120.0)
    assert found.start == 0


def test_what_is_no_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Cells are \(frames, 3, 3\), not \(3, 3\)"):
        average_cell(np.eye(3))
    with pytest.raises(ValueError, match="has a volume"):
        average_cell(np.zeros((30, 3, 3)))
    with pytest.raises(ValueError, match="has a volume"):
        average_cell(np.full((30, 3, 3), np.nan))
