"""The engines `emt` and `tblite` against ASE called directly, and what their failures are read as."""

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase.units import Bohr, GPa, Hartree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tblite.ase import TBLite

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome
from penstock.domain.errors import SpecError
from penstock.domain.geometry import format_geometry, parse_geometry
from penstock.engines.ase_calculation import solve, write_result
from penstock.engines.ase_tasks import TASKS
from penstock.engines.engine import Role

DONE = Exit(0, None, 0.0, 1.0)


def block(atoms: Atoms) -> str:
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )


def calculate(
    name: str, directory: Path, atoms: Atoms, charge: int = 0, multiplicity: int = 1, **table: Any
) -> Outcome:
    """The outcome of a whole attempt: render, run, read."""
    engine = engines.get_python(name)
    parameters = engine.parameters(table, str)
    rendered = engine.render(Calculation("x", block(atoms), charge, multiplicity, 1, 1000), parameters)
    assert rendered.argv is None
    for file, text in rendered.files.items():
        (directory / file).write_text(text)
    engine.load()
    try:
        engine.run(directory)
    except Exception as error:  # noqa: BLE001 - as the runner does it
        return engine.read(directory, Exit(1, None, 0.0, 1.0, message=f"{type(error).__name__}: {error}"), parameters)
    return engine.read(directory, DONE, parameters)


def direct(atoms: Atoms, calculator: Any) -> tuple[float, float]:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy() / Hartree, np.abs(atoms.get_forces()).max() * Bohr / Hartree


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
@pytest.mark.parametrize(
    ("formula", "charge", "multiplicity"),
    [
        ("OH", -1, 1),
        ("CN", -1, 1),
        ("H2O", 0, 1),
        ("C6H6", 0, 1),
        ("OH", 0, 2),
        ("CH3", 0, 2),
        ("O2", 0, 3),
        ("CH2_s3B1d", 0, 3),
        ("H2O", 0, 3),
        ("H2O", 1, 2),
        ("NH3", 1, 2),
        ("C6H6", 2, 1),
        ("C6H6", 2, 3),
    ],
)
def test_xtb_equals_the_calculator_called_directly(
    tmp_path: Path, method: str, formula: str, charge: int, multiplicity: int
) -> None:
    atoms = molecule(formula)
    found = calculate("tblite", tmp_path, atoms, charge, multiplicity, method=method)
    energy, force = direct(atoms, TBLite(method=method, charge=charge, multiplicity=multiplicity, verbosity=0))
    assert found.failure is None
    assert found.final_energy_hartree == pytest.approx(energy, rel=0, abs=1e-8)
    assert found.max_force_hartree_per_bohr == pytest.approx(force, rel=0, abs=1e-7)
    assert np.sum(found.properties["mulliken_charges_e"]) == pytest.approx(charge, abs=1e-6)
    assert np.shape(found.properties["dipole_e_angstrom"]) == (3,)


def test_charge_and_spin_are_honoured(tmp_path: Path) -> None:
    atoms = molecule("CH2_s3B1d")
    states = [(0, 1), (0, 3), (1, 2), (-1, 2)]
    energies = [calculate("tblite", tmp_path, atoms, *state).final_energy_hartree for state in states]
    assert len({f"{energy:.4f}" for energy in energies}) == len(states)


def test_initial_charges_and_moments_play_no_part(tmp_path: Path) -> None:
    atoms = molecule("O2")
    assert atoms.get_initial_magnetic_moments().sum() == 2
    found = calculate("tblite", tmp_path, atoms, 0, 1)
    energy, _ = direct(Atoms(atoms.symbols, atoms.positions), TBLite(charge=0, multiplicity=1, verbosity=0))
    assert found.final_energy_hartree == pytest.approx(energy, rel=0, abs=1e-8)


def test_scf_cycles_are_those_tblite_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = calculate("tblite", tmp_path, molecule("H2O"))
    assert capsys.readouterr().out == ""
    direct(molecule("H2O"), TBLite(charge=0, multiplicity=1, verbosity=1))
    printed = [line for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    assert found.scf_cycles == len(printed) > 3


def test_xtb_parameters_reach_the_calculator(tmp_path: Path) -> None:
    hot = calculate("tblite", tmp_path, molecule("O2"), 0, 3, electronic_temperature=20_000.0, accuracy=0.1)
    energy, _ = direct(
        molecule("O2"), TBLite(charge=0, multiplicity=3, electronic_temperature=20_000.0, accuracy=0.1, verbosity=0)
    )
    assert hot.final_energy_hartree == pytest.approx(energy, rel=0, abs=1e-8)


def test_periodic_xtb(tmp_path: Path) -> None:
    diamond = bulk("C", cubic=True)
    found = calculate("tblite", tmp_path, diamond, method="GFN1-xTB")
    energy, _ = direct(diamond, TBLite(method="GFN1-xTB", charge=0, multiplicity=1, verbosity=0))
    assert found.final_energy_hartree == pytest.approx(energy, rel=0, abs=1e-8)
    assert "dipole_e_angstrom" not in found.properties


@pytest.mark.parametrize("atoms", [bulk("Cu", cubic=True), bulk("Au") * (2, 1, 1), molecule("CO"), Atoms("Pt")])
def test_emt_equals_the_calculator_called_directly(tmp_path: Path, atoms: Atoms) -> None:
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    found = calculate("emt", tmp_path, atoms)
    energy, force = direct(atoms, EMT())
    assert found.final_energy_hartree == pytest.approx(energy, rel=0, abs=1e-12)
    assert found.max_force_hartree_per_bohr == pytest.approx(force, rel=0, abs=1e-12)
    assert found.scf_cycles is None
    assert found.geometry is None


@pytest.mark.parametrize("name", ["emt", "tblite"])
def test_the_energy_task_gives_no_forces(tmp_path: Path, name: str) -> None:
    found = calculate(name, tmp_path, molecule("CO"), task="energy")
    assert found.final_energy_hartree is not None
    assert found.max_force_hartree_per_bohr is None


@pytest.mark.parametrize("name", ["emt", "tblite"])
def test_optimization(tmp_path: Path, name: str) -> None:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=2)
    found = calculate(name, tmp_path, atoms, task="optimize", fmax=0.02)
    atoms.calc = EMT() if name == "emt" else TBLite(charge=0, multiplicity=1, verbosity=0)
    optimizer = BFGS(atoms, logfile=None)
    optimizer.run(fmax=0.02)
    assert found.failure is None
    assert found.final_energy_hartree == pytest.approx(atoms.get_potential_energy() / Hartree, rel=0, abs=1e-8)
    assert np.allclose(parse_geometry(found.geometry or "").positions, atoms.positions, atol=1e-8)
    assert found.properties["optimization_steps"] == optimizer.nsteps > 0
    assert found.files == ["result.json", "trajectory.xyz"]
    frames = list(ase.io.iread(tmp_path / "trajectory.xyz"))
    assert len(frames) == optimizer.nsteps + 1
    assert frames[-1].get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert np.allclose(frames[-1].positions, atoms.positions)


def test_a_periodic_optimization_keeps_the_cell(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    found = calculate("emt", tmp_path, atoms, task="optimize")
    assert parse_geometry(found.geometry or "").lattice == tuple(tuple(vector) for vector in atoms.cell.tolist())
    assert np.allclose(next(ase.io.iread(tmp_path / "trajectory.xyz")).cell, atoms.cell)


def test_an_optimization_out_of_steps_keeps_what_it_has(tmp_path: Path) -> None:
    found = calculate("emt", tmp_path, molecule("H2O"), task="optimize", fmax=1e-4, max_steps=2)
    assert found.failure == FailureClass.GEOMETRY_NOT_CONVERGED
    assert "after 2 steps" in (found.message or "")
    assert found.final_energy_hartree is not None
    assert found.geometry is not None


def test_failures_have_their_class(tmp_path: Path) -> None:
    water = molecule("H2O")
    assert calculate("tblite", tmp_path, water, max_iterations=2).failure == FailureClass.SCF_NOT_CONVERGED
    assert calculate("tblite", tmp_path, water, 0, 2).failure == FailureClass.INPUT_ERROR
    assert calculate("tblite", tmp_path, Atoms("U")).failure == FailureClass.INPUT_ERROR
    assert calculate("tblite", tmp_path, Atoms("H2")).failure == FailureClass.INPUT_ERROR
    charged = calculate("emt", tmp_path, bulk("Cu"), 1, 1)
    assert charged.failure == FailureClass.INPUT_ERROR
    assert "EMT knows no charge, this structure has +1" in (charged.message or "")
    assert calculate("emt", tmp_path, bulk("Fe")).failure == FailureClass.INPUT_ERROR


@pytest.mark.parametrize(
    ("ended", "failure"),
    [
        (Exit(1, None, 0.0, 1.0, message="ZeroDivisionError: division by zero"), FailureClass.ENGINE_ERROR),
        (Exit(1, None, 0.0, 1.0, message="OSError: [Errno 28] No space left on device"), FailureClass.DISK),
        (Exit(None, None, 0.0, 1.0, message="[Errno 122] Disk quota exceeded: x"), FailureClass.DISK),
        (Exit(1, None, 0.0, 1.0, message="MemoryError: "), FailureClass.OUT_OF_MEMORY),
        (Exit(3, None, 0.0, 1.0), FailureClass.EXIT_CODE),
        (Exit(None, 11, 0.0, 1.0), FailureClass.SIGNAL),
        (DONE, FailureClass.OUTPUT_MISSING),
    ],
)
def test_exits_without_a_result(tmp_path: Path, ended: Exit, failure: FailureClass) -> None:
    engine = engines.get_python("emt")
    found = engine.read(tmp_path, ended, engine.parameters({}, str))
    assert found.failure == failure
    assert found.message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"energy_hartree": "low"}', b'{"energy_hartree": null}', b"\xff", b"[" * 100_000],
)
def test_a_result_that_is_none_is_invalid(tmp_path: Path, content: bytes) -> None:
    engine = engines.get_python("tblite")
    (tmp_path / "result.json").write_bytes(content)
    found = engine.read(tmp_path, DONE, engine.parameters({}, str))
    assert found.failure == FailureClass.OUTPUT_INVALID
    assert found.message


class _OddForces:
    """A calculator's outputs with one force that is no number."""

    def __init__(self, force: float) -> None:
        self.results = {"energy": -1.0, "forces": np.array([[0.0, 0.0, force]])}

    def calculate(self, *_: object) -> None:
        """Nothing: the results are there."""


@pytest.mark.parametrize("force", [np.nan, np.inf])
def test_forces_that_are_not_finite_are_invalid(tmp_path: Path, force: float) -> None:
    engine = engines.get_python("emt")
    parameters = engine.parameters({"task": "gradient"}, str)
    write_result(tmp_path, solve(tmp_path, Atoms("Cu"), _OddForces(force), parameters))
    found = engine.read(tmp_path, DONE, parameters)
    assert (found.failure, found.message) == (FailureClass.OUTPUT_INVALID, "the forces are not finite numbers")


@pytest.mark.parametrize("name", ["emt", "tblite"])
def test_forces_must_be_there_where_the_task_asks_for_them(tmp_path: Path, name: str) -> None:
    engine = engines.get_python(name)
    (tmp_path / "result.json").write_bytes(b'{"energy_hartree": -1.0, "steps": 3}')
    tables = {task: {"task": task, "temperature_k": 300.0} for task in TASKS}
    found = {task: engine.read(tmp_path, DONE, engine.parameters(table, str)).failure for task, table in tables.items()}
    invalid = FailureClass.OUTPUT_INVALID
    assert found == {task: None if task == "energy" else invalid for task in TASKS}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=100) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_reading_never_raises(tmp_path: Path, content: str | bytes) -> None:
    engine = engines.get_python("emt")
    (tmp_path / "result.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert engine.read(tmp_path, DONE, engine.parameters({}, str)).failure == FailureClass.OUTPUT_INVALID


def test_a_directory_in_place_of_the_result(tmp_path: Path) -> None:
    engine = engines.get_python("emt")
    (tmp_path / "result.json").mkdir()
    assert engine.read(tmp_path, DONE, engine.parameters({}, str)).failure == FailureClass.OUTPUT_INVALID


def test_unknown_methods_and_tasks_are_refused() -> None:
    engine = engines.get("tblite")
    with pytest.raises(SpecError, match="did you mean 'GFN2-xTB'") as raised:
        engine.parameters({"method": "GFN2"}, str)
    assert raised.value.key == "engine.method"
    with pytest.raises(SpecError, match="use one of energy, gradient, optimize, relax, dynamics"):
        engine.parameters({"task": "freq"}, str)


@pytest.mark.parametrize("name", ["emt", "tblite"])
def test_what_a_role_asks_for_is_a_task(name: str) -> None:
    engine = engines.get(name)
    more = {"temperature_k": 300.0}
    found = {role: engine.parameters({**table, **more}, str).task for role, table in engine.roles.items()}
    assert found == {
        Role.SINGLE_POINT: "gradient",
        Role.RELAX_IONS: "optimize",
        Role.RELAX_CELL: "relax",
        Role.DYNAMICS: "dynamics",
    }


def strained_energy_ev(atoms: Atoms, strain: np.ndarray, calculator: Any) -> float:
    strained = atoms.copy()
    strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    strained.calc = calculator
    return float(strained.get_potential_energy())


def skewed(atoms: Atoms) -> Atoms:
    """A cell with no symmetry, its atoms off their places."""
    atoms = atoms.copy()
    strain = np.array([[0.02, 0.01, 0.0], [0.01, -0.01, 0.02], [0.0, 0.02, 0.03]])
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=4)
    return atoms


CRYSTALS = [
    ("emt", skewed(bulk("Cu", cubic=True)), EMT()),
    ("tblite", skewed(bulk("C", cubic=True)), TBLite(method="GFN1-xTB", charge=0, multiplicity=1, verbosity=0)),
]


@pytest.mark.parametrize(("name", "atoms", "calculator"), CRYSTALS, ids=["emt", "tblite"])
def test_the_stress_is_the_slope_of_the_energy_positive_where_the_crystal_wants_to_expand(
    tmp_path: Path, name: str, atoms: Atoms, calculator: Any
) -> None:
    method: dict[str, Any] = {"method": "GFN1-xTB"} if name == "tblite" else {}
    found = calculate(name, tmp_path, atoms, **method)
    slope, by = np.zeros((3, 3)), 1e-4
    for i, j in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = by
        up, down = (strained_energy_ev(atoms, sign * strain, calculator) for sign in (1, -1))
        slope[i, j] = slope[j, i] = (up - down) / (2 * by) / (1 if i == j else 2)
    stress = np.reshape(found.properties["stress_gpa"], (3, 3))
    assert np.allclose(stress, -slope / atoms.get_volume() / GPa, atol=2e-3)
    assert abs(stress).min() > 0.01  # or the signs and the places would prove nothing
    assert found.properties["pressure_gpa"] == pytest.approx(np.trace(stress) / 3)


def test_a_compressed_crystal_has_a_positive_pressure(tmp_path: Path) -> None:
    found: Any = calculate("emt", tmp_path, bulk("Cu", a=3.4, cubic=True))
    assert found.properties["pressure_gpa"] > 10


@pytest.mark.parametrize("atoms", [molecule("H2O"), Atoms("Cu", cell=[3, 3, 9], pbc=(True, True, False))])
def test_what_is_no_crystal_has_no_stress(tmp_path: Path, atoms: Atoms) -> None:
    found = calculate("emt", tmp_path, atoms)
    assert found.failure is None
    assert not {"stress_gpa", "pressure_gpa"} & found.properties.keys()


def test_relaxed_ions_have_the_stress_of_the_beginning_and_of_the_end(tmp_path: Path) -> None:
    atoms = skewed(bulk("Cu", cubic=True))
    found = calculate("emt", tmp_path, atoms, task="optimize", fmax=1e-3)
    clamped = calculate("emt", tmp_path, atoms)
    assert found.properties["initial_stress_gpa"] == pytest.approx(clamped.properties["stress_gpa"])
    symbols, positions, lattice, _ = parse_geometry(found.geometry or "")
    relaxed = calculate("emt", tmp_path, Atoms(symbols, positions, cell=lattice, pbc=True))
    assert found.properties["stress_gpa"] == pytest.approx(relaxed.properties["stress_gpa"])
    assert not np.allclose(found.properties["stress_gpa"], clamped.properties["stress_gpa"], atol=0.5)
