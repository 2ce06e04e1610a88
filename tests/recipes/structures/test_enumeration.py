from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.utils.structure_comparator import SymmetryEquivalenceCheck
from tests.recipes.structures.spacegroups import spacegroup_number

from penstock.domain.errors import SpecError
from penstock.recipes.structures.enumeration import Ordering, Parent, enumerate_orderings

COPPER_A, GOLD_A = 3.61, 4.08  # Å, in ASE's table
OXIDE = Parent("halite", ["Mg", "O"], [(0, 0, 0), (2.1, 2.1, 2.1)], ((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)))


def atoms(one: Ordering) -> Atoms:
    return Atoms(one.symbols, scaled_positions=one.scaled_positions, cell=one.cell, pbc=True)


def spacegroup(one: Ordering) -> int:
    return spacegroup_number(one.cell, atoms(one).positions.tolist(), one.symbols)


def test_the_known_small_orderings_of_fcc_are_there() -> None:
    found = enumerate_orderings(("Cu", "Au"), "fcc", 4)
    assert len(found) == 2 + 2 + 6 + 19
    groups = {formula: {spacegroup(one) for one in found if one.formula == formula} for formula in ("CuAu", "Cu3Au")}
    assert {123, 166} <= groups["CuAu"]  # L1_0 and L1_1
    assert {221, 139} <= groups["Cu3Au"]  # L1_2 and D0_22
    assert [one.name for one in found[:4]] == ["fcc-Au-0001", "fcc-Cu-0001", "fcc-CuAu-0001", "fcc-CuAu-0002"]
    assert len({one.name for one in found}) == len(found)


@pytest.mark.parametrize(("lattice", "largest"), [("fcc", 4), ("bcc", 4), ("hcp", 4)])
def test_no_two_are_the_same_structure(lattice: str, largest: int) -> None:
    found = enumerate_orderings(("Cu", "Au"), lattice, largest)
    check = SymmetryEquivalenceCheck()
    for formula in {one.formula for one in found}:
        alike = [atoms(one) for one in found if one.formula == formula]
        assert not any(check.compare(one, other) for one, other in itertools.combinations(alike, 2))


def test_structures_have_the_lattice_s_distances_and_the_mean_lattice_parameter() -> None:
    for one in enumerate_orderings(("Cu", "Au"), "fcc", 4):
        count = Counter(one.symbols)
        a = (count["Cu"] * COPPER_A + count["Au"] * GOLD_A) / len(one.symbols)
        structure = atoms(one)
        assert structure.get_volume() / len(structure) == pytest.approx(a**3 / 4)
        twice = structure.repeat(2)
        nearest = twice.get_all_distances(mic=True)[np.triu_indices(len(twice), 1)].min()
        assert nearest == pytest.approx(a / 2**0.5)


def test_names_depend_on_nothing_but_formula_and_lattice() -> None:
    few = {one.name: one for one in enumerate_orderings(("Cu", "Au"), "fcc", 4)}
    more = {one.name: one for one in enumerate_orderings(("Cu", "Au"), "fcc", 6)}
    limited = {one.name: one for one in enumerate_orderings(("Cu", "Au"), "fcc", 6, {"Au": (0.25, 0.5)})}
    assert few.items() <= more.items()
    assert limited.items() < more.items()
    assert {one.formula for one in limited.values()} == {"Cu3Au", "Cu2Au", "CuAu", "Cu3Au2"}
    exchanged = enumerate_orderings(("Au", "Cu"), "fcc", 4)
    assert [one.symbols for one in exchanged] == [one.symbols for one in few.values()]
    assert [one.cell for one in exchanged] == [one.cell for one in few.values()]
    assert "fcc-AuCu3-0007" in {one.name for one in exchanged}


def test_given_lattice_parameters_count() -> None:
    found = enumerate_orderings(("Cu", "Au"), "fcc", 2, lattice_parameters_angstrom={"Cu": 3.0, "Au": 5.0})
    assert [atoms(one).get_volume() / len(one.symbols) for one in found] == pytest.approx([31.25, 6.75, 16, 16])


def test_ternaries_and_quaternaries() -> None:
    assert len(enumerate_orderings(("Ni", "Al", "Ti"), "bcc", 3)) == 3 + 6 + 21
    assert len(enumerate_orderings(("Ni", "Al", "Ti", "Mn"), "fcc", 3)) == 4 + 12 + 48


def test_a_structure_of_one_s_own_with_atoms_that_stay() -> None:
    found = enumerate_orderings(("Mg", "Ca"), OXIDE, 8)
    assert len(found) == 2 + 2 + 6 + 19
    assert all(one.symbols.count("O") * 2 == len(one.symbols) for one in found)
    assert {one.formula for one in found if one.size == 2} == {"MgCaO2"}
    magnesia = next(one for one in found if one.formula == "MgO")
    assert magnesia.name == "halite-MgO-0001"
    assert atoms(magnesia).get_volume() == pytest.approx(2 * 2.1**3)
    assert spacegroup(magnesia) == 225
    limited = enumerate_orderings(("Mg", "Ca"), OXIDE, 8, {"Mg": (0.5, 0.5)})
    assert {one.formula for one in limited} == {"MgCaO2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("Cu",), "fcc", 4), "take 2 to 4 different elements, given: Cu"),
        ((("Cu", "Cu"), "fcc", 4), "take 2 to 4 different elements"),
        ((("Cu", "Ni", "Au", "Ag", "Pd"), "fcc", 4), "take 2 to 4 different elements"),
        ((("Cu", "Ax"), "fcc", 4), "there is no element 'Ax'"),
        ((("Cu", "Au"), "fccc", 4), "no parent lattice 'fccc'; did you mean 'fcc'"),
        ((("Cu", "Au"), "fcc", 0), "max_atoms is 0"),
        ((("Cu", "Au"), "hcp", 1), "the cell of hcp has 2 atoms; max_atoms is 1"),
        ((("Cu", "Au"), "fcc", 2, {"Ag": (0, 1)}), "a limit is given for Ag, which is not ordered"),
        ((("Cu", "Au"), "fcc", 2, {"Au": (0.6, 0.4)}), "limits of Au are 0.6 and 0.4"),
        ((("Cu", "Au"), "fcc", 30), "Cells of 30 atoms allow about 1e9 orderings; choose fewer atoms"),
        ((("Cu", "O"), "fcc", 2), "volume of an atom of O is not known; give the lattice parameter"),
        ((("Cu", "Au"), "fcc", 2, None, {"Cu": -1.0}), "lattice parameter of Cu is -1.0"),
        ((("Cu", "Au"), OXIDE, 4), "halite has no atom of Au, Cu"),
        ((("Mg", "Ca"), OXIDE, 4, None, {"Mg": 4.2}), "but none of Ca; give all or none"),
        ((("Mg", "Ca"), OXIDE._replace(positions=[(0, 0, 0), (0, 0, 0)]), 4), "halite cannot be a parent lattice"),
    ],
)
def test_what_cannot_be_enumerated_is_told(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        enumerate_orderings(*arguments)  # type: ignore[arg-type]
