"""Elastic constants by least squares over pairs of strain and stress."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from penstock.analysis.elastic.data import Convention, Pairs, read_pairs
from penstock.analysis.elastic.least_squares import NEGLIGIBLE, LeastSquares, choose, solve
from penstock.analysis.elastic.symmetry import NO_SYMMETRY, constants_of, tensor_basis, voigt_rows
from penstock.analysis.voigt import CONSTANTS, KELVIN, UPPER, Floats, stress_matrix, to_kelvin

DEVIATOR_MAX_GPA: Final = 0.5
_FAR_FROM_SYMMETRY: Final = 0.05
_POOR: Final = 0.99


class ElasticFit(NamedTuple):
    """A crystal's elastic tensor and how well it is known.

    `tensor_gpa` (6, 6; Voigt) holds the coefficients B of Cauchy stress over small strain (D. C. Wallace,
    Thermodynamics of Crystals, 1972), which at pressure 0 are the elastic constants C; `moduli.energy_coefficients`
    gives C at another pressure. What the strains do not determine is NaN there and named in `undetermined`;
    `constants` names the independent ones. `standard_error_gpa` (6, 6) and `covariance` (21, 21; of C11, C12, ... C66,
    GPa²) come from the residuals and are None where `degrees_of_freedom` is 0.

    `raw_tensor_gpa` is the fit that knows no symmetry of the crystal (only C12 = C21 and so on), `symmetry_distance`
    the norm of its difference from the tensor over the tensor's, in what both determine. `residual_gpa` is the root
    mean square residual of a stress component. `reference_stress_gpa` (6,), positive under tension, is that of the
    crystal without strain as the fit has it, `pressure_gpa` its pressure (of the stress that was given, if one was).
    `lines_gpa` (k, 4, 6) are the stresses that were fitted, as polynomials of `degree` in the amplitude along the unit
    strains `directions` (k, 6; Voigt), from the constant term.
    """

    tensor_gpa: Floats
    standard_error_gpa: Floats | None
    covariance: Floats | None
    constants: tuple[str, ...]
    undetermined: tuple[str, ...]
    raw_tensor_gpa: Floats
    symmetry_distance: float
    stress_asymmetry: float
    residual_gpa: float
    r_squared: float
    degrees_of_freedom: int
    degree: int
    reference_stress_gpa: Floats
    pressure_gpa: float
    directions: Floats
    lines_gpa: Floats
    notes: tuple[str, ...]


def fit_elastic(
    strains: ArrayLike,
    stresses_gpa: ArrayLike,
    convention: Convention,
    operations: Floats | None = None,
    reference_stress_gpa: ArrayLike | None = None,
    deviator_max_gpa: float = DEVIATOR_MAX_GPA,
) -> ElasticFit:
    """The elastic tensor from strains (n, 6; Voigt, engineering shear) and Cauchy stresses (n, 3, 3).

    With the point group `operations` (m, 3, 3) of the crystal, in the frame of strains and stresses, the tensor has
    its symmetry exactly: only the independent constants are fitted, which is the same as adding to each pair all those
    that are equivalent by symmetry. Without, all 21 are. The sum of squares runs over all nine components of the
    symmetrised stresses, so that the result does not depend on the frame; components that the symmetry of the strained
    crystal forbids count neither as residuals nor as degrees of freedom, since many codes give exactly 0 for them.

    The stress of the crystal without strain is fitted too, to `reference_stress_gpa` (3, 3) if given as one more
    datum. Terms of second and third degree for each direction of strain (third and fourth-order constants) are added
    while an F test at 5 % finds that they explain more than noise. The data decide, because both errors are real: with
    few or noisy data such terms only widen the errors, and without them an exact stress that is bent gives slopes that
    depend on the amplitude. (Terms of second degree leave the slopes of amplitudes that are symmetric about 0 as they
    are.)

    ValueError if nothing is determined, for data that cannot be meant (see `read_pairs`), for a sign convention that
    leads to a negative tensor, and if the deviatoric stress of the reference is beyond `deviator_max_gpa`: stress over
    strain is then not symmetric and no elastic tensor.
    """
    pairs = read_pairs(strains, stresses_gpa, convention, reference_stress_gpa)
    basis = tensor_basis(NO_SYMMETRY if operations is None else operations)
    group = NO_SYMMETRY if operations is None else operations
    fitted = choose(pairs, basis, group)
    raw = fitted if operations is None else solve(pairs, tensor_basis(NO_SYMMETRY), NO_SYMMETRY, fitted.degree)
    tensor, undetermined = _constants(fitted, basis)
    raw_tensor, _ = _constants(raw, tensor_basis(NO_SYMMETRY))
    _check_sign(tensor, undetermined, convention)
    reference = pairs.stresses[-1] if reference_stress_gpa is not None else raw.reference
    pressure = -float(reference[:3].mean())
    _check_hydrostatic(reference, deviator_max_gpa)
    error, covariance = _errors(fitted, basis, tensor)
    distance = _distance(raw_tensor, tensor)
    residual, r_squared = _quality(fitted)
    fit = ElasticFit(
        tensor_gpa=tensor,
        standard_error_gpa=error,
        covariance=covariance,
        constants=constants_of(basis),
        undetermined=undetermined,
        raw_tensor_gpa=raw_tensor,
        symmetry_distance=distance,
        stress_asymmetry=pairs.asymmetry,
        residual_gpa=residual,
        r_squared=r_squared,
        degrees_of_freedom=fitted.degrees_of_freedom,
        degree=fitted.degree,
        reference_stress_gpa=fitted.reference / KELVIN,
        pressure_gpa=pressure,
        directions=pairs.directions * KELVIN,
        lines_gpa=fitted.lines / KELVIN,
        notes=(),
    )
    return fit._replace(notes=_notes(fit, pairs))


def _constants(fitted: LeastSquares, basis: Floats) -> tuple[Floats, tuple[str, ...]]:
    """The tensor (6, 6) in Voigt's form, NaN where it is not determined, and the names of what is not."""
    rows = voigt_rows(basis)
    values = rows @ fitted.coefficients
    unknown = np.linalg.norm(rows @ fitted.unknown, axis=1) > NEGLIGIBLE
    if (unknown | (np.linalg.norm(rows, axis=1) < 1e-9)).all():
        raise ValueError(
            "the strains determine no elastic constant by itself: each direction needs at least two amplitudes, or one "
            "and the stress of the crystal without strain"
        )
    values[unknown] = np.nan
    missing = {name for name, is_unknown in zip(CONSTANTS, unknown, strict=True) if is_unknown}
    return _square(values), tuple(name for name in constants_of(basis) if name in missing)


def _errors(fitted: LeastSquares, basis: Floats, tensor: Floats) -> tuple[Floats | None, Floats | None]:
    if fitted.degrees_of_freedom == 0:
        return None, None
    rows = voigt_rows(basis)
    covariance = rows @ fitted.inverse @ rows.T * (fitted.squares / fitted.degrees_of_freedom)
    unknown = np.isnan(tensor[UPPER])
    covariance[unknown] = np.nan
    covariance[:, unknown] = np.nan
    return np.sqrt(np.maximum(_square(np.diag(covariance)), 0.0)), covariance


def _square(upper: Floats) -> Floats:
    square = np.zeros((6, 6))
    square[UPPER] = upper
    square.T[UPPER] = upper
    return square


def _distance(raw: Floats, tensor: Floats) -> float:
    both = ~(np.isnan(raw) | np.isnan(tensor))
    difference, size = to_kelvin(raw - tensor)[both], to_kelvin(tensor)[both]
    return float(np.linalg.norm(difference) / np.linalg.norm(size)) if size.any() else float("nan")


def _quality(fitted: LeastSquares) -> tuple[float, float]:
    return float(np.sqrt(fitted.squares / fitted.rows)), 1.0 - fitted.squares / fitted.spread


def _check_sign(tensor: Floats, undetermined: tuple[str, ...], convention: Convention) -> None:
    diagonal = np.diag(tensor)
    known = diagonal[~np.isnan(diagonal)]
    if known.size and known.sum() < 0 and (not undetermined or (known < 0).all()):
        raise ValueError(
            f"with stresses positive under {convention} the elastic constants are negative: the stresses follow the "
            "other convention"
        )


def _check_hydrostatic(reference: Floats, deviator_max_gpa: float) -> None:
    stress = stress_matrix(reference / KELVIN)
    deviator = float(np.abs(stress - np.eye(3) * np.trace(stress) / 3).max())
    if deviator > deviator_max_gpa:
        raise ValueError(
            "the crystal without strain is under a stress that is no pressure: its deviatoric part is "
            f"{deviator:.3g} GPa, beyond {deviator_max_gpa:.3g} GPa; relax its cell further"
        )


def _notes(fit: ElasticFit, pairs: Pairs) -> tuple[str, ...]:
    notes = []
    if fit.undetermined:
        notes.append(f"the strains at hand do not determine {', '.join(fit.undetermined)}")
    one_sided = [
        index
        for index in range(len(pairs.directions))
        if len({np.sign(size) for size, own in zip(pairs.amplitude, pairs.direction, strict=True) if own == index}) < 2
    ]
    if one_sided and fit.degree == 1:
        notes.append(
            f"{len(one_sided)} of {len(pairs.directions)} directions are strained with one sign only: their constants "
            "carry an error of the order of the amplitude"
        )
    if fit.symmetry_distance > _FAR_FROM_SYMMETRY:
        notes.append(
            f"the tensor without symmetry differs by {fit.symmetry_distance:.1%} from the one with the crystal's: are "
            "the calculations converged, and is the symmetry right (magnetic order, tolerance, axes)?"
        )
    if fit.r_squared < _POOR:
        notes.append(
            f"stress is not linear in strain: R² is {fit.r_squared:.4f}; look at the figure of stress over strain"
        )
    if fit.standard_error_gpa is None:
        notes.append("there are no more data than constants: nothing is known of the errors")
    return tuple(notes)
