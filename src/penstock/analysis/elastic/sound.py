"""Sound in crystals, and the Debye temperature that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.data import atomic_masses
from numpy.typing import ArrayLike
from scipy import constants

from penstock.analysis.crystal_symmetry import crystal_cell
from penstock.analysis.elastic.moduli import compute_moduli, propagate_errors, stable_tensor
from penstock.analysis.voigt import Floats, full_tensor
from penstock.domain.geometry import ATOMIC_NUMBERS, Geometry

_ORDER = 24  # of the rule in the polar angle; twice as many points in the other: averages good to 1e-6 and better


class Density(NamedTuple):
    """How much mass and how many atoms there are in a volume."""

    mass_kg_m3: float
    atoms_per_m3: float


class Sound(NamedTuple):
    """Velocities of sound (m/s) and the Debye temperature (K).

    Longitudinal and transverse are those of the isotropic solid with Hill's moduli, `mean_m_s` their mean after O. L.
    Anderson, J. Phys. Chem. Solids 24, 909 (1963): 3/v³ = 1/v_l³ + 2/v_t³, and `debye_k` what follows. `debye_exact_k`
    is from the average of 1/v³ over all directions and the three branches of the crystal itself, which is the limit of
    low temperatures.
    """

    longitudinal_m_s: float
    transverse_m_s: float
    mean_m_s: float
    debye_k: float
    debye_exact_k: float


def crystal_density(geometry: Geometry, masses_u: Sequence[float] | None = None) -> Density:
    """The density of a crystal (Å) with the standard atomic weights, or with `masses_u` (one an atom, in u).

    ValueError if it is not periodic in all three directions.
    """
    volume = abs(float(np.linalg.det(crystal_cell(geometry)))) * constants.angstrom**3
    weights = (
        [float(atomic_masses[ATOMIC_NUMBERS[name]]) for name in geometry.symbols] if masses_u is None else masses_u
    )
    return Density(sum(weights) * constants.atomic_mass / volume, len(geometry.symbols) / volume)


def compute_sound(tensor_gpa: ArrayLike, density: Density) -> Sound:
    """Velocities of sound and Debye temperature of a crystal with the tensor (6, 6; GPa).

    Under pressure the stress-strain coefficients are the right ones here too. ValueError if the tensor is incomplete or
    the crystal not stable.
    """
    moduli = compute_moduli(tensor_gpa)
    shear, bulk = moduli.shear_hill_gpa * constants.giga, moduli.bulk_hill_gpa * constants.giga
    longitudinal = float(np.sqrt((bulk + 4 / 3 * shear) / density.mass_kg_m3))
    transverse = float(np.sqrt(shear / density.mass_kg_m3))
    mean = float((3 / (longitudinal**-3 + 2 * transverse**-3)) ** (1 / 3))
    exact = float((3 / _mean_inverse_cube(tensor_gpa, density)) ** (1 / 3))
    return Sound(longitudinal, transverse, mean, _debye_k(mean, density), _debye_k(exact, density))


def sound_errors(tensor_gpa: ArrayLike, covariance: ArrayLike, density: Density) -> Sound:
    """The standard errors of `compute_sound`, each in its place; `covariance` (21, 21) in GPa²."""
    tensor = stable_tensor(tensor_gpa)
    errors = propagate_errors(lambda other: np.array(compute_sound(other, density)), tensor, covariance)
    return Sound(*map(float, errors))


def phase_velocities(tensor_gpa: ArrayLike, density: Density, directions: ArrayLike) -> Floats:
    """Velocities (..., 3) in m/s, from the slowest, of plane waves along the unit vectors `directions` (..., 3).

    From the eigenvalues of Christoffel's matrix C_ijkl n_j n_l. ValueError if the tensor is incomplete or not stable.
    """
    tensor = stable_tensor(tensor_gpa)
    along = np.asarray(directions, dtype=float)
    christoffel = np.einsum("ijkl,...j,...l->...ik", full_tensor(tensor), along, along, optimize=True)
    velocities: Floats = np.sqrt(np.linalg.eigvalsh(christoffel) * constants.giga / density.mass_kg_m3)
    return velocities


def _mean_inverse_cube(tensor_gpa: ArrayLike, density: Density) -> float:
    """The average over all directions of 1/v³, summed over the three branches; Gauss's rule in the cosine."""
    cosines, weights = np.polynomial.legendre.leggauss(_ORDER)
    angles = np.arange(2 * _ORDER) * np.pi / _ORDER
    sines = np.sqrt(1 - cosines**2)
    plane = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    directions = np.concatenate(
        [sines[:, None, None] * plane, np.broadcast_to(cosines[:, None, None], (_ORDER, 2 * _ORDER, 1))], axis=-1
    )
    inverse = (phase_velocities(tensor_gpa, density, directions) ** -3).sum(axis=-1).mean(axis=1)
    return float(weights @ inverse / 2)


def _debye_k(velocity_m_s: float, density: Density) -> float:
    wave_number = (6 * np.pi**2 * density.atoms_per_m3) ** (1 / 3)
    return float(constants.hbar * velocity_m_s * wave_number / constants.k)
