"""The states of molecular dynamics: the first one, those in files, and what becomes of one under other parameters."""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import msgspec
import numpy as np
from ase import Atoms, units

from penstock.engines.ase_calculation import InputError
from penstock.engines.dynamics import STATE, DynamicsParameters, Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEEPS_MOMENTUM: Final = frozenset({"nve", "bussi"})


class StateError(Exception):
    """What a run was to go on from is not there, or not whole."""


@dataclass(frozen=True)
class State:
    """All that the next step depends on. Å, ASE's unit of momentum, shapes (atoms,), (atoms, 3), (3, 3), (3,)."""

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    momenta: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    facts: Facts

    def atoms(self, calculator: Any) -> Atoms:
        """ASE atoms in this state."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        atoms.set_momenta(self.momenta)
        atoms.calc = calculator
        return atoms


def start_state(atoms: Atoms, parameters: DynamicsParameters) -> State:
    """The first state of a run: velocities at random, the centre of mass at rest."""
    assert parameters.temperature_k is not None
    atoms = _repeat(atoms, parameters)
    random = np.random.Generator(np.random.PCG64(parameters.seed))
    widths = np.sqrt(atoms.get_masses() * units.kB * parameters.temperature_k)
    momenta = at_rest(atoms, random.standard_normal((len(atoms), 3)) * widths[:, None])
    facts = Facts(0, 0, 0, 0, parameters.integrator, json.dumps(random.bit_generator.state))
    return State(atoms.numbers, atoms.positions, momenta, atoms.cell[:], atoms.pbc, facts)


def at_rest(atoms: Atoms, momenta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Momenta without that of the centre of mass."""
    masses = atoms.get_masses()
    at_rest: NDArray[np.float64] = momenta - masses[:, None] * momenta.sum(axis=0) / masses.sum()
    return at_rest


def _repeat(atoms: Atoms, parameters: DynamicsParameters) -> Atoms:
    if parameters.supercell is None and (parameters.min_atoms is None or len(atoms) >= parameters.min_atoms):
        return atoms
    if not atoms.pbc.any():
        raise InputError("supercell and min_atoms are for periodic structures; this one is a molecule")
    times = parameters.supercell or repeats(atoms.cell[:], atoms.pbc.tolist(), len(atoms), parameters.min_atoms or 1)
    if any(n > 1 and not periodic for n, periodic in zip(times, atoms.pbc, strict=True)):
        raise InputError(f"the structure cannot be repeated {list(times)} times: it is periodic along {atoms.pbc} only")
    repeated: Atoms = atoms.repeat(times)
    return repeated


def repeats(cell: NDArray[np.float64], pbc: list[bool], atoms: int, min_atoms: int) -> tuple[int, int, int]:
    """How often a cell (3, 3) is repeated along its periodic vectors to hold `min_atoms`, as near to a cube as it goes.

    Each time one more along the vector whose faces are nearest to each other.
    """
    volume = abs(np.linalg.det(cell)) if all(pbc) else math.nan
    times = [1, 1, 1]
    if all(pbc):
        areas = [np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])) for i in range(3)]
        widths = [float(volume / area) for area in areas]
    else:
        widths = [float(np.linalg.norm(vector)) for vector in cell]
    while math.prod(times) * atoms < min_atoms:
        along = min((i for i in range(3) if pbc[i]), key=lambda i: times[i] * widths[i])
        times[along] += 1
    return times[0], times[1], times[2]


def change_integrator(state: State, parameters: DynamicsParameters) -> State:
    """What another integrator remembers means nothing to this one; nor may the whole drift where that is for ever."""
    facts = state.facts
    if facts.integrator == parameters.integrator:
        return state
    facts = msgspec.structs.replace(
        facts, integrator=parameters.integrator, bath_energy_ev=0.0, cell_momentum=0.0, cell_force=None
    )
    keeps = parameters.integrator in KEEPS_MOMENTUM
    momenta = at_rest(state.atoms(None), state.momenta) if keeps else state.momenta
    return replace(state, momenta=momenta, facts=facts)


def save_state(directory: Path, state: State) -> None:
    """Leave `state.npz`, whole or not at all."""
    buffer = io.BytesIO()
    facts = msgspec.json.encode(state.facts).decode()
    np.savez(
        buffer,
        numbers=state.numbers,
        positions=state.positions,
        momenta=state.momenta,
        cell=state.cell,
        pbc=state.pbc,
        facts=np.array(facts),
    )
    write_whole(directory / STATE, buffer.getvalue())


def load_state(path: Path) -> State:
    """The state in a file; StateError where there is none, or not the whole of it."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            facts = msgspec.json.decode(str(stored["facts"]), type=Facts)
            return State(
                stored["numbers"], stored["positions"], stored["momenta"], stored["cell"], stored["pbc"], facts
            )
    except FileNotFoundError as error:
        raise StateError(f"{path.name}, the state to go on from, is missing; what left it was taken away") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise StateError(f"{path.name}, the state to go on from, cannot be read: {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, even if the machine stops."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
