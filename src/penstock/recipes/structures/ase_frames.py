"""The structures of a CIF or POSCAR file, through ASE (imported on first use, in a worker process)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from penstock.domain.geometry import format_geometry
from penstock.recipes.structures.frame import Frame, Place

if TYPE_CHECKING:
    from ase import Atoms


def read_cif_frames(path: Path, place: Place) -> Iterator[Frame]:
    """The structures of `path` from `place` on; a file that ASE cannot read is one bad frame."""
    return _read_frames(path, place, "cif", "CIF")


def read_vasp_frames(path: Path, place: Place) -> Iterator[Frame]:
    """The structure of a POSCAR or CONTCAR; a file that ASE cannot read is one bad frame."""
    return _read_frames(path, place, "vasp", "POSCAR")


def _read_frames(path: Path, place: Place, ase_format: str, name: str) -> Iterator[Frame]:
    from ase.io import read

    try:
        with warnings.catch_warnings(action="ignore"):
            images = read(path, index=":", format=ase_format)
    except Exception as error:  # noqa: BLE001 - the reader raises whatever a broken file leads it to
        if place.frame == 0:
            yield Frame(1, "", {}, f"ASE cannot read it as {name}: {type(error).__name__}: {error}", Place(1))
        return
    for number in range(place.frame, len(images)):
        yield _frame(cast("Atoms", images[number]), number)


def _frame(atoms: Atoms, number: int) -> Frame:
    then = Place(number + 1)
    if _is_disordered(atoms):
        return Frame(number + 1, "", {}, "has partially occupied sites; make an ordered model first", then)
    geometry = format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )
    return Frame(number + 1, geometry, {}, None, then)


def _is_disordered(atoms: Atoms) -> bool:
    sites = atoms.info.get("occupancy", {}).values()
    return any(len(site) > 1 or any(share < 1 for share in site.values()) for site in sites)
