"""Molecular dynamics: the same trajectory however it is cut and killed, and the ensemble that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.segments import Chain

from penstock.domain.calculation import Exit, FailureClass
from penstock.engines.dynamics import read_description, read_facts
from penstock.engines.dynamics_state import repeats

COPPER = bulk("Cu", cubic=True)
SHORT: dict[str, Any] = {
    "temperature_k": 600.0,
    "timestep_fs": 4.0,
    "sample_every": 4,
    "checkpoint_every": 10,
    "seed": 7,
}
ENSEMBLES: list[dict[str, Any]] = [
    {"ensemble": "nve"},
    {"ensemble": "nvt"},
    {"ensemble": "nvt", "thermostat": "langevin"},
    {"ensemble": "npt", "pressure_gpa": 2.0, "pressure_time_constant_fs": 200.0},
]
LOST = Exit(None, 9, 0.0, 1.0, verdict="lost")
IDS = ["nve", "bussi", "langevin", "npt"]


def arrays(chain: Chain) -> dict[str, Any]:
    names = ("positions", "samples", "cells")
    return {name: chain.array(name) for name in names if (chain.attempts[-1] / f"{name}.npy").exists()}


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=IDS)
def test_segments_one_after_the_other_are_the_run_in_one_piece(tmp_path: Path, ensemble: dict[str, Any]) -> None:
    whole = Chain(tmp_path / "whole", COPPER, **SHORT, **ensemble, steps=90)
    assert whole.attempt().failure is None
    parts = Chain(tmp_path / "parts", COPPER, **SHORT, **ensemble, steps=30)
    found = []
    for _ in range(3):
        assert parts.attempt().failure is None
        found.append(arrays(parts))
    for name, array in arrays(whole).items():
        assert np.array_equal(np.concatenate([part[name] for part in found]), array), name
    assert whole.column("step").tolist() == list(range(4, 91, 4))
    assert parts.outcome.geometry == whole.outcome.geometry
    assert parts.outcome.final_energy_hartree == whole.outcome.final_energy_hartree
    assert [read_description(directory).first_step for directory in parts.attempts] == [0, 30, 60]


def test_a_calculator_that_remembers_makes_no_difference(tmp_path: Path) -> None:
    table: dict[str, Any] = {"calculator": "tests.engines.models.Elephant", **SHORT}
    whole = Chain(tmp_path / "whole", COPPER, "ase", **table, steps=40)
    whole.attempt()
    parts = Chain(tmp_path / "parts", COPPER, "ase", **table, steps=20)
    found = []
    for _ in range(2):
        parts.attempt()
        found.append(parts.array("positions"))
    assert np.array_equal(np.concatenate(found), whole.array("positions"))
    forgetful = Chain(tmp_path / "other", COPPER, "ase", **table | {"checkpoint_every": 5}, steps=40)
    forgetful.attempt()
    assert not np.array_equal(forgetful.array("positions"), whole.array("positions"))


def test_molecules_move_with_tight_binding(tmp_path: Path) -> None:
    table: dict[str, Any] = {"ensemble": "nve", "temperature_k": 300.0, "timestep_fs": 0.25, "sample_every": 1}
    chain = Chain(tmp_path, molecule("H2O"), "tblite", **table, steps=8)
    assert chain.attempt().failure is None
    assert chain.outcome.properties["atoms"] == 3
    assert "mulliken_charges_e" in chain.outcome.properties
    assert "pressure_gpa" not in chain.outcome.properties
    conserved, kinetic = chain.column("conserved_energy_ev"), chain.column("kinetic_energy_ev")
    assert np.ptp(conserved) < np.ptp(kinetic) / 10


@pytest.mark.parametrize("ensemble", [ENSEMBLES[1], ENSEMBLES[3]], ids=["bussi", "npt"])
def test_killed_wherever_it_may_be_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, ensemble: dict[str, Any]
) -> None:
    whole = Chain(tmp_path / "whole", COPPER, **SHORT, **ensemble, steps=60)
    whole.attempt()
    parts = Chain(tmp_path / "parts", COPPER, **SHORT, **ensemble, steps=30)
    parts.attempt()
    first = arrays(parts)
    progress = []
    for kill_at in (1, 8, 33, 34, 22):  # before it has a state, before and after checkpoints, amidst its files
        lost = parts.attempt(kill_at)
        assert lost.failure == FailureClass.RUNNER_LOST
        progress.append(lost.progress)
        assert bool(lost.checkpoint) == (lost.progress > 0)
    assert progress == [0, 0, 10, 10, 0]
    assert parts.attempt().failure is None
    for name, array in arrays(whole).items():
        assert np.array_equal(np.concatenate([first[name], arrays(parts)[name]]), array), name
    assert parts.outcome.properties["frames"] == len(whole.array("samples")) - len(first["samples"])
    assert parts.outcome.geometry == whole.outcome.geometry


def test_killed_between_its_last_step_and_its_result_it_does_no_step_twice(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, steps=20)
    chain.attempt()
    (chain.attempts[-1] / "result.json").unlink()
    facts = read_facts(chain.attempts[-1] / "state.npz")
    assert facts is not None
    assert facts.step == 20
    lost = chain.engine.read(chain.attempts[-1], LOST, chain.parameters)
    assert (lost.failure, lost.progress) == (FailureClass.RUNNER_LOST, 20)
    before = chain.array("positions")
    chain._from = (chain.attempts[-1], lost.checkpoint)  # what a runner that was lost would have left
    assert chain.attempt().failure is None
    assert chain.outcome.properties["last_step"] == 20
    assert np.array_equal(chain.array("positions"), before)


def test_what_it_was_to_go_on_from_is_not_done_without(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, steps=10)
    chain.attempt()
    (chain.attempts[-1] / "state.npz").write_bytes(b"PK\3\4 no more")
    assert chain.attempt().failure == FailureClass.ENGINE_ERROR
    assert "previous.npz, the state to go on from, cannot be read" in chain.outcome.message
    (chain.attempts[0] / "state.npz").unlink()
    assert chain.attempt().failure == FailureClass.ENGINE_ERROR
    assert "is missing" in chain.outcome.message


def test_it_is_velocity_verlet(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, ensemble="nve", steps=40)
    chain.attempt()
    with np.load(chain.attempts[0] / "state.npz") as state:
        end = Atoms(numbers=state["numbers"], positions=state["positions"], cell=state["cell"], pbc=True)
        end.set_momenta(-state["momenta"])
    end.calc = EMT()
    VelocityVerlet(end, 4.0 * units.fs).run(40)  # back to where it began
    assert np.allclose(end.positions, COPPER.positions, atol=1e-9)
    momenta = end.get_momenta()
    assert np.allclose(momenta.sum(axis=0), 0.0, atol=1e-9)
    assert abs(momenta).max() > 1.0


def test_nve_keeps_its_energy_whatever_the_time_step_does_to_it(tmp_path: Path) -> None:
    spread = []
    for timestep_fs in (8.0, 4.0):
        steps, every = int(800 / timestep_fs), int(16 / timestep_fs)
        table = SHORT | {"timestep_fs": timestep_fs, "sample_every": every}
        chain = Chain(tmp_path / str(timestep_fs), COPPER, **table, ensemble="nve", steps=steps)
        chain.attempt()
        total = chain.column("potential_energy_ev") + chain.column("kinetic_energy_ev")
        assert np.array_equal(total, chain.column("conserved_energy_ev"))
        spread.append(np.std(total))
        assert abs(chain.outcome.properties["energy_drift_ev_per_atom_per_ps"]) < 1e-3
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.5)  # the error of velocity Verlet goes with its square


LONG: dict[str, Any] = {
    "temperature_k": 300.0,
    "timestep_fs": 5.0,
    "sample_every": 5,
    "checkpoint_every": 1000,
    "seed": 3,
}


def test_stochastic_rescaling_gives_the_kinetic_energy_its_distribution(tmp_path: Path) -> None:
    """A gamma distribution: of four atoms whose centre of mass rests nine degrees of freedom."""
    table = LONG | {"time_constant_fs": 20.0, "steps": 6000}
    chain = Chain(tmp_path, COPPER, "ase", calculator="tests.engines.models.Sponge", **table)
    assert chain.attempt().failure is None
    kinetic = chain.column("kinetic_energy_ev")[20:] / (units.kB * 300.0)
    assert np.mean(kinetic) == pytest.approx(4.5, rel=0.06)
    assert np.var(kinetic) == pytest.approx(4.5, rel=0.2)
    assert chain.outcome.properties["temperature_k"] == pytest.approx(300.0, rel=0.06)


def test_langevin_gives_both_energies_their_distributions(tmp_path: Path) -> None:
    """Gamma distributions: of four atoms in wells twelve degrees of freedom, since the centre of mass moves."""
    table = LONG | {"thermostat": "langevin", "friction_per_fs": 0.05, "steps": 8000}
    chain = Chain(tmp_path, COPPER, "ase", calculator="tests.engines.models.Wells", **table)
    assert chain.attempt().failure is None
    for name in ("kinetic_energy_ev", "potential_energy_ev"):
        energy = chain.column(name)[50:] / (units.kB * 300.0)
        assert np.mean(energy) == pytest.approx(6.0, rel=0.06)
        assert np.var(energy) == pytest.approx(6.0, rel=0.2)
    assert chain.outcome.properties["temperature_k"] == pytest.approx(300.0, rel=0.06)
    assert "pressure_gpa" not in chain.outcome.properties


def volume_moments(atoms: int, pressure: float, kt: float) -> tuple[float, float]:
    """Mean and standard deviation of the volume of a `Sponge`, whose weight is V^N exp(-(E + pV)/kT)."""
    volumes = np.linspace(20.0, 300.0, 5000)
    exponent = atoms * np.log(volumes) - (0.02 * (volumes - 100.0) ** 2 / 200.0 + pressure * volumes) / kt
    weights = np.exp(exponent - exponent.max())
    mean = np.average(volumes, weights=weights)
    return float(mean), float(np.average((volumes - mean) ** 2, weights=weights) ** 0.5)


def test_npt_has_the_volumes_that_the_pressure_says(tmp_path: Path) -> None:
    atoms, pressure_gpa = bulk("Cu", a=4.6, cubic=True), 1.0
    chain = Chain(
        tmp_path,
        atoms,
        "ase",
        calculator="tests.engines.models.Sponge",
        **LONG,
        ensemble="npt",
        pressure_gpa=pressure_gpa,
        pressure_time_constant_fs=100.0,
        friction_per_fs=0.02,
        steps=8000,
    )
    assert chain.attempt().failure is None
    mean, deviation = volume_moments(4, pressure_gpa * units.GPa, units.kB * 300.0)
    volumes = chain.column("volume_angstrom3")[100:]
    assert np.mean(volumes) == pytest.approx(mean, rel=0.04)
    assert np.std(volumes) == pytest.approx(deviation, rel=0.15)
    assert chain.outcome.properties["temperature_k"] == pytest.approx(300.0, rel=0.05)
    assert chain.outcome.properties["pressure_gpa"] == pytest.approx(pressure_gpa, rel=0.1)
    cells = chain.array("cells")
    assert np.allclose(np.linalg.det(cells), chain.column("volume_angstrom3"))
    assert np.allclose(cells / cells[:, :1, :1], np.eye(3))  # the shape is kept


def argon_liquid() -> Atoms:
    atoms: Atoms = bulk("Ar", a=5.8, cubic=True) * (2, 2, 2)
    return atoms


LENNARD_JONES: dict[str, Any] = {
    "calculator": "ase.calculators.lj.LennardJones",
    "arguments": {"sigma": 3.405, "epsilon": 0.0104, "rc": 5.5, "smooth": True},
}


def test_a_hot_liquid_leaves_its_cell_and_is_not_folded_back(tmp_path: Path) -> None:
    table: dict[str, Any] = {"temperature_k": 400.0, "timestep_fs": 10.0, "sample_every": 20, "checkpoint_every": 100}
    chain = Chain(tmp_path, argon_liquid(), "ase", **LENNARD_JONES, **table, steps=600)
    assert chain.attempt().failure is None
    positions = chain.array("positions")
    squared = ((positions - positions[0]) ** 2).sum(axis=2).mean(axis=1)
    assert squared[-1] > 9.0
    assert squared[-1] > 1.5 * squared[len(squared) // 2] > 0
    assert abs(np.diff(positions, axis=0)).max() < 5.8  # no atom jumps by a cell
    assert (positions.min() < -1.0) or (positions.max() > 12.6)


@pytest.mark.parametrize("ensemble", ["nve", "npt"])
def test_atoms_that_fly_apart_are_a_failure_with_its_step(tmp_path: Path, ensemble: str) -> None:
    atoms = COPPER.copy()
    atoms.positions[1] = atoms.positions[0] + [0.3, 0.0, 0.0]
    table = SHORT | {"timestep_fs": 20.0}
    found = Chain(tmp_path, atoms, **table, ensemble=ensemble, steps=200)
    assert found.attempt().failure == FailureClass.BLOWN_UP
    assert "at step " in found.outcome.message
    assert found.outcome.checkpoint == []


@pytest.mark.parametrize(
    ("atoms", "table", "words"),
    [
        (Atoms("Cu", cell=[3, 3, 3], pbc=True), {}, "two atoms or more"),
        (molecule("CO"), {"ensemble": "npt"}, "periodic in three directions"),
        (molecule("CO"), {"min_atoms": 10}, "for periodic structures"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], cell=[3, 3, 9], pbc=(1, 1, 0)), {"supercell": [1, 1, 2]}, "periodic"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, atoms: Atoms, table: dict[str, Any], words: str) -> None:
    chain = Chain(tmp_path, atoms, **SHORT, **table)
    assert chain.attempt().failure == FailureClass.INPUT_ERROR
    assert words in chain.outcome.message


def test_a_cell_is_repeated_once_and_for_all(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, min_atoms=10, steps=10)
    for last_step in (10, 20):
        chain.attempt()
        assert chain.outcome.properties["atoms"] == 16
        assert chain.outcome.properties["last_step"] == last_step
        assert chain.outcome.geometry.startswith("16\n")
    given_so = Chain(tmp_path / "given", COPPER, **SHORT, supercell=[3, 1, 1], steps=10)
    given_so.attempt()
    assert given_so.array("positions").shape == (2, 12, 3)


def test_another_ensemble_goes_on_from_where_the_last_one_came(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, ensemble="npt", steps=20)
    chain.attempt()
    cell, positions = chain.array("cells")[-1], chain.array("positions")[-1]
    chain.parameters = chain.engine.parameters({"task": "dynamics", **SHORT, "ensemble": "nve", "steps": 20}, str)
    chain.attempt()
    description = read_description(chain.attempts[-1])
    assert np.allclose(description.cell_angstrom or (), cell)
    assert (description.first_step, description.ensemble, description.thermostat) == (20, "nve", None)
    assert abs(chain.array("positions")[0] - positions).max() < 1.0
    with np.load(chain.attempts[-1] / "state.npz") as state:
        assert np.allclose(state["momenta"].sum(axis=0), 0.0, atol=1e-9)


@given(
    st.lists(st.floats(2.0, 20.0), min_size=3, max_size=3),
    st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any),
    st.integers(1, 20),
    st.integers(1, 500),
)
def test_repetitions_hold_the_atoms_and_stay_near_a_cube(
    lengths: list[float], pbc: tuple[bool, bool, bool], atoms: int, least: int
) -> None:
    times = repeats(np.diag(lengths), list(pbc), atoms, least)
    assert np.prod(times) * atoms >= least
    assert all(n == 1 for n, periodic in zip(times, pbc, strict=True) if not periodic)
    sides = [n * length for n, length, periodic in zip(times, lengths, pbc, strict=True) if periodic]
    longest = max(range(len(sides)), key=sides.__getitem__)
    own = [length for length, periodic in zip(lengths, pbc, strict=True) if periodic]
    repeated = [n for n, periodic in zip(times, pbc, strict=True) if periodic]
    if repeated[longest] > 1:  # it was the shortest before it was made longer
        assert sides[longest] - own[longest] <= min(sides) + 1e-9


def test_what_the_arrays_are_is_said_beside_them(tmp_path: Path) -> None:
    chain = Chain(tmp_path, COPPER, **SHORT, steps=12)
    chain.attempt()
    description = json.loads((chain.attempts[0] / "dynamics.json").read_text())
    assert description["symbols"] == ["Cu"] * 4
    assert description["masses_amu"] == pytest.approx([63.546] * 4)
    assert description["columns"] == [
        "step",
        "time_fs",
        "potential_energy_ev",
        "kinetic_energy_ev",
        "temperature_k",
        "conserved_energy_ev",
        "pressure_gpa",
        "volume_angstrom3",
    ]
    assert chain.array("samples").shape == (3, 8)
    assert chain.column("time_fs").tolist() == [16.0, 32.0, 48.0]
    assert chain.outcome.files == ["result.json", "dynamics.json", "positions.npy", "samples.npy"]
