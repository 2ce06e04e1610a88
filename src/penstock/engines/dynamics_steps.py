"""The steps of molecular dynamics between two checkpoints, by ASE's integrators, and what is sampled on the way.

For each stretch everything is made anew from the state, and the calculator forgets what it has seen, in a run that
nobody stops as in one that goes on from a file. So both give the same trajectory, bit for bit, as long as the
calculator gives the same for the same geometry.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.verlet import VelocityVerlet

from penstock.engines.ase_calculation import BlownUpError, forget, gives_stress
from penstock.engines.dynamics import DynamicsParameters, Facts
from penstock.engines.dynamics_state import KEEPS_MOMENTUM, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOTTEST_K: Final = 20_000.0  # or this many times the temperature asked for, if that is more:
_HOTTEST_TIMES: Final = 20.0
_BASIC: Final = ("step", "time_fs", "potential_energy_ev", "kinetic_energy_ev", "temperature_k")
CONSERVED: Final = "conserved_energy_ev"
OF_CRYSTALS: Final = ("pressure_gpa", "volume_angstrom3")


class Stretch(NamedTuple):
    """What was recorded between two checkpoints: a row of samples, positions and a cell each frame."""

    samples: list[list[float]]
    positions: list[NDArray[np.float64]]
    cells: list[NDArray[np.float64]]


def advance(state: State, calculator: Any, parameters: DynamicsParameters, until: int) -> tuple[State, Stretch]:
    """The state at step `until`, and the frames on the way there; raises BlownUpError, with the step."""
    facts = state.facts
    forget(calculator)
    atoms = state.atoms(calculator)
    random = np.random.Generator(np.random.PCG64())
    random.bit_generator.state = json.loads(facts.random)
    columns = sample_columns(parameters, atoms)
    integrator = _Integrator(atoms, parameters, facts, random)
    hottest_k = max(_HOTTEST_K, _HOTTEST_TIMES * (parameters.temperature_k or 0.0))
    stretch = Stretch([], [], [])
    for step in range(facts.step + 1, until + 1):
        integrator.step()
        temperature_k = float(atoms.get_temperature())
        if not temperature_k <= hottest_k:
            raise BlownUpError(
                f"at step {step} the temperature is {temperature_k:.4g} K; look at the starting geometry, "
                f"or try a timestep_fs below {parameters.timestep_fs:g}"
            )
        if step % parameters.sample_every == 0:
            stretch.samples.append(_sample(step, atoms, integrator, columns, parameters))
            stretch.positions.append(atoms.positions.copy())
            stretch.cells.append(atoms.cell[:].copy())
    facts = msgspec.structs.replace(
        integrator.remember(facts),
        step=until,
        frames=facts.frames + len(stretch.samples),
        random=json.dumps(random.bit_generator.state),
    )
    moved = replace(
        state,
        positions=atoms.positions.copy(),
        momenta=atoms.get_momenta(),
        cell=atoms.cell[:].copy(),
        facts=facts,
    )
    return moved, stretch


class _Integrator:
    """One of ASE's integrators, with what it remembers from step to step.

    NVE by velocity Verlet; NVT by stochastic velocity rescaling (Bussi, Donadio, Parrinello, J. Chem. Phys. 126,
    014101, 2007, doi:10.1063/1.2408420) or by Langevin dynamics in the BAOAB splitting (Leimkuhler, Matthews, J. Chem.
    Phys. 138, 174102, 2013, doi:10.1063/1.4802990); NPT by the Langevin-Hoover equations for the volume (Quigley,
    Probert, J. Chem. Phys. 120, 11432, 2004, doi:10.1063/1.1755657), the shape of the cell kept.
    """

    def __init__(self, atoms: Atoms, parameters: DynamicsParameters, facts: Facts, random: np.random.Generator) -> None:
        assert parameters.temperature_k is not None
        self._kind = parameters.integrator
        timestep, temperature_k = parameters.timestep_fs * units.fs, parameters.temperature_k
        if self._kind in KEEPS_MOMENTUM:
            atoms.set_constraint(FixCom())
        if self._kind == "nve":
            self._dynamics: Any = VelocityVerlet(atoms, timestep)
        elif self._kind == "bussi":
            taut = parameters.time_constant_fs * units.fs
            self._dynamics = Bussi(atoms, timestep, temperature_k, taut, rng=random)
            self._dynamics.transferred_energy = facts.bath_energy_ev
        elif self._kind == "langevin":
            relaxation = units.fs / parameters.friction_per_fs
            self._dynamics = LangevinBAOAB(atoms, timestep, temperature_K=temperature_k, T_tau=relaxation, rng=random)
        else:
            self._dynamics = _make_barostat(atoms, parameters, random)
            self._dynamics.p_eps = facts.cell_momentum
            if facts.cell_force is not None:
                self._dynamics.force_eps = facts.cell_force

    def step(self) -> None:
        """One time step."""
        self._dynamics.step()

    @property
    def bath_energy_ev(self) -> float:
        """What the thermostat has given since the beginning, where that is counted."""
        return float(self._dynamics.transferred_energy) if self._kind == "bussi" else 0.0

    def remember(self, facts: Facts) -> Facts:
        """The facts with what this integrator remembers."""
        if self._kind == "npt":
            momentum, force = float(self._dynamics.p_eps), float(self._dynamics.force_eps)
            return msgspec.structs.replace(facts, cell_momentum=momentum, cell_force=force)
        return msgspec.structs.replace(facts, bath_energy_ev=self.bath_energy_ev)


def _make_barostat(atoms: Atoms, parameters: DynamicsParameters, random: np.random.Generator) -> Any:
    """Its mass after Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177, 1994, doi:10.1063/1.467468."""
    assert parameters.temperature_k is not None
    relaxation = parameters.pressure_time_constant_fs * units.fs
    return LangevinBAOAB(
        atoms,
        parameters.timestep_fs * units.fs,
        temperature_K=parameters.temperature_k,
        externalstress=-parameters.pressure_gpa * units.GPa,
        hydrostatic=True,
        T_tau=units.fs / parameters.friction_per_fs,
        P_tau=relaxation,
        P_mass=3 * (len(atoms) + 1) * units.kB * parameters.temperature_k * relaxation**2,
        rng=random,
    )


def sample_columns(parameters: DynamicsParameters, atoms: Atoms) -> list[str]:
    """The columns of `samples.npy`."""
    conserved = [CONSERVED] if parameters.integrator in KEEPS_MOMENTUM else []
    return [*_BASIC, *conserved, *(OF_CRYSTALS if gives_stress(atoms.calc, atoms) else ())]


def _sample(
    step: int, atoms: Atoms, integrator: _Integrator, columns: list[str], parameters: DynamicsParameters
) -> list[float]:
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    values = [step, step * parameters.timestep_fs, potential, kinetic, float(atoms.get_temperature())]
    if CONSERVED in columns:
        values.append(potential + kinetic - integrator.bath_energy_ev)
    if OF_CRYSTALS[0] in columns:
        stress = atoms.get_stress(include_ideal_gas=True, apply_constraint=False)
        values += [-float(stress[:3].sum()) / 3 / units.GPa, float(atoms.get_volume())]
    return values
