"""CRYSTAL: decks in, what its output says out, and how a failed run is mended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from penstock.domain.calculation import Calculation, Evidence, Exit, FailureClass, Outcome, Rendered
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Rule
from penstock.domain.report import Report
from penstock.engines.crystal import output
from penstock.engines.crystal.deck_build import mesh_for
from penstock.engines.crystal.failures import classify_error
from penstock.engines.crystal.geometry_input import deck_of_geometry
from penstock.engines.crystal.handed_on import deck_for_next_step, deck_for_retry
from penstock.engines.crystal.parameters import DECK_TASKS, PROPERTIES_TASKS, CrystalParameters, check_parameters
from penstock.engines.crystal.printed_geometry import PrintedGeometry
from penstock.engines.crystal.render import (
    INPUT,
    PROPERTIES_WAVEFUNCTIONS,
    RESTARTS,
    SOURCE,
    WAVEFUNCTIONS,
    render,
)
from penstock.engines.crystal.rules import RULES
from penstock.engines.engine import Ability, ReadFile, Role, classify_exhausted, fail, read_tail
from penstock.engines.marker_scan import read_head
from penstock.engines.program_report import conclude, present

_STREAMS: Final = ("stdout", "stderr")
_DATA: Final[Mapping[str, tuple[str, ...]]] = {
    "band": ("BAND.DAT", "fort.25"),
    "doss": ("DOSS.DAT", "fort.25"),
    "transport": ("SIGMA.DAT", "SEEBECK.DAT", "SIGMAS.DAT", "KAPPA.DAT", "TDF.DAT"),
    "charge_potential": ("DENS_CUBE.DAT", "POT_CUBE.DAT", "SPIN_CUBE.DAT", "POTC.DAT", "fort.31"),
}
"""By task of properties: where its results go."""
_WRITES_ALWAYS: Final = frozenset({"band", "doss", "transport"})
"""Tasks of which one file at least is there after a run that did what it should; those of maps go by the version."""
_KEPT: Final = ("fort.9", "fort.98", "fort.25", "fort.34", "HESSOPT.DAT", "FREQINFO.DAT", "PPAN.DAT", "SCFOUT.LOG")
_ERRORS: Final = "fort.87"
"""Under MPI some versions write their errors there and nowhere else."""
_ERROR: Final = re.compile(r"ERROR \*{4}.*")
_UNNAMED: Final = frozenset({FailureClass.TRUNCATED, FailureClass.MODULE_CRASH, FailureClass.MPI_ERROR})
ROLES: Final[Mapping[Role, Mapping[str, Any]]] = MappingProxyType(
    {
        Role.SINGLE_POINT: {"task": "sp"},
        Role.RELAX_IONS: {"task": "opt", "relax": "ions"},
        Role.RELAX_CELL: {"task": "opt", "relax": "cell"},
    }
)


class CrystalEngine:
    """CRYSTAL 14 to 23, and properties that comes with it."""

    name = "crystal"
    kind: Literal["program"] = "program"
    tasks = DECK_TASKS | PROPERTIES_TASKS
    roles: Mapping[Role, Mapping[str, Any]] = ROLES
    abilities: frozenset[Ability] = frozenset({Ability.ENERGY, Ability.CELL})
    rules: tuple[Rule, ...] = RULES
    parameters_type = CrystalParameters

    def parameters(self, table: Mapping[str, Any], read_file: ReadFile) -> CrystalParameters:
        """The checked `[engine]` table, its deck template read; SpecError says what is wrong with it."""
        return check_parameters(table, read_file)

    def comparable(self, parameters: CrystalParameters, geometry: str) -> Mapping[str, Any]:
        """The mesh that settings leave to the cell's size; nothing for decks, which have theirs."""
        scf = parameters.scf
        if not parameters.is_built or scf.shrink is not None:
            return {}
        try:
            mesh = mesh_for(deck_of_geometry("structure", geometry))
        except ValueError as error:
            raise SpecError(str(error), key="structures") from error
        return {} if mesh is None else {"scf": msgspec.to_builtins(msgspec.structs.replace(scf, shrink=mesh))}

    def render(self, calculation: Calculation, parameters: CrystalParameters) -> Rendered:
        """The deck of the structure, of the template or of the settings, for the task; SpecError."""
        return render(calculation, parameters)

    def read(self, directory: Path, exit: Exit, parameters: CrystalParameters) -> Outcome:  # noqa: A002
        """What the attempt came to, by its output and its exit."""
        path = _output_in(directory)
        try:
            report, geometry = output.read_output(path)
        except OSError as error:
            return _without_output(directory, exit, error)
        report = _named(report, directory)
        if parameters.task != "opt":  # the structure's own form of its geometry stays
            report = msgspec.structs.replace(report, geometry=None)
        outcome = conclude(report, exit, directory, files=self.outputs(parameters))
        if outcome.failure is None:
            return _succeeded(outcome, directory, parameters, geometry)
        return _failed(outcome, directory, parameters, geometry)

    def programs(self, parameters: CrystalParameters) -> Mapping[str, str]:
        """What the task's command begins with: crystal or properties, or what starts it."""
        return {"engine.properties" if parameters.is_properties else "engine.command": parameters.program[0]}

    def outputs(self, parameters: CrystalParameters) -> tuple[str, ...]:
        """What it prints, its wavefunction, what it can go on from, and the results of properties."""
        own = _DATA.get(parameters.task, (*_KEPT, *WAVEFUNCTIONS, *RESTARTS.values()))
        own = (*own, *PROPERTIES_WAVEFUNCTIONS)
        return tuple(dict.fromkeys([*_STREAMS, INPUT, SOURCE, _ERRORS, *own]))

    def load(self) -> None:
        """Nothing: the program brings what it needs."""

    def recognises(self, head: bytes) -> bool:
        """Whether an output that begins so is one of crystal's or properties'."""
        return output.recognises(head)

    def report(self, path: Path) -> Report:
        """What the file says; OSError where it cannot be read."""
        return output.report(path)

    def main_output(self, names: Iterable[str]) -> list[str]:
        """Files that may hold what a run printed, the likeliest first."""
        ranks = {name: _rank(name) for name in names}
        return sorted((name for name, rank in ranks.items() if rank), key=lambda name: (ranks[name], name))


def _rank(name: str) -> int:
    """How likely a file is a run's main output: 1 the most, 0 not at all."""
    plain = name.removesuffix(".gz")
    if plain in _STREAMS:
        return 1 + _STREAMS.index(plain)
    return 3 if plain.endswith((".out", ".log", ".outp")) and plain != "SCFOUT.LOG" else 0


def _output_in(directory: Path) -> Path:
    """The stream that CRYSTAL printed to: under some MPI libraries that is standard error."""
    stdout, stderr = (directory / name for name in _STREAMS)
    is_elsewhere = not output.recognises(read_head(stdout)) and output.recognises(read_head(stderr))
    return stderr if is_elsewhere else stdout


def _without_output(directory: Path, exit: Exit, error: OSError) -> Outcome:  # noqa: A002
    """An attempt whose output cannot be read: its exit may know more than that."""
    outcome = conclude(Report("crystal"), exit, directory)
    if outcome.failure is not FailureClass.TRUNCATED:
        return outcome
    return fail(FailureClass.OUTPUT_MISSING, f"the output cannot be read: {error}")


def _named(report: Report, directory: Path) -> Report:
    """A failure without a name of its own may have one in the file of errors, or in what the MPI library said."""
    if report.failure not in _UNNAMED:
        return report
    for number, line in enumerate(read_tail(directory / _ERRORS).splitlines(), 1):
        if _ERROR.search(line):
            evidence = Evidence(_ERRORS, number, line.strip())
            return msgspec.structs.replace(report, failure=classify_error(line), evidence=evidence)
    exhausted = classify_exhausted(read_tail(directory / "stderr"))
    return report if exhausted is None else msgspec.structs.replace(report, failure=exhausted)


def _succeeded(
    outcome: Outcome, directory: Path, parameters: CrystalParameters, geometry: PrintedGeometry | None
) -> Outcome:
    """The outcome with what a next step starts from, if the run did what it was for."""
    if parameters.is_properties:
        data = _DATA[parameters.task]
        if parameters.task in _WRITES_ALWAYS and not present(directory, data):
            return fail(FailureClass.OUTPUT_MISSING, f"it ended well, but left none of {', '.join(data)}")
        return _unchanged(outcome, directory)
    if parameters.task == "freq" and "frequencies_cm1" not in outcome.properties:
        return fail(FailureClass.OUTPUT_INVALID, "it ended well, but printed no frequencies")
    if parameters.task == "opt" and geometry is None:
        return fail(FailureClass.OUTPUT_INVALID, "it ended well, but its final geometry cannot be read")
    deck = deck_for_next_step(directory, parameters, geometry, outcome.properties)
    checkpoint = present(directory, PROPERTIES_WAVEFUNCTIONS)
    return msgspec.structs.replace(outcome, deck=deck, checkpoint=checkpoint)


def _failed(
    outcome: Outcome, directory: Path, parameters: CrystalParameters, geometry: PrintedGeometry | None
) -> Outcome:
    """The outcome with what another attempt can go on from.

    An interrupted optimisation goes on from its own file, with the deck it began with; one that did not converge begins
    again from its last geometry.
    """
    if parameters.is_properties:
        return _unchanged(outcome, directory)
    restart = RESTARTS.get(parameters.task, "")
    goes_on = outcome.failure is not FailureClass.GEOMETRY_NOT_CONVERGED and bool(restart)
    checkpoint = present(directory, [restart]) if goes_on and parameters.resume else []
    wavefunction = _newest(directory, WAVEFUNCTIONS)
    return msgspec.structs.replace(
        outcome,
        deck=deck_for_retry(directory, None if checkpoint or parameters.task != "opt" else geometry),
        checkpoint=[*wavefunction, *checkpoint],
    )


def _unchanged(outcome: Outcome, directory: Path) -> Outcome:
    """The outcome of properties, with the deck and the wavefunction that it was given: it changes neither."""
    checkpoint = present(directory, PROPERTIES_WAVEFUNCTIONS)
    return msgspec.structs.replace(outcome, deck=deck_for_retry(directory, None), checkpoint=checkpoint)


def _newest(directory: Path, names: Iterable[str]) -> list[str]:
    """The one of `names` that was written last, none where there is none."""
    there = present(directory, names)
    return [max(there, key=lambda name: (directory / name).stat().st_mtime_ns)] if there else []
