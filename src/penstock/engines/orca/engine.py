"""ORCA as an engine: what an attempt needs, what it came to, and what a failed one is followed by."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.remedy import Rule
from penstock.domain.report import Report
from penstock.engines.engine import Ability, ReadFile, Role, fail, read_verdict
from penstock.engines.orca import output
from penstock.engines.orca.engrad import Engrad, read_engrad
from penstock.engines.orca.parameters import OrcaParameters, Task, check_parameters
from penstock.engines.orca.render import HESSIANS, INPUT, ORBITALS, render
from penstock.engines.orca.rules import RULES
from penstock.engines.program_report import conclude

_STDOUT: Final = "stdout"
_STDERR: Final = "stderr"
_ENGRAD: Final = "job.engrad"
_RESULTS: Final = ("job.xyz", _ENGRAD, "job_trj.xyz", ORBITALS, *HESSIANS)
_OPTIMISES: Final = frozenset({"opt", "opt+freq"})
ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {Role.SINGLE_POINT: {"task": "gradient"}, Role.RELAX_IONS: {"task": "opt"}}
)


class OrcaEngine:
    """Runs ORCA 4 to 6 on `job.inp`; its output is what it prints."""

    name = "orca"
    kind: Literal["program"] = "program"
    tasks: frozenset[str] = frozenset(get_args(Task))
    roles: Mapping[Role, Mapping[str, Any]] = ROLES
    abilities: frozenset[Ability] = frozenset({Ability.ENERGY, Ability.FORCES})
    rules: tuple[Rule, ...] = RULES
    parameters_type = OrcaParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> OrcaParameters:
        """The checked `[engine]` table, its template read; SpecError says what is wrong with it."""
        return check_parameters(table, read_file)

    def comparable(self, parameters: OrcaParameters, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: ORCA knows no cells."""
        return {}

    def render(self, calculation: Calculation, parameters: OrcaParameters) -> Rendered:
        """The input and the command line; SpecError for a periodic structure or a hook that gives no input."""
        return render(calculation, parameters)

    def read(self, directory: Path, exit: Exit, parameters: OrcaParameters) -> Outcome:  # noqa: A002
        """What the attempt came to: by ORCA's output and its exit, and by what the task must have given."""
        try:
            report = output.report(directory / _STDOUT)
        except OSError as error:
            return read_verdict(exit) or fail(
                FailureClass.OUTPUT_MISSING, f"{_STDOUT} cannot be read: {error.strerror}"
            )
        report = output.add_standard_error(report, directory / _STDERR)
        report = _complete(report, directory, parameters)
        return conclude(report, exit, directory, files=(_STDOUT, INPUT, *_RESULTS), checkpoint=(ORBITALS, *HESSIANS))

    def programs(self, parameters: OrcaParameters) -> Mapping[str, str]:
        """ORCA, also where a shell looks for it."""
        return {"engine.command": parameters.command}

    def outputs(self, parameters: OrcaParameters) -> tuple[str, ...]:  # noqa: ARG002
        """What ORCA prints and the files that it leaves."""
        return (_STDOUT, _STDERR, *_RESULTS)

    def load(self) -> None:
        """Nothing: ORCA brings what it needs."""

    def recognises(self, head: bytes) -> bool:
        """Whether an output that begins so is ORCA's."""
        return output.recognises(head)

    def report(self, path: Path) -> Report:
        """What an output of ORCA says; OSError where it cannot be read."""
        return output.report(path)

    def main_output(self, names: Iterable[str]) -> list[str]:
        """Of the files of a directory, those that may be ORCA's main output, the likeliest first."""
        return output.main_output(names)


def _complete(report: Report, directory: Path, parameters: OrcaParameters) -> Report:
    """The report with the gradient from its file where the output has none, judged by what the task had to give."""
    if report.max_gradient_hartree_per_bohr is None and (engrad := _engrad_in(directory)) is not None:
        report = msgspec.structs.replace(report, max_gradient_hartree_per_bohr=engrad.max_component_hartree_per_bohr)
    if parameters.task not in _OPTIMISES:
        report = msgspec.structs.replace(report, geometry=None)  # the input's is the same with more digits
    missing = None if report.failure is not None else _missing(report, parameters)
    if missing is None:
        return report
    return msgspec.structs.replace(
        report, failure=FailureClass.OUTPUT_INVALID, message=f"it ended normally, but gives no {missing}"
    )


def _engrad_in(directory: Path) -> Engrad | None:
    path = f"{directory}/{_ENGRAD}"
    return read_engrad(Path(path)) if os.path.exists(path) else None  # noqa: PTH110 - most leave none


def _missing(report: Report, parameters: OrcaParameters) -> str | None:
    """What the task had to give and the output does not."""
    task = parameters.task
    if report.energy_hartree is None:
        return "readable final energy"
    if task == "gradient" and report.max_gradient_hartree_per_bohr is None:
        return "gradient"
    if task in _OPTIMISES and (report.optimization is None or not report.optimization.converged):
        return "converged geometry"
    if task in {"freq", "opt+freq"} and "frequencies_per_cm" not in report.properties:
        return "frequencies"
    return None
