"""Structures that a spec describes: formulas in prototypes, prototypes over elements, orderings on parent lattices.

The same table gives the same structures, with the same names and in the same order. What is needed for it is loaded on
first use, in a worker process.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.domain.build_table import KEY, MAX_ATOMS, BuildTable
from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula, reduce_counts, render_formula
from penstock.domain.geometry import format_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.compounds import find_compound
from penstock.recipes.structures.crystals import composition, drop_equal, known_prototype, reference_lattice
from penstock.recipes.structures.enumeration import Ordering, enumerate_orderings
from penstock.recipes.structures.prototypes import PROTOTYPES, Crystal, build_element, build_prototype, find_prototype
from penstock.recipes.structures.record import ChunkBuilder

NAME: Final = "name"
"""The key of the comment line that says what a built structure is called."""
_AS_WRITTEN: Final = re.compile(r"[A-Za-z0-9_]+")
_GASES: Final = frozenset({"atom", "diatom"})
"""Reference states in ASE's table that are no crystals."""


class Built(NamedTuple):
    """A structure: what it is called, and its atoms as a block of text with the lattice."""

    name: str
    geometry: str


class BuiltStructures:
    """A source that is built; the cursor is how many of it have been read."""

    def __init__(self, source: StructureSource) -> None:
        assert source.build is not None
        self._source = source
        self._table = source.build

    def check(self) -> None:
        """SpecError, with its key, for what cannot be built."""
        build_structures(self._table)

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` structures from `cursor` on."""
        number, found = int(cursor or 0), build_structures(self._table)
        chunk = ChunkBuilder(self._source, limit)
        while number < len(found) and not chunk.full:
            name, geometry = found[number]
            chunk.add(number, number + 1, name, geometry, "", "")
            number += 1
        return chunk.finish(str(number), done=number == len(found))


@functools.lru_cache(4)
def build_structures(table: BuildTable) -> tuple[Built, ...]:
    """What a checked table describes; SpecError, with its key, for what cannot be built."""
    if table.system is not None:
        label, crystal = _build_system(table, table.system)
        return (Built(f"{table.system}-{label}", _block(crystal)),)
    named = list(_build_prototypes(table) if table.prototypes else _build_orderings(table))
    if table.references:
        named += _missing_references(table.elements, [crystal for _, crystal in named])
    return tuple(_numbered(named))


def render_built(structures: Iterable[Built]) -> str:
    """The structures as ext-XYZ, each with its name in the comment line."""
    parts = []
    for structure in structures:
        count, comment, atoms = structure.geometry.split("\n", 2)
        parts.append(f'{count}\n{comment} {NAME}="{structure.name}"\n{atoms}')
    return "".join(parts)


def _build_system(table: BuildTable, system: str) -> tuple[str, Crystal]:
    """What the structure is called after its formula, and the structure."""
    counts = read_formula(system)
    if table.prototype is not None:
        crystal = _occupy(table, counts, table.prototype)
        return _label(table.prototype), crystal
    if len(counts) > 1:
        known = find_compound(system)
        example = f'prototype = "{known.prototype}"' if known else "prototype = ..."
        raise SpecError(
            f"{system} has no prototype here that is known to be right; give {example} ({', '.join(PROTOTYPES)}), "
            "or a file (CIF, POSCAR, ext-XYZ) as the source",
            key=f"{KEY}.system",
        )
    symbol = next(iter(counts))
    lattice = reference_lattice(symbol)
    if table.a_angstrom is None and table.c_angstrom is None:
        return lattice, _element(symbol, f"{KEY}.system")
    if known_prototype(lattice) is None:
        key = f"{KEY}.a_angstrom" if table.a_angstrom is not None else f"{KEY}.c_angstrom"
        raise SpecError(f"{symbol} needs a prototype beside it ({', '.join(PROTOTYPES)})", key=key)
    return lattice, _occupy(table, counts, lattice)


def _label(prototype: str) -> str:
    """A prototype as the table writes it, where that can stand in a name."""
    return prototype if _AS_WRITTEN.fullmatch(prototype) else find_prototype(prototype).name


def _occupy(table: BuildTable, counts: dict[str, int], prototype: str) -> Crystal:
    """The first way, in the formula's order, to put its elements on the sites that gives its composition."""
    key = f"{KEY}.prototype"
    with _keyed(key):
        sites = find_prototype(prototype).elements
        if sites != len(counts):
            raise SpecError(f"{prototype} takes {sites} different elements, and {table.system} has {len(counts)}")
        orders = itertools.permutations(counts)
        crystals = [build_prototype(prototype, order, table.a_angstrom, table.c_angstrom) for order in orders]
    for crystal in crystals:
        if composition(crystal) == reduce_counts(counts):
            return crystal
    instead = " or ".join(dict.fromkeys(render_formula(composition(crystal), counts) for crystal in crystals))
    raise SpecError(f"{table.system} cannot be {prototype}: that would be {instead}", key=key)


def _build_prototypes(table: BuildTable) -> Iterator[tuple[str, Crystal]]:
    elements = table.elements
    for prototype in table.prototypes:
        with _keyed(f"{KEY}.prototypes"):
            sites = find_prototype(prototype).elements
            if sites > len(elements):
                raise SpecError(f"{prototype} takes {sites} different elements, and there are {len(elements)}")
            orders = itertools.permutations(elements, sites)
            crystals = drop_equal(build_prototype(prototype, order) for order in orders)
        for crystal in crystals:
            yield f"{render_formula(composition(crystal), elements)}-{_label(prototype)}", crystal


def _build_orderings(table: BuildTable) -> Iterator[tuple[str, Crystal]]:
    for symbol in table.elements:
        _refuse_gas(symbol, f"{KEY}.elements")
    for lattice in table.lattices:
        with _keyed(f"{KEY}.lattices"):
            orderings = enumerate_orderings(table.elements, lattice, table.max_atoms or MAX_ATOMS)
        yield from ((ordering.name, _placed(ordering)) for ordering in orderings)


def _placed(ordering: Ordering) -> Crystal:
    """An ordering with its positions in Å."""
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = ordering.cell
    positions = [
        (u * a1 + v * b1 + w * c1, u * a2 + v * b2 + w * c2, u * a3 + v * b3 + w * c3)
        for u, v, w in ordering.scaled_positions
    ]
    return Crystal(ordering.symbols, positions, ordering.cell)


def _missing_references(elements: Sequence[str], crystals: Sequence[Crystal]) -> Iterator[tuple[str, Crystal]]:
    """The reference states that are not among `crystals`, whatever their size."""
    for symbol in elements:
        there = drop_equal(crystal for crystal in crystals if set(crystal.symbols) == {symbol})
        reference = _element(symbol, f"{KEY}.references")
        if len(drop_equal([*there, reference])) > len(there):
            yield f"{symbol}-{reference_lattice(symbol)}", reference


def _element(symbol: str, key: str) -> Crystal:
    _refuse_gas(symbol, key)
    with _keyed(key):
        return build_element(symbol)[0]


def _refuse_gas(symbol: str, key: str) -> None:
    """Molecules could be built too, but their spin would be anybody's guess, and as crystals they have no volume."""
    if reference_lattice(symbol) in _GASES:
        raise SpecError(f"the reference state of {symbol} is a gas; give a file of your own as the source", key=key)


@contextlib.contextmanager
def _keyed(key: str) -> Iterator[None]:
    """What is refused within is told with the key of the table that asked for it."""
    try:
        yield
    except SpecError as error:
        raise SpecError(error.message, key=key) from error


def _numbered(named: Sequence[tuple[str, Crystal]]) -> Iterator[Built]:
    """Each structure by its name, numbered where several would be called the same."""
    times, seen = Counter(name for name, _ in named), Counter[str]()
    for name, crystal in named:
        seen[name] += 1
        yield Built(f"{name}-{seen[name]}" if times[name] > 1 else name, _block(crystal))


def _block(crystal: Crystal) -> str:
    return format_geometry(crystal.symbols, crystal.positions, crystal.cell, (True, True, True))
