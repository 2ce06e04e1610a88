"""EMT, the effective medium theory potential of ASE: for metals and for trying things out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from penstock.domain.calculation import Calculation, Exit, Outcome, Rendered
from penstock.domain.remedy import Rule
from penstock.engines.ase_calculation import INPUT, Input, InputError, load_ase, write_result
from penstock.engines.ase_tasks import ASE_ABILITIES, ASE_ROLES, TASKS, check, read, render, run_task, task_files
from penstock.engines.dynamics import DynamicsParameters
from penstock.engines.engine import Ability, ReadFile, Role


class EmtParameters(DynamicsParameters, frozen=True):
    """The `[engine]` table of `emt`."""


_INPUT_DECODER: Final = msgspec.json.Decoder(Input[EmtParameters])


class EmtEngine:
    """ASE's EMT calculator. It knows no charge and no spin: a charge is an input error, the multiplicity is ignored."""

    name = "emt"
    kind: Literal["python"] = "python"
    tasks = TASKS
    roles: Mapping[Role, Mapping[str, Any]] = ASE_ROLES
    abilities: frozenset[Ability] = ASE_ABILITIES
    rules: tuple[Rule, ...] = ()
    parameters_type = EmtParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> EmtParameters:  # noqa: ARG002
        """The checked `[engine]` table; SpecError says what is wrong with it."""
        return check(table, EmtParameters)

    def comparable(self, parameters: EmtParameters, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: nothing depends on the cell by steps."""
        return {}

    def render(self, calculation: Calculation, parameters: EmtParameters) -> Rendered:
        """`input.json`."""
        return render(calculation, parameters)

    def read(self, directory: Path, exit: Exit, parameters: EmtParameters) -> Outcome:  # noqa: A002
        """The outcome from what the attempt left."""
        return read(directory, exit, parameters)

    def outputs(self, parameters: EmtParameters) -> tuple[str, ...]:
        """What the task leaves."""
        return task_files(parameters)

    def load(self) -> None:
        """Import ASE's calculator."""
        import ase.calculators.emt  # noqa: F401

        load_ase()

    def run(self, directory: Path) -> None:
        """Calculate; raises InputError for a charge and what ASE raises."""
        from ase.calculators.emt import EMT

        data = _INPUT_DECODER.decode((directory / INPUT).read_bytes())
        if data.charge != 0:
            raise InputError(f"EMT knows no charge, this structure has {data.charge:+d}; use another engine for it")
        write_result(directory, run_task(directory, data, EMT()))
