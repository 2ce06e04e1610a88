"""What the engines that are ASE calculators can be asked to do, and how: the way from a task to what does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeVar

from penstock.domain.calculation import Calculation, Exit, Outcome, Rendered
from penstock.domain.remedy import Rule
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
from penstock.engines.engine import Ability, ReadFile, Role, check_table

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


class CalculatorEngine(Generic[P]):
    """What the engines of one ASE calculator share. Each says how it is loaded and run, and what else it refuses."""

    kind: Literal["python"] = "python"
    tasks = TASKS
    roles: Mapping[Role, Mapping[str, Any]] = ASE_ROLES
    abilities: frozenset[Ability] = ASE_ABILITIES
    rules: tuple[Rule, ...] = ()
    parameters_type: type[P]

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> P:  # noqa: ARG002
        """The checked `[engine]` table; SpecError says what is wrong with it."""
        parameters = check_table(table, self.parameters_type)
        check_dynamics(parameters)
        return parameters

    def comparable(self, parameters: P, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: their parameters give no spacing that a grid follows from, cell by cell."""
        return {}

    def render(self, calculation: Calculation, parameters: P) -> Rendered:
        """`input.json`, and what molecular dynamics goes on from."""
        if parameters.task == "dynamics":
            return render_dynamics(calculation, parameters)
        return render_input(calculation, parameters)

    def read(self, directory: Path, exit: Exit, parameters: P) -> Outcome:  # noqa: A002
        """The outcome of an attempt from its exit and what it left."""
        if parameters.task == "dynamics":
            return read_dynamics(directory, exit, parameters)
        return read_result(directory, exit, parameters)

    def programs(self, parameters: P) -> Mapping[str, str]:  # noqa: ARG002
        """None: what a calculator of ASE may call is its own affair."""
        return {}

    def outputs(self, parameters: P) -> tuple[str, ...]:
        """The names of what an attempt leaves behind."""
        if parameters.task == "dynamics":
            return dynamics_files()
        return result_files(optimizes=parameters.task in {"optimize", "relax"})


def run_task(directory: Path, data: Input[Any], calculator: Any) -> Result:
    """Do what `input.json` says with an ASE calculator; raises InputError and what the calculator raises."""
    if data.parameters.task == "dynamics":
        from penstock.engines.dynamics_run import run_dynamics

        return run_dynamics(directory, data, calculator)
    atoms = build_atoms(data.geometry)
    if data.parameters.task == "relax":
        return relax(directory, atoms, calculator, data.parameters)
    return solve(directory, atoms, calculator, data.parameters)
