"""Phases with their energies, read from a CSV file that a person brings. SpecError says where it is wrong, and how."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula, usual_order
from penstock.domain.geometry import ATOMIC_NUMBERS
from penstock.domain.settings import read_text
from penstock.domain.spec import nearest

if TYPE_CHECKING:
    from penstock.analysis.formation import Entry

FORMULA: Final = "formula"
NAME: Final = "name"
TOTAL: Final = "energy_ev"
PER_ATOM: Final = "energy_ev_per_atom"
ERROR_TOTAL: Final = "error_ev"
ERROR_PER_ATOM: Final = "error_ev_per_atom"
COLUMNS: Final = (NAME, FORMULA, TOTAL, PER_ATOM, ERROR_TOTAL, ERROR_PER_ATOM)
_SHOWN: Final = 5


class EntryTable(NamedTuple):
    """`entries` with the `lines` they are on; `elements` in the order that the file has them; columns not `used`."""

    entries: list[Entry]
    lines: list[int]
    elements: tuple[str, ...]
    unused: tuple[str, ...]


class _Header(NamedTuple):
    columns: tuple[str, ...]
    elements: tuple[str, ...]  # that have a column each; empty where formulas are given


def read_entries(path: Path, error_ev_per_atom: float | None) -> EntryTable:
    """The phases in `path`; those without an error of their own get `error_ev_per_atom`.

    All rows are looked at before any is refused: SpecError names the first that is wrong, and the lines of others.
    """
    reader = csv.reader(read_text(path).removeprefix("\ufeff").splitlines())
    header = _header(next(reader, []), path)
    entries: list[Entry] = []
    lines: list[int] = []
    wrong: list[tuple[int, str]] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        try:
            entries.append(_entry(header, row, len(entries) + len(wrong) + 1, error_ev_per_atom))
            lines.append(reader.line_num)
        except ValueError as error:
            wrong.append((reader.line_num, str(error)))
    if wrong:
        line, message = wrong[0]
        others = ", ".join(str(number) for number, _ in wrong[1 : 1 + _SHOWN])
        more = f" (also wrong: lines {others}{', ...' if len(wrong) > 1 + _SHOWN else ''})" if others else ""
        raise SpecError(f"{message}{more}", file=str(path), line=line)
    if not entries:
        raise SpecError("has no phases; give a header line and one line for each", file=str(path))
    unused = tuple(name for name in header.columns if name and name not in (*COLUMNS, *header.elements))
    return EntryTable(entries, lines, header.elements or _elements(entries), unused)


def _header(row: Sequence[str], path: Path) -> _Header:
    columns = tuple(cell.strip() for cell in row)
    elements = () if FORMULA in columns else tuple(name for name in columns if name in ATOMIC_NUMBERS)
    twice = [name for name in dict.fromkeys(columns) if columns.count(name) > 1 and name]
    problem = ""
    if twice:
        problem = f"has two columns {twice[0]!r}"
    elif FORMULA not in columns and not elements:
        problem = f"has no column for what the phases are: {FORMULA}, or one for each element, such as Cu"
    elif (TOTAL in columns) == (PER_ATOM in columns):
        problem = f"needs one of {TOTAL} (of all atoms of the formula) and {PER_ATOM}"
    elif ERROR_TOTAL in columns and ERROR_PER_ATOM in columns:
        problem = f"has both {ERROR_TOTAL} and {ERROR_PER_ATOM}; give one of them"
    if problem:
        hints = [hint for name in columns if name not in COLUMNS and (hint := nearest(name, COLUMNS, 0.8))]
        raise SpecError("; ".join([problem, *hints[:1]]), file=str(path), line=1)
    return _Header(columns, elements)


def _entry(header: _Header, row: Sequence[str], number: int, error_ev_per_atom: float | None) -> Entry:
    from penstock.analysis.formation import Entry

    if len(row) != len(header.columns):
        raise ValueError(f"has {len(row)} cells, and the header {len(header.columns)}")
    cells = {name: cell.strip() for name, cell in zip(header.columns, row, strict=True)}
    counts = _counts(header, cells)
    atoms = sum(counts.values())
    energy_ev = _number(cells, TOTAL) if TOTAL in cells else _number(cells, PER_ATOM) * atoms
    error_ev = None if error_ev_per_atom is None else error_ev_per_atom * atoms
    for name, factor in ((ERROR_TOTAL, 1.0), (ERROR_PER_ATOM, atoms)):
        if cells.get(name):
            error_ev = _number(cells, name) * factor
    if error_ev is not None and error_ev < 0:
        raise ValueError("has a negative error; a standard error is 0 or more")
    usual = cells.get(FORMULA) or "".join(
        f"{symbol}{f'{count:g}' if count != 1 else ''}" for symbol, count in counts.items()
    )
    return Entry(cells.get(NAME) or f"{usual} #{number}", counts, energy_ev, error_ev)


def _counts(header: _Header, cells: Mapping[str, str]) -> dict[str, float]:
    if not header.elements:
        return {symbol: float(count) for symbol, count in read_formula(cells[FORMULA]).items()}
    counts = {element: _number(cells, element) for element in header.elements if cells[element]}
    if negative := [element for element, count in counts.items() if count < 0]:
        raise ValueError(f"has {cells[negative[0]]} atoms of {negative[0]}; give a number that is not negative")
    if not sum(counts.values()):
        raise ValueError("has no atoms; give the number of atoms of each element")
    return {element: count for element, count in counts.items() if count}


def _number(cells: Mapping[str, str], name: str) -> float:
    try:
        value = float(cells[name])
    except ValueError:
        found = f"{cells[name]!r} is no number" if cells[name] else "is empty"
        raise ValueError(f"{name}: {found}") from None
    if not math.isfinite(value):
        raise ValueError(f"{name}: {cells[name]} is no number that an energy can have")
    return value


def _elements(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The elements as formulas of most of them have them, so that what is written Cu3Au is shown so."""
    by_size = sorted(entries, key=lambda entry: -len(entry.composition))
    found = dict.fromkeys(_symbols(by_size))
    mixed = {symbol for entry in entries if len(entry.composition) > 1 for symbol in entry.composition}
    return tuple(found) if mixed == found.keys() else usual_order(found)


def _symbols(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from entry.composition
