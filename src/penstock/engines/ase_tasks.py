"""What the engines that are ASE calculators can be asked to do, and how: the way from a task to what does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

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
from penstock.engines.cell_relaxation import RelaxParameters, relax
from penstock.engines.engine import Ability, Role

TASKS: Final = frozenset({"energy", "gradient", "optimize", "relax"})
ASE_ABILITIES: Final = frozenset(
    {Ability.ENERGY, Ability.FORCES, Ability.STRESS, Ability.CELL, Ability.PRESSURE},
)
ASE_ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {
        Role.SINGLE_POINT: {"task": "gradient"},
        Role.RELAX_IONS: {"task": "optimize", "fmax": 0.002},  # tight: stresses are compared afterwards
        Role.RELAX_CELL: {"task": "relax", "fmax": 0.002, "smax_gpa": 0.002},
    },
)


def render(calculation: Calculation, parameters: RelaxParameters) -> Rendered:
    """`input.json`."""
    return render_input(calculation, parameters)


def run_task(directory: Path, data: Input[Any], calculator: Any) -> Result:
    """Do what `input.json` says with an ASE calculator; raises InputError and what the calculator raises."""
    atoms = build_atoms(data.geometry)
    if data.parameters.task == "relax":
        return relax(directory, atoms, calculator, data.parameters)
    return solve(directory, atoms, calculator, data.parameters)


def read(directory: Path, exit: Exit, parameters: RelaxParameters) -> Outcome:  # noqa: A002 - the contract's word
    """The outcome of an attempt from its exit and what it left."""
    return read_result(directory, exit, parameters)


def task_files(parameters: RelaxParameters) -> tuple[str, ...]:
    """What an attempt leaves behind: `result.json`, `stderr` and, of an optimisation, `trajectory.xyz`."""
    return result_files(optimizes=parameters.task in {"optimize", "relax"})
