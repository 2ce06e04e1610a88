from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analysis.crystals import COPPER, QUARTZ, SILICON, cubic, random_rotation, random_tensor

from penstock.analysis.elastic.moduli import (
    complete_tensor,
    compute_moduli,
    compute_stability,
    moduli_errors,
    propagate_errors,
)
from penstock.analysis.voigt import UPPER, full_tensor, rotate_tensor, to_kelvin

seeds = st.integers(0, 10**6)


def test_copper() -> None:
    """The closed forms for cubic crystals, and Zener's ratio, on which the universal index then depends alone."""
    moduli = compute_moduli(COPPER)
    c11, c12, c44 = 168.4, 121.4, 75.4
    assert moduli.bulk_voigt_gpa == moduli.bulk_reuss_gpa == pytest.approx((c11 + 2 * c12) / 3)
    assert moduli.shear_voigt_gpa == pytest.approx((c11 - c12 + 3 * c44) / 5)
    assert moduli.shear_reuss_gpa == pytest.approx(5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)))
    zener = 2 * c44 / (c11 - c12)
    assert moduli.anisotropy == pytest.approx(1.2 * (zener**0.5 - zener**-0.5) ** 2)
    assert moduli.anisotropy_bulk == pytest.approx(0, abs=1e-12)
    assert moduli.anisotropy_shear == pytest.approx(moduli.anisotropy)


def test_quartz_has_the_bulk_and_shear_modulus_of_the_literature() -> None:
    """J. D. Bass, in Mineral Physics and Crystallography, AGU (1995): K = 37.8 GPa, G = 44.3 GPa."""
    moduli = compute_moduli(QUARTZ)
    assert moduli.bulk_hill_gpa == pytest.approx(37.8, abs=0.1)
    assert moduli.shear_hill_gpa == pytest.approx(44.3, abs=0.2)


def test_silicon() -> None:
    """J. J. Hall, Phys. Rev. 161, 756 (1967), and many others: K = 97.9 GPa; Hill's Poisson ratio is 0.22."""
    moduli = compute_moduli(SILICON)
    assert moduli.bulk_hill_gpa == pytest.approx(97.9, abs=0.1)
    assert moduli.poisson_ratio == pytest.approx(0.22, abs=0.005)
    assert moduli.pugh_ratio == pytest.approx(97.9 / 66.5, rel=0.01)


def test_an_isotropic_solid_has_no_anisotropy() -> None:
    moduli = compute_moduli(cubic(200.0, 100.0, 50.0))
    assert moduli.anisotropy == pytest.approx(0, abs=1e-12)
    assert moduli.young_gpa == pytest.approx(9 * moduli.bulk_hill_gpa * 50 / (3 * moduli.bulk_hill_gpa + 50))
    assert moduli.poisson_ratio == pytest.approx(100 / 300)


@given(seeds)
def test_averages_are_invariants_of_all_81_components(seed: int) -> None:
    tensor = random_tensor(seed)
    moduli = compute_moduli(tensor)
    full = full_tensor(tensor)
    bulk, trace = np.einsum("iijj", full) / 9, np.einsum("ijij", full)
    assert moduli.bulk_voigt_gpa == pytest.approx(bulk)
    assert moduli.shear_voigt_gpa == pytest.approx((trace - 3 * bulk) / 10)
    compliance = np.linalg.inv(to_kelvin(tensor))  # whose trace is s_ijij
    softness = compliance[:3, :3].sum()
    assert moduli.bulk_reuss_gpa == pytest.approx(1 / softness)
    assert moduli.shear_reuss_gpa == pytest.approx(5 / (2 * (np.trace(compliance) - softness / 3)))


@given(seeds)
def test_moduli_do_not_depend_on_the_axes_and_keep_their_order(seed: int) -> None:
    tensor = random_tensor(seed)
    moduli = compute_moduli(tensor)
    np.testing.assert_allclose(compute_moduli(rotate_tensor(tensor, random_rotation(seed))), moduli, rtol=1e-8)
    assert moduli.bulk_reuss_gpa <= moduli.bulk_hill_gpa <= moduli.bulk_voigt_gpa
    assert moduli.shear_reuss_gpa <= moduli.shear_hill_gpa <= moduli.shear_voigt_gpa
    assert moduli.anisotropy >= 0
    assert -1 < moduli.poisson_ratio < 0.5


def test_errors_are_those_of_tensors_drawn_at_random() -> None:
    random = np.random.default_rng(1)
    factor = random.normal(size=(21, 21)) * 0.1
    covariance = factor @ factor.T
    errors = moduli_errors(QUARTZ, covariance)
    drawn = []
    for change in random.multivariate_normal(np.zeros(21), covariance, size=4000):
        tensor = QUARTZ.copy()
        tensor[UPPER] += change
        tensor.T[UPPER] = tensor[UPPER]
        drawn.append(compute_moduli(tensor))
    np.testing.assert_allclose(errors, np.std(drawn, axis=0), rtol=0.08)


def test_the_error_of_a_constant_is_its_own() -> None:
    covariance = np.diag(np.arange(1.0, 22.0))
    errors = propagate_errors(
        lambda tensor: np.array([tensor[0, 0], tensor[2, 1], 2 * tensor[5, 5]]), QUARTZ, covariance
    )
    np.testing.assert_allclose(errors, [1, np.sqrt(8), 2 * np.sqrt(21)])


def test_borns_criteria() -> None:
    stability = compute_stability(SILICON, np.eye(21) * 0.04)
    assert stability.is_stable
    expected = sorted([165.78 + 2 * 63.94, *[165.78 - 63.94] * 2, *[2 * 79.62] * 3])
    np.testing.assert_allclose(stability.eigenvalues_gpa, expected)
    assert stability.error_gpa is not None
    assert 0.1 < stability.error_gpa < 0.5


@pytest.mark.parametrize(
    ("constants", "softest"),
    [
        ((100.0, 110.0, 50.0), (1, 1, 1, 0, 0, 0)),  # C11 < C12: a stretch that keeps the volume
        ((100.0, 50.0, -1.0), (0, 0, 0, 1, 1, 1)),
        ((100.0, -60.0, 50.0), (1, 1, 1, 0, 0, 0)),
    ],
)
def test_an_unstable_crystal_is_known_by_the_strain_that_nothing_resists(
    constants: tuple[float, float, float], softest: tuple[int, ...]
) -> None:
    tensor = cubic(*constants)
    stability = compute_stability(tensor)
    assert not stability.is_stable
    assert stability.error_gpa is None
    strain = stability.softest_strain
    assert strain @ tensor @ strain < 0
    assert np.all((np.abs(strain) < 1e-9) | (np.array(softest) == 1))
    with pytest.raises(ValueError, match="not elastically stable"):
        compute_moduli(tensor)


def test_what_is_no_complete_tensor_is_refused() -> None:
    tensor = SILICON.copy()
    tensor[3, 3] = np.nan
    with pytest.raises(ValueError, match="not complete: C44 are not determined"):
        compute_moduli(tensor)
    with pytest.raises(ValueError, match="6x6"):
        complete_tensor(np.eye(3))
    tensor = SILICON.copy()
    tensor[0, 1] += 1
    with pytest.raises(ValueError, match="symmetric"):
        complete_tensor(tensor)
