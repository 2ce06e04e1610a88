"""The least squares behind a fit of elastic constants, in Kelvin's form throughout."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy import special

from penstock.analysis.crystal_symmetry import little_group
from penstock.analysis.elastic.data import Pairs
from penstock.analysis.elastic.symmetry import stress_basis
from penstock.analysis.voigt import KELVIN, Floats, strain_matrix

NEGLIGIBLE: Final = 1e-4
"""A combination of constants that is known this much worse than the others is not known."""
DEGREE_MAX: Final = 3
_SIGNIFICANT: Final = 0.05
_EXACT: Final = (
    1e-9  # residuals that are but rounding, over the size of the stresses; columns that are, over the largest
)
_SAME: Final = 1e-4  # strains that symmetry turns into one another, as `little_group` compares them


class LeastSquares(NamedTuple):
    """A least-squares solution in Kelvin's form: coefficients (d,) of the tensor's basis, and what goes with them.

    `unknown` (d, u) spans the combinations of coefficients that the data say nothing of. `lines` (k, 4, 6) are stresses
    as polynomials of the amplitude along each direction of strain, from the constant term.
    """

    coefficients: Floats
    inverse: Floats  # of the normal matrix, (d, d): the covariance for residuals of variance 1
    unknown: Floats
    lines: Floats
    reference: Floats
    squares: float  # of the residuals
    spread: float  # the sum of squares that the strains explain or leave
    rows: int
    degrees_of_freedom: int
    degree: int


def choose(pairs: Pairs, basis: Floats, group: Floats) -> LeastSquares:
    """The linear fit, or one of second or third degree that explains significantly more and determines no less.

    `basis` (d, 6, 6) and `group` (n, 3, 3) as `tensor_basis` and the operations behind it.
    """
    best = solve(pairs, basis, group, 1)
    exact = best.rows * (_EXACT * np.abs(pairs.stresses).max()) ** 2
    for degree in range(2, DEGREE_MAX + 1):
        if best.squares <= exact:
            break
        other = solve(pairs, basis, group, degree)
        if _explains_more(other, best, exact):
            best = other
    return best


def _explains_more(other: LeastSquares, than: LeastSquares, exact: float) -> bool:
    """Whether an F test says so, of a fit that includes the one it is compared with."""
    added = than.degrees_of_freedom - other.degrees_of_freedom
    if added == 0 or other.degrees_of_freedom < 1 or other.unknown.shape[1] > than.unknown.shape[1]:
        return False
    gain = max(than.squares - other.squares, 0.0) / added
    noise = max(other.squares, exact) / other.degrees_of_freedom
    return bool(special.fdtrc(added, other.degrees_of_freedom, gain / noise) < _SIGNIFICANT)


class _Form(NamedTuple):
    """The stresses that symmetry allows under strain of one direction, orthonormal, in Kelvin's form.

    Where symmetry makes a strain of its negative, `even` (e, 6) are those that are the same for both and `odd` (o, 6)
    those that change sign; where it does not, `even` is empty, `is_reversed` False, and `odd` has them all.
    """

    even: Floats
    odd: Floats
    is_reversed: bool

    @property
    def all(self) -> Floats:
        """Both, (e + o, 6)."""
        return np.vstack([self.even, self.odd])

    def of_power(self, power: int) -> Floats:
        """Which of them go with a power of the amplitude."""
        if not self.is_reversed:
            return self.odd
        return self.odd if power % 2 else self.even


def _form(group: Floats, strain: Floats) -> _Form:
    """What the operations `group` (n, 3, 3) leave of the stress under a strain (3, 3)."""
    little = little_group(group, strain)
    allowed = stress_basis(little)
    turned = group @ strain @ np.swapaxes(group, 1, 2)
    reversing = group[np.abs(turned + strain).max(axis=(1, 2)) <= _SAME * np.abs(strain).max()]
    if not len(reversing):
        return _Form(np.zeros((0, 6)), allowed, is_reversed=False)
    even = stress_basis(np.concatenate([little, reversing]))
    inside = allowed - allowed @ even.T @ even
    values, vectors = np.linalg.eigh(inside.T @ inside)
    return _Form(even, vectors[:, values > 0.5].T, is_reversed=True)


def solve(pairs: Pairs, basis: Floats, group: Floats, degree: int) -> LeastSquares:
    """The fit with polynomials of `degree` (1 to 3) along each direction of strain."""
    forms = [_form(group, strain_matrix(unit * KELVIN)) for unit in pairs.directions]
    matrix, target = _equations(pairs, basis, stress_basis(group), forms, degree)
    sizes = np.linalg.norm(matrix, axis=0)
    scale = np.where(sizes > _EXACT * sizes.max(), sizes, sizes.max())  # not the rounding of a column that is empty
    # all of `right` is wanted, also where there are fewer rows than columns; of `left` never more than that
    left, values, right = np.linalg.svd(matrix / scale, full_matrices=len(matrix) < len(scale))
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
    lines = np.zeros((len(forms), DEGREE_MAX + 1, 6))
    lines[:, 0], lines[:, 1] = reference, pairs.directions @ tensor
    lines[:, 2 : degree + 1] = _higher_terms(forms, solution[count + len(free) :], degree)
    return LeastSquares(
        coefficients=solution[:count],
        inverse=half @ half.T,
        unknown=unknown[0][:, :size],
        lines=lines,
        reference=reference,
        squares=float(residuals @ residuals),
        spread=float(without @ without),
        rows=len(target),
        degrees_of_freedom=len(target) - rank,
        degree=degree,
    )


def _equations(pairs: Pairs, basis: Floats, free: Floats, forms: list[_Form], degree: int) -> tuple[Floats, Floats]:
    """The matrix and what it should come to.

    Rows are what symmetry leaves `free` (m, 6) of the reference's stress, and of those under each direction of strain:
    `forms`. Columns are the constants, the reference's stress, and the higher terms by degree and direction. Stresses
    under a strain and its negative that symmetry makes equal are one datum, their mean.
    """
    widths = [len(forms[index].of_power(power)) for power, index in _terms(forms, degree)]
    starts = np.cumsum([0, *widths])
    blocks, targets = [], []
    for strain, stress, index, amplitude in zip(*pairs[:2], pairs.direction, pairs.amplitude, strict=True):
        form = free if index < 0 else forms[index].all
        higher = np.zeros((len(form), starts[-1]))
        for start, width, (power, other) in zip(starts, widths, _terms(forms, degree), strict=False):
            if other == index:
                higher[:, start : start + width] = amplitude**power * form @ forms[index].of_power(power).T
        blocks.append(np.hstack([form @ (basis @ strain).T, form @ free.T, higher]))
        targets.append(form @ stress)
    for index, own in enumerate(forms):
        if own.is_reversed:
            _join_equals(pairs, index, len(own.even), blocks, targets)
    return np.vstack(blocks), np.concatenate(targets)


def _join_equals(pairs: Pairs, index: int, even: int, blocks: list[Floats], targets: list[Floats]) -> None:
    """Makes one block of rows of those of a strain along direction `index` and its negative, and empties the other.

    The first `even` rows are the same for both, the others change sign. Divided by √2, the error of a sum is that of
    each.
    """
    own = [place for place, direction in enumerate(pairs.direction) if direction == index]
    while own:
        first = own.pop(0)
        size = pairs.amplitude[first]
        second = next((place for place in own if abs(pairs.amplitude[place] + size) <= _SAME * abs(size)), None)
        if second is None:
            continue
        own.remove(second)
        sign = np.where(np.arange(len(targets[first])) < even, 1.0, -1.0)
        blocks[first] = (blocks[first] + sign[:, None] * blocks[second]) / np.sqrt(2)
        targets[first] = (targets[first] + sign * targets[second]) / np.sqrt(2)
        blocks[second], targets[second] = blocks[second][:0], targets[second][:0]


def _terms(forms: list[_Form], degree: int) -> list[tuple[int, int]]:
    """Power of the amplitude and direction of each higher term."""
    return [(power, index) for power in range(2, degree + 1) for index in range(len(forms))]


def _higher_terms(forms: list[_Form], solution: Floats, degree: int) -> Floats:
    """Coefficients (k, degree - 1, 6) of the second power of the amplitude and higher, for each direction."""
    terms = np.zeros((len(forms), degree - 1, 6))
    start = 0
    for power, index in _terms(forms, degree):
        form = forms[index].of_power(power)
        terms[index, power - 2] = solution[start : start + len(form)] @ form
        start += len(form)
    return terms
