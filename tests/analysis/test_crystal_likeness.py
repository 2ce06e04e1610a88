"""Crystals that are the same are found, whatever their cells look like."""

from __future__ import annotations

from typing import Any

from ase.build import bulk, make_supercell
from tests.recipes.calculating import block

from penstock.analysis.crystal_likeness import first_equal
from penstock.domain.geometry import Geometry, parse_geometry


def geometry(atoms: Any) -> Geometry:
    return parse_geometry(block(atoms))


def test_supercells_and_turned_and_moved_crystals_are_the_same() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.6)
    cubic = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    cubic.rotate(40, (1, 1, 0), rotate_cell=True)
    cubic.translate((0.3, 0.2, 0.1))
    zinc = bulk("NaCl", "zincblende", a=5.6)
    doubled = make_supercell(zinc, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    assert first_equal([geometry(one) for one in (salt, zinc, cubic, doubled, salt)]) == [0, 1, 0, 1, 0]
    assert first_equal([]) == []
