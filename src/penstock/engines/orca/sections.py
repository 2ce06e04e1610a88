"""Pieces of ORCA's output as values: numbers, geometries, gradients, orbitals, frequencies, the echoed input."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from penstock.domain.geometry import normalise

NUMBER: Final = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eEdD][-+]?\d+)?"
_NUMBER: Final = re.compile(NUMBER)
_NOT_FINITE: Final = re.compile(r"[-+]?(?:nan|inf|infinity)|\*+", re.IGNORECASE)
_REMARK: Final = re.compile(r"\([^)]*\)?")
_ATOM: Final = re.compile(rf"\s*([A-Z][a-z]?)\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_NO_ATOM: Final = re.compile(r"\s*(?:Q|DA|[A-Z][a-z]?\s*[:>])\s.*")  # point charges, dummies, ghosts, bare potentials
_GRADIENT: Final = re.compile(rf"\s*\d+\s*(?:[A-Z][a-z]?)?\s*:\s*({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*")
_ORBITAL: Final = re.compile(rf"\s*\d+\s+(\d[.,]\d+)\s+({NUMBER})\s+({NUMBER})(?:\s+\S+)?\s*")
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


def parse_frontier_ev(lines: Iterable[str]) -> tuple[float, float] | None:
    """The energies of the highest occupied and the lowest empty orbital (eV), of both spins; None for partly filled."""
    occupied: list[float] = []
    empty: list[float] = []
    for match in _rows(lines, _ORBITAL):
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
