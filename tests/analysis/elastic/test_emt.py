"""Elastic constants of real potentials, against what energies and force constants say by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from tests.analysis.crystals import geometry_of

from penstock.analysis.crystal_symmetry import find_symmetry
from penstock.analysis.elastic.fit import ElasticFit, fit_elastic
from penstock.analysis.elastic.strain import deform, plan_strains
from penstock.analysis.voigt import Floats, strain_matrix

STEP = 2e-3


def relaxed(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    cell_and_atoms: Any = FrechetCellFilter(atoms)
    BFGS(cell_and_atoms, logfile=None).run(fmax=1e-7, steps=300)
    return atoms


def stress_fit(atoms: Atoms, *, relax_ions: bool = False) -> ElasticFit:
    """As a recipe does it, with the amplitudes that are taken where nobody says otherwise."""
    geometry = geometry_of(atoms)
    symmetry = find_symmetry(geometry)
    strains = plan_strains(symmetry).strains
    stresses = []
    for strain in strains:
        strained = deform(geometry, strain)
        crystal = Atoms(strained.symbols, strained.positions, cell=strained.lattice, pbc=True, calculator=EMT())
        if relax_ions:
            BFGS(crystal, logfile=None).run(fmax=1e-6, steps=200)
        stresses.append(crystal.get_stress(voigt=False) / units.GPa)
    reference = atoms.get_stress(voigt=False) / units.GPa
    voigt = [strain.voigt for strain in strains]
    return fit_elastic(voigt, stresses, "tension", symmetry.operations, reference)


def second_derivative(atoms: Atoms, strain: Callable[[float], Any]) -> float:
    """Of the energy over the volume, by a parameter of the strain, in GPa."""
    energies = []
    for size in (-STEP, 0.0, STEP):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain(size)), scale_atoms=True)
        strained.calc = EMT()
        energies.append(strained.get_potential_energy())
    return float((energies[0] - 2 * energies[1] + energies[2]) / STEP**2 / atoms.get_volume() / units.GPa)


def energy_constants(atoms: Atoms) -> Floats:
    """C11, C12 and C44 of a cubic crystal, from a change of volume and two strains that keep it."""
    bulk_modulus = second_derivative(atoms, lambda x: np.eye(3) * x) / 9
    tetragonal = second_derivative(atoms, lambda x: np.diag([x, 1 / (1 + x) - 1, 0])) / 4  # (C11 - C12) / 2
    shear = second_derivative(atoms, lambda x: np.array([[0, x, 0], [x, 0, 0], [0, 0, x**2 / (1 - x**2)]])) / 4
    return np.array([bulk_modulus + 4 / 3 * tetragonal, bulk_modulus - 2 / 3 * tetragonal, shear])


@pytest.mark.parametrize("element", ["Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al"])
def test_fcc_metals_have_the_constants_of_their_energies(element: str) -> None:
    atoms = relaxed(bulk(element))
    fit = stress_fit(atoms)
    np.testing.assert_allclose(fit.tensor_gpa[[0, 0, 3], [0, 1, 3]], energy_constants(atoms), rtol=5e-4)
    assert fit.symmetry_distance < 1e-3
    assert abs(fit.pressure_gpa) < 1e-4


def internal_relaxation(atoms: Atoms) -> Floats:
    """What the relaxing of the atoms takes off the constants (6, 6; GPa): Λ · K⁺ · Λᵀ / V.

    K are the force constants of the cell and Λ the forces that strain brings, both by finite differences of forces.
    """
    size, count = 1e-4, 3 * len(atoms)
    constants = np.zeros((count, count))
    for index in range(count):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index // 3, index % 3] += sign * size
            moved.calc = EMT()
            constants[index] -= sign * moved.get_forces().ravel() / (2 * size)
    forces = np.zeros((6, count))
    for index in range(6):
        for sign in (1, -1):
            strained = atoms.copy()
            change = np.eye(3) + strain_matrix(sign * size * np.eye(6)[index])
            strained.set_cell(atoms.cell.array @ change, scale_atoms=True)
            strained.calc = EMT()
            forces[index] += sign * strained.get_forces().ravel() / (2 * size)
    inverse = np.linalg.pinv((constants + constants.T) / 2, rcond=1e-4)
    taken: Floats = forces @ inverse @ forces.T / atoms.get_volume() / units.GPa
    return taken


def silver_aluminium() -> Atoms:
    """AgAl as NaTl (B32): each atom's neighbours make a tetrahedron, so that shear moves the atoms."""
    cell = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * 6.4
    return Atoms(["Ag", "Ag", "Al", "Al"], scaled_positions=[[i / 4] * 3 for i in range(4)], cell=cell, pbc=True)


@pytest.mark.parametrize(
    ("atoms", "changed", "unchanged"),
    [(silver_aluminium(), "C44", "C11 C12"), (bulk("Cu", "hcp", a=2.55, c=4.16), "C11 C12", "C13 C33 C44")],
    ids=["AgAl", "hcp copper"],
)
def test_relaxing_the_atoms_takes_off_what_their_force_constants_say(
    atoms: Atoms, changed: str, unchanged: str
) -> None:
    atoms = relaxed(atoms)
    clamped, free = stress_fit(atoms).tensor_gpa, stress_fit(atoms, relax_ions=True).tensor_gpa
    taken = internal_relaxation(atoms)
    np.testing.assert_allclose(clamped - free, taken, atol=0.05)
    for name in changed.split():
        row, column = int(name[1]) - 1, int(name[2]) - 1
        assert abs(clamped[row, column] - free[row, column]) > 3
    for name in unchanged.split():
        row, column = int(name[1]) - 1, int(name[2]) - 1
        assert clamped[row, column] == pytest.approx(free[row, column], abs=0.02)
