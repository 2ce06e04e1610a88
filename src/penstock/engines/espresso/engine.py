"""Quantum ESPRESSO's pw.x: total energies, forces, stress and relaxations with plane waves and pseudopotentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.geometry import format_geometry, normalise, parse_geometry
from penstock.domain.remedy import Rule
from penstock.domain.report import Report
from penstock.engines.engine import Ability, ReadFile, Role, fail, read_output
from penstock.engines.espresso import output
from penstock.engines.espresso.parameters import TASKS, EspressoParameters, check_parameters
from penstock.engines.espresso.render import INPUT, kpoints_for, render_input
from penstock.engines.espresso.rules import RULES
from penstock.engines.program_report import conclude

_OUTPUT: Final = "stdout"
_CRASH: Final = "CRASH"
_INPUT_MAX: Final = 64 << 20
ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {
        Role.SINGLE_POINT: {"task": "gradient", "stress": True, "tight": True},
        Role.RELAX_IONS: {"task": "relax", "stress": True, "tight": True},
        Role.RELAX_CELL: {"task": "vc-relax", "tight": True},
    }
)


class EspressoEngine:
    """Runs pw.x on `job.in` in the attempt's directory; its output is `stdout`, its files are below `out`."""

    name = "espresso"
    kind: Literal["program"] = "program"
    tasks: frozenset[str] = TASKS
    roles: Mapping[Role, Mapping[str, Any]] = ROLES
    abilities: frozenset[Ability] = frozenset(Ability) - {Ability.DYNAMICS}
    rules: tuple[Rule, ...] = RULES
    parameters_type = EspressoParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> EspressoParameters:  # noqa: ARG002
        """The checked `[engine]` table, its pseudopotentials chosen; SpecError says what is wrong with it."""
        return check_parameters(table)

    def comparable(self, parameters: EspressoParameters, geometry: str) -> Mapping[str, Any]:
        """The mesh of this cell, in place of a spacing; SpecError for a shifted one.

        A mesh through the origin has the symmetry of the lattice. A shifted one may not have it, as in a face-centred
        lattice: pw.x then completes it by the symmetry that each cell has left, and under a strain stresses jump.
        """
        if any(parameters.kpoints_shift):
            message = (
                "a shifted mesh may lack symmetry of the lattice, and strained cells get other k-points; leave it out"
            )
            raise SpecError(message, key="engine.kpoints_shift")
        return {"kpoints": list(kpoints_for(parameters, parse_geometry(geometry)))}

    def render(self, calculation: Calculation, parameters: EspressoParameters) -> Rendered:
        """`job.in` at the calculation's geometry. pw.x would go on from folders only, so it starts anew."""
        return Rendered({INPUT: render_input(calculation, parameters)}, [*parameters.command, "-in", INPUT])

    def read(self, directory: Path, exit: Exit, parameters: EspressoParameters) -> Outcome:  # noqa: A002
        """The outcome from `stdout` and the exit; the geometry only of a task that changes it."""
        try:
            report = self.report(directory / _OUTPUT)
        except OSError as error:
            unreadable = Report(self.name)
            if exit.verdict or exit.signal is not None or exit.code != 0:
                return conclude(unreadable, exit, directory)
            return fail(FailureClass.OUTPUT_MISSING, f"{_OUTPUT} cannot be read: {error.strerror}")
        geometry = report.geometry
        if parameters.task not in {"relax", "vc-relax"}:
            geometry = None
        elif geometry is not None and parameters.task == "relax":
            geometry = _with_cell_of_input(geometry, directory)
        return conclude(msgspec.structs.replace(report, geometry=geometry), exit, directory, files=(_CRASH,))

    def programs(self, parameters: EspressoParameters) -> Mapping[str, str]:
        """What the command begins with: pw.x, or what starts it."""
        return {"engine.command": parameters.command[0]}

    def outputs(self, parameters: EspressoParameters) -> tuple[str, ...]:  # noqa: ARG002
        """What it prints, and the file that it leaves when it stops over an error."""
        return _OUTPUT, "stderr", _CRASH

    def load(self) -> None:
        """Nothing: the program brings what it needs."""

    def recognises(self, head: bytes) -> bool:
        """Whether an output that begins so is one of pw.x."""
        return output.recognises(head)

    def report(self, path: Path) -> Report:
        """What an output says, in one pass; OSError where it cannot be read."""
        return output.report(path)

    def main_output(self, names: Iterable[str]) -> list[str]:
        """Of the files in a directory, those that may be pw.x's output, the likeliest first."""
        return output.main_output(names)


def _with_cell_of_input(block: str, directory: Path) -> str:
    """The same atoms in the cell that the input gives: the output repeats it with six digits only."""
    try:
        text = read_output(directory / INPUT, _INPUT_MAX).decode("utf-8", "replace")
        rows = text.partition("CELL_PARAMETERS angstrom\n")[2].splitlines()[:3]
        lattice = [[float(number) for number in row.split()] for row in rows]
        given = parse_geometry(block)
        return normalise(format_geometry(given.symbols, given.positions, lattice, given.pbc)).block
    except (OSError, ValueError):
        return block
