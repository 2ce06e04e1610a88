"""What `build` asks of crystals beside making them: their composition, which are the same, what elements are like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.formula import reduce_counts
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.recipes.structures.enumeration import LATTICES
from penstock.recipes.structures.prototypes import Crystal, Prototype, find_prototype

_LENGTH_TOLERANCE: Final = 0.05
_ANGLE_TOLERANCE_DEG: Final = 1.0


def composition(crystal: Crystal) -> dict[str, int]:
    """How many atoms of each element there are, in the smallest whole numbers."""
    return reduce_counts(Counter(crystal.symbols))


def known_prototype(name: str) -> Prototype | None:
    """The prototype of a name, designation or alias; None where there is none."""
    try:
        return find_prototype(name)
    except SpecError:
        return None


def reference_lattice(symbol: str) -> str:
    """What ASE has for an element's reference state: `fcc`, `diamond`, `diatom`, ...; empty where it has nothing."""
    from ase.data import reference_states

    number = ATOMIC_NUMBERS[symbol]
    state = reference_states[number] if number < len(reference_states) else None
    return str((state or {}).get("symmetry", ""))


def parent_lattices(symbols: Iterable[str]) -> tuple[str, ...]:
    """The lattices that reference states of these elements have and whose orderings can be enumerated."""
    found = {reference_lattice(symbol) for symbol in symbols}
    return tuple(lattice for lattice in LATTICES if lattice in found)


def drop_equal(crystals: Iterable[Crystal]) -> list[Crystal]:
    """The crystals, but none that equals one before it but for its size, its orientation and where it begins."""
    from ase.utils.structure_comparator import SymmetryEquivalenceCheck

    comparison = SymmetryEquivalenceCheck(
        angle_tol=_ANGLE_TOLERANCE_DEG, ltol=_LENGTH_TOLERANCE, scale_volume=True, to_primitive=True
    )
    kept: list[tuple[Crystal, Any]] = []
    for crystal in crystals:
        atoms = _atoms(crystal)
        alike = [other for known, other in kept if composition(known) == composition(crystal)]
        if not alike or not comparison.compare(atoms, alike):
            kept.append((crystal, atoms))
    return [crystal for crystal, _ in kept]


def _atoms(crystal: Crystal) -> Any:
    from ase import Atoms

    return Atoms(list(crystal.symbols), positions=crystal.positions, cell=crystal.cell, pbc=True)
