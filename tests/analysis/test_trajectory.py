from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from tests.analysis.walks import brownian

from penstock.analysis.trajectory import Floats, Trajectory, compute_drift, make_trajectory, unwrap

ORTHOGONAL = np.diag([9.0, 11.0, 13.0])
TRICLINIC = np.array([[9.0, 0.0, 0.0], [4.0, 10.0, 0.0], [-3.0, 5.0, 11.0]])
SKEWED = np.array([[9.0, 0.0, 0.0], [27.0, 9.0, 0.0], [-18.0, 36.0, 9.0]])  # the cubic lattice, written badly


def wrapped(paths: Floats, cell: Floats) -> Floats:
    fractions = paths @ np.linalg.inv(cell)
    return np.asarray((fractions - np.floor(fractions)) @ cell)


def trajectory(*segments: NDArray[Any], **further: object) -> Trajectory:
    return make_trajectory(list(segments), ["Ar"] * segments[0].shape[1], 1.0, **further)  # type: ignore[arg-type]


def everything(of: Trajectory) -> Floats:
    return unwrap(of, slice(None))


@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC, SKEWED], ids=["orthogonal", "triclinic", "skewed"])
def test_what_was_folded_into_the_cell_is_unfolded(cell: Floats) -> None:
    paths = brownian(1, 500, 6, 0.1)
    assert np.ptp(paths) > 20
    found = everything(trajectory(wrapped(paths, cell), cells=cell))
    assert_allclose(found, paths - paths[0], atol=1e-9)


def test_segments_go_on_where_the_one_before_ends_and_may_be_single_precision_in_a_file(tmp_path: Path) -> None:
    paths = brownian(2, 300, 4, 0.1)
    folded = wrapped(paths, TRICLINIC).astype(np.float32)
    kept = np.memmap(tmp_path / "positions", np.float32, "w+", shape=folded.shape)
    kept[:] = folded
    found = everything(trajectory(kept[:100], kept[100:101], kept[101:], cells=TRICLINIC))
    assert found.dtype == np.float64
    assert_allclose(found, paths - paths[0], atol=1e-4)


def test_a_cell_that_breathes_does_not_move_atoms_whichever_image_was_written() -> None:
    paths = brownian(3, 400, 5, 0.01)
    breath = 1 + 0.02 * np.sin(np.arange(400))
    cells = breath[:, None, None] * TRICLINIC
    fractions = np.cumsum(
        np.diff(paths, axis=0, prepend=0.0) @ np.linalg.inv(TRICLINIC) / breath[:, None, None], axis=0
    )
    folded = (fractions - np.floor(fractions)) @ cells
    far = (fractions + np.random.default_rng(0).integers(-3, 4, (1, 5, 3))) @ cells
    assert_allclose(everything(trajectory(folded, cells=cells)), paths - paths[0], atol=1e-9)
    assert_allclose(everything(trajectory(far, cells=cells)), paths - paths[0], atol=1e-9)


def test_what_is_not_periodic_is_not_folded() -> None:
    paths = brownian(4, 200, 3, 1.0)
    slab = paths.copy()
    slab[:, :, :2] %= 20.0
    cell = np.diag([20.0, 20.0, 1.0])
    found = everything(trajectory(slab, cells=cell, periodic=(True, True, False)))
    assert_allclose(found, paths - paths[0], atol=1e-9)
    assert_allclose(everything(trajectory(paths)), paths - paths[0], atol=1e-12)
    no_third_vector = np.diag([20.0, 20.0, 0.0])
    assert_allclose(everything(trajectory(slab, cells=no_third_vector, periodic=(True, True, False))), found, atol=1e-9)


def test_a_step_near_half_a_cell_is_a_guess_and_refused() -> None:
    paths = np.zeros((5, 3, 3))
    paths[3:, 1, 1] = 0.45 * 11
    with pytest.raises(ValueError, match=re.escape("Atom 1 moves by 0.45 of the cell between frames 2 and 3")):
        everything(trajectory(paths, cells=ORTHOGONAL))
    with pytest.raises(ValueError, match="Atom 1 moves"):
        unwrap(trajectory(paths, cells=ORTHOGONAL), np.array([1, 2]))
    paths[3:, 1, 1] = 0.35 * 11
    assert everything(trajectory(paths, cells=ORTHOGONAL))[-1, 1, 1] == pytest.approx(0.35 * 11)


def test_drift_is_that_of_the_centre_of_mass_of_all() -> None:
    paths = brownian(5, 100, 6, 0.01)
    masses = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 60.0])
    of = trajectory(wrapped(paths, TRICLINIC), cells=TRICLINIC, masses_u=masses)
    expected = np.average(paths - paths[0], axis=1, weights=masses)
    assert_allclose(compute_drift(of), expected, atol=1e-9)
    assert_allclose(compute_drift(of, memory_mb=1e-6), expected, atol=1e-9)  # atom by atom


def test_masses_are_those_of_the_elements() -> None:
    assert_allclose(make_trajectory([np.zeros((2, 2, 3))], ["Li", "O"], 1.0).masses_u, [6.94, 15.999])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"segments": []}, "no segment"),
        ({"segments": [np.zeros((4, 3))]}, re.escape("not (4, 3)")),
        ({"segments": [np.zeros((4, 2, 3)), np.zeros((4, 3, 3))]}, re.escape("(4, 3, 3)")),
        ({"segments": [np.zeros((1, 2, 3))]}, "two frames"),
        ({"species": ["Li", "Li1"]}, "No element is called Li1: give the masses"),
        ({"interval_fs": 0.0}, "positive number of fs"),
        ({"interval_fs": float("nan")}, "positive number of fs"),
        ({"cells": np.eye(2)}, re.escape("A cell is (3, 3), or (4, 3, 3)")),
        ({"cells": np.ones((3, 3))}, "Cell 0 of the trajectory has no volume"),
        ({"cells": np.full((3, 3), np.nan)}, "is not finite"),
        ({"masses_u": [1.0, -1.0]}, "Masses are 2 positive numbers"),
        ({"masses_u": [1.0]}, "Masses are 2 positive numbers"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, object], told: str) -> None:
    given: dict[str, object] = {"segments": [np.zeros((4, 2, 3))], "species": ["Li", "O"], "interval_fs": 1.0} | changes
    with pytest.raises(ValueError, match=told):
        make_trajectory(**given)  # type: ignore[arg-type]


def test_a_damaged_frame_is_named() -> None:
    positions = np.zeros((6, 3, 3))
    positions[4, 2, 0] = np.nan
    with pytest.raises(ValueError, match="Atom 2 has no finite position in frame 4"):
        everything(trajectory(positions[:3], positions[3:]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_lattice_is_unfolded_where_steps_are_short(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    cell = rng.permutation(cell) * 4
    if abs(np.linalg.det(cell)) < 50:
        return
    widths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    steps = rng.uniform(-1, 1, (50, 2, 3)) * 0.2 * widths.min()
    paths = steps.cumsum(axis=0)
    assert_allclose(everything(trajectory(wrapped(paths, cell), cells=cell)), paths - paths[0], atol=1e-9)
