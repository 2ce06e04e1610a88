"""Structures that a spec describes: formulas in prototypes, prototypes over elements, orderings on parent lattices.

The same table gives the same structures, with the same names and in the same order. What is needed for it is loaded on
first use, in a worker process.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.domain.build_table import KEY, MAX_ATOMS, BuildTable
from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula, reduce_counts, render_formula
from penstock.domain.geometry import format_geometry
from penstock.domain.spec import StructureSource, nearest
from penstock.recipes.structures.compounds import find_compound
from penstock.recipes.structures.crystals import (
    Crystal,
    build_element,
    build_prototype,
    count_sites,
    drop_equal,
    enumerate_orderings,
    prototype_name,
    prototype_names,
    reference_lattice,
)
from penstock.recipes.structures.record import ChunkBuilder

NAME: Final = "name"
"""The key of the comment line that says what a built structure is called."""


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
    labelled = list(_build_prototypes(table) if table.prototypes else _build_orderings(table))
    if table.references:
        labelled += _missing_references(table.elements, [crystal for _, crystal in labelled])
    return tuple(_named(labelled, table.elements))


def render_built(structures: Iterable[Built]) -> str:
    """The structures as ext-XYZ, each with its name in the comment line."""
    parts = []
    for structure in structures:
        count, comment, atoms = structure.geometry.split("\n", 2)
        parts.append(f'{count}\n{comment} {NAME}="{structure.name}"\n{atoms}')
    return "".join(parts)


def _build_system(table: BuildTable, system: str) -> tuple[str, Crystal]:
    counts = read_formula(system)
    if table.prototype is not None:
        prototype = _known_prototype(table.prototype, f"{KEY}.prototype")
        return prototype, _occupy(table, counts, prototype)
    if len(counts) > 1:
        known = find_compound(system)
        example = f'prototype = "{known.prototype}"' if known else "prototype = ..."
        raise SpecError(
            f"{system} has no prototype here that is known to be right; give {example} ({_names()}), "
            "or a file (CIF, POSCAR, ext-XYZ) as the source",
            key=f"{KEY}.system",
        )
    symbol, lattice = next(iter(counts)), reference_lattice(next(iter(counts)))
    if table.a_angstrom is None and table.c_angstrom is None:
        return lattice, _element(symbol, f"{KEY}.system")
    key = f"{KEY}.a_angstrom" if table.a_angstrom is not None else f"{KEY}.c_angstrom"
    if (prototype_of_element := prototype_name(lattice)) is None:
        raise SpecError(f"{symbol} needs a prototype beside it ({_names()})", key=key)
    return lattice, _place(prototype_of_element, (symbol,), table.a_angstrom, table.c_angstrom, key)


def _known_prototype(given: str, key: str) -> str:
    prototype = prototype_name(given)
    if prototype is None:
        hint = nearest(given, prototype_names()) or f"known: {_names()}"
        raise SpecError(f"{given!r} is no prototype; {hint}", key=key)
    return prototype


def _names() -> str:
    return ", ".join(prototype_names())


def _occupy(table: BuildTable, counts: dict[str, int], prototype: str) -> Crystal:
    """The first way, in the formula's order, to put its elements on the sites that gives its composition."""
    key = f"{KEY}.prototype"
    _check_sites(prototype, len(counts), table.system or "", key)
    orders = list(itertools.permutations(counts))
    crystals = [_place(prototype, order, table.a_angstrom, table.c_angstrom, key) for order in orders]
    for crystal in crystals:
        if crystal.composition == reduce_counts(counts):
            return crystal
    instead = " or ".join(dict.fromkeys(render_formula(crystal.composition, counts) for crystal in crystals))
    raise SpecError(f"{table.system} cannot be {prototype}: that would be {instead}", key=key)


def _check_sites(prototype: str, elements: int, what: str, key: str) -> None:
    if (sites := count_sites(prototype)) != elements:
        raise SpecError(f"{prototype} takes {sites} different elements, and {what} has {elements}", key=key)


def _build_prototypes(table: BuildTable) -> Iterator[tuple[str, Crystal]]:
    key = f"{KEY}.prototypes"
    for given in table.prototypes:
        prototype = _known_prototype(given, key)
        if count_sites(prototype) > len(table.elements):
            _check_sites(prototype, len(table.elements), "elements", key)
        orders = itertools.permutations(table.elements, count_sites(prototype))
        crystals = drop_equal(_place(prototype, order, None, None, key) for order in orders)
        yield from ((prototype, crystal) for crystal in crystals)


def _build_orderings(table: BuildTable) -> Iterator[tuple[str, Crystal]]:
    for lattice in table.lattices:
        try:
            crystals = enumerate_orderings(table.elements, lattice, table.max_atoms or MAX_ATOMS)
        except ValueError as error:
            raise SpecError(str(error), key=f"{KEY}.lattices") from error
        yield from ((lattice, crystal) for crystal in crystals)


def _missing_references(elements: Sequence[str], crystals: Sequence[Crystal]) -> Iterator[tuple[str, Crystal]]:
    """The reference states that are not among `crystals`, whatever their size."""
    for symbol in elements:
        there = [crystal for crystal in crystals if set(crystal.symbols) == {symbol}]
        reference = _element(symbol, f"{KEY}.references")
        if len(drop_equal([*there, reference])) > len(drop_equal(there)):
            yield reference_lattice(symbol), reference


def _element(symbol: str, key: str) -> Crystal:
    try:
        return build_element(symbol)
    except ValueError as error:
        message = f"{error}; give a file (CIF, POSCAR, ext-XYZ) as the source"
        raise SpecError(message, key=key) from error


def _place(
    prototype: str, order: Sequence[str], a_angstrom: float | None, c_angstrom: float | None, key: str
) -> Crystal:
    try:
        return build_prototype(prototype, order, a_angstrom, c_angstrom)
    except ValueError as error:
        raise SpecError(str(error), key=key) from error


def _named(labelled: Sequence[tuple[str, Crystal]], order: Sequence[str]) -> Iterator[Built]:
    """Each structure with its formula and label as its name, numbered where several would be called the same."""
    names = [f"{render_formula(crystal.composition, order)}-{label}" for label, crystal in labelled]
    times, seen = Counter(names), Counter[str]()
    for name, (_, crystal) in zip(names, labelled, strict=True):
        seen[name] += 1
        yield Built(f"{name}-{seen[name]}" if times[name] > 1 else name, _block(crystal))


def _block(crystal: Crystal) -> str:
    return format_geometry(crystal.symbols, crystal.positions, crystal.cell, (True, True, True))
