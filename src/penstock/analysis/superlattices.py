"""All ways to lay kinds of atoms on the sites of a parent lattice, none twice: derivative superstructures.

Every superlattice of index m has one Hermite normal form, so all of them can be listed; those that a symmetry of the
parent turns into each other are one (G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008); for several sites
in the parent's cell Phys. Rev. B 80, 014120 (2009)). On each, a labeling is kept if no operation that leaves the
superlattice as it is makes a smaller one of it, and if it has no shorter period.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import spglib
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_LABELINGS: Final = 2**20
"""Cells with more labelings than this are not enumerated: 20 sites with two kinds, 12 with three, 10 with four."""
SYMPREC_ANGSTROM: Final = 1e-4
_APART: Final = 0.1


class ParentLattice(NamedTuple):
    """A primitive cell: `cell` (3, 3) in Å by rows, `sites` (s, 3) scaled, for each site the kinds allowed on it."""

    cell: Array
    sites: Array
    allowed: tuple[tuple[int, ...], ...]


class Labelings(NamedTuple):
    """A superlattice and what is laid on it.

    `vectors` (3, 3): the cell vectors in units of the parent's, by rows. `points` (m, 3): the parent cells in it.
    `kinds` (c, m s): of each labeling the kind at each site; all sites of the first point come first.
    """

    vectors: Integers
    points: Integers
    kinds: NDArray[np.int8]


class _Operation(NamedTuple):
    """A symmetry of the parent: rotation of its lattice; for each site, where it goes and how many cells away."""

    rotation: Integers
    site: Integers
    away: Integers


def reduce_parent(cell: Array, sites: Array, allowed: Sequence[tuple[int, ...]]) -> tuple[ParentLattice, list[int]]:
    """The primitive cell of a lattice of sites, sites that allow the same being alike; which site each one was.

    ValueError for sites at the same place and what spglib makes nothing of.
    """
    one, other = np.triu_indices(len(sites), 1)
    offset = sites[one] - sites[other]
    if (np.linalg.norm((offset - np.round(offset)) @ cell, axis=1) < _APART).any():
        raise ValueError("Two sites of the parent lattice are at the same place; leave one out.")
    classes = _classes(allowed)
    primitive, positions, numbers = _ask(
        spglib.standardize_cell, (cell, sites, classes), to_primitive=True, no_idealize=True, symprec=SYMPREC_ANGSTROM
    )
    of = [classes.index(number) for number in numbers]
    return ParentLattice(np.asarray(primitive), np.asarray(positions) % 1.0, tuple(allowed[one] for one in of)), of


def distinct_labelings(parent: ParentLattice, index: int) -> list[Labelings]:
    """All distinct labelings with `index` parent cells and no fewer, in an order that is always the same.

    ValueError where there would be more than `MOST_LABELINGS` to look at.
    """
    check_size(parent, index)
    operations = _operations(parent)
    every = np.array(list(itertools.product(*parent.allowed * index)), dtype=np.int8)
    return [_label(vectors, operations, every) for vectors in _distinct_superlattices(index, operations)]


def check_size(parent: ParentLattice, index: int) -> None:
    """ValueError where `index` parent cells allow more than `MOST_LABELINGS` labelings."""
    digits = index * sum(math.log10(len(kinds)) for kinds in parent.allowed)
    if digits > math.log10(MOST_LABELINGS) + 1e-9:
        atoms = index * len(parent.sites)
        raise ValueError(f"Cells of {atoms} atoms allow about 1e{digits:.0f} orderings; choose fewer atoms.")


def hermite_normal_forms(index: int) -> list[Integers]:
    """All lattices whose cell is `index` times as large: lower triangular (3, 3), each row reduced by those above."""
    return [
        np.array([[a, 0, 0], [b, c, 0], [d, e, f]], dtype=np.int64)
        for a in range(1, index + 1)
        if index % a == 0
        for c in range(1, index // a + 1)
        if index // a % c == 0
        for f in [index // (a * c)]
        for b in range(a)
        for d in range(a)
        for e in range(c)
    ]


def reduce_cell(cell: Array) -> Array:
    """The same lattice by its Niggli cell (3, 3), right-handed; ValueError for vectors that span no volume."""
    reduced = np.asarray(_ask(spglib.niggli_reduce, cell), dtype=np.float64)
    return reduced if np.linalg.det(reduced) > 0 else -reduced


def _ask(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What spglib answers, in whichever of its two ways it tells of errors; ValueError if it has no answer."""
    with warnings.catch_warnings(action="ignore"):
        try:
            answer = function(*arguments, **options)
        except Exception as error:
            raise ValueError(f"spglib makes nothing of the lattice: {error}") from error
    if answer is None:
        raise ValueError("spglib makes nothing of the lattice; are two of its sites at the same place?")
    return answer


def _classes(allowed: Sequence[tuple[int, ...]]) -> list[int]:
    distinct = sorted(set(allowed))
    return [distinct.index(kinds) for kinds in allowed]


def _operations(parent: ParentLattice) -> list[_Operation]:
    classes = np.array(_classes(parent.allowed))
    symmetry = _ask(spglib.get_symmetry, (parent.cell, parent.sites, classes), symprec=SYMPREC_ANGSTROM)
    found = []
    for rotation, shift in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = parent.sites @ rotation.T + shift
        offset = moved[:, None, :] - parent.sites[None, :, :]
        miss = np.linalg.norm((offset - np.round(offset)) @ parent.cell, axis=2)
        miss[classes[:, None] != classes[None, :]] = np.inf
        site = np.argmin(miss, axis=1)
        away = np.round(offset[np.arange(len(site)), site]).astype(np.int64)
        found.append(_Operation(rotation.astype(np.int64), site.astype(np.int64), away))
    return found


def _distinct_superlattices(index: int, operations: list[_Operation]) -> list[Integers]:
    distinct: list[Integers] = []
    seen: set[bytes] = set()
    rotations = {operation.rotation.tobytes(): operation.rotation for operation in operations}.values()
    for vectors in hermite_normal_forms(index):
        if vectors.tobytes() not in seen:
            distinct.append(vectors)
            seen.update(_normal_form(vectors @ rotation.T).tobytes() for rotation in rotations)
    return distinct


def _normal_form(vectors: Integers) -> Integers:
    """The Hermite normal form of a lattice: the same cell vectors for whatever cell it was given by."""
    rows = vectors.copy()
    for column in (2, 1, 0):
        for other in range(column):
            while rows[other, column]:  # Euclid's algorithm on two rows
                rows[column] -= rows[column, column] // rows[other, column] * rows[other]
                rows[[column, other]] = rows[[other, column]]
        if rows[column, column] < 0:
            rows[column] *= -1
    for row in (1, 2):
        for column in range(row - 1, -1, -1):
            rows[row] -= rows[row, column] // rows[column, column] * rows[column]
    return rows


def _fold(points: Integers, vectors: Integers) -> Integers:
    """The number of the lattice point in the cell of `vectors` (a normal form) that each point is a copy of."""
    rest = points.copy()
    for row in (2, 1, 0):
        rest -= (rest[..., row] // vectors[row, row])[..., None] * vectors[row]
    size = np.diag(vectors)
    return np.asarray((rest[..., 0] * size[1] + rest[..., 1]) * size[2] + rest[..., 2], dtype=np.int64)


def _label(vectors: Integers, operations: list[_Operation], every: NDArray[np.int8]) -> Labelings:
    points = np.array(list(itertools.product(*map(range, np.diag(vectors).tolist()))), dtype=np.int64)
    cells, sites = len(points), len(operations[0].site)
    moves = _fold(points[:, None, :] + points[None, :, :], vectors)  # [which translation, which point]
    translations = (moves[:, :, None] * sites + np.arange(sites)).reshape(cells, -1)
    unique: dict[bytes, Integers] = {}
    for operation in operations:
        if not np.array_equal(_normal_form(vectors @ operation.rotation.T), vectors):
            continue
        target = _fold((points @ operation.rotation.T)[:, None, :] + operation.away[None, :, :], vectors)
        permutation = (target * sites + operation.site).reshape(-1)
        for combined in translations[:, permutation]:
            unique.setdefault(combined.tobytes(), combined)
    kept = _without_period(every, translations[1:])
    return Labelings(vectors, points, _smallest(kept, list(unique.values())))


def _without_period(kinds: NDArray[np.int8], translations: Integers) -> NDArray[np.int8]:
    for translation in translations:
        kinds = kinds[(kinds[:, translation] != kinds).any(axis=1)]
    return kinds


def _smallest(kinds: NDArray[np.int8], permutations: list[Integers]) -> NDArray[np.int8]:
    """Those labelings of which no permutation makes a smaller one (compared site by site)."""
    base = int(kinds.max(initial=0)) + 1
    weights = float(base) ** np.arange(kinds.shape[1] - 1, -1, -1)
    weights = weights.astype(np.int64) if base ** kinds.shape[1] < 2**62 else weights
    own = kinds @ weights
    for permutation in permutations:
        keep = own <= kinds[:, permutation] @ weights
        kinds, own = kinds[keep], own[keep]
    return kinds
