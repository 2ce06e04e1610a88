"""Crystals by name, as `build` asks for them: elements, prototypes, orderings, and whether two are the same.

ASE, and what else is needed, is loaded on first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from penstock.domain.formula import reduce_counts
from penstock.recipes.structures import enumeration, prototypes

_PARENTS: Final = ("fcc", "bcc", "hcp")
"""Lattices whose orderings can be built and that elements have as reference states."""
_LENGTH_TOLERANCE: Final = 0.05
_ANGLE_TOLERANCE_DEG: Final = 1.0


class Crystal(NamedTuple):
    """Atoms (Å) in a periodic cell, whose three vectors are rows."""

    symbols: Sequence[str]
    positions: Sequence[Sequence[float]]
    cell: Sequence[Sequence[float]]

    @property
    def composition(self) -> dict[str, int]:
        """How many atoms of each element there are, in the smallest whole numbers."""
        return reduce_counts(Counter(self.symbols))


def prototype_names() -> list[str]:
    """The prototypes that can be built."""
    return prototypes.prototype_names()


def prototype_name(text: str) -> str | None:
    """The prototype that `text` names, by its own name or another one; None where it names none."""
    return prototypes.resolve(text)


def count_sites(prototype: str) -> int:
    """How many elements a prototype takes, one for each kind of site."""
    return prototypes.sites(prototype)


def build_prototype(
    prototype: str, elements: Sequence[str], a_angstrom: float | None = None, c_angstrom: float | None = None
) -> Crystal:
    """A prototype with these elements on its kinds of sites, in its order. ValueError for what cannot be built.

    Lattice parameters are those of the conventional cell; what is not given is estimated from the elements.
    """
    return _crystal(*prototypes.build_prototype(prototype, elements, a_angstrom, c_angstrom))


def build_element(symbol: str) -> Crystal:
    """An element in its reference state. ValueError where that is no crystal that can be built."""
    return _crystal(*prototypes.build_element(symbol))


def enumerate_orderings(elements: Sequence[str], lattice: str, max_atoms: int) -> list[Crystal]:
    """The orderings of elements on a parent lattice, in cells of at most `max_atoms` atoms. ValueError."""
    return [_crystal(*found) for found in enumeration.enumerate_orderings(elements, lattice, max_atoms)]


def reference_lattice(symbol: str) -> str:
    """What ASE has for an element's reference state: `fcc`, `diamond`, ...; empty where it has nothing."""
    from ase.data import atomic_numbers, reference_states

    return str((reference_states[atomic_numbers[symbol]] or {}).get("symmetry", ""))


def parent_lattices(symbols: Iterable[str]) -> tuple[str, ...]:
    """The lattices that reference states of these elements have and whose orderings can be built."""
    found = {reference_lattice(symbol) for symbol in symbols}
    return tuple(lattice for lattice in _PARENTS if lattice in found)


def drop_equal(crystals: Iterable[Crystal]) -> list[Crystal]:
    """The crystals, but none that equals one before it but for its size, its orientation and where it begins."""
    from ase.utils.structure_comparator import SymmetryEquivalenceCheck

    comparison = SymmetryEquivalenceCheck(
        angle_tol=_ANGLE_TOLERANCE_DEG, ltol=_LENGTH_TOLERANCE, scale_volume=True, to_primitive=True
    )
    kept: list[tuple[Crystal, Any]] = []
    for crystal in crystals:
        atoms = _atoms(crystal)
        alike = [other for known, other in kept if known.composition == crystal.composition]
        if not alike or not comparison.compare(atoms, alike):
            kept.append((crystal, atoms))
    return [crystal for crystal, _ in kept]


def _crystal(symbols: Iterable[str], positions: Iterable[Iterable[float]], cell: Iterable[Iterable[float]]) -> Crystal:
    """The crystal of arrays, as plain numbers."""
    return Crystal(list(symbols), [list(map(float, row)) for row in positions], [list(map(float, row)) for row in cell])


def _atoms(crystal: Crystal) -> Any:
    from ase import Atoms

    return Atoms(list(crystal.symbols), positions=crystal.positions, cell=crystal.cell, pbc=True)
