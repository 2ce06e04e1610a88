"""What the periodic box, and a thermostat that keeps no momentum, do to diffusion coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.properties import PropertyResult
from penstock.domain.subject import JobRecord
from penstock.engines.dynamics import Description, read_description

_CUBIC: Final = 1e-3  # how far from a cube, in parts of its edge, a box counts as one


def look_at_box(
    found: PropertyResult, segment: JobRecord, viscosity_pa_s: float | None
) -> tuple[list[PropertyResult], list[str]]:
    """Of a `diffusion_coefficient` and the last segment that it is from: what is corrected, and what is to be said."""
    box = read_description(Path(segment.directory or ""))
    corrected, notes = [], []
    if box.thermostat == "langevin":
        # Left in, the drift would be that of a crystal as a whole: its atoms would seem to diffuse.
        temperature_k = float(found.conditions["temperature_k"])
        drift_m2_s = drift_taken_out_m2_s(box, temperature_k, segment.parameters["friction_per_fs"])
        notes.append(
            f"friction on each atom makes the centre of mass diffuse, too, by {drift_m2_s:.2g} m²/s, which was taken "
            f"out; in a liquid D is too small by up to as much ({drift_m2_s / found.value:.0%}): produce with the "
            "thermostat bussi, or with more atoms"
        )
    if viscosity_pa_s is not None:
        try:
            corrected.append(correct_for_box(found, box, viscosity_pa_s))
        except ValueError as error:
            notes.append(f"not corrected for the size of the box: {error}")
    return corrected, notes


def correct_for_box(found: PropertyResult, box: Description, viscosity_pa_s: float) -> PropertyResult:
    """`diffusion_coefficient_corrected`: the coefficient `found` in `box`, as it would be in an unbounded liquid.

    The viscosity counts as exact. ValueError where the correction of Yeh and Hummer does not hold.
    """
    from penstock.analysis.finite_size import correct_finite_size

    if found.conditions["dimension"] != 3:
        raise ValueError("the correction is one for all three directions")
    if box.thermostat == "langevin":
        raise ValueError("friction on each atom stops the flow that the correction is for; use bussi")
    length_a = cube_edge_angstrom(box)
    value = correct_finite_size(found.value, float(found.conditions["temperature_k"]), viscosity_pa_s, length_a)
    added = value - found.value
    conditions: dict[str, Any] = found.conditions | {
        "lower_95": float(found.conditions["lower_95"]) + added,
        "upper_95": float(found.conditions["upper_95"]) + added,
        "correction": "Yeh and Hummer 2004, box of a liquid",
        "viscosity_pa_s": viscosity_pa_s,
        "box_angstrom": length_a,
    }
    return msgspec.structs.replace(found, name="diffusion_coefficient_corrected", value=value, conditions=conditions)


def cube_edge_angstrom(box: Description) -> float:
    """The edge of a cubic box; ValueError for another one."""
    import numpy as np

    if box.cell_angstrom is not None and all(box.pbc):
        cell = np.array(box.cell_angstrom, dtype=float)
        edge = float(np.cbrt(abs(np.linalg.det(cell))))
        if np.abs(cell @ cell.T - edge**2 * np.eye(3)).max() <= _CUBIC * edge**2:
            return edge
    raise ValueError("the correction is known of cubic boxes, and this one is none")


def drift_taken_out_m2_s(box: Description, temperature_k: float, friction_per_fs: float) -> float:
    """How fast the centre of mass diffuses under friction on each atom: thermal energy over mass times friction."""
    from scipy.constants import Boltzmann, atomic_mass, femto

    return float(Boltzmann * temperature_k * femto / (sum(box.masses_amu) * atomic_mass * friction_per_fs))
