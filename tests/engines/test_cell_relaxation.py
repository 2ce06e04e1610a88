"""The task `relax`: positions and cell, until forces and stress are as asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.units import GPa
from scipy.optimize import minimize_scalar

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.geometry import format_geometry, parse_geometry


def relax(directory: Path, atoms: Atoms, **table: Any) -> Any:
    """The outcome of a whole attempt."""
    engine = engines.get_python("emt")
    parameters = engine.parameters({"task": "relax", **table}, str)
    geometry = format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )
    for file, text in engine.render(Calculation("x", geometry, 0, 1, 1, 1000), parameters).files.items():
        (directory / file).write_text(text)
    try:
        engine.run(directory)
    except Exception as error:  # noqa: BLE001 - as the runner does it
        return engine.read(directory, Exit(1, None, 0.0, 1.0, message=f"{type(error).__name__}: {error}"), parameters)
    return engine.read(directory, Exit(0, None, 0.0, 1.0), parameters)


def atoms_of(found: Any) -> Atoms:
    symbols, positions, lattice, pbc = parse_geometry(found.geometry or "")
    return Atoms(symbols, positions, cell=lattice, pbc=pbc)


def energy_ev(a: float) -> float:
    atoms = bulk("Cu", a=a)
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def test_the_lattice_constant_is_that_of_least_energy(tmp_path: Path) -> None:
    best = minimize_scalar(energy_ev, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-7}).x
    found = relax(tmp_path, bulk("Cu", a=3.45, cubic=True), smax_gpa=1e-3)
    assert found.failure is None
    assert np.allclose(atoms_of(found).cell, best * np.eye(3), atol=1e-4)
    assert max(map(abs, found.properties["stress_gpa"])) == pytest.approx(found.properties["max_stress_gpa"])
    assert found.properties["max_stress_gpa"] <= 1e-3
    assert found.properties["initial_stress_gpa"][0] > 10
    frames = list(ase.io.iread(tmp_path / "trajectory.xyz"))
    assert len(frames) == found.properties["optimization_steps"] + 1
    assert np.allclose(frames[-1].cell, atoms_of(found).cell)


def test_under_pressure_the_crystal_pushes_back(tmp_path: Path) -> None:
    found = relax(tmp_path, bulk("Cu", cubic=True), pressure_gpa=20.0, smax_gpa=0.01)
    stress = np.reshape(found.properties["stress_gpa"], (3, 3))
    assert np.allclose(stress, 20.0 * np.eye(3), atol=0.011)
    assert found.properties["pressure_gpa"] == pytest.approx(20.0, abs=0.011)


def distorted() -> Atoms:
    """Two species, a cell that is no cube any more, atoms off their places."""
    atoms: Atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    strain = np.array([[0.02, 0.01, 0.0], [0.0, 0.03, 0.01], [0.01, 0.0, 0.02]])
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=5)
    return atoms


def test_forces_and_stress_are_both_as_asked_for_when_calculated_anew(tmp_path: Path) -> None:
    found = relax(tmp_path, distorted(), fmax=0.02, smax_gpa=0.1)
    atoms = atoms_of(found)
    atoms.calc = EMT()
    assert found.failure is None
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.02
    assert abs(atoms.get_stress()).max() / GPa <= 0.1


@pytest.mark.parametrize("task", [{"fmax": 1e-9}, {"smax_gpa": 1e-9}])
def test_either_alone_is_not_enough(tmp_path: Path, task: dict[str, float]) -> None:
    found = relax(tmp_path, distorted(), **task, max_steps=6)
    assert found.failure == FailureClass.GEOMETRY_NOT_CONVERGED
    assert "the largest force is" in (found.message or "")
    assert "the largest deviation of the stress" in (found.message or "")
    assert "after 6 steps; raise max_steps" in (found.message or "")
    assert found.geometry is not None


@pytest.mark.parametrize("keep", [True, False])
def test_symmetry_is_kept_to_the_last_digit(tmp_path: Path, *, keep: bool) -> None:
    atoms = bulk("Cu", "hcp", a=2.5, c=4.3)
    atoms.positions[1, 0] += 0.002
    found = atoms_of(relax(tmp_path, atoms, keep_symmetry=keep, smax_gpa=0.2))
    cell = (found.cell[:], found.get_scaled_positions(), found.numbers)
    kept = spglib.get_spacegroup(cell, symprec=1e-8) == "P6_3/mmc (194)"
    assert kept is keep


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (molecule("CO"), "periodic in three directions"),
        (Atoms("Cu", cell=[3, 3, 9], pbc=(True, True, False)), "periodic in three directions"),
    ],
)
def test_what_has_no_cell_is_refused(tmp_path: Path, atoms: Atoms, words: str) -> None:
    found = relax(tmp_path, atoms)
    assert found.failure == FailureClass.INPUT_ERROR
    assert words in (found.message or "")


def test_a_wrong_parameter_is_named() -> None:
    with pytest.raises(SpecError) as raised:
        engines.get("emt").parameters({"task": "relax", "smax_gpa": 0.0}, str)
    assert raised.value.key == "engine.smax_gpa"
