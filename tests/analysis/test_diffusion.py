from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tests.analysis.walks import UNIT, brownian, caged, hopping, persistent

from penstock.analysis.diffusion import Diffusion, fit_diffusion
from penstock.analysis.msd import compute_msd, msd_of_paths
from penstock.analysis.regime import NotDiffusiveError
from penstock.analysis.trajectory import Floats, make_trajectory

SEEDS = 500


def diffusion(paths: Floats, axes: int = 3, interval_fs: float = 1.0) -> Diffusion:
    return fit_diffusion(msd_of_paths([paths], interval_fs, "Li"), np.eye(3)[:axes])


def pairs(seed: int, frames: int, particles: int) -> Floats:
    """Walkers that go two and two."""
    return np.repeat(brownian(seed, frames, particles // 2), 2, axis=1)


def rattling(seed: int, frames: int, particles: int) -> Floats:
    """Walkers about which something forgetful shakes."""
    return brownian(seed, frames, particles) + np.random.default_rng(seed + SEEDS).normal(size=(frames, particles, 3))


@pytest.mark.parametrize(
    ("walk", "frames", "particles", "axes"),
    [
        (brownian, 200, 1, 1),
        (brownian, 200, 2, 3),
        (brownian, 150, 4, 2),
        (rattling, 300, 4, 3),
        (pairs, 200, 6, 3),
        (hopping, 200, 8, 3),
    ],
)
def test_95_percent_intervals_cover_95_percent(
    walk: Callable[..., Floats], frames: int, particles: int, axes: int
) -> None:
    covered, values, errors = 0, [], []
    for seed in range(SEEDS):
        paths = walk(seed, frames, particles, 1.0) if walk in {brownian, hopping} else walk(seed, frames, particles)
        try:
            found = diffusion(paths, axes)
        except NotDiffusiveError:
            continue
        covered += found.interval_m2_s[0] <= UNIT <= found.interval_m2_s[1]
        values.append(found.d_m2_s / UNIT)
        errors.append(found.standard_error_m2_s / UNIT)
    assert len(values) >= 0.98 * SEEDS  # what is refused now and then is refused by chance
    assert covered / len(values) == pytest.approx(0.95, abs=0.03)
    assert np.mean(values) == pytest.approx(1.0, abs=4 * np.std(values) / np.sqrt(SEEDS))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_a_tensor_and_what_it_is_along_directions() -> None:
    truth = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, 0.5], [0.0, 0.5, 0.5]])
    msd = msd_of_paths([brownian(1, 4000, 10, truth)], 1.0)
    found = fit_diffusion(msd)
    assert (np.abs(found.tensor_m2_s / UNIT - truth) < 4 * found.tensor_standard_error_m2_s / UNIT).all()
    assert (found.tensor_standard_error_m2_s < 0.05 * UNIT).all()
    assert found.d_m2_s == pytest.approx(np.trace(found.tensor_m2_s) / 3, rel=1e-12)
    assert_allclose(found.tensor_m2_s, found.tensor_m2_s.T)
    slanted = np.array([0.0, 3.0, 3.0])
    along = fit_diffusion(msd, [slanted])
    assert along.dimension == 1
    assert along.d_m2_s == pytest.approx((2.0 + 0.5 + 2 * 0.5) / 2 * UNIT, abs=4 * along.standard_error_m2_s)
    plane = fit_diffusion(msd, [[1, 1, 0], [1, -1, 0]])
    assert plane.dimension == 2
    assert plane.d_m2_s == pytest.approx(1.5 * UNIT, abs=4 * plane.standard_error_m2_s)


def test_a_species_each_through_a_periodic_cell() -> None:
    cell = np.array([[8.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 1.0, 9.0]])
    paths = np.concatenate([brownian(1, 2000, 8, 0.01), brownian(2, 2000, 32, 0.001)], axis=1)
    fractions = paths @ np.linalg.inv(cell)
    folded = (fractions - np.floor(fractions)) @ cell
    of = make_trajectory([folded[:900], folded[900:]], ["Li"] * 8 + ["O"] * 32, 10.0, cells=cell)
    found = {name: fit_diffusion(msd) for name, msd in compute_msd(of, remove_drift=False).items()}
    for name, d in (("Li", 0.01), ("O", 0.001)):
        truth = d * UNIT / 10
        assert found[name].species == name
        assert found[name].d_m2_s == pytest.approx(truth, abs=4 * found[name].standard_error_m2_s)
        assert found[name].standard_error_m2_s < 0.05 * truth


def test_the_window_begins_after_what_is_not_diffusive() -> None:
    free = diffusion(brownian(1, 2000, 8))
    assert free.window_fs[0] == 1
    assert free.window_fs[1] == pytest.approx(200, abs=2)
    kept = diffusion(persistent(1, 6000, 10, 1.0, 8.0), interval_fs=2.0)
    assert kept.window_fs[0] > 2 * 4 * 8.0
    assert kept.exponent == pytest.approx(1.0, abs=0.1 + 3 * kept.exponent_standard_error)
    assert kept.d_m2_s == pytest.approx(UNIT / 2, abs=3 * kept.standard_error_m2_s)
    assert kept.intercept_a2 < 0


def returning(seed: int, frames: int, particles: int) -> Floats:
    """Walkers that turn back at first, as from the neighbours in a liquid: MSD = 6 t + 8.6 (1 - exp(-t / 8))."""
    shaken = np.random.default_rng(seed + SEEDS).normal(size=(frames + 100, particles, 3))
    for frame in range(1, len(shaken)):
        shaken[frame] = np.exp(-1 / 8) * shaken[frame - 1] + np.sqrt(1 - np.exp(-1 / 4)) * shaken[frame]
    paths: Floats = brownian(seed, frames, particles) + 1.2 * shaken[100:]
    return paths


def test_the_window_begins_where_its_slope_no_longer_depends_on_that() -> None:
    found = [diffusion(returning(seed, 500, 64)) for seed in range(20)]
    values = np.array([one.d_m2_s for one in found]) / UNIT
    assert values.mean() == pytest.approx(1.0, abs=0.06)  # of the first lags it would be 1.14
    assert min(one.window_fs[0] for one in found) > 4


def test_rare_and_common_moves_are_noted() -> None:
    assert diffusion(brownian(1, 1000, 8)).notes == ()
    assert diffusion(brownian(1, 1000, 8)).dispersion == pytest.approx(1, abs=0.8)
    found = diffusion(hopping(1, 1000, 8, 1.0))
    assert found.dispersion > 3
    assert "atoms move together or hop rarely" in found.notes[0]


def test_a_motion_that_goes_nowhere_is_noted() -> None:
    assert "less than a site is from the next" in diffusion(brownian(1, 1000, 8, 1e-5)).notes[0]


def test_what_ages_is_noted() -> None:
    paths = brownian(1, 2000, 10)
    paths[1000:] = paths[999] + brownian(2, 1000, 10, 3.0)
    assert "The second half of the trajectory diffuses" in diffusion(paths).notes[0]


FREE_FLIGHT = np.arange(500.0)[:, None, None] * np.random.default_rng(0).normal(size=(1, 8, 3))


@pytest.mark.parametrize(
    ("paths", "regime", "told"),
    [
        (FREE_FLIGHT, "ballistic", r"grows like t\^2.00.* longer than 4.99 ps"),
        (FREE_FLIGHT[:, :1], "ballistic", "velocities are not forgotten"),
        (persistent(1, 500, 8, 1.0, 30.0), "ballistic", "velocities are not forgotten"),
        (caged(1, 500, 8), "caged", "rattle about fixed places"),
        (caged(1, 1000, 20, 300.0), "caged", "straight at first, but at 0.333 ps"),
        (caged(1, 1000, 20) + hopping(1, 1000, 20, 3e-4, 3e-4), "caged", "Take a higher temperature"),
        (caged(1, 1000, 50, 50.0), "subdiffusive", "the trajectory would have to be about"),
        (np.zeros((100, 4, 3)), "caged", "Nothing moves: Li stays where it is"),
        (brownian(1, 49, 100), "too short", r"49 frames, where a diffusion coefficient takes 50 \(0.05 ps"),
        (caged(2, 60, 1, 8.0)[:, :, :1] * [1, 0, 0], "too short", "exponent of time is known to ±0.[0-9]+ only"),
        (hopping(3, 1000, 20, 1.0, 2e-5), "too short", "known to ±[0-9]+% only. It would have to be about"),
    ],
)
def test_what_is_not_diffusion_has_no_coefficient(paths: Floats, regime: str, told: str) -> None:
    with pytest.raises(NotDiffusiveError, match=told) as caught:
        diffusion(paths)
    assert caught.value.regime == regime
    assert (caught.value.needed_fs or np.inf) > len(paths) - 1


def test_a_refusal_gets_from_one_process_to_another() -> None:
    with pytest.raises(NotDiffusiveError) as caught:
        diffusion(FREE_FLIGHT)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (str(sent), sent.regime, sent.needed_fs) == (str(caught.value), "ballistic", caught.value.needed_fs)


def test_a_harmonic_solid_never_gives_a_number() -> None:
    for seed in range(30):
        for memory in (2.0, 5.0, 10.0, 20.0):
            with pytest.raises(NotDiffusiveError):
                diffusion(caged(seed, 300, 4, memory))


@pytest.mark.parametrize(
    "directions", [[[0, 0, 0]], [[1, 0, 0], [2, 0, 0]], [[1, 0]], [], np.ones((4, 3)), [[np.nan, 0, 1]]]
)
def test_directions_span_a_space(directions: object) -> None:
    with pytest.raises(ValueError, match="Directions are"):
        fit_diffusion(msd_of_paths([brownian(1, 100, 2)], 1.0), directions)  # type: ignore[arg-type]
