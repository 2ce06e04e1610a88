"""Crystals by name, and which are the same."""

from __future__ import annotations

import pytest

from penstock.recipes.structures.crystals import (
    Crystal,
    build_element,
    build_prototype,
    count_sites,
    drop_equal,
    parent_lattices,
    prototype_name,
    prototype_names,
    reference_lattice,
)


def test_prototypes_go_by_their_names() -> None:
    assert {"fcc", "bcc", "diamond", "rocksalt", "zincblende", "L1_2", "L1_0", "B2"} <= set(prototype_names())
    assert all(prototype_name(name) == name for name in prototype_names())
    assert prototype_name("L12") == "L1_2"
    assert prototype_name("nonsense") is None
    assert (count_sites("fcc"), count_sites("L1_2")) == (1, 2)


def test_lattices_of_reference_states() -> None:
    assert [reference_lattice(symbol) for symbol in ("Cu", "Fe", "Ti", "Si", "Fr")] == [
        "fcc",
        "bcc",
        "hcp",
        "diamond",
        "",
    ]
    assert parent_lattices(["Ti", "Cu", "Ag", "Si"]) == ("fcc", "hcp")
    assert parent_lattices(["O", "Si"]) == ()


def test_what_differs_in_size_orientation_or_origin_only_is_dropped() -> None:
    one = build_prototype("B2", ("Ni", "Al"), 2.9)
    swapped = build_prototype("B2", ("Al", "Ni"), 2.9)
    larger = build_prototype("B2", ("Ni", "Al"), 3.1)
    rich = build_prototype("L1_2", ("Ni", "Al"), 3.6)
    assert drop_equal([one, swapped, larger, rich]) == [one, rich]
    iron = build_element("Fe")
    turned = Crystal(iron.symbols, iron.positions, [iron.cell[1], iron.cell[2], iron.cell[0]])
    fcc = build_prototype("fcc", ("Fe",))
    assert drop_equal([iron, fcc, turned]) == [iron, fcc]


def test_numbers_are_plain_and_what_is_no_crystal_is_told() -> None:
    crystal = build_element("Si")
    assert {type(x) for row in (*crystal.positions, *crystal.cell) for x in row} == {float}
    assert crystal.composition == {"Si": 1}
    with pytest.raises(ValueError, match="O"):
        build_element("O")
