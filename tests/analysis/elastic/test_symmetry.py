from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analysis.crystals import CLASSES, geometry_of, random_rotation, random_tensor

from penstock.analysis.crystal_symmetry import find_symmetry, turn_crystal
from penstock.analysis.elastic.symmetry import (
    NO_SYMMETRY,
    independent_constants,
    project_tensor,
    stress_basis,
    tensor_basis,
)
from penstock.analysis.voigt import Floats, rotate_tensor, to_kelvin


@functools.cache
def operations_of(laue_class: str, seed: int) -> Floats:
    return find_symmetry(turn_crystal(geometry_of(CLASSES[laue_class][0]), random_rotation(seed))).operations


cases = st.tuples(st.sampled_from(sorted(CLASSES)), st.integers(0, 3), st.integers(0, 10**6))


@settings(max_examples=60)
@given(cases)
def test_a_projected_tensor_is_the_nearest_that_no_operation_changes(case: tuple[str, int, int]) -> None:
    laue_class, turn, seed = case
    operations = operations_of(laue_class, turn)
    tensor = random_tensor(seed)
    projected = project_tensor(tensor, operations)
    for operation in operations:
        np.testing.assert_allclose(rotate_tensor(projected, operation), projected, atol=1e-7)
    np.testing.assert_allclose(project_tensor(projected, operations), projected, atol=1e-9)
    other = project_tensor(random_tensor(seed + 1), operations)
    assert np.sum(to_kelvin(tensor - projected) * to_kelvin(other)) == pytest.approx(0, abs=1e-6 * np.sum(other**2))


@pytest.mark.parametrize("laue_class", CLASSES)
def test_a_basis_is_orthonormal_and_as_large_as_the_class_says(laue_class: str) -> None:
    basis = tensor_basis(operations_of(laue_class, 1))
    assert len(basis) == len(CLASSES[laue_class][1].split())
    np.testing.assert_allclose(np.einsum("aij,bij->ab", basis, basis), np.eye(len(basis)), atol=1e-9)


@pytest.mark.parametrize(
    ("laue_class", "count"), [("m-3m", 1), ("6/m", 2), ("-3m", 2), ("4/m", 2), ("mmm", 3), ("2/m", 4), ("-1", 6)]
)
def test_stress_has_what_neumanns_principle_leaves_it(laue_class: str, count: int) -> None:
    assert len(stress_basis(operations_of(laue_class, 2))) == count


def test_without_symmetry_there_are_21() -> None:
    assert len(independent_constants(NO_SYMMETRY)) == 21
    tensor = random_tensor(1)
    np.testing.assert_allclose(project_tensor(tensor, NO_SYMMETRY), tensor)
