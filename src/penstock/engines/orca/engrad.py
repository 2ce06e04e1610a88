"""ORCA's `.engrad` file: energy and gradient of one geometry, as text between lines of comment."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import OutputError
from penstock.engines.engine import read_output
from penstock.engines.orca.sections import parse_number

_SIZE_MAX: Final = 64 * 1024 * 1024


class Engrad(msgspec.Struct, frozen=True):
    """Energy in Eh, gradient in Eh/bohr (3N numbers, x y z of one atom after the other), positions in bohr (3N).

    After an optimisation the energy is that of the final geometry, but the gradient is the last cycle's.
    """

    energy_hartree: float
    gradient_hartree_per_bohr: list[float]
    atomic_numbers: list[int]
    positions_bohr: list[float]

    @property
    def max_component_hartree_per_bohr(self) -> float:
        """The largest component of the gradient, absolute."""
        return max(map(abs, self.gradient_hartree_per_bohr), default=0.0)


def parse_engrad(text: str, file: str = "job.engrad") -> Engrad:
    """The values of an `.engrad` file; OutputError says in which line something else stands."""
    rows = [
        (number, line.split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    natoms = _natoms(rows, file)
    body, atoms = rows[1 : 2 + 3 * natoms], rows[2 + 3 * natoms :]
    if len(body) != 1 + 3 * natoms or len(atoms) != natoms:
        last = rows[-1][0]
        raise OutputError(f"it does not hold energy, gradient and positions of {natoms} atoms", file=file, line=last)
    numbers = [_number(row, 0, 1, file) for row in body]
    charges = [round(_number(row, 0, 4, file)) for row in atoms]
    positions = [_number(row, column, 4, file) for row in atoms for column in (1, 2, 3)]
    return Engrad(numbers[0], numbers[1:], charges, positions)


def read_engrad(path: Path) -> Engrad | None:
    """The file's values; None where it is missing or no whole `.engrad` file."""
    try:
        return parse_engrad(read_output(path, _SIZE_MAX).decode("utf-8", "replace"), path.name)
    except (OSError, OutputError):
        return None


def _natoms(rows: list[tuple[int, list[str]]], file: str) -> int:
    words = rows[0][1] if rows else []
    if len(words) != 1 or not words[0].isdecimal() or not 0 < int(words[0][:9]) < 10**6:
        raise OutputError("it does not begin with a number of atoms", file=file, line=rows[0][0] if rows else 1)
    return int(words[0][:9])


def _number(row: tuple[int, list[str]], column: int, columns: int, file: str) -> float:
    line, words = row
    value = parse_number(words[column]) if len(words) == columns else None
    if value is None or not math.isfinite(value):
        raise OutputError(f"expected {columns} number(s), found {' '.join(words)[:80]!r}", file=file, line=line)
    return value
