from __future__ import annotations

import math

import numpy as np
import pytest
from tests.recipes.structures.spacegroups import spacegroup_number

from penstock.domain.errors import SpecError
from penstock.recipes.structures.prototypes import (
    BOX_ANGSTROM,
    PROTOTYPES,
    Crystal,
    atomic_volume,
    build_element,
    build_prototype,
    find_prototype,
)

SPACEGROUPS = {
    "fcc": 225,
    "bcc": 229,
    "hcp": 194,
    "diamond": 227,
    "sc": 221,
    "rocksalt": 225,
    "cesiumchloride": 221,
    "zincblende": 216,
    "wurtzite": 186,
    "sodiumthallide": 227,
    "fluorite": 225,
    "l12": 221,
    "l10": 123,
    "d03": 225,
    "d022": 139,
    "heusler": 225,
    "perovskite": 221,
}
ATOMS = {"hcp": 2, "diamond": 2, "wurtzite": 4, "sodiumthallide": 4, "fluorite": 3, "perovskite": 5}
METALS = ("Cu", "Mn", "Al")


def volume(crystal: Crystal) -> float:
    return float(np.linalg.det(np.array(crystal.cell)))


def nearest(crystal: Crystal) -> dict[str, float]:
    """The shortest distance of each pair of elements, over neighbouring cells."""
    places, cell = np.array(crystal.positions), np.array(crystal.cell)
    shifts = np.array([(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 3)]) @ cell
    found: dict[str, float] = {}
    for one, first in zip(crystal.symbols, places, strict=True):
        for other, second in zip(crystal.symbols, places, strict=True):
            lengths = np.linalg.norm(second - first + shifts, axis=1)
            pair = "-".join(sorted((one, other)))
            found[pair] = min(found.get(pair, math.inf), float(lengths[lengths > 1e-6].min()))
    return found


def test_every_prototype_is_in_the_table() -> None:
    assert SPACEGROUPS.keys() == PROTOTYPES.keys()


@pytest.mark.parametrize(("name", "number"), SPACEGROUPS.items())
def test_the_space_group_is_the_one_of_the_literature(name: str, number: int) -> None:
    elements = METALS[: PROTOTYPES[name].elements]
    crystal = build_prototype(name, elements, 4.0)
    assert spacegroup_number(crystal.cell, crystal.positions, crystal.symbols) == number
    shares = {"A": 1, "AB": 2, "AB2": 3, "A3B": 4, "A2BC": 4, "ABC3": 5}[PROTOTYPES[name].formula]
    assert len(crystal.symbols) == ATOMS.get(name, shares)
    assert volume(crystal) > 0


@pytest.mark.parametrize(
    ("name", "elements", "composition"),
    [("l12", ("Cu", "Au"), "Cu3Au"), ("d03", ("Fe", "Al"), "Fe3Al"), ("d022", ("Al", "Ti"), "Al3Ti")],
)
def test_the_first_element_is_the_one_that_there_is_more_of(
    name: str, elements: tuple[str, str], composition: str
) -> None:
    symbols = build_prototype(name, elements).symbols
    assert [symbols.count(one) for one in elements] == [3, 1], composition


def test_who_neighbours_whom() -> None:
    a = 4.0
    assert nearest(build_prototype("fluorite", ("Ca", "F"), a))["Ca-F"] == pytest.approx(a * math.sqrt(3) / 4)
    assert nearest(build_prototype("perovskite", ("Sr", "Ti", "O"), a)) == pytest.approx(
        {"O-O": a / 2**0.5, "O-Ti": a / 2, "O-Sr": a / 2**0.5, "Sr-Ti": a * 0.75**0.5, "Sr-Sr": a, "Ti-Ti": a}
    )
    heusler = nearest(build_prototype("heusler", ("Cu", "Mn", "Al"), a))
    assert heusler["Cu-Mn"] == heusler["Al-Cu"] == pytest.approx(a * math.sqrt(3) / 4)
    assert heusler["Al-Mn"] == pytest.approx(a / 2)
    iron = nearest(build_prototype("d03", ("Fe", "Al"), a))
    assert iron["Fe-Fe"] == iron["Al-Fe"] == pytest.approx(a * math.sqrt(3) / 4)
    assert iron["Al-Al"] == pytest.approx(a / 2**0.5)


def test_lattice_parameters_of_tetragonal_and_hexagonal_cells() -> None:
    assert volume(build_prototype("l10", ("Cu", "Au"), 4.0)) == pytest.approx(4.0**3 / 2)
    assert volume(build_prototype("l10", ("Cu", "Au"), 4.0, 3.6)) == pytest.approx(4.0**2 * 3.6 / 2)
    assert volume(build_prototype("d022", ("Al", "Ti"), 4.0)) == pytest.approx(4.0**3)
    assert volume(build_prototype("hcp", ("Cu",), 2.5)) == pytest.approx(2.5**3 * math.sqrt(2))
    assert volume(build_prototype("hcp", ("Mg",))) == pytest.approx(2 * atomic_volume("Mg"))


def test_metals_get_the_volume_of_their_elements() -> None:
    crystal = build_prototype("l12", ("Cu", "Au"))
    assert volume(crystal) == pytest.approx((3 * 3.61**3 + 4.08**3) / 4)
    assert volume(build_prototype("diamond", ("Si",))) * 4 == pytest.approx(5.43**3)


@pytest.mark.parametrize(
    ("name", "elements", "measured", "within"),
    [
        ("rocksalt", ("Mg", "O"), 4.21, 0.03),
        ("rocksalt", ("Na", "Cl"), 5.64, 0.06),
        ("zincblende", ("Ga", "As"), 5.65, 0.03),
        ("fluorite", ("Ca", "F"), 5.46, 0.03),
        ("l12", ("Cu", "Au"), 3.75, 0.02),
        ("cesiumchloride", ("Ni", "Al"), 2.89, 0.06),
        ("diamond", ("C",), 3.57, 0.01),
    ],
)
def test_the_rule_comes_near_what_is_measured(
    name: str, elements: tuple[str, ...], measured: float, within: float
) -> None:
    crystal = build_prototype(name, elements)
    cells = 1 if name in ("l12", "cesiumchloride") else 4
    assert (volume(crystal) * cells) ** (1 / 3) == pytest.approx(measured, rel=within)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("B1", "rocksalt"),
        ("NaCl", "rocksalt"),
        ("L1_2", "l12"),
        ("L12", "l12"),
        ("Cu3Au", "l12"),
        ("CuAu", "l10"),
        ("D0_3", "d03"),
        ("Heusler", "heusler"),
        ("E2_1", "perovskite"),
        ("Zinc-Blende", "zincblende"),
        ("A1", "fcc"),
    ],
)
def test_prototypes_go_by_many_names(given: str, name: str) -> None:
    assert find_prototype(given).name == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rocksald", ("Na", "Cl")), "no prototype 'rocksald'; did you mean 'rocksalt'"),
        (("xxxxxxxxxx", ("Na", "Cl")), "no prototype 'xxxxxxxxxx'; known: fcc, bcc"),
        (("rocksalt", ("Na",)), r"rocksalt \(AB\) takes 2 elements, given: Na"),
        (("rocksalt", ("Na", "Na")), "names an element twice"),
        (("rocksalt", ("Na", "cl")), "there is no element 'cl'; did you mean 'Cl'"),
        (("rocksalt", ("Na", "Cl"), -5.0), "lattice parameter a is -5.0"),
        (("rocksalt", ("Na", "Cl"), math.nan), "lattice parameter a is nan"),
        (("rocksalt", ("Na", "Cl"), 5.6, 5.6), "rocksalt is cubic"),
        (("fcc", ("O",)), "volume of an atom of O is not known; give the lattice parameter"),
        (("fcc", ("Fm",)), "nothing is known of the crystal of Fm"),
    ],
)
def test_what_cannot_be_built_is_told(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build_prototype(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("symbol", "kind", "number", "atoms"),
    [
        ("Cu", "fcc", 225, 1),
        ("Fe", "bcc", 229, 1),
        ("Mg", "hcp", 194, 2),
        ("Si", "diamond", 227, 2),
        ("In", "bct", 139, 1),
        ("Sn", "bct", 141, 2),
        ("Bi", "rhombohedral", 166, 2),
        ("Po", "sc", 221, 1),
    ],
)
def test_elements_as_they_are_found(symbol: str, kind: str, number: int, atoms: int) -> None:
    crystal, found = build_element(symbol)
    assert found == kind
    assert spacegroup_number(crystal.cell, crystal.positions, crystal.symbols) == number
    assert crystal.symbols == [symbol] * atoms


def test_gases_stand_in_a_box() -> None:
    oxygen, kind = build_element("O")
    assert kind == "dimer in a box"
    assert oxygen.symbols == ["O", "O"]
    assert math.dist(*oxygen.positions) == pytest.approx(1.21)
    assert volume(oxygen) == pytest.approx(BOX_ANGSTROM**3)
    assert build_element("He")[0].symbols == ["He"]


@pytest.mark.parametrize("symbol", ["B", "P", "S", "Mn", "Ga", "Se", "U", "Pu"])
def test_elements_whose_crystal_is_not_known_are_refused(symbol: str) -> None:
    with pytest.raises(SpecError, match=rf"crystal of {symbol} \(\w+\) is not among those that can be built"):
        build_element(symbol)


@pytest.mark.parametrize(("symbol", "measured"), [("Mn", 12.2), ("Ga", 19.6), ("U", 20.8), ("In", 26.2), ("Sn", 27.1)])
def test_volumes_of_atoms(symbol: str, measured: float) -> None:
    assert atomic_volume(symbol) == pytest.approx(measured, rel=0.02)
