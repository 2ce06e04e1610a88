"""The conventional cell of a crystal as properties."""

from __future__ import annotations

from typing import Any, Final

from penstock.domain.geometry import ATOMIC_NUMBERS, parse_geometry
from penstock.domain.properties import PropertyResult
from penstock.domain.subject import JobRecord

_LENGTHS: Final = ("a", "b", "c")
_ANGLES: Final = ("alpha", "beta", "gamma")
_ALIKE: Final = 1e-4  # Å or degrees: closer ones are the same


def cell_properties(
    subject: str, job: JobRecord, conditions: dict[str, Any], method: str, symprec_angstrom: float = 1e-3
) -> list[PropertyResult]:
    """`lattice_parameter` (Å) of each axis of the conventional cell that is not as long as one before it.

    Also `lattice_angle` (degrees) where it is neither 90 nor 120. What the geometry is of is said in `conditions`.
    """
    lengths, angles = conventional_cell(job.end_geometry, symprec_angstrom)
    kept = [n for n in range(3) if all(abs(lengths[n] - lengths[m]) > _ALIKE for m in range(n))]
    found = [
        PropertyResult(
            "lattice_parameter",
            subject,
            lengths[n],
            "Å",
            None,
            conditions | {"axis": _LENGTHS[n], "cell": "conventional"},
            method,
            (job.attempt_name,),
        )
        for n in kept
    ]
    found += [
        PropertyResult(
            "lattice_angle",
            subject,
            angle,
            "degree",
            None,
            conditions | {"angle": name, "cell": "conventional"},
            method,
            (job.attempt_name,),
        )
        for name, angle in zip(_ANGLES, angles, strict=True)
        if min(abs(angle - 90), abs(angle - 120)) > _ALIKE
    ]
    return found


def conventional_cell(geometry: str, symprec_angstrom: float) -> tuple[list[float], list[float]]:
    """Lengths (Å) and angles (degrees) of the conventional cell of a crystal; ValueError where it has none."""
    import numpy as np
    import spglib
    from ase.cell import Cell

    symbols, positions, lattice, pbc = parse_geometry(geometry)
    if lattice is None or not all(pbc):
        raise ValueError("a lattice has parameters only if it is periodic in all three directions")
    scaled = (np.array(positions) @ np.linalg.inv(np.array(lattice))).tolist()
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in symbols]
    found = spglib.standardize_cell((lattice, scaled, numbers), to_primitive=False, symprec=symprec_angstrom)
    cell = lattice if found is None else found[0]
    values = [float(value) for value in Cell(cell).cellpar()]
    return values[:3], values[3:]
