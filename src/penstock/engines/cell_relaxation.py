"""Relaxing a crystal's positions and cell together with an ASE calculator.

ASE and numpy are imported inside functions only, because the daemon imports this module and must stay without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from penstock.engines.ase_calculation import (
    TRAJECTORY,
    AseParameters,
    InputError,
    PositiveFloat,
    Result,
    block_of,
    describe_stress,
    gives_stress,
    max_force_hartree_per_bohr,
    to_hartree,
    to_stress_gpa,
    write_frame,
)

if TYPE_CHECKING:
    from ase import Atoms

_SYMMETRY_A: Final = 0.005  # how far from its symmetric place an atom may be
Pressure = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class RelaxParameters(AseParameters, frozen=True):
    """What the task `relax` may be told beside `fmax` and `max_steps`."""

    pressure_gpa: Pressure = 0.0  # from outside
    smax_gpa: PositiveFloat = 0.05  # the largest deviation of any component of the stress from the pressure
    keep_symmetry: bool = True


class _Rest(NamedTuple):
    """What is left to relax: the largest force on an atom (eV/Å), the largest deviation of the stress (GPa)."""

    force: float
    stress_gpa: float


def relax(directory: Path, atoms: Atoms, calculator: Any, parameters: RelaxParameters) -> Result:
    """Move atoms and cell until forces and stress are as asked for; writes the trajectory as it goes.

    BFGS on the logarithm of the deformation gradient (ASE's FrechetCellFilter). With `keep_symmetry` the geometry is
    first made exactly as symmetric as it is to 0.005 Å, and stays so; what counts at the end are the forces and the
    stress as the calculator gives them. Raises InputError where there is no crystal or the calculator has no stress.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS
    from ase.units import GPa

    _check(atoms, calculator)
    atoms.calc = calculator
    atoms.get_forces()
    initial = to_stress_gpa(atoms.get_stress())
    if parameters.keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=_SYMMETRY_A))
    moved: Any = FrechetCellFilter(atoms, scalar_pressure=parameters.pressure_gpa * GPa)
    optimizer = BFGS(moved, logfile=None)
    with (directory / TRAJECTORY).open("w", encoding="utf-8") as file:
        optimizer.attach(write_frame, 1, file, atoms, optimizer)
        for _ in optimizer.irun(fmax=0.0, steps=parameters.max_steps):
            if converged := _is_relaxed(_rest(atoms, parameters), parameters):
                break
    rest, steps = _rest(atoms, parameters), int(optimizer.nsteps)
    properties: dict[str, Any] = {"initial_stress_gpa": initial, "max_stress_gpa": rest.stress_gpa}
    return Result(
        to_hartree(atoms.get_potential_energy()),
        max_force_hartree_per_bohr(atoms.get_forces(apply_constraint=False)),
        converged=converged,
        steps=steps,
        unconverged=None if converged else _describe(rest, parameters),
        geometry=block_of(atoms),
        properties=properties | describe_stress(atoms.get_stress(apply_constraint=False)),
    )


def _check(atoms: Atoms, calculator: Any) -> None:
    if not atoms.pbc.all():
        raise InputError(
            "the task relax is for structures that are periodic in three directions; this one is not: use optimize"
        )
    if not gives_stress(calculator, atoms):
        raise InputError(
            f"the task relax needs a stress, which {type(calculator).__name__} does not give; "
            "use optimize or another calculator"
        )


def _rest(atoms: Atoms, parameters: RelaxParameters) -> _Rest:
    forces = atoms.get_forces(apply_constraint=False)
    stress = to_stress_gpa(atoms.get_stress(apply_constraint=False))
    wanted = [parameters.pressure_gpa if row == column else 0.0 for row in range(3) for column in range(3)]
    deviation = max(abs(found - there) for found, there in zip(stress, wanted, strict=True))
    return _Rest(float((forces**2).sum(axis=1).max() ** 0.5), deviation)


def _is_relaxed(rest: _Rest, parameters: RelaxParameters) -> bool:
    return rest.force <= parameters.fmax and rest.stress_gpa <= parameters.smax_gpa


def _describe(rest: _Rest, parameters: RelaxParameters) -> str:
    """What is above which limit."""
    force = f"the largest force is {rest.force:.4g} eV/Å (fmax {parameters.fmax:g})"
    stress = f"the largest deviation of the stress {rest.stress_gpa:.4g} GPa (smax_gpa {parameters.smax_gpa:g})"
    return f"not relaxed: {force}, {stress}"
