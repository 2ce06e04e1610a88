"""What `system = "..."` in a goal file means, by rules that are tried in this order.

1. A file that exists: CIF, POSCAR, XYZ, ext-XYZ, a CRYSTAL deck, a table, or an ASE database; of that `@` and a
   selection in ASE's words choose a row (`alloys.db@id=3`, `alloys.db@formula=Si2`; `alloys.db#3` is short for the
   first). What looks like a path (a slash, a file's suffix) and is none is refused. A folder needs the slash.
2. Elements joined by `-` (`Cu-Au`): what can be built of them: the orderings on those lattices that their reference
   states have, and the reference states.
3. A formula and a prototype, in either order (`NaCl rocksalt`, `L1_2 Ni3Al`).
4. A formula: of an element, its reference state; of a compound in `compounds`, what stands there. What has no structure
   that is known to be right is refused: nothing is guessed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from penstock.domain.build_table import BuildTable, check_build
from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.domain.spec import StructureSource, nearest
from penstock.recipes.structures.build import build_structures
from penstock.recipes.structures.compounds import COMPOUNDS, find_compound
from penstock.recipes.structures.crystals import known_prototype, parent_lattices
from penstock.recipes.structures.frame_files import SUFFIXES, VASP_NAMES
from penstock.recipes.structures.prototypes import PROTOTYPES, find_prototype
from penstock.recipes.structures.source import check_source, read_chunk

KEY: Final = "system"
_ROW: Final = re.compile(r"(.+\.db)(?:@(.+)|#([0-9]+))")
_ELEMENTS: Final = re.compile(r"[A-Z][a-z]?(?:-[A-Z][a-z]?)+")
_SUFFIXES: Final = frozenset({*SUFFIXES, ".csv", ".parquet", ".pq", ".db"})
_FILES: Final = "a file (CIF, POSCAR, ext-XYZ)"


def read_system(text: str, base: Path, *, several: bool = False) -> StructureSource:
    """The structures that `text` means; paths are relative to `base`.

    `several`: whether more than one is wanted, as for a phase diagram; without it, a source of more than one is
    refused. SpecError, with the key `system`, says what is not known, not there or not one, and what to write instead.
    """
    try:
        source = _read(text.strip(), base)
        if source.build is not None:
            check_build(source.build)
            build_structures(source.build)
            path = ""
        else:
            path = str(base / Path(source.source).expanduser())
            check_source(source, Path(path))
        if not several:
            _refuse_several(source, path, text)
    except SpecError as error:
        raise SpecError(error.message, key=KEY) from error
    return source


def _read(text: str, base: Path) -> StructureSource:
    if (base / Path(text).expanduser()).is_file():
        return StructureSource(text)
    if row := _ROW.fullmatch(text):
        return _read_row(row[1], row[2] or f"id={row[3]}", base)
    if "/" in text or text.startswith("~") or Path(text).suffix.lower() in _SUFFIXES or text in VASP_NAMES:
        return _read_path(text, base)
    if _ELEMENTS.fullmatch(text):
        return StructureSource(build=_read_elements(text.split("-")))
    if len(symbols := re.split(r"[\s,;+]+", text)) > 1 and all(symbol in ATOMIC_NUMBERS for symbol in symbols):
        raise SpecError(f'{text!r} is no system; did you mean "{"-".join(symbols)}"?')
    match text.split():
        case [formula]:
            return StructureSource(build=_read_formula(formula))
        case [first, second]:
            return StructureSource(build=_read_pair(first, second))
    raise SpecError(f'{text!r} is no system; write a formula ("Si"), a formula and a prototype, elements or {_FILES}')


# ---- files ----------------------------------------------------------------------------------------------------------


def _read_row(name: str, select: str, base: Path) -> StructureSource:
    source = StructureSource(name, select=select)
    path = base / Path(name).expanduser()
    if not path.is_file():
        raise _missing(name, base)
    check_source(source, path)
    found = len(read_chunk(source, str(path), "", 2).structures)
    if found > 1:
        raise SpecError(f"several rows of {name} have {select}; choose one by its number, as in {name}#3")
    return source


def _read_path(text: str, base: Path) -> StructureSource:
    if (base / Path(text).expanduser()).is_dir():
        return StructureSource(text)
    raise _missing(text, base)


def _missing(name: str, base: Path) -> SpecError:
    path = base / Path(name).expanduser()
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, beside, likeness=0.7)
    return SpecError(f"there is no file {name} in {base}" + (f"; {hint}" if hint else ""))


def _refuse_several(source: StructureSource, path: str, text: str) -> None:
    if len(read_chunk(source, path, "", 2).structures) < 2:
        return
    if source.build is not None:
        raise SpecError(f"{text!r} is many structures; write one formula, such as {source.build.elements[0]!r}")
    hint = f", as in {source.source}#3" if Path(path).suffix == ".db" else "; write it to a file of its own"
    raise SpecError(f"{source.source} holds several structures, and one is wanted: choose one{hint}")


# ---- what can be built ----------------------------------------------------------------------------------------------


def _read_elements(symbols: list[str]) -> BuildTable:
    for symbol in symbols:
        if symbol not in ATOMIC_NUMBERS:
            raise SpecError(f"there is no element {symbol!r}")
    lattices = parent_lattices(symbols)
    if not lattices:
        raise SpecError(
            f"{' and '.join(symbols)} have no reference state on a lattice whose orderings can be built; write a spec "
            "with [structures.build] elements and prototypes, or with your own structures"
        )
    return BuildTable(elements=tuple(symbols), lattices=lattices, references=True)


def _read_pair(first: str, second: str) -> BuildTable:
    """A formula and a prototype; where either may be either (`CsCl NaCl`), the prototype comes last."""
    readings = [
        (formula, name, prototype)
        for formula, name in ((first, second), (second, first))
        if (prototype := known_prototype(name)) is not None and _is_formula(formula)
    ]
    fitting = [one for one in readings if one[2].elements == len(read_formula(one[0]))]
    for formula, name, _ in fitting or readings:
        known = find_compound(formula, name)
        lengths = (known.a_angstrom, known.c_angstrom) if known else (None, None)
        return BuildTable(formula, name, *lengths)
    find_prototype(second if _is_formula(first) else first)
    raise SpecError(f'"{first} {second}" has no formula; write one beside the prototype')


def _read_formula(text: str) -> BuildTable:
    try:
        counts = read_formula(text)
    except ValueError as error:
        known = [compound.formula for compound in COMPOUNDS]
        symbol = text.capitalize()
        hint = f"did you mean {symbol!r}?" if symbol in ATOMIC_NUMBERS else nearest(text, known, likeness=0.7)
        raise SpecError(f"{error}; {hint}" if hint else f"{error}, or name {_FILES}") from None
    if len(counts) == 1:
        return BuildTable(system=next(iter(counts)))
    if (compound := find_compound(text)) is not None:
        return BuildTable(text, compound.prototype, compound.a_angstrom, compound.c_angstrom)
    raise SpecError(
        f'{text} has no prototype here that is known to be right; write it behind the formula, as in "{text} NAME" '
        f"({', '.join(PROTOTYPES)}), or give {_FILES}"
    )


def _is_formula(text: str) -> bool:
    try:
        return bool(read_formula(text))
    except ValueError:
        return False
