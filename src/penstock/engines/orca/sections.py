"""Pieces of ORCA's output as values: numbers, geometries, gradients, orbitals, frequencies, the echoed input."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from penstock.domain.geometry import ATOMIC_NUMBERS, normalise

NUMBER: Final = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eEdD][-+]?\d+)?"
_NUMBER: Final = re.compile(NUMBER)
_NOT_FINITE: Final = re.compile(r"[-+]?(?:nan|inf|infinity)|\*+", re.IGNORECASE)
_REMARK: Final = re.compile(r"\([^)]*\)?")
_ATOM: Final = re.compile(rf"\s*([A-Z][a-z]?)\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_NO_ATOM: Final = re.compile(r"\s*(?:Q|DA|[A-Z][a-z]?\s*[:>])\s.*")  # point charges, dummies, ghosts, bare potentials
_GRADIENT: Final = re.compile(rf"\s*\d+\s*(?:[A-Z][a-z]?)?\s*:\s*({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_ORBITAL: Final = re.compile(rf"\s*\d+\s+(\d[.,]\d+)\s+({NUMBER})\s+({NUMBER})(?:\s+\S+)?\s*")
_ORBITALS_HEAD: Final = re.compile(
    rb"[-\s]*(?:SPIN (?:UP|DOWN) ORBITALS\s*)?NO +OCC +E\(Eh\) +E\(eV\) *\n"
)
_NO_ROW: Final = re.compile(rb"\s*+(?:(?!.*(?:SPIN|OCC))[^\s\d]|\Z)")
_WORD: Final = re.compile(rb"[^ \n]+")
_NUMBERS: Final = msgspec.json.Decoder(list[float])
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


def parse_atoms(text: str) -> str | None:
    """The atoms of a table `El x y z` (Å) in the one form; None where a line is none."""
    return _parse_plain_atoms(text) or _parse_any_atoms(text)


def _parse_plain_atoms(text: str) -> str | None:
    """The quick way, for a table of nothing but atoms below its rule, as most are; else None."""
    rule, _, body = text.partition("\n")
    words = body.split()
    if not rule.startswith("---") or len(words) != 4 * (body.count("\n") + 1) or "+" in body:
        return None
    columns = iter(words)
    if not ATOMIC_NUMBERS.keys() >= {*words[::4]}:
        return None
    try:
        return normalise("\n".join(map(" ".join, zip(columns, columns, columns, columns, strict=True)))).block
    except ValueError:
        return None


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


def parse_frontier_ev(text: bytes) -> tuple[float, float] | None:
    """The energies of the highest occupied and the lowest empty orbital (eV), of both spins; None for partly filled."""
    return _parse_plain_frontier(text) or _parse_any_frontier(text)


def _parse_plain_frontier(text: bytes) -> tuple[float, float] | None:
    """The quick way, for tables whose columns stand one below the other, as in most; else None."""
    occupied: list[float] = []
    empty: list[float] = []
    position = 0
    while (head := _ORBITALS_HEAD.match(text, position)) is not None:
        end = text.find(b"\n\n", head.end()) + 1
        values = _read_columns(text[head.end() : end])
        occupations, energies = values[1::4], values[3::4]
        filled = len(energies) - occupations.count(0.0)
        if not values or not {*occupations[:filled]} <= {1.0, 2.0}:
            return None
        occupied += energies[:filled]
        empty += energies[filled:]
        position = end + 1
    if not occupied or not empty or not _NO_ROW.match(text, position):
        return None
    return max(occupied), min(empty)


def _read_columns(table: bytes) -> list[float]:
    """The numbers of four columns, row by row; empty unless all columns stand one below the other.

    With a comma between the columns of every row it is an array of JSON, which is read ten times as fast as lines are.
    """
    width = table.find(b"\n") + 1
    rows = len(table) // width if width else 0
    columns = [word.end() for word in _WORD.finditer(table, 0, width)]
    if len(table) != rows * width or table.count(b"\n") != rows or len(columns) != 4:
        return []
    if any(table[end::width].strip() for end in (*columns, width - 1)):
        return []
    array = bytearray(table)
    for end in columns:
        array[end::width] = b"," * rows
    array[columns[3] - width :] = b"]"
    try:
        values = _NUMBERS.decode(b"[" + array)
    except msgspec.MsgspecError:
        return []
    return values if len(values) == 4 * rows else []


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
