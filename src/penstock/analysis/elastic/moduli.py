"""What follows from an elastic tensor: averages for polycrystals, anisotropy, stability, with standard errors.

Tensors are 6x6, in GPa and Voigt order. Standard errors are propagated to first order from the covariance of the 21
constants (`ElasticFit.covariance`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from penstock.analysis.voigt import KELVIN, UPPER, Floats, to_kelvin

_STEP = 1e-4  # relative to the tensor: central differences are then good to about 1e-8


class Moduli(NamedTuple):
    """Moduli of a polycrystal without texture (GPa): bounds after Voigt (uniform strain) and Reuss (uniform stress).

    Hill's are their means; Young's modulus and Poisson's ratio are made of Hill's bulk and shear modulus (R. Hill,
    Proc. Phys. Soc. A 65, 349, 1952). `anisotropy` is the universal index A = 5 Gv/Gr + Kv/Kr - 6, which is 0 for an
    isotropic crystal, `anisotropy_shear` and `anisotropy_bulk` its two parts 5 Gv/Gr - 5 and Kv/Kr - 1 (S. I.
    Ranganathan and M. Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504, 2008). `pugh_ratio` is K/G (S. F. Pugh, Philos.
    Mag. 45, 823, 1954).
    """

    bulk_voigt_gpa: float
    bulk_reuss_gpa: float
    bulk_hill_gpa: float
    shear_voigt_gpa: float
    shear_reuss_gpa: float
    shear_hill_gpa: float
    young_gpa: float
    poisson_ratio: float
    pugh_ratio: float
    anisotropy: float
    anisotropy_shear: float
    anisotropy_bulk: float


class Stability(NamedTuple):
    """Whether a crystal is stable against every homogeneous strain: all eigenvalues of its tensor are positive.

    F. Mouhat and F.-X. Coudert, Phys. Rev. B 90, 224104 (2014). `eigenvalues_gpa` (6,) are those of Kelvin's form,
    from the smallest; `softest_strain` (6,), of length 1, in Voigt's form, is the strain that belongs to the smallest,
    `error_gpa` the standard error of that.
    """

    is_stable: bool
    eigenvalues_gpa: Floats
    softest_strain: Floats
    error_gpa: float | None


def compute_moduli(tensor_gpa: ArrayLike) -> Moduli:
    """The moduli of an elastic tensor (6, 6), in GPa; under pressure, of the stress-strain coefficients.

    ValueError if a component is missing or the crystal is not stable.
    """
    return Moduli(*map(float, _moduli(stable_tensor(tensor_gpa))))


def moduli_errors(tensor_gpa: ArrayLike, covariance: ArrayLike) -> Moduli:
    """The standard errors of `compute_moduli`, each in the place of its modulus; `covariance` (21, 21) in GPa²."""
    return Moduli(*map(float, propagate_errors(_moduli, stable_tensor(tensor_gpa), covariance)))


def propagate_errors(function: Callable[[Floats], Floats], tensor_gpa: Floats, covariance: ArrayLike) -> Floats:
    """Standard errors (n,) of what a smooth `function` makes of a tensor (6, 6), to first order.

    `covariance` (21, 21; GPa²) is that of C11, C12, ... C66.
    """
    known = np.asarray(covariance, dtype=float)
    step = _STEP * float(np.abs(tensor_gpa).max())
    slopes = []
    for row, column in zip(*UPPER, strict=True):
        change = np.zeros((6, 6))
        change[row, column] = change[column, row] = step
        slopes.append((function(tensor_gpa + change) - function(tensor_gpa - change)) / (2 * step))
    jacobian = np.array(slopes)
    variances = np.einsum("an,ab,bn->n", jacobian, known, jacobian)
    errors: Floats = np.sqrt(np.maximum(variances, 0.0))
    return errors


def compute_stability(tensor_gpa: ArrayLike, covariance: ArrayLike | None = None) -> Stability:
    """Whether the crystal with the tensor (6, 6; GPa) is stable; under pressure, of its stress-strain coefficients.

    ValueError if a component is missing.
    """
    tensor = complete_tensor(tensor_gpa)
    values, vectors = np.linalg.eigh(to_kelvin(tensor))
    error = None
    if covariance is not None:
        mode = vectors[:, 0]
        error = float(propagate_errors(lambda other: np.array([mode @ to_kelvin(other) @ mode]), tensor, covariance)[0])
    strain = vectors[:, 0] * KELVIN
    strain *= np.sign(strain[np.abs(strain).argmax()])
    return Stability(bool(values[0] > 0), values, strain, error)


def energy_coefficients(tensor_gpa: ArrayLike, pressure_gpa: float) -> Floats:
    """The elastic constants C at a pressure, second derivatives of the energy by Lagrangian strain, over the volume.

    From the stress-strain coefficients B of the same state (6, 6; GPa): C_ijkl = B_ijkl + P (δ_ik δ_jl + δ_il δ_jk -
    δ_ij δ_kl) (T. H. K. Barron and M. L. Klein, Proc. Phys. Soc. 85, 523, 1965), so C11 = B11 + P, C12 = B12 - P, C44 =
    B44 + P.
    """
    change = np.diag([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    change[:3, :3] -= 1.0
    return np.asarray(tensor_gpa, dtype=float) + pressure_gpa * change


def complete_tensor(tensor_gpa: ArrayLike) -> Floats:
    """The tensor (6, 6) as an array; ValueError if it is none, if components are missing, or if it is not symmetric."""
    tensor = np.array(tensor_gpa, dtype=float)
    if tensor.shape != (6, 6):
        raise ValueError(f"an elastic tensor is a 6x6 matrix, not one of the shape {tensor.shape}")
    if not np.isfinite(tensor).all():
        names = [f"C{row + 1}{column + 1}" for row, column in zip(*UPPER, strict=True) if np.isnan(tensor[row, column])]
        raise ValueError(f"the elastic tensor is not complete: {', '.join(names)} are not determined")
    if not np.allclose(tensor, tensor.T, rtol=0, atol=1e-6 * np.abs(tensor).max()):
        raise ValueError("an elastic tensor is symmetric; take the mean of C12 and C21 and so on")
    return tensor


def stable_tensor(tensor_gpa: ArrayLike) -> Floats:
    """The tensor (6, 6) as an array; ValueError as of `complete_tensor`, and if the crystal is not stable."""
    tensor = complete_tensor(tensor_gpa)
    if (softest := float(np.linalg.eigvalsh(to_kelvin(tensor))[0])) <= 0:
        raise ValueError(
            f"the crystal is not elastically stable (an eigenvalue of its tensor is {softest:.4g} GPa): averages, "
            "Young's moduli and velocities of sound have no meaning"
        )
    return tensor


def _moduli(tensor: Floats) -> Floats:
    """In the order of `Moduli`."""
    compliance = np.linalg.inv(tensor)
    bulk_voigt = tensor[:3, :3].sum() / 9
    bulk_reuss = 1 / compliance[:3, :3].sum()
    shear_voigt = (3 * np.trace(tensor[:3, :3]) - tensor[:3, :3].sum()) / 30 + np.trace(tensor[3:, 3:]) / 5
    shear_reuss = 15 / (
        6 * np.trace(compliance[:3, :3]) - 2 * compliance[:3, :3].sum() + 3 * np.trace(compliance[3:, 3:])
    )
    bulk, shear = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
    young, poisson = 9 * bulk * shear / (3 * bulk + shear), (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear)
    in_shear, in_bulk = 5 * (shear_voigt / shear_reuss - 1), bulk_voigt / bulk_reuss - 1
    averages = [bulk_voigt, bulk_reuss, bulk, shear_voigt, shear_reuss, shear]
    return np.array([*averages, young, poisson, bulk / shear, in_shear + in_bulk, in_shear, in_bulk])
