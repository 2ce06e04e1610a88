"""The conventional cell of a crystal as properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock.domain.geometry import parse_geometry
from penstock.domain.properties import PropertyResult
from penstock.domain.subject import JobRecord

if TYPE_CHECKING:
    from penstock.analysis.voigt import Floats

_LENGTHS: Final = ("a", "b", "c")
_ANGLES: Final = ("alpha", "beta", "gamma")
_ALIKE: Final = 1e-6  # Å or degrees: what is nearer differs by rounding, for noise is averaged over the symmetry


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
    from penstock.analysis.crystal_symmetry import conventional_parameters

    return conventional_parameters(parse_geometry(geometry), symprec_angstrom)


def to_conventional(geometry: str, symprec_angstrom: float) -> Floats:
    """The matrix (3, 3) that makes the vectors of the conventional cell, as rows, of those of a crystal's cell.

    ValueError where it has none.
    """
    from penstock.analysis.crystal_symmetry import find_symmetry

    return find_symmetry(parse_geometry(geometry), symprec_angstrom).conventional
