"""A CRYSTAL input deck (.d12) as a value: text to structure and back.

A deck is a title line (free text, never a keyword), a geometry with keywords that edit it, a basis, and an SCF section.
What stands in it stands in it again after `render_deck`, in the same order, unknown keywords included: a keyword owns
the lines after it that do not begin with a letter. Only blank lines and the width of blanks are lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.engines.crystal.deck_keywords import (
    AFTER_SCF,
    BASIS_KEYWORDS,
    DIMENSIONS,
    ELSEWHERE,
    WORD_LINES,
    free_cell,
    opens_block,
)
from penstock.engines.crystal.deck_lines import DeckLines, excerpt, is_end, join_line, split_numbers, word_of
from penstock.engines.crystal.deck_model import Atom, Basis, Deck, Entry, GeometryInput, Record, parse_number

__all__ = ["Atom", "Basis", "Deck", "Entry", "GeometryInput", "Record", "parse_deck", "parse_number", "render_deck"]

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,9}")
_COMMENT: Final = ("#", "!")
ATOMS_MAX: Final = 1_000_000


def parse_deck(text: str) -> Deck:
    """The deck that `text` is; ValueError says `line N: ...`."""
    lines = DeckLines(text)
    geometry = _parse_geometry(lines)
    keywords, end = _parse_keywords(lines)
    if lines.peek() is None and any(entry.name == "TESTGEOM" for entry in keywords):
        return Deck(lines.title, geometry, keywords, end, scf_end=None)
    basis = _parse_basis(lines)
    scf, scf_end = _parse_scf(lines)
    return Deck(lines.title, geometry, keywords, end, basis, scf, scf_end, tuple(lines.take_all()))


def render_deck(deck: Deck) -> str:
    """The text of `deck`, every line ended by a newline."""
    lines = [deck.title, *_render_geometry(deck.geometry), *render_entries(deck.keywords)]
    lines += [deck.end] if deck.end is not None else []
    lines += [*deck.basis.lines, *render_entries(deck.basis.entries)]
    lines += [deck.basis.end] if deck.basis.end is not None else []
    lines += render_entries(deck.scf)
    lines += [deck.scf_end] if deck.scf_end is not None else []
    return "\n".join([*lines, *deck.rest, ""])


def render_entries(entries: Iterable[Entry]) -> list[str]:
    """The lines of entries and of the blocks among them."""
    lines: list[str] = []
    for entry in entries:
        if entry.keyword:
            lines.append(join_line([entry.keyword], entry.note))
        lines += [*entry.lines, *render_entries(entry.entries)]
        if entry.end is not None:
            lines.append(entry.end)
    return lines


def _take_numbers(lines: DeckLines, wanted: int, what: str, *, whole: bool = False) -> Record:
    number = lines.number
    line = lines.take(what)
    record = split_numbers(line, wanted)
    if len(record.values) < wanted or (whole and not all(map(_INTEGER.fullmatch, record.values))):
        raise ValueError(f"line {number}: expected {what}, found {excerpt(line)}")
    return record


def _parse_geometry(lines: DeckLines) -> GeometryInput:
    number = lines.number
    line = lines.take("CRYSTAL, SLAB, POLYMER, MOLECULE, EXTERNAL or DLVINPUT")
    kind, note = word_of(line), " ".join(line.split()[1:])
    if kind in ELSEWHERE:
        return GeometryInput(kind, lines=tuple(_take_values(lines)), note=note)
    if kind not in DIMENSIONS:
        expected = "CRYSTAL, SLAB, POLYMER, MOLECULE, EXTERNAL or DLVINPUT (line 1 is the title)"
        raise ValueError(f"line {number}: expected {expected}, found {excerpt(line)}")
    flags = _take_numbers(lines, 3, "the flags IFLAG IFHR IFSO", whole=True) if kind == "CRYSTAL" else None
    if flags is not None and flags.values[0] != "0":
        group = Record(tuple(lines.take("the symbol of a space group").split()))
    else:
        group = _take_group(lines, DIMENSIONS[kind])
    shifted = flags is not None and int(flags.values[2]) > 1
    shift = _take_numbers(lines, 3, "the shift of the origin in 24ths", whole=True) if shifted else None
    geometry = GeometryInput(kind, flags, group, shift, note=note)
    geometry = msgspec.structs.replace(geometry, cell=_take_cell(lines, geometry))
    count_note, atoms = _take_atoms(lines)
    return msgspec.structs.replace(geometry, count_note=count_note, atoms=atoms)


def _take_group(lines: DeckLines, dimensionality: int) -> Record:
    number, last = lines.number, (47, 99, 80, 230)[dimensionality]
    what = f"the number of a {('point', 'rod', 'layer', 'space')[dimensionality]} group, 1 to {last}"
    group = _take_numbers(lines, 1, what, whole=True)
    if not 1 <= int(group.values[0]) <= last:
        raise ValueError(f"line {number}: expected {what}, found {group.values[0]}")
    return group


def _take_cell(lines: DeckLines, geometry: GeometryInput) -> Record | None:
    dimensionality = DIMENSIONS[geometry.kind]
    if dimensionality == 0:
        return None
    group = geometry.group_number
    if group is None:
        number = lines.number
        cell = split_numbers(lines.take("the cell parameters"), None)
        if not cell.values:
            raise ValueError(f"line {number}: expected the cell parameters, found {excerpt(cell.note)}")
        return cell
    wanted = len(free_cell(dimensionality, group, rhombohedral=geometry.is_rhombohedral))
    kind = ("", "rod", "layer", "space")[dimensionality]
    return _take_numbers(lines, wanted, f"{wanted} cell parameters, those that {kind} group {group} leaves free")


def _take_atoms(lines: DeckLines) -> tuple[str, tuple[Atom, ...]]:
    number = lines.number
    count = _take_numbers(lines, 1, "the number of atoms", whole=True)
    natoms = int(count.values[0])
    if not 1 <= natoms <= ATOMS_MAX:
        raise ValueError(f"line {number}: {natoms} atoms cannot be")
    return count.note, tuple(_take_atom(lines, index, natoms) for index in range(natoms))


def _take_atom(lines: DeckLines, index: int, natoms: int) -> Atom:
    number = lines.number
    line = lines.take(f"atom {index + 1} of {natoms}")
    record = split_numbers(line, 4)
    if len(record.values) < 4 or _INTEGER.fullmatch(record.values[0]) is None:
        raise ValueError(f"line {number}: expected atom {index + 1} of {natoms} as 'Z x y z', found {excerpt(line)}")
    atomic_number, x, y, z = record.values
    if int(atomic_number) < 0:
        raise ValueError(f"line {number}: {atomic_number} is no conventional atomic number")
    return Atom(int(atomic_number), (x, y, z), record.note)


def _render_geometry(geometry: GeometryInput) -> list[str]:
    lines = [join_line([geometry.kind], geometry.note)]
    for record in (geometry.flags, geometry.group, geometry.shift, geometry.cell):
        lines += [] if record is None else [join_line(record.values, record.note)]
    if geometry.dimensionality is not None:
        lines.append(join_line([str(len(geometry.atoms))], geometry.count_note))
    lines += [join_line([str(atom.number), *atom.position], atom.note) for atom in geometry.atoms]
    return [*lines, *geometry.lines]


def _parse_keywords(lines: DeckLines) -> tuple[tuple[Entry, ...], str | None]:
    """The keywords after the atoms and the END that closes them, which is the one that a basis follows."""
    entries: list[Entry] = []
    while True:
        line = lines.peek()
        if word_of(line) == "BASISSET":
            return tuple(entries), None
        if line is not None and is_end(line) and _begins_basis(_past_comments(lines, 1)):
            return tuple(entries), lines.take("END").strip()
        entries.append(_parse_entry(lines, "geometry", "the END of the geometry"))


def _past_comments(lines: DeckLines, ahead: int) -> str | None:
    """The first line that is no comment, from `ahead` lines on."""
    while (line := lines.peek(ahead)) is not None and line.lstrip().startswith(_COMMENT):
        ahead += 1
    return line


def _begins_basis(line: str | None) -> bool:
    if line is None or word_of(line) == "BASISSET":
        return True
    values = split_numbers(line, 2).values
    return len(values) == 2 and all(map(_INTEGER.fullmatch, values))


def _parse_basis(lines: DeckLines) -> Basis:
    if word_of(_past_comments(lines, 0)) == "BASISSET":
        entries = []
        while word_of(lines.peek()) != "BASISSET":
            entries.append(_parse_entry(lines, "basis", "BASISSET"))
        while word_of(lines.peek()) in BASIS_KEYWORDS:
            entries.append(_parse_entry(lines, "basis", "the END of the basis"))
        line = lines.peek()
        closed = line is not None and is_end(line) and lines.peek(1) is not None
        return Basis((), tuple(entries), lines.take("END").strip() if closed else None)
    given: list[str] = []
    while not given or split_numbers(given[-1], 2).values != ("99", "0"):
        number = lines.number
        line = lines.take("the basis set, or its last line '99 0'")
        if is_end(line):
            raise ValueError(f"line {number}: {line.strip()} before the basis set has ended with '99 0'")
        given.append(line)
    entries = []
    while (line := lines.peek()) is None or not is_end(line):
        entries.append(_parse_entry(lines, "basis", "the END of the basis"))
    return Basis(tuple(given), tuple(entries), lines.take("END").strip())


def _parse_scf(lines: DeckLines) -> tuple[tuple[Entry, ...], str]:
    """The last section and its END, as a rule the last of the deck: one before it closes a block not known here."""
    entries: list[Entry] = []
    while True:
        line = lines.peek()
        if line is not None and is_end(line) and (word_of(lines.peek(1)) in AFTER_SCF or not lines.holds_end()):
            return tuple(entries), lines.take("END").strip()
        entries.append(_parse_entry(lines, "scf", "the END of the SCF section (an earlier block may lack its own)"))


def _parse_entry(lines: DeckLines, section: str, awaited: str) -> Entry:
    """The next keyword with its values, or block; `awaited` is what is missing where the deck ends."""
    number = lines.number
    line = lines.take(awaited)
    name = word_of(line)
    if not name:
        if line.lstrip().startswith(_COMMENT):
            return Entry("", (line,))
        raise ValueError(
            f"line {number}: {excerpt(line)} belongs to no keyword; are the atoms counted right, or is "
            "there an END too many or missing?"
        )
    keyword, *notes = line.split(None, 1)
    note = notes[0].strip() if notes else ""
    values: list[str] = []
    following = lines.peek()
    if (section, name) in WORD_LINES and following is not None and not is_end(following):
        values.append(lines.take("a value"))
    if is_end(line):
        return Entry(keyword, note=note)
    values += _take_values(lines)
    if not opens_block(section, name):
        return Entry(keyword, tuple(values), note=note)
    entries: list[Entry] = []
    while (inner := lines.peek()) is None or not is_end(inner):
        if inner is None or word_of(inner) == "BASISSET":
            raise ValueError(f"line {number}: {name} has no END")
        entries.append(_parse_entry(lines, name, f"the END of {name}"))
    return Entry(keyword, tuple(values), tuple(entries), lines.take("END").strip(), note)


def _take_values(lines: DeckLines) -> list[str]:
    """The lines up to the next keyword."""
    values: list[str] = []
    while (line := lines.peek()) is not None and not line.lstrip()[:1].isalpha():
        values.append(lines.take("a value"))
    return values
