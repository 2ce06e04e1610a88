"""Running segments of molecular dynamics with an ASE calculator, and the files that they leave."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from penstock.engines.ase_calculation import (
    Input,
    InputError,
    Result,
    block_of,
    build_atoms,
    forget,
    gives_stress,
    max_force_hartree_per_bohr,
    to_hartree,
)
from penstock.engines.dynamics import (
    CELLS,
    DESCRIPTION,
    POSITIONS,
    PREVIOUS,
    SAMPLES,
    Description,
    DynamicsParameters,
)
from penstock.engines.dynamics_state import State, change_integrator, load_state, save_state, start_state, write_whole
from penstock.engines.dynamics_steps import CONSERVED, OF_CRYSTALS, Stretch, advance, sample_columns
from penstock.engines.npy_file import NpyFile

if TYPE_CHECKING:
    from ase import Atoms

SAVING_SHARE: Final = 10.0  # how many times as long as saving took it is not done again


def run_dynamics(directory: Path, data: Input[DynamicsParameters], calculator: Any) -> Result:
    """Run a segment to its end, or what is left of it, writing its files.

    Raises InputError, BlownUpError where atoms fly apart, StateError and what the calculator raises.
    """
    parameters = data.parameters
    state = _begin(directory, data, calculator)
    columns = sample_columns(parameters, state.atoms(calculator))
    _describe(directory, state, parameters, columns)
    with contextlib.ExitStack() as opened:
        record = _Record(directory, state, len(columns), parameters, opened)
        end = state.facts.segment_start + parameters.steps
        while state.facts.step < end:
            until = min(end, (state.facts.step // parameters.checkpoint_every + 1) * parameters.checkpoint_every)
            state, stretch = advance(state, calculator, parameters, until)
            record.add(state, stretch, last=until == end)
    return _conclude(directory, state, calculator, parameters, columns)


class _Record:
    """What is on the disk of a segment: its arrays and its state.

    It is saved when a state is reached, but not so often that saving takes more than a tenth of the time: for cheap
    calculators a disk is slow. When that is does not touch the trajectory.
    """

    def __init__(
        self, directory: Path, state: State, columns: int, parameters: DynamicsParameters, opened: contextlib.ExitStack
    ) -> None:
        def open_array(name: str, *row_shape: int) -> NpyFile:
            return opened.enter_context(contextlib.closing(NpyFile(directory / name, row_shape, state.facts.frames)))

        self._directory = directory
        self._held = Stretch([], [], [])
        self._positions = open_array(POSITIONS, len(state.numbers), 3)
        self._samples = open_array(SAMPLES, columns)
        self._cells = open_array(CELLS, 3, 3) if parameters.ensemble == "npt" else None
        self._save(state)

    def add(self, state: State, stretch: Stretch, *, last: bool) -> None:
        """Take what was recorded on the way to a state."""
        self._held.samples.extend(stretch.samples)
        self._held.positions.extend(stretch.positions)
        self._held.cells.extend(stretch.cells)
        if last or time.monotonic() >= self._due:
            self._save(state)

    def _save(self, state: State) -> None:
        """The arrays before the state, which says how much of them counts."""
        began = time.monotonic()
        self._positions.append(np.asarray(self._held.positions))
        self._samples.append(np.asarray(self._held.samples))
        if self._cells is not None:
            self._cells.append(np.asarray(self._held.cells))
        self._held = Stretch([], [], [])
        save_state(self._directory, state)
        ended = time.monotonic()
        self._due = ended + (ended - began) * SAVING_SHARE


def _begin(directory: Path, data: Input[DynamicsParameters], calculator: Any) -> State:
    """The state that this attempt begins with."""
    parameters = data.parameters
    if not data.goes_on:
        state = start_state(build_atoms(data.geometry), parameters)
    else:
        state = load_state(directory / PREVIOUS)
        facts = msgspec.structs.replace(state.facts, attempt_start=state.facts.step)
        if data.goes_on == "segment":
            facts = msgspec.structs.replace(facts, segment_start=facts.step, frames=0)
            state = change_integrator(replace(state, facts=facts), parameters)
        else:
            state = replace(state, facts=facts)
    _check(state.atoms(calculator), calculator, parameters)
    return state


def _check(atoms: Atoms, calculator: Any, parameters: DynamicsParameters) -> None:
    if len(atoms) < 2:
        raise InputError("molecular dynamics needs two atoms or more")
    if parameters.ensemble != "npt":
        return
    if not atoms.pbc.all():
        raise InputError("the ensemble npt is for structures that are periodic in three directions; use nvt")
    if not gives_stress(calculator, atoms):
        name = type(calculator).__name__
        raise InputError(f"the ensemble npt needs a stress, which {name} does not give; use nvt or another calculator")


def _conclude(
    directory: Path, state: State, calculator: Any, parameters: DynamicsParameters, columns: list[str]
) -> Result:
    """Energy and forces of the last geometry, and means over the whole segment."""
    forget(calculator)
    atoms = state.atoms(calculator)
    forces = atoms.get_forces()
    samples = np.load(directory / SAMPLES, mmap_mode="r")
    means = dict(zip(columns, samples.mean(axis=0).tolist(), strict=True))
    properties: dict[str, Any] = {
        "atoms": len(atoms),
        "frames": len(samples),
        "steps_done": parameters.steps,
        "last_step": state.facts.step,
        "temperature_k": means["temperature_k"],
        "mean_potential_energy_ev": means["potential_energy_ev"],
    }
    if CONSERVED in columns and len(samples) > 1:
        time, energy = samples[:, columns.index("time_fs")] / 1000.0, samples[:, columns.index(CONSERVED)]
        slope = np.polynomial.polynomial.polyfit(time - time.mean(), energy - energy.mean(), 1)[1]
        properties["energy_drift_ev_per_atom_per_ps"] = float(slope) / len(atoms)
    if OF_CRYSTALS[0] in columns:
        properties |= {"pressure_gpa": means["pressure_gpa"], "volume_angstrom3": means["volume_angstrom3"]}
    return Result(
        to_hartree(atoms.get_potential_energy()),
        max_force_hartree_per_bohr(forces),
        geometry=block_of(atoms),
        properties=properties,
    )


def _describe(directory: Path, state: State, parameters: DynamicsParameters, columns: list[str]) -> None:
    assert parameters.temperature_k is not None
    atoms, integrator = state.atoms(None), parameters.integrator
    description = Description(
        symbols=atoms.get_chemical_symbols(),
        masses_amu=atoms.get_masses().tolist(),
        pbc=atoms.pbc.tolist(),
        cell_angstrom=atoms.cell.tolist() if atoms.pbc.any() and integrator != "npt" else None,
        timestep_fs=parameters.timestep_fs,
        sample_every=parameters.sample_every,
        first_step=state.facts.segment_start,
        columns=columns,
        ensemble=parameters.ensemble,
        thermostat={"nve": None, "npt": "langevin"}.get(integrator, integrator),
        temperature_k=parameters.temperature_k,
    )
    write_whole(directory / DESCRIPTION, msgspec.json.encode(description))
