"""Pieces of ORCA's output as values: numbers, geometries, gradients, orbitals, frequencies, the echoed input."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from penstock.domain.geometry import SYMBOLS, normalise

NUMBER: Final = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eEdD][-+]?\d+)?"
_NUMBER: Final = re.compile(NUMBER)
_NOT_FINITE: Final = re.compile(r"[-+]?(?:nan|inf|infinity)|\*+", re.IGNORECASE)
_REMARK: Final = re.compile(r"\([^)]*\)?")
_ATOM: Final = re.compile(rf"\s*([A-Z][a-z]?)\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_SYMBOLS: Final = frozenset(symbol.encode() for symbol in SYMBOLS)
_PLAIN: Final = b"0123456789.- \n"
_NO_ATOM: Final = re.compile(r"\s*(?:Q|DA|[A-Z][a-z]?\s*[:>])\s.*")  # point charges, dummies, ghosts, bare potentials
_GRADIENT: Final = re.compile(rf"\s*\d+\s*(?:[A-Z][a-z]?)?\s*:\s*({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_ORBITAL: Final = re.compile(rf"\s*\d+\s+(\d[.,]\d+)\s+({NUMBER})\s+({NUMBER})(?:\s+\S+)?\s*")
_ORBITALS_HEAD: Final = re.compile(rb"[-\s]*(?:SPIN (?:UP|DOWN) ORBITALS\s*)?NO +OCC +E\(Eh\) +E\(eV\) *\n")
_NO_ROW: Final = re.compile(rb"\s*+(?:(?!.*(?:SPIN|OCC))[^\s\d]|\Z)")
_WORD: Final = re.compile(rb"[^ \n]+")
_FREQUENCY: Final = re.compile(rf"\s*\d+:\s*({NUMBER})\s+cm\*\*-1.*")
_ECHO: Final = re.compile(r"^\|\s*\d+>(.*)$", re.MULTILINE)
_NPROCS: Final = re.compile(r"\bnprocs?\s*=?\s*(\d{1,6})\b", re.IGNORECASE)
_PAL: Final = re.compile(r"(?i)!.*\bPAL(\d{1,6})\b")


def parse_number(text: str) -> float | None:
    """A number as ORCA prints it, with a decimal comma where the locale has one; None for anything else."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text.replace(",", ".").replace("D", "e").replace("d", "e"))
    return value if math.isfinite(value) else None


def parse_energy(text: str) -> float | None:
    """The number that follows an energy's label, in Eh; NaN where ORCA printed no finite one, None where none reads."""
    words = _REMARK.sub(" ", text).split()
    if not words:
        return None
    return math.nan if _NOT_FINITE.fullmatch(words[0]) else parse_number(words[0])


def parse_atoms(text: bytes) -> str | None:
    """The atoms of a table `El x y z` (Å) in the one form; None where a line is none."""
    return _parse_plain_atoms(text) or _parse_any_atoms(text.decode("utf-8", "replace").replace("\r", ""))


def _parse_plain_atoms(text: bytes) -> str | None:
    """The quick way, for a table of nothing but atoms below its rule, as most are; else None."""
    rule, _, body = text.partition(b"\n")
    words = body.split()
    symbols = words[::4]
    natoms = len(symbols)
    if not rule.startswith(b"---") or len(words) != 4 * natoms or body.count(b"\n") != natoms - 1:
        return None
    if not symbols or not _SYMBOLS.issuperset(symbols) or body.translate(None, _PLAIN) != b"".join(symbols):
        return None
    try:
        for column in (1, 2, 3):
            deque(map(float, words[column::4]), 0)
    except ValueError:
        return None
    columns = iter(words)
    rows = b"\n".join(map(b" ".join, zip(columns, columns, columns, columns, strict=True)))
    return f"{natoms}\n\n{rows.decode()}\n"


def _parse_any_atoms(text: str) -> str | None:
    """The thorough way, line by line."""
    atoms = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("---") or _NO_ATOM.fullmatch(line):
            continue
        match = _ATOM.fullmatch(line)
        if match is None:
            return None
        atoms.append(" ".join(match.groups()).replace(",", ".").replace("+", ""))
    try:
        return normalise("\n".join(atoms)).block
    except ValueError:
        return None


def parse_max_component(text: str) -> float | None:
    """The largest component, absolute, of a table of gradients; None where there is no row."""
    largest = None
    for match in map(_GRADIENT.fullmatch, text.splitlines()):
        if match is None:
            continue
        components = [abs(value) for value in map(parse_number, match.groups()) if value is not None]
        if components and (largest is None or max(components) > largest):
            largest = max(components)
    return largest


def parse_frontier_ev(data: bytes, start: int, end_max: int) -> tuple[float, float] | None:
    """The energies of the highest occupied and the lowest empty orbital (eV), of both spins; None for partly filled.

    The tables begin behind the heading at `start`, and end at the next box or before `end_max`.
    """
    begin = data.find(b"\n", start) + 1
    if (found := _parse_plain_frontier(data, begin, end_max)) is not None:
        return found
    end = data.find(b"***", begin, end_max)
    return _parse_any_frontier(data[begin : end if end >= 0 else end_max])


def _parse_plain_frontier(data: bytes, begin: int, end_max: int) -> tuple[float, float] | None:
    """The quick way, for tables with all filled orbitals before the empty ones, each lot by energy; else None."""
    occupied: list[float] = []
    empty: list[float] = []
    while (head := _ORBITALS_HEAD.match(data, begin, end_max)) is not None:
        table = _columns_table(data, head.end(), end_max)
        begin = head.end() + len(table)
        edges = _edges(table)
        if edges is None or data[begin : begin + 1] != b"\n":
            return None
        occupied += edges[0]
        empty += edges[1]
    if not occupied or not empty or not _NO_ROW.match(data, begin, end_max):
        return None
    return max(occupied), min(empty)


def _columns_table(data: bytes, begin: int, end_max: int) -> bytes:
    """The lines from `begin` on that are as long as the first."""
    width = data.find(b"\n", begin, end_max) + 1 - begin
    if width <= 0:
        return b""
    line_ends = data[begin + width - 1 : end_max : width]
    rows = len(line_ends) - len(line_ends.lstrip(b"\n"))
    return data[begin : begin + rows * width]


def _edges(table: bytes) -> tuple[list[float], list[float]] | None:
    """Of a table whose columns stand one below the other, the last filled orbital's energy and the first empty one's.

    Each as a list that is empty where there is none. None for a table that is not so, or where those two are not by
    energy with their neighbours.
    """
    width = table.find(b"\n") + 1
    columns = [word.span() for word in _WORD.finditer(table, 0, width)]
    filled = _count_filled(table, width, columns) if len(columns) == 4 else None
    if filled is None:
        return None
    begin, rows = columns[2][1], len(table) // width
    try:
        below, above = (
            [float(table[row * width + begin : (row + 1) * width]) for row in range(max(first, 0), min(end, rows))]
            for first, end in ((filled - 2, filled), (filled, filled + 2))
        )
    except ValueError:
        return None
    if not all(map(math.isfinite, below + above)) or below != sorted(below) or above != sorted(above):
        return None
    return below[-1:], above[:1]


def _count_filled(table: bytes, width: int, columns: list[tuple[int, int]]) -> int | None:
    """How many rows have electrons, if all those come before the ones that have none; else None."""
    rows = len(table) // width
    if table.count(b"\n") != rows or any(table[end::width].strip() for _, end in columns):
        return None
    begin, end = columns[1]
    digits, *decimals = (table[place::width] for place in range(begin, end))
    filled = len(digits.rstrip(b"0"))
    if digits[:filled].strip(b"12") or decimals != [b"." * rows, *[b"0" * rows] * (end - begin - 2)]:
        return None
    return filled


def _parse_any_frontier(text: bytes) -> tuple[float, float] | None:
    """The thorough way, line by line."""
    occupied: list[float] = []
    empty: list[float] = []
    for match in _rows(text.decode("utf-8", "replace").replace("\r", "").splitlines(), _ORBITAL):
        occupation, energy = parse_number(match[1]), parse_number(match[3])
        if occupation not in {0.0, 1.0, 2.0} or energy is None:
            return None
        (occupied if occupation else empty).append(energy)
    return (max(occupied), min(empty)) if occupied and empty else None


def parse_frequencies(lines: Iterable[str]) -> list[float]:
    """Wave numbers (1/cm), imaginary ones negative, without the six or five that are no vibrations."""
    values = (parse_number(match[1]) for match in _rows(lines, _FREQUENCY))
    return [value for value in values if value]


def parse_cores(echo: str) -> int | None:
    """The number of processes that an echoed input asks for; None where it says nothing of it."""
    cores = None
    if "pal" not in (lower := echo.lower()) and "nproc" not in lower:
        return None  # as it is for most
    for match in _ECHO.finditer(echo):
        line = match[1].split("#", 1)[0]
        if found := _PAL.search(line) or _NPROCS.search(line):
            cores = int(found[1])
    return cores or None


def _rows(lines: Iterable[str], row: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The rows of a table with headings and blank lines in it; it ends where anything else follows a row."""
    has_begun = False
    for line in lines:
        match = row.fullmatch(line)
        if match is not None:
            has_begun = True
            yield match
        elif has_begun and line.strip() and "SPIN" not in line and "OCC" not in line:
            return
