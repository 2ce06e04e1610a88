"""What a library user calls a structure: text, a file, or ASE's Atoms; checked and brought to one form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.calculation import Structure
from penstock.domain.errors import SpecError
from penstock.domain.geometry import format_geometry
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import read_chunk
from penstock.recipes.structures.record import build_structure

_NAME_MAX: Final = 200


def as_structure(name: str, given: Any, charge: int | None, multiplicity: int | None) -> Structure:
    """The structure that `given` is: a geometry as text (Å), the path of a file with one, or an `ase.Atoms`.

    Without a charge it is what the file says, else 0; without a multiplicity (2S+1) the same, else the lowest that
    the number of electrons allows. SpecError says what is wrong.
    """
    check_name(name)
    if isinstance(given, os.PathLike):
        return _from_file(name, Path(given), charge, multiplicity)
    text = given if isinstance(given, str) else _from_atoms(given)
    try:
        return build_structure(StructureSource(source=""), 0, 0, name, text, _text(charge), _text(multiplicity))
    except ValueError as error:
        raise SpecError(f"material {name!r}: {error}") from None


def check_name(name: str) -> None:
    """SpecError for what cannot be a material's name."""
    if not name or name != name.strip() or len(name) > _NAME_MAX or not name.isprintable():
        raise SpecError(
            f"{name!r} cannot name a material; use 1 to {_NAME_MAX} printable characters without blanks around them"
        )


def _from_file(name: str, path: Path, charge: int | None, multiplicity: int | None) -> Structure:
    source = StructureSource(source=str(path), charge=charge or 0, multiplicity=multiplicity)
    chunk = read_chunk(source, str(path), "", 2)
    if len(chunk.structures) != 1 or chunk.rejected or not chunk.done:
        reason = chunk.rejected[0].reason if chunk.rejected else "it holds not exactly one"
        raise SpecError(f"{path} gives no structure: {reason}")
    found = msgspec.structs.replace(chunk.structures[0], name=name, line=0)
    if charge in (None, found.charge) and multiplicity in (None, found.multiplicity):
        return found
    return as_structure(name, found.geometry, charge, multiplicity)


def _from_atoms(atoms: Any) -> str:
    try:
        symbols = [str(symbol) for symbol in atoms.get_chemical_symbols()]
        positions = [[float(x) for x in position] for position in atoms.positions]
        lattice = [[float(x) for x in vector] for vector in atoms.cell]
        pbc = [bool(periodic) for periodic in atoms.pbc]
    except (AttributeError, TypeError, ValueError):
        kind = type(atoms).__name__
        message = f"a structure is text, a path (pathlib.Path) or an ase.Atoms, not {kind}"
        raise SpecError(message) from None
    return format_geometry(symbols, positions, lattice, pbc)


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
