"""Geometry optimisation of ORCA's energy surface by Sella (the extra `penstock[sella]`): to minima and saddle points.

Sella asks ORCA for an energy and a gradient at every step. ORCA runs in the attempt's directory and its output goes to
`stdout`, so each step's files replace those of the one before: ORCA finds its orbitals there again, and the last step
can be read like any attempt of the engine `orca`.
"""

from __future__ import annotations

import importlib
import subprocess
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Rule
from penstock.engines.ase_calculation import (
    INPUT,
    RESULT,
    TRAJECTORY,
    AseParameters,
    PositiveFloat,
    PositiveInt,
    build_atoms,
    load_ase,
    read_result,
    solve,
    write_result,
)
from penstock.engines.engine import Ability, ReadFile, Role, check_table, read_output
from penstock.engines.orca.engine import OrcaEngine
from penstock.engines.orca.engrad import read_engrad
from penstock.engines.orca.parameters import OrcaParameters
from penstock.engines.orca.render import ORBITALS
from penstock.engines.program_report import present
from penstock.engines.traces import last_geometry

if TYPE_CHECKING:
    from ase import Atoms

LOG: Final = "sella.log"
FAILURE: Final = "failure.json"
_GRADIENT: Final = "job.engrad"
_STDOUT: Final = "stdout"
_STDERR: Final = "stderr"
_KEPT: Final = (RESULT, TRAJECTORY, LOG, _STDOUT, ORBITALS)
_FAILURE_MAX: Final = 1 << 20
_REMEMBERED: Final = 32
_OWN_MEMORY_MB: Final = 500  # Python, JAX and what JAX compiles
_ORCA: Final = OrcaEngine()


class SellaParameters(AseParameters, frozen=True, kw_only=True):
    """The `[engine]` table of `orca-sella`; `orca` is that of the engine `orca`, which calculates gradients.

    `order` is 0 for a minimum and 1 for a saddle point (a transition state). `internal`: whether steps are taken in
    internal coordinates, which is better for molecules, or in Cartesian ones.
    """

    task: Literal["optimize"] = "optimize"
    order: Literal[0, 1] = 0
    internal: bool = True
    orca: OrcaParameters


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table as a person writes it."""

    orca: dict[str, Any]
    task: Literal["optimize"] = "optimize"
    order: Literal[0, 1] = 0
    internal: bool = True
    fmax: PositiveFloat = 0.05
    max_steps: PositiveInt = 500


class _Input(msgspec.Struct, frozen=True):
    """`input.json`."""

    calculation: Calculation
    parameters: SellaParameters


class _Step(NamedTuple):
    """What ORCA says of a geometry: Eh, Eh/bohr (3N), and further results as in `Outcome`."""

    energy: float
    gradient: list[float]
    properties: dict[str, Any]


class StepFailedError(Exception):
    """ORCA did not give an energy and a gradient."""


def _prefixed(rule: Rule) -> Rule:
    """A rule of ORCA's for the same parameters where they lie here."""
    return msgspec.structs.replace(rule, change={f"orca.{name}": change for name, change in rule.change.items()})


class SellaEngine:
    """Sella over ORCA; charge and multiplicity are those of the structure."""

    name = "orca-sella"
    kind: Literal["python"] = "python"
    tasks = frozenset({"optimize"})
    roles: Mapping[Role, Mapping[str, Any]] = MappingProxyType({Role.RELAX_IONS: {"task": "optimize", "order": 0}})
    abilities: frozenset[Ability] = frozenset({Ability.ENERGY, Ability.FORCES})
    rules: tuple[Rule, ...] = (
        *(_prefixed(rule) for rule in _ORCA.rules if rule.on is not FailureClass.GEOMETRY_NOT_CONVERGED),
        Rule(
            "sella_steps",
            FailureClass.GEOMETRY_NOT_CONVERGED,
            limit=2,
            restart=True,
            why="as many steps again, from the last geometry",
        ),
    )
    parameters_type = SellaParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> SellaParameters:
        """The checked `[engine]` table, the template of its `orca` read; SpecError says what is wrong with it."""
        given = check_table(table, _Table)
        orca = _orca_parameters(given.orca, read_file)
        values = {name: getattr(given, name) for name in given.__struct_fields__}
        return SellaParameters(**{**values, "orca": orca})

    def comparable(self, parameters: SellaParameters, geometry: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing: ORCA knows no cells."""
        return {}

    def render(self, calculation: Calculation, parameters: SellaParameters) -> Rendered:
        """`input.json`, and the orbitals of an earlier attempt."""
        carry = _ORCA.render(calculation, parameters.orca).carry
        return Rendered({INPUT: msgspec.json.encode(_Input(calculation, parameters)).decode()}, carry=carry)

    def read(self, directory: Path, exit: Exit, parameters: SellaParameters) -> Outcome:  # noqa: A002
        """The outcome from `result.json`, or that of the step at which ORCA failed; the last geometry either way."""
        outcome = _read_failure(directory, exit) or read_result(directory, exit, parameters)
        geometry = outcome.geometry or last_geometry(directory / TRAJECTORY)
        files, checkpoint = present(directory, _KEPT), present(directory, [ORBITALS])
        return msgspec.structs.replace(outcome, geometry=geometry, files=files, checkpoint=checkpoint)

    def programs(self, parameters: SellaParameters) -> Mapping[str, str]:
        """ORCA."""
        return {"engine.orca.command": parameters.orca.command}

    def outputs(self, parameters: SellaParameters) -> tuple[str, ...]:  # noqa: ARG002
        """The results, the course of the optimisation, and what the last step of ORCA left."""
        return (*_KEPT, _STDERR, FAILURE)

    def load(self) -> None:
        """Import Sella; ImportError tells how to install it."""
        try:
            importlib.import_module("sella")
        except ImportError as error:
            raise ImportError("Sella is not installed here: pip install 'penstock[sella]'") from error
        load_ase()

    def run(self, directory: Path) -> None:
        """Optimise; raises StepFailedError, having left `failure.json`, and what Sella raises."""
        from penstock.engines.orca_calculator import OrcaCalculator

        data = _INPUT_DECODER.decode((directory / INPUT).read_bytes())
        orca = _Orca(directory, data)
        calculator = OrcaCalculator(lambda geometry: orca.calculate(geometry)[:2])
        optimizer = _Optimizer(directory, data)
        result = solve(directory, build_atoms(data.calculation.geometry), calculator, data.parameters, optimizer.make)
        assert result.geometry is not None
        properties = orca.calculate(result.geometry).properties | {"orca_runs": orca.runs}
        write_result(directory, msgspec.structs.replace(result, scf_cycles=orca.scf_cycles, properties=properties))


_INPUT_DECODER: Final = msgspec.json.Decoder(_Input)
_OUTCOME_DECODER: Final = msgspec.json.Decoder(Outcome)


class _Orca:
    """ORCA in a directory, step after step.

    What was calculated lately is not calculated again: a search for a saddle point looks around and comes back.
    """

    def __init__(self, directory: Path, data: _Input) -> None:
        self.runs = 0
        self.scf_cycles: int | None = None
        self._directory = directory
        self._parameters = data.parameters.orca
        memory_mb = max(data.calculation.memory_mb - _OWN_MEMORY_MB, data.calculation.memory_mb // 2)
        self._calculation = msgspec.structs.replace(data.calculation, memory_mb=memory_mb)
        self._known: OrderedDict[str, _Step] = OrderedDict()

    def calculate(self, geometry: str) -> _Step:
        """Energy and gradient of a geometry block; StepFailedError."""
        if geometry not in self._known:
            self._known[geometry] = self._run(geometry)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[geometry]

    def _run(self, geometry: str) -> _Step:
        # Only the first step reads the orbitals of another attempt; ORCA itself finds those of the step before.
        previous = () if self.runs else self._calculation.previous
        calculation = msgspec.structs.replace(self._calculation, geometry=geometry, previous=previous)
        rendered = _ORCA.render(calculation, self._parameters)
        (self._directory / _GRADIENT).unlink(missing_ok=True)
        for name, text in rendered.files.items():
            (self._directory / name).write_text(text, encoding="utf-8")
        assert rendered.argv is not None
        self.runs += 1
        outcome = _ORCA.read(self._directory, _execute(rendered.argv, self._directory), self._parameters)
        if outcome.failure is None and (step := _read_step(self._directory, outcome)) is not None:
            self.scf_cycles = (self.scf_cycles or 0) + (outcome.scf_cycles or 0) or None
            return step
        raise self._failed(outcome)

    def _failed(self, outcome: Outcome) -> StepFailedError:
        if outcome.failure is None:
            outcome = Outcome(FailureClass.OUTPUT_INVALID, f"it ended normally, but left no whole {_GRADIENT}")
        message = f"at step {self.runs} of ORCA: {outcome.message}"
        outcome = Outcome(outcome.failure, message, evidence=outcome.evidence)
        (self._directory / FAILURE).write_bytes(msgspec.json.encode(outcome))
        return StepFailedError(f"{outcome.failure} {message}")


class _Optimizer:
    """Makes Sella for atoms."""

    def __init__(self, directory: Path, data: _Input) -> None:
        self._log = str(directory / LOG)
        self._parameters = data.parameters
        self._cores = data.calculation.cores * data.calculation.tasks

    def make(self, atoms: Atoms) -> Any:
        """Sella; ASE's BFGS for a single atom, which has nowhere to go."""
        if len(atoms) == 1:
            from ase.optimize import BFGS

            return BFGS(atoms, logfile=self._log)
        parameters = self._parameters
        return importlib.import_module("sella").Sella(
            atoms,
            logfile=self._log,
            order=parameters.order,
            internal=parameters.internal,
            max_cpu_threads=self._cores,
        )


def _orca_parameters(table: Mapping[str, Any], read_file: ReadFile) -> OrcaParameters:
    if table.get("task", "gradient") != "gradient":
        raise SpecError("Sella asks ORCA for gradients; leave task out", key="engine.orca.task")
    try:
        return _ORCA.parameters({**table, "task": "gradient"}, read_file)
    except SpecError as error:
        key = f"engine.orca{(error.key or 'engine').removeprefix('engine')}"
        raise SpecError(error.message, file=error.file, line=error.line, key=key) from error


def _execute(argv: list[str], directory: Path) -> Exit:
    """Run a program to its end, its output in `stdout` and, after what is there, `stderr`."""
    started_at = time.time()
    with (directory / _STDOUT).open("wb") as out, (directory / _STDERR).open("ab") as err:
        try:
            code = subprocess.run(
                argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
            ).returncode
        except OSError as error:
            return Exit(127, None, started_at, time.time(), message=f"{argv[0]}: {error.strerror}")
    return Exit(code if code >= 0 else None, -code if code < 0 else None, started_at, time.time())


def _read_step(directory: Path, outcome: Outcome) -> _Step | None:
    """None where ORCA left no gradient, or not the whole of it."""
    energy, engrad = outcome.final_energy_hartree, read_engrad(directory / _GRADIENT)
    if energy is None or engrad is None or 3 * len(engrad.atomic_numbers) != len(engrad.gradient_hartree_per_bohr):
        return None
    return _Step(energy, engrad.gradient_hartree_per_bohr, outcome.properties)


def _read_failure(directory: Path, exit: Exit) -> Outcome | None:  # noqa: A002
    """What ORCA's failure at a step was read as; None where the attempt ended in another way."""
    if exit.verdict is not None or exit.signal is not None or exit.code == 0:
        return None
    try:
        outcome = _OUTCOME_DECODER.decode(read_output(directory / FAILURE, _FAILURE_MAX))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return outcome if outcome.failure is not None else None
