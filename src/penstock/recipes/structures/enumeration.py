"""Every distinct ordering of elements on a parent lattice, up to a number of atoms, as structures to relax.

Names are stable: orderings of one formula are numbered from the smallest cell on, so that neither a larger `max_atoms`
nor limits of concentration nor the order of the elements changes which structure `fcc-Cu3Au-0007` is. Called in worker
processes only; importing this module needs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.domain.errors import SpecError
from penstock.domain.geometry import Lattice, Vector
from penstock.domain.spec import nearest
from penstock.recipes.structures.prototypes import atomic_volume, check_symbol

if TYPE_CHECKING:
    from penstock.analysis.superlattices import Labelings, ParentLattice

LATTICES: Final = ("fcc", "bcc", "hcp")
MOST_ELEMENTS: Final = 4
_THIRD: Final = 1 / 3


class Parent(NamedTuple):
    """A structure to order elements on: positions and cell in Å.

    Sites whose element is among those to be ordered take any of them, all others stay what they are. The cell is scaled
    with the elements that are put in.
    """

    name: str
    symbols: Sequence[str]
    positions: Sequence[Vector]
    cell: Lattice


class Ordering(NamedTuple):
    """One structure: `scaled_positions` in units of `cell` (Å, by rows); `size` counts parent cells."""

    name: str
    formula: str
    size: int
    symbols: list[str]
    scaled_positions: list[Vector]
    cell: Lattice


class _Sites(NamedTuple):
    """The parent as the enumeration sees it. `words`: kinds by number, those to be ordered first, alphabetically.

    `lengths`: what an atom of each of those is long. `unit`: the mean length with which the parent's cell is right.
    """

    name: str
    lattice: ParentLattice
    words: tuple[str, ...]
    lengths: tuple[float, ...]
    unit: float


def enumerate_orderings(
    elements: Sequence[str],
    parent: str | Parent = "fcc",
    max_atoms: int = 4,
    limits: Mapping[str, tuple[float, float]] | None = None,
    lattice_parameters_angstrom: Mapping[str, float] | None = None,
) -> list[Ordering]:
    """All distinct orderings of `elements` (2 to 4) on "fcc", "bcc", "hcp" (ideal c/a) or a structure of one's own.

    `max_atoms` counts all atoms of the cell. `limits`: least and greatest fraction of an element among the ordered
    sites. The lattice parameter of each ordering is the mean of its elements' (Vegard's law, L. Vegard, Z. Phys. 5, 17
    (1921)): those given (`lattice_parameters_angstrom`, of the element on this lattice) or those with which an atom has
    the volume that it has in its element's own crystal. Smaller cells come first, the elements alone are among them.
    SpecError for what cannot be: says what, and what to do.
    """
    _check(elements, max_atoms, limits or {})
    given = lattice_parameters_angstrom or {}
    if isinstance(parent, Parent) and given and (lacking := [element for element in elements if element not in given]):
        raise SpecError(f"lattice parameters are given, but none of {', '.join(lacking)}; give all or none")
    lengths = {element: _length(element, parent, given) for element in sorted(elements)}
    sites = _named_sites(parent, lengths) if isinstance(parent, str) else _own_sites(parent, lengths)
    if len(sites.lattice.sites) > max_atoms:
        raise SpecError(f"the cell of {sites.name} has {len(sites.lattice.sites)} atoms; max_atoms is {max_atoms}")
    return list(_orderings(sites, list(elements), max_atoms, limits or {}))


def _orderings(
    sites: _Sites, elements: list[str], max_atoms: int, limits: Mapping[str, tuple[float, float]]
) -> Iterator[Ordering]:
    from penstock.analysis.superlattices import check_size, distinct_labelings

    largest = max_atoms // len(sites.lattice.sites)
    try:
        check_size(sites.lattice, largest)
    except ValueError as error:
        raise SpecError(str(error)) from error
    numbers: Counter[str] = Counter()
    for size in range(1, largest + 1):
        found = distinct_labelings(sites.lattice, size)
        rows = [(labelings, kinds) for labelings in found for kinds in labelings.kinds.tolist()]
        rows.sort(key=lambda row: tuple(-row[1].count(kind) for kind in range(len(sites.words))))
        for labelings, kinds in rows:
            symbols = [sites.words[kind] for kind in kinds]
            formula = _formula(symbols, elements, sites.words)
            numbers[formula] += 1
            if _within(kinds, sites, limits):
                name = f"{sites.name}-{formula}-{numbers[formula]:04d}"
                yield Ordering(name, formula, size, symbols, *_place(sites, labelings, kinds))


def _place(sites: _Sites, labelings: Labelings, kinds: list[int]) -> tuple[list[Vector], Lattice]:
    """Scaled positions in a compact cell (Niggli's), which is as large as the elements ask for."""
    import numpy as np

    from penstock.analysis.superlattices import reduce_cell

    ordered = [sites.lengths[kind] for kind in kinds if kind < len(sites.lengths)]
    scale = sum(ordered) / len(ordered) / sites.unit
    compact = reduce_cell(labelings.vectors @ sites.lattice.cell)
    places = (labelings.points[:, None, :] + sites.lattice.sites[None, :, :]).reshape(-1, 3) @ sites.lattice.cell
    scaled = np.round(places @ np.linalg.inv(compact), 12) % 1.0
    return [_vector(row) for row in scaled.tolist()], _lattice(np.round(compact * scale, 10).tolist())


def _check(elements: Sequence[str], max_atoms: int, limits: Mapping[str, tuple[float, float]]) -> None:
    for element in elements:
        check_symbol(element)
    if not 2 <= len(set(elements)) == len(elements) <= MOST_ELEMENTS:
        given = ", ".join(elements) or "none"
        raise SpecError(f"orderings take 2 to {MOST_ELEMENTS} different elements, given: {given}")
    if max_atoms < 1:
        raise SpecError(f"max_atoms is {max_atoms}; give the greatest number of atoms in a cell")
    for element, (least, most) in limits.items():
        if element not in elements:
            hint = nearest(element, elements) or f"there are {', '.join(elements)}"
            raise SpecError(f"a limit is given for {element}, which is not ordered; {hint}")
        if not 0 <= least <= most <= 1:
            raise SpecError(f"the limits of {element} are {least} and {most}; give two fractions, the smaller first")


def _length(element: str, parent: str | Parent, given: Mapping[str, float]) -> float:
    """What an atom contributes to the mean: the lattice parameter, for a parent of one's own the root of its volume."""
    if element in given:
        if not 0 < given[element] < math.inf:
            raise SpecError(f"the lattice parameter of {element} is {given[element]}; give a length in Å")
        return given[element]
    root = math.cbrt(atomic_volume(element))
    return root / math.cbrt(_volume_per_atom(parent)) if isinstance(parent, str) else root


def _named_sites(name: str, lengths: Mapping[str, float]) -> _Sites:
    from penstock.analysis.superlattices import reduce_parent

    cell, positions = _unit_cell(name)
    kinds = tuple(range(len(lengths)))
    lattice, _ = reduce_parent(_array(cell), _array(positions), [kinds] * len(positions))
    return _Sites(name, lattice, tuple(lengths), tuple(lengths.values()), 1.0)


def _own_sites(parent: Parent, lengths: Mapping[str, float]) -> _Sites:
    import numpy as np

    from penstock.analysis.superlattices import reduce_parent

    fixed = sorted(set(parent.symbols) - set(lengths))
    words = (*lengths, *fixed)
    every = tuple(range(len(lengths)))
    allowed = [every if symbol in lengths else (words.index(symbol),) for symbol in parent.symbols]
    own = [lengths[symbol] for symbol in parent.symbols if symbol in lengths]
    if not own:
        raise SpecError(f"{parent.name} has no atom of {', '.join(lengths)}, so there is no site to order them on")
    cell = _array(parent.cell)
    try:
        lattice, _ = reduce_parent(cell, _array(parent.positions) @ np.linalg.inv(cell), allowed)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise SpecError(f"{parent.name} cannot be a parent lattice: {error}") from error
    return _Sites(parent.name, lattice, words, tuple(lengths.values()), sum(own) / len(own))


def _unit_cell(name: str) -> tuple[Lattice, list[Vector]]:
    """The primitive cell of a named lattice with a = 1."""
    half, root = 0.5, math.sqrt(3) / 2
    if name == "fcc":
        return ((0.0, half, half), (half, 0.0, half), (half, half, 0.0)), [(0.0, 0.0, 0.0)]
    if name == "bcc":
        return ((-half, half, half), (half, -half, half), (half, half, -half)), [(0.0, 0.0, 0.0)]
    if name == "hcp":
        cell = ((1.0, 0.0, 0.0), (-half, root, 0.0), (0.0, 0.0, math.sqrt(8 / 3)))
        return cell, [(_THIRD, 2 * _THIRD, 0.25), (2 * _THIRD, _THIRD, 0.75)]
    hint = nearest(name, LATTICES) or f"known: {', '.join(LATTICES)}; or give a structure"
    raise SpecError(f"there is no parent lattice {name!r}; {hint}")


def _volume_per_atom(name: str) -> float:
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = (cell := _unit_cell(name))[0]
    volume = a1 * (b2 * c3 - b3 * c2) + a2 * (b3 * c1 - b1 * c3) + a3 * (b1 * c2 - b2 * c1)
    return abs(volume) / len(cell[1])


def _within(kinds: list[int], sites: _Sites, limits: Mapping[str, tuple[float, float]]) -> bool:
    ordered = sum(kind < len(sites.lengths) for kind in kinds)
    return all(
        least - 1e-9 <= kinds.count(sites.words.index(element)) / ordered <= most + 1e-9
        for element, (least, most) in limits.items()
    )


def _formula(symbols: list[str], elements: list[str], words: tuple[str, ...]) -> str:
    """Reduced; elements as they were given, then those that stay."""
    counts = Counter(symbols)
    divisor = math.gcd(*counts.values())
    order = [*elements, *(word for word in words if word not in elements)]
    parts = ((word, counts[word] // divisor) for word in order if counts[word])
    return "".join(word if count == 1 else f"{word}{count}" for word, count in parts)


def _array(rows: Sequence[Sequence[float]]) -> Any:
    import numpy as np

    return np.array(rows, dtype=np.float64)


def _vector(row: Sequence[float]) -> Vector:
    return (float(row[0]), float(row[1]), float(row[2]))


def _lattice(rows: Sequence[Sequence[float]]) -> Lattice:
    first, second, third = map(_vector, rows)
    return (first, second, third)
