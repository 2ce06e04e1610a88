from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analysis.crystals import random_rotation, random_tensor

from penstock.analysis.voigt import (
    from_kelvin,
    full_tensor,
    rotate_tensor,
    strain_matrix,
    strain_voigt,
    stress_matrix,
    stress_voigt,
    to_kelvin,
)

seeds = st.integers(0, 10**6)


@given(seeds)
def test_every_form_reads_back(seed: int) -> None:
    six = np.random.default_rng(seed).normal(size=(4, 6))
    np.testing.assert_allclose(strain_voigt(strain_matrix(six)), six)
    np.testing.assert_allclose(stress_voigt(stress_matrix(six)), six)
    tensor = random_tensor(seed)
    np.testing.assert_allclose(from_kelvin(to_kelvin(tensor)), tensor)


def test_shear_strain_is_twice_the_tensors() -> None:
    np.testing.assert_array_equal(strain_matrix([0, 0, 0, 0.02, 0, 0]), [[0, 0, 0], [0, 0, 0.01], [0, 0.01, 0]])
    np.testing.assert_array_equal(stress_matrix([0, 0, 0, 0, 3, 0]), [[0, 0, 3], [0, 0, 0], [3, 0, 0]])


@given(seeds)
def test_a_turned_tensor_is_the_one_of_all_81_components(seed: int) -> None:
    tensor, turn = random_tensor(seed), random_rotation(seed)
    expected = np.einsum("ia,jb,kc,ld,abcd->ijkl", turn, turn, turn, turn, full_tensor(tensor), optimize=True)
    np.testing.assert_allclose(full_tensor(rotate_tensor(tensor, turn)), expected, rtol=1e-9, atol=1e-9)


def test_only_rotations_turn() -> None:
    with pytest.raises(ValueError, match="orthogonal"):
        rotate_tensor(np.eye(6), np.ones((3, 3)))
