from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.analysis.crystals import CLASSES, OTHER_TRIGONAL, geometry_of, random_rotation, random_tensor

from penstock.analysis.crystal_symmetry import CrystalSymmetry, find_symmetry, turn_crystal
from penstock.analysis.elastic.data import Convention
from penstock.analysis.elastic.fit import ElasticFit, fit_elastic
from penstock.analysis.elastic.moduli import energy_coefficients
from penstock.analysis.elastic.strain import plan_strains
from penstock.analysis.elastic.symmetry import independent_constants, project_tensor
from penstock.analysis.voigt import UPPER, Floats, rotate_tensor, strain_matrix, strain_voigt, stress_matrix

AMPLITUDES = (-0.01, -0.005, 0.005, 0.01)


def symmetry_of(atoms: Any, turn: Floats | None = None) -> CrystalSymmetry:
    geometry = geometry_of(atoms)
    return find_symmetry(geometry if turn is None else turn_crystal(geometry, turn))


def planned(symmetry: CrystalSymmetry | None, amplitudes: tuple[float, ...] = AMPLITUDES) -> Floats:
    return np.array([strain.voigt for strain in plan_strains(symmetry, amplitudes).strains])


def close(fit: ElasticFit, tensor: Floats, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(fit.tensor_gpa, tensor, rtol=0, atol=rtol * np.abs(tensor).max())


CASES = [(name, seed) for name in CLASSES for seed in (None, 1, 2)]


@pytest.mark.parametrize(("laue_class", "turn"), CASES)
def test_a_tensor_of_each_class_is_recovered_however_the_crystal_is_turned(laue_class: str, turn: int | None) -> None:
    symmetry = symmetry_of(CLASSES[laue_class][0], None if turn is None else random_rotation(turn))
    for seed in range(3):
        tensor = random_tensor(seed, symmetry.operations)
        strains = planned(symmetry)
        fit = fit_elastic(strains, stress_matrix(strains @ tensor), "tension", symmetry.operations)
        close(fit, tensor)
        assert fit.undetermined == ()
        assert fit.symmetry_distance < 1e-9
        assert fit.r_squared == pytest.approx(1)
        assert fit.standard_error_gpa is not None
        assert fit.standard_error_gpa.max() < 1e-6


@pytest.mark.parametrize("laue_class", CLASSES)
@pytest.mark.parametrize("convention", ["tension", "compression"])
def test_stresses_may_be_unsymmetric_and_of_either_sign(laue_class: str, convention: Convention) -> None:
    symmetry = symmetry_of(CLASSES[laue_class][0], random_rotation(4))
    tensor = random_tensor(11, symmetry.operations)
    strains = planned(symmetry)
    stresses = stress_matrix(strains @ tensor)
    odd = np.random.default_rng(5).normal(size=stresses.shape) * 0.03
    stresses = stresses + odd - np.swapaxes(odd, 1, 2)
    fit = fit_elastic(strains, stresses if convention == "tension" else -stresses, convention, symmetry.operations)
    close(fit, tensor)
    assert 0 < fit.stress_asymmetry < 0.25


def test_axes_may_be_permuted() -> None:
    cycle = np.roll(np.eye(3), 1, axis=0)
    for atoms in (CLASSES["6/mmm"][0], CLASSES["2/m"][0], OTHER_TRIGONAL):
        symmetry = symmetry_of(atoms, cycle)
        tensor = random_tensor(2, symmetry.operations)
        strains = planned(symmetry)
        close(fit_elastic(strains, stress_matrix(strains @ tensor), "tension", symmetry.operations), tensor)


def test_a_turned_crystal_has_the_turned_tensor_and_errors() -> None:
    symmetry, turn = symmetry_of(CLASSES["-3m"][0]), random_rotation(7)
    strains = planned(None)
    noise = np.random.default_rng(0).normal(size=(len(strains), 3, 3)) * 0.02
    stresses = stress_matrix(strains @ random_tensor(3, symmetry.operations)) + noise
    fit = fit_elastic(strains, stresses, "tension", symmetry.operations)
    turned = fit_elastic(
        strain_voigt(turn @ strain_matrix(strains) @ turn.T),
        turn @ stresses @ turn.T,
        "tension",
        turn @ symmetry.operations @ turn.T,
    )
    close(turned, rotate_tensor(fit.tensor_gpa, turn), 1e-9)
    assert turned.residual_gpa == pytest.approx(fit.residual_gpa)
    assert turned.symmetry_distance == pytest.approx(fit.symmetry_distance)


def test_a_failed_strain_is_made_up_for_by_the_others() -> None:
    symmetry = symmetry_of(CLASSES["-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry)[[0, 1, 3, 5, 8, 9, 11]]
    close(fit_elastic(strains, stress_matrix(strains @ tensor), "tension", symmetry.operations), tensor)


def test_what_the_strains_do_not_determine_is_named_and_nan() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry)[:4]
    fit = fit_elastic(strains, stress_matrix(strains @ tensor), "tension", symmetry.operations)
    assert fit.undetermined == ("C44",)
    assert np.isnan(fit.tensor_gpa[3:, 3:].diagonal()).all()
    np.testing.assert_allclose(fit.tensor_gpa[:3, :3], tensor[:3, :3])
    assert fit.standard_error_gpa is not None
    assert np.isnan(fit.standard_error_gpa[3, 3])
    assert not np.isnan(fit.standard_error_gpa[0, 1])
    assert "do not determine C44" in fit.notes[0]


def test_without_symmetry_each_missing_direction_leaves_its_shear_or_stretch_unknown() -> None:
    tensor = random_tensor(3)
    strains = planned(None)[4:]
    fit = fit_elastic(strains, stress_matrix(strains @ tensor), "tension")
    assert fit.undetermined == ("C11",)  # C12 ... C16 are C21 ... C61
    np.testing.assert_allclose(fit.tensor_gpa[1:], tensor[1:], rtol=1e-9)


def test_the_reference_makes_up_for_a_second_amplitude() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry)[[0, 4]]
    stresses = stress_matrix(strains @ tensor)
    with pytest.raises(ValueError, match="determine no elastic constant by itself"):
        fit_elastic(strains[:1], stresses[:1], "tension", symmetry.operations)
    fit = fit_elastic(strains, stresses, "tension", symmetry.operations, reference_stress_gpa=np.zeros((3, 3)))
    close(fit, tensor)
    assert any("one sign only" in note for note in fit.notes)


def test_with_as_many_data_as_constants_nothing_is_said_of_errors() -> None:
    strains = planned(None, (-0.01, 0.01))
    few = np.array([strains[0], strains[1]])
    tensor = random_tensor(3)
    fit = fit_elastic(few, stress_matrix(few @ tensor), "tension")
    assert fit.degrees_of_freedom == 0
    assert fit.standard_error_gpa is None
    assert any("nothing is known of the errors" in note for note in fit.notes)


def test_stresses_that_symmetry_makes_equal_are_one_datum_and_tell_nothing_of_errors() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry, (-0.01, 0.01))  # under shear of either sign the normal stresses are the same
    curved = np.zeros_like(strains)
    curved[:, :3] = -800 * (strains**2).sum(axis=1, keepdims=True)
    zero = np.zeros((3, 3))
    bent = stress_matrix(strains @ tensor + curved)
    fit = fit_elastic(strains, bent, "tension", symmetry.operations, reference_stress_gpa=zero)
    assert fit.degree == 1  # a parabola through three points explains nothing
    assert fit.degrees_of_freedom == 4
    assert fit.standard_error_gpa is not None
    assert fit.standard_error_gpa[0, 0] > 1  # GPa: what the curvature leaves
    close(fit, tensor, 1e-9)


def test_third_order_terms_are_found_and_taken_out() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry, (0.0025, 0.005, 0.0075, 0.01))  # of one sign: the curvature does not cancel
    curved = np.zeros_like(strains)
    curved[:, :3] = -800 * (strains**2).sum(axis=1, keepdims=True)
    noise = np.random.default_rng(1).normal(size=(len(strains), 3, 3)) * 1e-4
    fit = fit_elastic(strains, stress_matrix(strains @ tensor + curved) + noise, "tension", symmetry.operations)
    assert fit.degree == 2
    close(fit, tensor, 2e-3)
    np.testing.assert_allclose(fit.lines_gpa[:, 2, :3], np.full((2, 3), [[-800], [-1600]]), rtol=0.05)


def test_curvature_changes_no_slope_of_symmetric_amplitudes() -> None:
    symmetry = symmetry_of(CLASSES["-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry)
    curved = strains**2 @ np.random.default_rng(0).normal(size=(6, 6)) * 500
    fit = fit_elastic(strains, stress_matrix(strains @ tensor + curved), "tension", symmetry.operations)
    close(fit, tensor)


def coverage(laue_class: str, seeds: int) -> float:
    """How often the truth is within 95 % of the fit, over all independent constants."""
    symmetry = symmetry_of(CLASSES[laue_class][0])
    tensor = random_tensor(1, symmetry.operations)
    strains = planned(symmetry)
    names = independent_constants(symmetry.operations)
    picked = [(int(name[1]) - 1, int(name[2]) - 1) for name in names]
    inside = []
    for seed in range(seeds):
        noise = np.random.default_rng(seed).normal(size=(len(strains), 3, 3)) * 0.05
        fit = fit_elastic(strains, stress_matrix(strains @ tensor) + noise, "tension", symmetry.operations)
        assert fit.standard_error_gpa is not None
        width = stats.t.ppf(0.975, fit.degrees_of_freedom) * fit.standard_error_gpa
        inside += [abs(fit.tensor_gpa[place] - tensor[place]) < width[place] for place in picked]
    return float(np.mean(inside))


@pytest.mark.parametrize(("laue_class", "seeds"), [("m-3m", 400), ("-3m", 200), ("mmm", 150)])
def test_95_per_cent_of_the_intervals_hold_the_truth(laue_class: str, seeds: int) -> None:
    assert 0.93 < coverage(laue_class, seeds) < 0.97


def test_noise_shows_in_the_distance_from_symmetry_and_projecting_twice_is_projecting_once() -> None:
    symmetry = symmetry_of(CLASSES["4/m"][0])
    tensor = random_tensor(1, symmetry.operations)
    strains = planned(None)
    noise = np.random.default_rng(0).normal(size=(len(strains), 3, 3)) * 0.05
    fit = fit_elastic(strains, stress_matrix(strains @ tensor) + noise, "tension", symmetry.operations)
    assert 1e-3 < fit.symmetry_distance < 0.1
    once = project_tensor(fit.raw_tensor_gpa, symmetry.operations)
    np.testing.assert_allclose(project_tensor(once, symmetry.operations), once, atol=1e-9)
    np.testing.assert_allclose(project_tensor(fit.tensor_gpa, symmetry.operations), fit.tensor_gpa, atol=1e-9)
    np.testing.assert_array_equal(fit.tensor_gpa, fit.tensor_gpa.T)


def test_the_wrong_symmetry_is_noticed() -> None:
    cubic = symmetry_of(CLASSES["m-3m"][0])
    strains = planned(None)
    fit = fit_elastic(strains, stress_matrix(strains @ random_tensor(1)), "tension", cubic.operations)
    assert fit.symmetry_distance > 0.1
    assert any("is the symmetry right" in note for note in fit.notes)


def test_pressure_is_told_and_corrected_for() -> None:
    """A crystal under 10 GPa whose energy is known: E(η) = V (-P tr η + ½ η C η) by Lagrangian strain η."""
    symmetry = symmetry_of(CLASSES["4/mmm"][0])
    constants, pressure = random_tensor(1, symmetry.operations), 10.0
    strains = planned(symmetry, (-1e-3, -5e-4, 5e-4, 1e-3))
    stresses = []
    for strain in strains:
        change = np.eye(3) + strain_matrix(strain)
        lagrangian = (change @ change.T - np.eye(3)) / 2
        second = -pressure * np.eye(3) + stress_matrix(constants @ strain_voigt(lagrangian))
        stresses.append(change @ second @ change.T / np.linalg.det(change))  # Cauchy's from Piola's
    fit = fit_elastic(strains, stresses, "tension", symmetry.operations, -pressure * np.eye(3))
    assert fit.pressure_gpa == pytest.approx(pressure)
    close(fit, energy_coefficients(constants, -pressure), 2e-5)
    np.testing.assert_allclose(energy_coefficients(fit.tensor_gpa, fit.pressure_gpa), constants, atol=2e-3)


def test_a_reference_under_shear_or_uniaxial_stress_is_refused() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    strains = planned(symmetry)
    stresses = stress_matrix(strains @ random_tensor(1, symmetry.operations))
    residual = np.diag([0.0, 0.0, 3.0])
    with pytest.raises(ValueError, match="no pressure: its deviatoric part is 2 GPa"):
        fit_elastic(strains, stresses + residual, "tension", symmetry.operations, residual)
    with pytest.raises(ValueError, match="no pressure: its deviatoric part is 2 GPa"):
        fit_elastic(strains, stresses + residual, "tension", symmetry.operations)
    fit = fit_elastic(strains, stresses, "tension", symmetry.operations, residual, deviator_max_gpa=5.0)
    assert fit.pressure_gpa == pytest.approx(-1.0)


def good() -> tuple[Floats, Floats]:
    strains = planned(None)
    return strains, stress_matrix(strains @ random_tensor(1))


def test_what_cannot_be_meant_is_refused() -> None:
    strains, stresses = good()
    with pytest.raises(ValueError, match=r"shapes \(24, 6\) and \(23, 3, 3\)"):
        fit_elastic(strains, stresses[:-1], "tension")
    with pytest.raises(ValueError, match="other convention"):
        fit_elastic(strains, stresses, "compression")
    with pytest.raises(ValueError, match="convention must be"):
        fit_elastic(strains, stresses, "ase")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no strain"):
        fit_elastic(strains * 0, stresses, "tension")
    with pytest.raises(ValueError, match="all stresses are 0"):
        fit_elastic(strains, stresses * 0, "tension")
    with pytest.raises(ValueError, match=r"beyond ±0\.1"):
        fit_elastic(strains * 20, stresses, "tension")
    with pytest.raises(ValueError, match="3x3 matrix of finite"):
        fit_elastic(strains, stresses, "tension", None, np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"shapes \(0,\)"):
        fit_elastic([], [], "tension")


@pytest.mark.parametrize("index", [0, 7])
def test_nan_is_refused_and_named(index: int) -> None:
    strains, stresses = good()
    stresses[index, 1, 2] = np.nan
    with pytest.raises(ValueError, match=f"strain {index} or its stress is not finite"):
        fit_elastic(strains, stresses, "tension")


def test_numbers_in_the_wrong_order_are_noticed() -> None:
    strains, stresses = good()
    stresses[3] = np.roll(stresses[3].ravel(), 1).reshape(3, 3)
    with pytest.raises(ValueError, match="stress 3 is far from symmetric"):
        fit_elastic(strains, stresses, "tension")


def test_what_is_not_linear_is_remarked_upon() -> None:
    strains, stresses = good()
    noise = np.random.default_rng(0).normal(size=strains.shape) * 0.3
    fit = fit_elastic(strains, stresses + stress_matrix(noise), "tension")
    assert any("not linear" in note for note in fit.notes)
    assert fit.covariance is not None
    np.testing.assert_allclose(fit.covariance.diagonal() ** 0.5, fit.standard_error_gpa[UPPER])  # type: ignore[index]


def test_a_stress_that_is_bent_without_noise_gives_the_slope_at_the_origin() -> None:
    symmetry = symmetry_of(CLASSES["m-3m"][0])
    tensor = random_tensor(3, symmetry.operations)
    strains = planned(symmetry, (-0.04, -0.02, 0.02, 0.04))
    normal, shear = strains[:, :3], strains[:, 3:]
    bent = strains @ tensor - 8e3 * np.hstack([normal**3 - 20 * normal**4, shear**3])
    fit = fit_elastic(strains, stress_matrix(bent), "tension", symmetry.operations)
    assert fit.degree == 3
    close(fit, tensor, 0.01)
