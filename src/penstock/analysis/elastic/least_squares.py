"""The least squares behind a fit of elastic constants, in Kelvin's form throughout."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from penstock.analysis.crystal_symmetry import little_group
from penstock.analysis.elastic.data import Pairs
from penstock.analysis.elastic.symmetry import stress_basis
from penstock.analysis.voigt import KELVIN, Floats, strain_matrix

NEGLIGIBLE: Final = 1e-4
"""A combination of constants that is known this much worse than the others is not known."""
_SIGNIFICANT: Final = 0.05
_EXACT: Final = (
    1e-9  # residuals that are but rounding, over the size of the stresses; columns that are, over the largest
)


class LeastSquares(NamedTuple):
    """A least-squares solution in Kelvin's form: coefficients (d,) of the tensor's basis, and what goes with them.

    `unknown` (d, u) spans the combinations of coefficients that the data say nothing of.
    """

    coefficients: Floats
    inverse: Floats  # of the normal matrix, (d, d): the covariance for residuals of variance 1
    unknown: Floats
    reference: Floats
    slopes: Floats
    curvatures: Floats
    squares: float  # of the residuals
    spread: float  # the sum of squares that the strains explain or leave
    rows: int
    degrees_of_freedom: int
    is_quadratic: bool


def choose(pairs: Pairs, basis: Floats, group: Floats) -> LeastSquares:
    """The linear fit, or the quadratic one if it explains significantly more and determines no less.

    `basis` (d, 6, 6) and `group` (n, 3, 3) as `tensor_basis` and the operations behind it.
    """
    linear = solve(pairs, basis, group, is_quadratic=False)
    quadratic = solve(pairs, basis, group, is_quadratic=True)
    added = linear.degrees_of_freedom - quadratic.degrees_of_freedom
    exact = linear.rows * (_EXACT * np.abs(pairs.stresses).max()) ** 2
    if linear.squares <= exact or added == 0 or quadratic.degrees_of_freedom < 1:
        return linear
    if quadratic.unknown.shape[1] > linear.unknown.shape[1]:
        return linear
    gain = max(linear.squares - quadratic.squares, 0.0) / added
    noise = max(quadratic.squares, exact) / quadratic.degrees_of_freedom
    return quadratic if stats.f.sf(gain / noise, added, quadratic.degrees_of_freedom) < _SIGNIFICANT else linear


def solve(pairs: Pairs, basis: Floats, group: Floats, *, is_quadratic: bool) -> LeastSquares:
    """The fit with a straight line, or a parabola, for each direction of strain."""
    matrix, target = _equations(pairs, basis, group, is_quadratic=is_quadratic)
    sizes = np.linalg.norm(matrix, axis=0)
    scale = np.where(sizes > _EXACT * sizes.max(), sizes, sizes.max())  # not the rounding of a column that is empty
    left, values, right = np.linalg.svd(matrix / scale, full_matrices=True)
    values = np.append(values, np.zeros(len(right) - len(values)))
    rank = int(np.count_nonzero(values > NEGLIGIBLE * values[0]))
    kept = right[:rank].T / values[:rank]
    solution = kept @ (left[:, :rank].T @ target) / scale
    residuals = target - matrix @ solution
    count = len(basis)
    half = kept[:count] / scale[:count, None]
    unknown = np.linalg.svd(right[rank:, :count].T / scale[:count, None])
    size = int(np.count_nonzero(unknown[1] * scale[:count].min() > NEGLIGIBLE))
    free = stress_basis(group)
    reference = solution[count : count + len(free)] @ free
    tensor = np.einsum("d,dij->ij", solution[:count], basis)
    without = target - matrix[:, count : count + len(free)] @ solution[count : count + len(free)]
    return LeastSquares(
        coefficients=solution[:count],
        inverse=half @ half.T,
        unknown=unknown[0][:, :size],
        reference=reference,
        slopes=pairs.directions @ tensor,
        curvatures=_curvatures(pairs, group, solution[count + len(free) :]),
        squares=float(residuals @ residuals),
        spread=float(without @ without),
        rows=len(target),
        degrees_of_freedom=len(target) - rank,
        is_quadratic=is_quadratic,
    )


def _equations(pairs: Pairs, basis: Floats, group: Floats, *, is_quadratic: bool) -> tuple[Floats, Floats]:
    """Rows: what symmetry leaves free of each stress. Columns: constants, reference stress, curvature by direction."""
    free = stress_basis(group)
    forms = _forms(pairs, group)
    starts = np.cumsum([0, *map(len, forms)])
    blocks, targets = [], []
    for strain, stress, index, amplitude in zip(*pairs[:2], pairs.direction, pairs.amplitude, strict=True):
        form = free if index < 0 else forms[index]
        curved = np.zeros((len(form), starts[-1] if is_quadratic else 0))
        if is_quadratic and index >= 0:
            curved[:, starts[index] : starts[index + 1]] = amplitude**2 * np.eye(len(form))
        blocks.append(np.hstack([form @ (basis @ strain).T, form @ free.T, curved]))
        targets.append(form @ stress)
    return np.vstack(blocks), np.concatenate(targets)


def _forms(pairs: Pairs, group: Floats) -> list[Floats]:
    """The stresses that the symmetry of the crystal under each direction of strain leaves alone."""
    return [stress_basis(little_group(group, strain_matrix(unit * KELVIN))) for unit in pairs.directions]


def _curvatures(pairs: Pairs, group: Floats, solution: Floats) -> Floats:
    curvatures = np.zeros_like(pairs.directions)
    if len(solution):
        start = 0
        for index, form in enumerate(_forms(pairs, group)):
            curvatures[index] = solution[start : start + len(form)] @ form
            start += len(form)
    return curvatures
