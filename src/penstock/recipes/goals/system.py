"""What is known of a goal's system before anything is calculated. Reads files; what is built is built with ASE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.build_table import check_build
from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula
from penstock.domain.geometry import parse_geometry
from penstock.domain.spec import StructureSource, readable_error, unknown_key
from penstock.recipes.goals.goal import PHASE_DIAGRAM, Goal, merge, value_at
from penstock.recipes.structures.source import check_source, place_of, read_chunk
from penstock.recipes.structures.systems import read_system

_ELEMENTS_LEAST: Final = 2
_AT_ONCE: Final = 1000


class System(msgspec.Struct, frozen=True):
    """The structures, as a full spec's `[structures]` table, and what they have in them.

    `atoms` are those of the largest; `is_crystal`: whether all are periodic along all axes; `is_built`: whether they
    are made rather than brought. `pure` are the elements that some structure is of alone.
    """

    structures: dict[str, Any]
    elements: tuple[str, ...]
    atoms: int
    count: int
    is_crystal: bool
    is_built: bool
    pure: tuple[str, ...] = ()

    def with_source(self, source: str) -> System:
        """The same with another path to its files."""
        return msgspec.structs.replace(self, structures=self.structures | {"source": source})


def find_system(goal: Goal, base: Path) -> System:
    """The system of a goal, whose paths are relative to `base`. SpecError says what is not there or cannot be."""
    try:
        return _find(goal, base)
    except SpecError as error:
        raise SpecError(error.message, key=goal.key_in_file(error.key) if error.key else None) from error


def _find(goal: Goal, base: Path) -> System:
    given = goal.given.get("structures", {})
    if not isinstance(given, Mapping):
        raise SpecError("is a table, written [structures]", key="structures")
    if goal.system is not None:
        table = merge(_said(read_system(goal.system, base, several=goal.goal == PHASE_DIAGRAM)), given)
    else:
        table = dict(given)
    source = _source(table)
    system = _survey(source, base, table)
    where = "system" if goal.system else "structures"
    if goal.goal == PHASE_DIAGRAM:
        _check_phases(goal, system, where)
    if not system.is_crystal:
        raise SpecError(f"goal {goal.goal!r} is about crystals, and this has structures without a cell", key=where)
    return system


def _check_phases(goal: Goal, system: System, where: str) -> None:
    """SpecError where there would be no phase diagram, which would show only once all has been calculated."""
    if len(system.elements) < _ELEMENTS_LEAST:
        message = (
            f"a phase diagram needs at least two elements, and {', '.join(system.elements)} is alone; write several, "
            'such as system = "Cu-Au", or a folder of structures'
        )
        raise SpecError(message, key=where)
    known = set(system.pure)
    for table in ("references_ev_per_atom", "energies_ev_per_atom"):
        given = value_at(goal.given, f"{PHASE_DIAGRAM}.{table}")
        formulas = given if isinstance(given, Mapping) else ()
        known |= {element for formula in formulas for element in _only_element(formula)}
    if missing := [element for element in system.elements if element not in known]:
        elements = "-".join(system.elements)
        instead = f'write system = "{elements}" for orderings, ' if system.is_built and system.count == 1 else ""
        message = (
            f"no structure is of {' or of '.join(missing)} alone, against which formation energies are measured; "
            f"{instead}add one, or write its energy: phase_diagram.references_ev_per_atom.{missing[0]} = ..."
        )
        raise SpecError(message, key=where)


def _only_element(formula: str) -> tuple[str, ...]:
    """The element of a formula that has one only."""
    try:
        counts = read_formula(formula)
    except ValueError:
        return ()
    return tuple(counts) if len(counts) == 1 else ()


def _source(table: Mapping[str, Any]) -> StructureSource:
    """The table as a source; SpecError for what cannot be one."""
    known = list(StructureSource.__struct_fields__)
    for key in table:
        if key not in known:
            raise unknown_key(key, known, "structures")
    try:
        source = msgspec.convert(table, StructureSource)
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        raise SpecError(message, key=f"structures.{key}" if key else "structures") from error
    if source.build is not None:
        check_build(source.build)
    return source


def _survey(source: StructureSource, base: Path, table: dict[str, Any]) -> System:
    path = str(base / Path(source.source).expanduser()) if source.source else ""
    check_source(source, place_of(path))
    elements: dict[str, None] = {}
    pure: dict[str, None] = {}
    atoms = count = 0
    is_crystal = True
    chunk = StructureChunk([], [], "", done=False)
    while not chunk.done:
        chunk = read_chunk(source, path, chunk.cursor, _AT_ONCE)
        for structure in chunk.structures:
            there = structure.elements.split(";")
            elements |= dict.fromkeys(there)
            pure |= dict.fromkeys(there if len(there) == 1 else ())
            atoms = max(atoms, structure.natoms)
            is_crystal &= all(parse_geometry(structure.geometry).pbc)
        count += len(chunk.structures)
    return System(table, tuple(elements), atoms, count, is_crystal, source.build is not None, tuple(pure))


def _said(source: StructureSource) -> dict[str, Any]:
    """What a source says, as a table, without what is as it would be without it."""
    table = _without_defaults(source)
    if source.build is not None:
        table["build"] = _without_defaults(source.build)
    return table


def _without_defaults(struct: msgspec.Struct) -> dict[str, Any]:
    said = msgspec.to_builtins(struct)
    fields = msgspec.structs.fields(type(struct))
    return {
        field.name: list(value) if isinstance(value := said[field.name], tuple) else value
        for field in fields
        if getattr(struct, field.name) != field.default
    }
