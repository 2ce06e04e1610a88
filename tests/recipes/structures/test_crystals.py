"""Which crystals are the same, and what elements are like."""

from __future__ import annotations

from penstock.recipes.structures.crystals import (
    composition,
    drop_equal,
    known_prototype,
    parent_lattices,
    reference_lattice,
)
from penstock.recipes.structures.prototypes import Crystal, build_element, build_prototype


def test_prototypes_go_by_any_of_their_names() -> None:
    found = known_prototype("L12")
    assert found is not None
    assert found is known_prototype("L1_2")
    assert known_prototype("nonsense") is None


def test_lattices_of_reference_states() -> None:
    found = {symbol: reference_lattice(symbol) for symbol in ("Cu", "Fe", "Ti", "Si", "O", "Fr", "Og")}
    assert found == {"Cu": "fcc", "Fe": "bcc", "Ti": "hcp", "Si": "diamond", "O": "diatom", "Fr": "", "Og": ""}
    assert parent_lattices(["Ti", "Cu", "Ag", "Si"]) == ("fcc", "hcp")
    assert parent_lattices(["O", "Si"]) == ()


def test_what_differs_in_size_orientation_or_origin_only_is_dropped() -> None:
    one = build_prototype("B2", ("Ni", "Al"), 2.9)
    swapped = build_prototype("B2", ("Al", "Ni"), 2.9)
    larger = build_prototype("B2", ("Ni", "Al"), 3.1)
    rich = build_prototype("L1_2", ("Ni", "Al"), 3.6)
    assert drop_equal([one, swapped, larger, rich]) == [one, rich]
    assert composition(rich) == {"Ni": 3, "Al": 1}
    iron = build_element("Fe")[0]
    turned = Crystal(iron.symbols, iron.positions, (iron.cell[1], iron.cell[2], iron.cell[0]))
    fcc = build_prototype("fcc", ("Fe",))
    assert drop_equal([iron, fcc, turned]) == [iron, fcc]


def test_sites_that_cannot_change_places_make_two_structures() -> None:
    one, other = (build_prototype("perovskite", order) for order in (("Ca", "Ti", "O"), ("Ti", "Ca", "O")))
    assert drop_equal([one, other]) == [one, other]
    assert len(drop_equal([build_prototype("l10", ("Cu", "Au"), 4.0, c) for c in (3.6, 4.0)])) == 2
