"""Which crystals are one and the same, however their cells are cut and placed."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms
from ase.utils.structure_comparator import SymmetryEquivalenceCheck

from penstock.domain.geometry import Geometry


def first_equal(crystals: Sequence[Geometry]) -> list[int]:
    """For each of some crystals of one composition, the first that it equals: itself, or one before it.

    Cells are reduced to primitive ones and compared within 5 % of lengths and 1 degree (Comput. Phys. Commun. 183,
    690 (2012), as ASE has it); volumes may differ by 10 %, so that energies should be asked first.
    """
    comparison = SymmetryEquivalenceCheck(to_primitive=True)
    kept: list[tuple[int, Atoms]] = []
    found: list[int] = []
    for number, crystal in enumerate(crystals):
        atoms = Atoms(crystal.symbols, positions=crystal.positions, cell=crystal.lattice, pbc=crystal.pbc)
        same = next((known for known, other in kept if comparison.compare(atoms, other)), number)
        found.append(same)
        if same == number:
            kept.append((number, atoms))
    return found
