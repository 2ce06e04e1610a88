"""Figures of elastic constants, as values; `analysis.plots` draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from penstock.analysis.elastic.data import Convention, Pairs, read_pairs
from penstock.analysis.elastic.directions import young_extremes, young_modulus, young_surface
from penstock.analysis.elastic.fit import ElasticFit
from penstock.analysis.voigt import KELVIN, Floats
from penstock.domain.properties import VOIGT, Figure

_SECTION_POINTS = 181
_SURFACE_POINTS = (37, 73)  # polar and azimuthal angles: 5 degrees


def figure_stress_strain(
    fit: ElasticFit,
    strains: ArrayLike,
    stresses_gpa: ArrayLike,
    convention: Convention,
    subject: str,
    reference_stress_gpa: ArrayLike | None = None,
) -> Figure:
    """The figure `stress_strain`: what was measured and what was fitted, one panel for each direction of strain.

    The data are those that `fit_elastic` got, with the same errors.
    """
    pairs = read_pairs(strains, stresses_gpa, convention, reference_stress_gpa)
    return Figure(
        kind="stress_strain",
        name="stress_strain",
        title=f"{subject}: stress over strain",
        caption=(
            "Cauchy stress, positive under tension, over strain (shear: engineering strain); points are calculated, "
            f"lines the fit, R² = {fit.r_squared:.6f}."
        ),
        data={
            "components": list(VOIGT),
            "panels": [_panel(fit, pairs, index) for index in range(len(pairs.directions))],
        },
    )


def figure_elastic_tensor(fit: ElasticFit, subject: str) -> Figure:
    """The figure `elastic_tensor`: the 6x6 matrix as colours and numbers, with standard errors where they are known."""
    pressure = f" at {fit.pressure_gpa:.1f} GPa" if abs(fit.pressure_gpa) >= 0.05 else ""
    return Figure(
        kind="elastic_tensor",
        name="elastic_tensor",
        title=f"{subject}: elastic tensor (GPa){pressure}",
        caption="Voigt's order, in the Cartesian frame of the cell; second lines are standard errors.",
        data={
            "components": list(VOIGT),
            "tensor_gpa": _rounded(fit.tensor_gpa),
            "standard_error_gpa": None if fit.standard_error_gpa is None else _rounded(fit.standard_error_gpa),
        },
    )


def figure_elastic_surface(tensor_gpa: ArrayLike, subject: str) -> Figure:
    """The figure `elastic_surface`: Young's modulus (GPa) by direction, in three planes and as a surface.

    ValueError for a tensor (6, 6) that is incomplete or of no stable crystal.
    """
    extremes = young_extremes(tensor_gpa)
    polar, azimuth = np.linspace(0, np.pi, _SURFACE_POINTS[0]), np.linspace(0, 2 * np.pi, _SURFACE_POINTS[1])
    return Figure(
        kind="elastic_surface",
        name="elastic_surface",
        title=f"{subject}: Young's modulus by direction (GPa)",
        caption=(
            f"From {extremes.min_gpa:.4g} GPa along {_axis(extremes.min_direction)} to {extremes.max_gpa:.4g} GPa "
            f"along {_axis(extremes.max_direction)} (Cartesian)."
        ),
        data={
            "angles": _rounded(_section_angles()),
            "sections": {plane: _rounded(young_modulus(tensor_gpa, _section(plane))) for plane in ("xy", "xz", "yz")},
            "polar": _rounded(polar),
            "azimuth": _rounded(azimuth),
            "young_gpa": _rounded(young_surface(tensor_gpa, polar, azimuth)),
        },
    )


def _panel(fit: ElasticFit, pairs: Pairs, index: int) -> dict[str, Any]:
    """Points and fitted line of one direction; strain is measured by its largest component."""
    direction = pairs.directions[index] * KELVIN
    largest = int(np.abs(direction).argmax())
    is_single = int(np.count_nonzero(np.abs(direction) > 1e-3 * abs(direction[largest]))) == 1
    own = np.array([which in (index, -1) for which in pairs.direction])
    size = float(direction[largest])
    return {
        "component": VOIGT[largest],
        "is_single": is_single,
        "strain": _rounded(pairs.amplitude[own] * size),
        "stress_gpa": _rounded((pairs.stresses[own] / KELVIN).T),
        "line_gpa": _rounded(fit.lines_gpa[index].T / size ** np.arange(4)),
    }


def _section_angles() -> Floats:
    return np.linspace(0, 2 * np.pi, _SECTION_POINTS)


def _section(plane: str) -> Floats:
    """Unit vectors (n, 3) in a plane, from its first axis to its second."""
    section = np.zeros((_SECTION_POINTS, 3))
    section[:, "xyz".index(plane[0])] = np.cos(_section_angles())
    section[:, "xyz".index(plane[1])] = np.sin(_section_angles())
    return section


def _axis(direction: Floats) -> str:
    """A direction as text, scaled so that its largest component is 1: [1 1 0] says more than [0.707 0.707 0]."""
    scaled = direction / np.abs(direction).max()
    return "[" + " ".join(f"{component + 0.0:.3g}" if abs(component) > 5e-4 else "0" for component in scaled) + "]"


def _rounded(values: Floats) -> Any:
    """Nested lists with six digits, which no drawing resolves; None for what is not known."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
