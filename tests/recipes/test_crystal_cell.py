"""The conventional cell as properties."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal
from tests.recipes.calculating import block

from penstock.domain.properties import PropertyResult
from penstock.domain.subject import JobRecord
from penstock.recipes.crystal_cell import cell_properties


def properties_of(geometry: str, symprec_angstrom: float = 1e-3) -> list[PropertyResult]:
    job = JobRecord(1, "relax", "it", "it", "completed", geometry)
    return cell_properties("it", job, {}, "given", symprec_angstrom)


@pytest.mark.parametrize("noise", [1e-6, 1e-4])
def test_noise_of_a_relaxation_makes_no_parameters_that_symmetry_forbids(noise: float) -> None:
    for atoms, expected in (
        (bulk("Cu"), {"a": 3.61}),
        (bulk("Mg"), {"a": 3.21, "c": float(bulk("Mg").cell.lengths()[2])}),
    ):
        change = np.eye(3) + noise * np.random.default_rng(0).normal(size=(3, 3))
        atoms.set_cell(atoms.cell[:] @ change, scale_atoms=True)
        found = properties_of(block(atoms), 1e-2)
        assert {one.conditions.get("axis"): one.value for one in found} == pytest.approx(expected, abs=10 * noise)


def test_lengths_and_the_angle_of_a_monoclinic_crystal() -> None:
    atoms = crystal("Si", [(0.11, 0.23, 0.37)], spacegroup=14, cellpar=[4.0, 5.0, 6.0, 90.0, 105.0, 90.0])
    found = properties_of(block(atoms))
    assert [one.name for one in found] == ["lattice_parameter"] * 3 + ["lattice_angle"]
    assert [one.value for one in found] == pytest.approx([4.0, 5.0, 6.0, 105.0])
