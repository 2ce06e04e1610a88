from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from tests.analysis.walks import brownian

from penstock.analysis.msd import BLOCKS, compute_msd, msd_of_paths
from penstock.analysis.trajectory import Floats, make_trajectory

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def double_loop(paths: Floats) -> Floats:
    """(frames, 6): as anybody would write it."""
    found = np.zeros((len(paths), 6))
    for lag in range(1, len(paths)):
        moved = paths[lag:] - paths[:-lag]
        found[lag] = [np.mean(moved[..., a] * moved[..., b]) for a, b in VOIGT]
    return found


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(2, 70), particles=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_it_is_what_the_double_loop_gives(frames: int, particles: int, seed: int) -> None:
    paths = brownian(seed, frames, particles) + 50
    found = msd_of_paths([paths], 1.0).tensor_a2
    expected = double_loop(paths)
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_particles_may_come_in_blocks() -> None:
    paths = brownian(1, 300, 7)
    whole = msd_of_paths([paths], 1.0)
    parts = msd_of_paths(iter([paths[:, :3], paths[:, 3:4], paths[:, 4:]]), 1.0)
    assert parts.particles == whole.particles == 7
    assert_allclose(parts.tensor_a2, whole.tensor_a2, rtol=1e-9, atol=1e-9)
    assert_allclose(parts.block_tensors_a2, whole.block_tensors_a2, rtol=1e-9, atol=1e-9)


def test_the_stretches_together_are_the_whole() -> None:
    found = msd_of_paths([brownian(2, 20 * BLOCKS + 1, 3)], 1.0)
    assert found.lags[0] == 1
    assert found.lags[-1] == 2 * BLOCKS
    whole = [lag for lag in found.lags if (20 * BLOCKS + 1 - lag) % BLOCKS == 0]
    assert whole == [1, 21]
    for lag in whole:
        of = list(found.lags).index(lag)
        assert_allclose(found.block_tensors_a2[of].mean(axis=0), found.tensor_a2[lag], rtol=1e-9, atol=1e-9)


def test_species_are_told_apart_and_the_drift_is_taken_out() -> None:
    frames = 400
    slow, fast = brownian(3, frames, 3, 0.001), brownian(4, frames, 2, 0.01)
    paths = np.concatenate([slow, fast], axis=1)[:, [0, 3, 1, 4, 2]]
    species = ["O", "Li", "O", "Li", "O"]
    drifting = paths + np.arange(frames)[:, None, None] * np.array([0.3, -0.2, 0.1])
    cell = np.diag([5.0, 6.0, 7.0])
    found = compute_msd(make_trajectory([np.mod(drifting, np.diag(cell))], species, 2.0, cells=cell))
    assert list(found) == ["O", "Li"]
    assert (found["Li"].particles, found["O"].particles) == (2, 3)
    masses = np.array([15.999, 6.94, 15.999, 6.94, 15.999])
    relative = paths - paths[0] - np.average(paths - paths[0], axis=1, weights=masses)[:, None]
    assert_allclose(found["Li"].tensor_a2, double_loop(relative[:, [1, 3]]), atol=1e-9)
    assert_allclose(found["O"].tensor_a2, double_loop(relative[:, [0, 2, 4]]), atol=1e-9)
    assert_allclose(found["O"].total_a2, found["O"].tensor_a2[:, :3].sum(axis=1))


def test_the_drift_may_stay() -> None:
    paths = np.arange(60.0)[:, None, None] * np.ones((1, 2, 3))
    of = make_trajectory([paths], ["H", "H"], 1.0)
    assert_allclose(compute_msd(of)["H"].total_a2, 0.0, atol=1e-9)
    assert_allclose(compute_msd(of, remove_drift=False)["H"].total_a2, 3 * np.arange(60.0) ** 2, atol=1e-8)


def test_memory_given_changes_no_number() -> None:
    of = make_trajectory([brownian(5, 200, 6)], ["H"] * 6, 1.0)
    assert_allclose(compute_msd(of, memory_mb=1e-3)["H"].tensor_a2, compute_msd(of)["H"].tensor_a2, atol=1e-9)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(ValueError, match="Of no particle"):
        msd_of_paths([], 1.0)
    with pytest.raises(ValueError, match=r"not \(5, 3\)"):
        msd_of_paths([np.zeros((5, 3))], 1.0)
    with pytest.raises(ValueError, match="All blocks have the same frames, not 5 and 6"):
        msd_of_paths([np.zeros((5, 1, 3)), np.zeros((6, 1, 3))], 1.0)
    with pytest.raises(ValueError, match="not finite"):
        msd_of_paths([np.full((5, 1, 3), np.inf)], 1.0)
    of = make_trajectory([np.zeros((5, 1, 3))], ["H"], 1.0)
    with pytest.raises(ValueError, match="No atom of the trajectory is Li: there are H"):
        compute_msd(of, ["Li"])
    with pytest.raises(ValueError, match="its own centre of mass"):
        compute_msd(of)
