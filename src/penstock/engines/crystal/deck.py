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
    BASIS_KEYWORDS,
    DIMENSIONS,
    ELSEWHERE,
    WORD_LINES,
    free_cell,
    opens_block,
)

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eEdD][-+]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,9}")
_COMMENT: Final = ("#", "!")
ATOMS_MAX: Final = 1_000_000


class Entry(msgspec.Struct, frozen=True):
    """A keyword with its value lines, or a block: then `end` is the line that closes it and `entries` are within.

    `note` is what else stands on the keyword's own line. An entry without keyword holds comments before the first one.
    """

    keyword: str
    lines: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    end: str | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The keyword in upper case."""
        return self.keyword.upper()

    @property
    def is_block(self) -> bool:
        """Whether an END of its own closes it."""
        return self.end is not None


class Record(msgspec.Struct, frozen=True):
    """A line of values as they were written, and what follows them on the line."""

    values: tuple[str, ...]
    note: str = ""


class Atom(msgspec.Struct, frozen=True):
    """An irreducible atom: conventional atomic number and coordinates, fractional along periodic directions, else Å."""

    number: int
    position: tuple[str, str, str]
    note: str = ""

    @property
    def coordinates(self) -> tuple[float, float, float]:
        """The coordinates as numbers."""
        x, y, z = map(parse_number, self.position)
        return x, y, z

    @property
    def atomic_number(self) -> int:
        """The element's: CRYSTAL adds hundreds to tell atoms of one element with different bases apart."""
        return self.number % 100


class GeometryInput(msgspec.Struct, frozen=True):
    """The first section up to its atoms.

    `flags` (IFLAG IFHR IFSO) and `shift` (of the origin, in 24ths, where IFSO > 1) only of a CRYSTAL; `group` the
    space, layer, rod or point group; `cell` its free parameters (Å, degrees). `lines` only of a kind whose atoms are
    elsewhere.
    """

    kind: str
    flags: Record | None = None
    group: Record | None = None
    shift: Record | None = None
    cell: Record | None = None
    count_note: str = ""
    atoms: tuple[Atom, ...] = ()
    lines: tuple[str, ...] = ()
    note: str = ""

    @property
    def dimensionality(self) -> int | None:
        """In how many directions it is periodic; None where another file says so."""
        return DIMENSIONS.get(self.kind)

    @property
    def group_number(self) -> int | None:
        """The group's number; None where it is given by its symbol, or elsewhere."""
        if self.group is None or (self.flags is not None and self.flags.values[0] != "0"):
            return None
        return int(self.group.values[0])

    @property
    def is_rhombohedral(self) -> bool:
        """Whether a rhombohedral space group is described in its rhombohedral cell (IFHR)."""
        return self.flags is not None and self.flags.values[1] != "0"


class Basis(msgspec.Struct, frozen=True):
    """A predefined basis (first entry BASISSET) or the `lines` of an explicit one up to its `99 0`; then keywords."""

    lines: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    end: str | None = None


class Deck(msgspec.Struct, frozen=True):
    """A whole deck. `keywords` edit the geometry, and hold OPTGEOM, FREQCALC and other blocks; `end` closes them.

    `rest` are lines after the last END, which CRYSTAL does not read.
    """

    title: str
    geometry: GeometryInput
    keywords: tuple[Entry, ...]
    end: str | None  # None where BASISSET follows without an END
    basis: Basis
    scf: tuple[Entry, ...]
    scf_end: str = "END"
    rest: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A title is one line."""
        if "\n" in self.title or "\r" in self.title:
            raise ValueError("the title of a deck is one line")


def parse_number(text: str) -> float:
    """A number as Fortran writes it (1.5D-3); ValueError for anything else."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a number")
    return float(text.replace("d", "e").replace("D", "e"))


def parse_deck(text: str) -> Deck:
    """The deck that `text` is; ValueError says `line N: ...`."""
    lines = _Lines(text)
    geometry = _parse_geometry(lines)
    keywords, end = _parse_keywords(lines)
    basis = _parse_basis(lines)
    scf, scf_end = _parse_scf(lines)
    return Deck(lines.title, geometry, keywords, end, basis, scf, scf_end, tuple(lines.take_all()))


def render_deck(deck: Deck) -> str:
    """The text of `deck`, every line ended by a newline."""
    lines = [deck.title, *_render_geometry(deck.geometry), *render_entries(deck.keywords)]
    lines += [deck.end] if deck.end is not None else []
    lines += [*deck.basis.lines, *render_entries(deck.basis.entries)]
    lines += [deck.basis.end] if deck.basis.end is not None else []
    lines += [*render_entries(deck.scf), deck.scf_end, *deck.rest]
    return "\n".join([*lines, ""])


def render_entries(entries: Iterable[Entry]) -> list[str]:
    """The lines of entries and of the blocks among them."""
    lines: list[str] = []
    for entry in entries:
        if entry.keyword:
            lines.append(_line([entry.keyword], entry.note))
        lines += [*entry.lines, *render_entries(entry.entries)]
        if entry.end is not None:
            lines.append(entry.end)
    return lines


class _Lines:
    """The lines of a deck that are not blank, with their numbers; `title` is the first, whatever it says."""

    def __init__(self, text: str) -> None:
        all_lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.title = all_lines[0]
        self._last = len(all_lines)
        self._lines = [(number, line.rstrip()) for number, line in enumerate(all_lines[1:], 2) if line.strip()]
        self._next = 0

    @property
    def number(self) -> int:
        """The number of the next line; that of the last where none is left."""
        return self._lines[self._next][0] if self._next < len(self._lines) else self._last

    def peek(self, ahead: int = 0) -> str | None:
        """A line to come, None after the last."""
        at = self._next + ahead
        return self._lines[at][1] if at < len(self._lines) else None

    def take(self, what: str) -> str:
        """The next line; ValueError where the deck ends before `what`."""
        line = self.peek()
        if line is None:
            raise ValueError(f"line {self.number}: the deck ends before {what}")
        self._next += 1
        return line

    def take_all(self) -> list[str]:
        """All lines that are left."""
        left = [line for _, line in self._lines[self._next :]]
        self._next = len(self._lines)
        return left

    def holds_end(self) -> bool:
        """Whether an END is among the lines after the next."""
        return any(is_end(line) for _, line in self._lines[self._next + 1 :])


def is_end(line: str) -> bool:
    """Whether `line` closes a block or section: CRYSTAL looks at its first three letters."""
    return line.lstrip()[:3].upper() == "END"


def _word(line: str | None) -> str:
    """The keyword that `line` is, in upper case; empty for a line of values or a comment."""
    first = line.split(None, 1)[0] if line else ""
    return first.upper() if first[:1].isalpha() else ""


def _line(values: Iterable[str], note: str) -> str:
    return " ".join([*values, note] if note else values)


def _split(line: str, wanted: int | None) -> Record:
    """The numbers at the beginning of `line`, at most `wanted` of them, and what is left."""
    values: list[str] = []
    rest = line.strip()
    while wanted is None or len(values) < wanted:
        token = re.match(r"([^\s,#!]+)(?:\s*,\s*|\s+|(?=[#!])|$)", rest)
        if token is None or _NUMBER.fullmatch(token[1]) is None:
            break
        values.append(token[1])
        rest = rest[token.end() :]
    return Record(tuple(values), rest)


def _take_numbers(lines: _Lines, wanted: int, what: str, *, whole: bool = False) -> Record:
    number = lines.number
    line = lines.take(what)
    record = _split(line, wanted)
    if len(record.values) < wanted or (whole and not all(map(_INTEGER.fullmatch, record.values))):
        raise ValueError(f"line {number}: expected {what}, found {_excerpt(line)}")
    return record


def _parse_geometry(lines: _Lines) -> GeometryInput:
    number = lines.number
    line = lines.take("CRYSTAL, SLAB, POLYMER, MOLECULE, EXTERNAL or DLVINPUT")
    kind, note = _word(line), " ".join(line.split()[1:])
    if kind in ELSEWHERE:
        return GeometryInput(kind, lines=tuple(_take_values(lines)), note=note)
    if kind not in DIMENSIONS:
        expected = "CRYSTAL, SLAB, POLYMER, MOLECULE, EXTERNAL or DLVINPUT (line 1 is the title)"
        raise ValueError(f"line {number}: expected {expected}, found {_excerpt(line)}")
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


def _take_group(lines: _Lines, dimensionality: int) -> Record:
    number, last = lines.number, (47, 99, 80, 230)[dimensionality]
    what = f"the number of a {('point', 'rod', 'layer', 'space')[dimensionality]} group, 1 to {last}"
    group = _take_numbers(lines, 1, what, whole=True)
    if not 1 <= int(group.values[0]) <= last:
        raise ValueError(f"line {number}: expected {what}, found {group.values[0]}")
    return group


def _take_cell(lines: _Lines, geometry: GeometryInput) -> Record | None:
    dimensionality = DIMENSIONS[geometry.kind]
    if dimensionality == 0:
        return None
    group = geometry.group_number
    if group is None:
        number = lines.number
        cell = _split(lines.take("the cell parameters"), None)
        if not cell.values:
            raise ValueError(f"line {number}: expected the cell parameters, found {_excerpt(cell.note)}")
        return cell
    wanted = len(free_cell(dimensionality, group, rhombohedral=geometry.is_rhombohedral))
    kind = ("", "rod", "layer", "space")[dimensionality]
    return _take_numbers(lines, wanted, f"{wanted} cell parameters, those that {kind} group {group} leaves free")


def _take_atoms(lines: _Lines) -> tuple[str, tuple[Atom, ...]]:
    number = lines.number
    count = _take_numbers(lines, 1, "the number of atoms", whole=True)
    natoms = int(count.values[0])
    if not 1 <= natoms <= ATOMS_MAX:
        raise ValueError(f"line {number}: {natoms} atoms cannot be")
    return count.note, tuple(_take_atom(lines, index, natoms) for index in range(natoms))


def _take_atom(lines: _Lines, index: int, natoms: int) -> Atom:
    number = lines.number
    line = lines.take(f"atom {index + 1} of {natoms}")
    record = _split(line, 4)
    if len(record.values) < 4 or _INTEGER.fullmatch(record.values[0]) is None:
        raise ValueError(f"line {number}: expected atom {index + 1} of {natoms} as 'Z x y z', found {_excerpt(line)}")
    atomic_number, x, y, z = record.values
    if int(atomic_number) < 0:
        raise ValueError(f"line {number}: {atomic_number} is no conventional atomic number")
    return Atom(int(atomic_number), (x, y, z), record.note)


def _render_geometry(geometry: GeometryInput) -> list[str]:
    lines = [_line([geometry.kind], geometry.note)]
    for record in (geometry.flags, geometry.group, geometry.shift, geometry.cell):
        lines += [] if record is None else [_line(record.values, record.note)]
    if geometry.dimensionality is not None:
        lines.append(_line([str(len(geometry.atoms))], geometry.count_note))
    lines += [_line([str(atom.number), *atom.position], atom.note) for atom in geometry.atoms]
    return [*lines, *geometry.lines]


def _parse_keywords(lines: _Lines) -> tuple[tuple[Entry, ...], str | None]:
    """The keywords after the atoms and the END that closes them, which is the one that a basis follows."""
    entries: list[Entry] = []
    while True:
        line = lines.peek()
        if _word(line) == "BASISSET":
            return tuple(entries), None
        if line is not None and is_end(line) and _begins_basis(lines.peek(1)):
            return tuple(entries), lines.take("END").strip()
        entries.append(_parse_entry(lines, "geometry", "the END of the geometry"))


def _begins_basis(line: str | None) -> bool:
    if line is None or _word(line) == "BASISSET":
        return True
    values = _split(line, 2).values
    return len(values) == 2 and all(map(_INTEGER.fullmatch, values))


def _parse_basis(lines: _Lines) -> Basis:
    if _word(lines.peek()) == "BASISSET":
        entries = [_parse_entry(lines, "basis", "the name of the basis")]
        while _word(lines.peek()) in BASIS_KEYWORDS:
            entries.append(_parse_entry(lines, "basis", "the END of the basis"))
        line = lines.peek()
        closed = line is not None and is_end(line) and lines.peek(1) is not None
        return Basis((), tuple(entries), lines.take("END").strip() if closed else None)
    given: list[str] = []
    while not given or _split(given[-1], 2).values != ("99", "0"):
        number = lines.number
        line = lines.take("the basis set, or its last line '99 0'")
        if is_end(line):
            raise ValueError(f"line {number}: {line.strip()} before the basis set has ended with '99 0'")
        given.append(line)
    entries = []
    while (line := lines.peek()) is None or not is_end(line):
        entries.append(_parse_entry(lines, "basis", "the END of the basis"))
    return Basis(tuple(given), tuple(entries), lines.take("END").strip())


def _parse_scf(lines: _Lines) -> tuple[tuple[Entry, ...], str]:
    """The last section and its END, the last of the deck: one before it closes a block that is not known here."""
    entries: list[Entry] = []
    while True:
        line = lines.peek()
        if line is not None and is_end(line) and not lines.holds_end():
            return tuple(entries), lines.take("END").strip()
        entries.append(_parse_entry(lines, "scf", "the END of the SCF section (an earlier block may lack its own)"))


def _parse_entry(lines: _Lines, section: str, awaited: str) -> Entry:
    """The next keyword with its values, or block; `awaited` is what is missing where the deck ends."""
    number = lines.number
    line = lines.take(awaited)
    name = _word(line)
    if not name:
        if line.lstrip().startswith(_COMMENT):
            return Entry("", (line,))
        raise ValueError(
            f"line {number}: {_excerpt(line)} belongs to no keyword; are the atoms counted right, or is "
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
        if inner is None or (_word(inner) == "BASISSET" and name != "FIXINDEX"):
            raise ValueError(f"line {number}: {name} has no END")
        entries.append(_parse_entry(lines, name, f"the END of {name}"))
    return Entry(keyword, tuple(values), tuple(entries), lines.take("END").strip(), note)


def _take_values(lines: _Lines) -> list[str]:
    """The lines up to the next keyword."""
    values: list[str] = []
    while (line := lines.peek()) is not None and not line.lstrip()[:1].isalpha():
        values.append(lines.take("a value"))
    return values


def _excerpt(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
