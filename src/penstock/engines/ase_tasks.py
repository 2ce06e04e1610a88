"""What the engines that are ASE calculators can be asked to do, and how: the way from a task to what does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from penstock.domain.calculation import Calculation, Exit, Outcome, Rendered
from penstock.engines.ase_calculation import (
    Input,
    Result,
    build_atoms,
    read_result,
    render_input,
    result_files,
    solve,
)
from penstock.engines.cell_relaxation import relax
from penstock.engines.dynamics import (
    DynamicsParameters,
    check_dynamics,
    dynamics_files,
    read_dynamics,
    render_dynamics,
)
from penstock.engines.engine import Ability, Role, check_table

TASKS: Final = frozenset({"energy", "gradient", "optimize", "relax", "dynamics"})
ASE_ABILITIES: Final = frozenset(Ability)
ASE_ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {  # tight, since stresses are compared afterwards
        Role.SINGLE_POINT: {"task": "gradient"},
        Role.RELAX_IONS: {"task": "optimize", "fmax": 0.002},
        Role.RELAX_CELL: {"task": "relax", "fmax": 0.002, "smax_gpa": 0.002},
        Role.DYNAMICS: {"task": "dynamics"},
    },
)


P = TypeVar("P", bound=DynamicsParameters)


def check(table: Mapping[str, Any], parameters_type: type[P]) -> P:
    """The checked `[engine]` table; SpecError says what is wrong with it."""
    parameters = check_table(table, parameters_type)
    check_dynamics(parameters)
    return parameters


def render(calculation: Calculation, parameters: DynamicsParameters) -> Rendered:
    """`input.json`, and what molecular dynamics goes on from."""
    if parameters.task == "dynamics":
        return render_dynamics(calculation, parameters)
    return render_input(calculation, parameters)


def run_task(directory: Path, data: Input[Any], calculator: Any) -> Result:
    """Do what `input.json` says with an ASE calculator; raises InputError and what the calculator raises."""
    if data.parameters.task == "dynamics":
        from penstock.engines.dynamics_run import run_dynamics

        return run_dynamics(directory, data, calculator)
    atoms = build_atoms(data.geometry)
    if data.parameters.task == "relax":
        return relax(directory, atoms, calculator, data.parameters)
    return solve(directory, atoms, calculator, data.parameters)


def read(directory: Path, exit: Exit, parameters: DynamicsParameters) -> Outcome:  # noqa: A002 - the contract's word
    """The outcome of an attempt from its exit and what it left."""
    if parameters.task == "dynamics":
        return read_dynamics(directory, exit, parameters)
    return read_result(directory, exit, parameters)


def task_files(parameters: DynamicsParameters) -> tuple[str, ...]:
    """The names of what an attempt leaves behind."""
    if parameters.task == "dynamics":
        return dynamics_files()
    return result_files(optimizes=parameters.task in {"optimize", "relax"})
