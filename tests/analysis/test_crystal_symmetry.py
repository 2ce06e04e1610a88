from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase.build import bulk
from tests.analysis.crystals import CLASSES, geometry_of, random_rotation

from penstock.analysis.crystal_symmetry import as_geometry, find_symmetry, turn_crystal
from penstock.domain.geometry import Geometry


@pytest.mark.parametrize("laue_class", CLASSES)
@pytest.mark.parametrize("seed", [None, 3])
def test_operations_are_an_orthogonal_group_that_keeps_the_lattice(laue_class: str, seed: int | None) -> None:
    geometry = geometry_of(CLASSES[laue_class][0])
    if seed is not None:
        geometry = turn_crystal(geometry, random_rotation(seed))
    symmetry = find_symmetry(geometry)
    assert symmetry.laue_class == laue_class
    operations = symmetry.operations
    np.testing.assert_allclose(
        operations @ np.swapaxes(operations, 1, 2), np.tile(np.eye(3), (len(operations), 1, 1)), atol=1e-9
    )
    for first, second in itertools.product(operations, operations):
        assert np.abs(operations - first @ second).max(axis=(1, 2)).min() < 1e-9
    cell = np.array(geometry.lattice)
    whole = (cell @ operations) @ np.linalg.inv(cell)
    np.testing.assert_allclose(whole, whole.round(), atol=1e-3)


def test_a_cell_that_has_its_symmetry_nearly_has_operations_that_are_exact() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array * [1, 1 + 1e-4, 1] + 1e-5, scale_atoms=True)
    symmetry = find_symmetry(geometry_of(atoms), symprec=1e-2)
    assert symmetry.number == 225
    gram = symmetry.operations @ np.swapaxes(symmetry.operations, 1, 2)
    np.testing.assert_allclose(gram, np.tile(np.eye(3), (len(gram), 1, 1)), atol=1e-12)


@pytest.mark.parametrize("laue_class", CLASSES)
def test_the_standard_frame_does_not_depend_on_how_the_crystal_was_turned(laue_class: str) -> None:
    geometry = geometry_of(CLASSES[laue_class][0])
    turned = turn_crystal(geometry, random_rotation(8))
    standard = turn_crystal(turned, find_symmetry(turned).to_standard)
    np.testing.assert_allclose(find_symmetry(standard).to_standard, np.eye(3), atol=1e-5)


def test_a_left_handed_cell_has_the_same_symmetry() -> None:
    atoms = bulk("Si")
    left = as_geometry(atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array[[1, 0, 2]])
    symmetry = find_symmetry(left)
    assert symmetry.number == 227
    assert np.linalg.det(symmetry.to_standard) == pytest.approx(1)


def test_a_molecule_or_a_slab_is_refused() -> None:
    with pytest.raises(ValueError, match="periodic in all three directions"):
        find_symmetry(Geometry(["He"], [(0.0, 0.0, 0.0)], None, (False, False, False)))
    slab = geometry_of(bulk("Cu"))._replace(pbc=(True, True, False))
    with pytest.raises(ValueError, match="periodic in all three directions"):
        find_symmetry(slab)


def test_atoms_in_one_place_are_refused() -> None:
    cell = np.eye(3) * 4
    with pytest.raises(ValueError, match="no symmetry within"):
        find_symmetry(as_geometry(["Cu", "Cu"], np.array([[0, 0, 0], [0, 0, 1e-5]]), cell))


@pytest.mark.parametrize("times", [(2, 1, 1), (1, 3, 2)])
@pytest.mark.parametrize("laue_class", CLASSES)
def test_a_supercell_has_the_symmetry_of_its_crystal_and_not_that_of_its_shape(
    laue_class: str, times: tuple[int, int, int]
) -> None:
    atoms = CLASSES[laue_class][0]
    expected = find_symmetry(geometry_of(atoms)).operations
    found = find_symmetry(geometry_of(atoms.repeat(times))).operations
    assert len(found) == len(expected)
    for operation in found:
        assert np.abs(expected - operation).max(axis=(1, 2)).min() < 1e-6
