from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analysis.crystals import COPPER, SILICON, cubic, random_rotation, random_tensor

from penstock.analysis.elastic.directions import directions_of, young_extremes, young_modulus, young_surface
from penstock.analysis.voigt import rotate_tensor

seeds = st.integers(0, 10**6)


def test_silicon_along_its_axes() -> None:
    """M. A. Hopcroft, W. D. Nix and T. W. Kenny, J. Microelectromech. Syst. 19, 229 (2010): 130, 169 and 188 GPa."""
    moduli = young_modulus(SILICON, [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(moduli, [130, 169, 188], atol=0.5)


def test_the_extremes_of_a_cubic_crystal_are_its_axes_and_diagonals() -> None:
    for tensor in (SILICON, COPPER):
        extremes = young_extremes(tensor)
        assert extremes.min_gpa == pytest.approx(float(young_modulus(tensor, [1, 0, 0])))
        assert extremes.max_gpa == pytest.approx(float(young_modulus(tensor, [1, 1, 1])))
        np.testing.assert_allclose(sorted(np.abs(extremes.min_direction)), [0, 0, 1], atol=1e-3)
        np.testing.assert_allclose(np.abs(extremes.max_direction), np.full(3, 3**-0.5), atol=1e-3)


@settings(max_examples=30)
@given(seeds)
def test_nothing_is_beyond_the_extremes_and_they_turn_with_the_crystal(seed: int) -> None:
    tensor, turn = random_tensor(seed), random_rotation(seed)
    extremes = young_extremes(tensor)
    elsewhere = young_modulus(tensor, np.random.default_rng(seed).normal(size=(2000, 3)))
    assert elsewhere.min() >= extremes.min_gpa * (1 - 1e-9)
    assert elsewhere.max() <= extremes.max_gpa * (1 + 1e-9)
    turned = young_extremes(rotate_tensor(tensor, turn))
    assert turned.min_gpa == pytest.approx(extremes.min_gpa)
    assert turned.max_gpa == pytest.approx(extremes.max_gpa)
    assert float(young_modulus(tensor, extremes.max_direction)) == pytest.approx(extremes.max_gpa)


def test_a_pull_along_x_is_resisted_by_the_modulus_along_x() -> None:
    tensor = random_tensor(1)
    strain = np.linalg.solve(tensor, [1, 0, 0, 0, 0, 0])
    assert float(young_modulus(tensor, [1, 0, 0])) == pytest.approx(1 / strain[0])


def test_the_surface_of_an_isotropic_solid_is_a_sphere() -> None:
    surface = young_surface(cubic(200.0, 100.0, 50.0), np.linspace(0, 3, 5), np.linspace(0, 6, 7))
    assert surface.shape == (5, 7)
    np.testing.assert_allclose(surface, np.full((5, 7), 400 / 3))


def test_angles_are_from_z_and_from_x_to_y() -> None:
    np.testing.assert_allclose(
        directions_of([0, np.pi / 2, np.pi / 2], [1, 0, np.pi / 2]), np.eye(3)[[2, 0, 1]], atol=1e-12
    )


def test_an_incomplete_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="not complete"):
        young_extremes(np.full((6, 6), np.nan))
