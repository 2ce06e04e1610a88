from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from ase.build import bulk
from tests.analysis.crystals import CLASSES, OTHER_TRIGONAL, geometry_of, random_rotation

from penstock.analysis.crystal_symmetry import crystal_cell, find_symmetry, turn_crystal
from penstock.analysis.elastic.strain import Strain, deform, plan_strains
from penstock.domain.geometry import Geometry
from penstock.domain.properties import VOIGT


@pytest.mark.parametrize("laue_class", CLASSES)
def test_each_class_has_its_constants_and_the_fewest_strains(laue_class: str) -> None:
    atoms, constants, patterns = CLASSES[laue_class]
    plan = plan_strains(find_symmetry(geometry_of(atoms)), (-0.01, 0.01))
    assert plan.constants == tuple(constants.split())
    assert [strain.pattern for strain in plan.strains] == [name for name in patterns.split() for _ in range(2)]
    assert plan.notes == ()


def test_the_other_trigonal_setting_has_c15() -> None:
    assert "C15" in plan_strains(find_symmetry(geometry_of(OTHER_TRIGONAL))).constants


@pytest.mark.parametrize("laue_class", CLASSES)
def test_however_a_crystal_is_turned_it_has_as_many_constants(laue_class: str) -> None:
    atoms, constants, _ = CLASSES[laue_class]
    turned = turn_crystal(geometry_of(atoms), random_rotation(5))
    assert len(plan_strains(find_symmetry(turned)).constants) == len(constants.split())


def test_a_crystal_turned_by_next_to_nothing_has_no_plan_that_determines_next_to_nothing() -> None:
    angle = 1e-4
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    plan = plan_strains(find_symmetry(turn_crystal(geometry_of(bulk("Cu")), turn)))
    assert {strain.pattern for strain in plan.strains} == {"xx", "yz"}


def test_without_symmetry_all_six_are_strained() -> None:
    plan = plan_strains(None)
    assert tuple(dict.fromkeys(strain.pattern for strain in plan.strains)) == VOIGT
    assert len(plan.strains) == 24
    assert len({strain.label for strain in plan.strains}) == 24
    assert len(plan.constants) == 21


def test_a_strain_is_json_and_has_a_label() -> None:
    strain = plan_strains(None, (0.005, -0.005)).strains[-1]
    assert strain == Strain("xy+0.0050", "xy", 0.005, (0.0, 0.0, 0.0, 0.0, 0.0, 0.005))
    assert msgspec.json.decode(msgspec.json.encode(strain), type=Strain) == strain
    assert plan_strains(None, (0.00125, -0.00125)).strains[0].label == "xx-0.00125"


def test_atoms_keep_their_fractional_coordinates() -> None:
    geometry = geometry_of(CLASSES["-3m"][0])
    cell = crystal_cell(geometry)
    scaled = np.array(geometry.positions) @ np.linalg.inv(cell)
    for strain in plan_strains(None).strains:
        strained = deform(geometry, strain)
        strained_cell = crystal_cell(strained)
        np.testing.assert_allclose(np.array(strained.positions), scaled @ strained_cell, atol=1e-12)
        xx, yy, zz, yz, xz, xy = strain.voigt
        change = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
        np.testing.assert_allclose(strained_cell, cell + cell @ change, atol=1e-12)


def test_a_molecule_cannot_be_strained() -> None:
    with pytest.raises(ValueError, match="periodic in all three directions"):
        deform(Geometry(["He"], [(0.0, 0.0, 0.0)], None, (False,) * 3), plan_strains(None).strains[0])


@pytest.mark.parametrize(
    ("amplitudes", "message"),
    [
        ((), "no strain amplitude"),
        ((0.0, 0.01), "amplitude is 0"),
        ((-0.11, 0.11), "far from linear elasticity"),
        ((-1.0, 1.0), "fractions, not per cent"),
        ((-0.01, math.nan), "not a number"),
        ((-0.01, math.inf), "not a number"),
        ((-1e-7, 1e-7), "rounding"),
        ((0.01, 0.01, -0.01), "given twice"),
        ((0.01,), "at least two"),
        ((-0.01,), "at least two"),
    ],
)
def test_wrong_amplitudes_are_refused(amplitudes: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_strains(None, amplitudes)


def test_amplitudes_of_one_sign_are_remarked_upon() -> None:
    (note,) = plan_strains(None, (0.005, 0.01)).notes
    assert "one sign" in note
