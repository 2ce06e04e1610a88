"""How a run of pw.x ended, from what it printed: well, or with which failure, and on which line that rests."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from penstock.domain.calculation import Evidence, FailureClass
from penstock.engines.espresso.failures import classify_error, classify_system
from penstock.engines.espresso.marks import Mark
from penstock.engines.espresso.run import Place, Run, rydberg_hartree
from penstock.engines.marker_scan import line_number

_ABSURD_PER_ATOM: Final = 1.0e5
"""Eh. No atom, all electrons counted, is as deep as a tenth of it up to mercury; what has blown up is far beyond."""


class Verdict(NamedTuple):
    """`failure` is None for a good run. `converged` is None where nothing had to converge, or it is not said."""

    failure: FailureClass | None
    converged: bool | None
    evidence: Evidence | None = None
    message: str | None = None


class _Reason(NamedTuple):
    failure: FailureClass
    place: Place | None
    message: str | None = None


def judge(run: Run, path: Path) -> Verdict:
    """The verdict on the last run in the file at `path`."""
    reason = _reason(run)
    if reason is None:
        return Verdict(None, None if run.scf is None else True)
    place = reason.place
    evidence = Evidence(path.name, line_number(path, place.offset), place.line.strip()) if place else None
    return Verdict(reason.failure, _converged(run), evidence, reason.message)


def _reason(run: Run) -> _Reason | None:
    """The first thing that went wrong; None for a good run."""
    if run.error is not None:
        routine, text, place = run.error
        return _Reason(classify_error(routine, text), place, f"{routine}: {text}")
    return _blown_up(run) or _stopped(run) or (_unconverged(run) if run.done else _cut_off(run))


def _blown_up(run: Run) -> _Reason | None:
    place = run.place(Mark.ABSURD)
    if place is not None:
        return _Reason(FailureClass.BLOWN_UP, place, "an energy is not a number")
    line = run.energy_line()
    energy = rydberg_hartree(line)
    place = run.place(Mark.ENERGY_EXX) if line == run.line(Mark.ENERGY_EXX) else run.place(Mark.ENERGY)
    if "**" in line:
        return _Reason(FailureClass.BLOWN_UP, place, "the energy does not fit its field")
    if energy is not None and abs(energy) > _ABSURD_PER_ATOM * (run.natoms or 1):
        return _Reason(FailureClass.BLOWN_UP, place, f"an energy of {energy:g} Eh is absurd")
    return None


def _stopped(run: Run) -> _Reason | None:
    """What pw.x does when it is told to stop: it ends with its normal banner, and goes on from there another time."""
    for mark, message in (
        (Mark.CPU_TIME, "stopped itself at max_seconds"),
        (Mark.STOPPED, "stopped by user request (an EXIT file)"),
        (Mark.SIGNAL, "stopped by a signal"),
    ):
        if (place := run.place(mark)) is not None:
            return _Reason(FailureClass.WALLTIME, place, message)
    return None


def _unconverged(run: Run) -> _Reason | None:
    """What is wrong with a run that ended with its banner."""
    place = run.place(Mark.EXX_NOT_CONVERGED)
    if place is not None:
        return _Reason(FailureClass.SCF_NOT_CONVERGED, place, place.line.strip())
    if run.scf is not None and (reason := _scf_failure(run)) is not None:
        return reason
    if run.is_optimization and not run.moves_converged:
        for mark in (Mark.BFGS_FAILED, Mark.STEPS_EXHAUSTED):
            if (place := run.place(mark)) is not None:
                return _Reason(FailureClass.GEOMETRY_NOT_CONVERGED, place, place.line.strip())
        place = run.place(Mark.STEPS) or run.place(Mark.BFGS)
        return _Reason(FailureClass.GEOMETRY_NOT_CONVERGED, place, "it ended before its geometry converged")
    if run.scf is None and run.place(Mark.BANDS) is None:
        message = "ended before it calculated anything, as max_seconds or an EXIT file make it"
        return _Reason(FailureClass.WALLTIME, run.place(Mark.DONE), message)
    return None


def _scf_failure(run: Run) -> _Reason | None:
    if run.scf is Mark.NOT_CONVERGED:
        place = run.place(Mark.NOT_CONVERGED)
        return _Reason(FailureClass.SCF_NOT_CONVERGED, place, place.line.strip() if place else None)
    if run.scf is Mark.SCF:
        return _Reason(FailureClass.SCF_NOT_CONVERGED, run.place(Mark.SCF), "it ended before its SCF converged")
    if run.accuracy_missed:
        message = "the SCF is further off than conv_thr, though it was let pass (scf_must_converge)"
        return _Reason(FailureClass.SCF_NOT_CONVERGED, run.place(Mark.ENERGY), message)
    if not run.energy_line():
        return _Reason(FailureClass.TRUNCATED, run.place(Mark.CONVERGED), "no total energy was printed")
    return None


def _cut_off(run: Run) -> _Reason:
    """What ended a run that did not come to its banner."""
    if run.system is not None:
        failure = classify_system(run.system.line) or FailureClass.TRUNCATED
        return _Reason(failure, run.system, run.system.line.strip())
    if run.scf is Mark.NOT_CONVERGED:
        place = run.place(Mark.NOT_CONVERGED)
        return _Reason(FailureClass.SCF_NOT_CONVERGED, place, place.line.strip() if place else None)
    return _Reason(FailureClass.TRUNCATED, None)


def _converged(run: Run) -> bool | None:
    """Of a failed run: False where what it came to says so, None where it was ended before that."""
    if run.scf is Mark.NOT_CONVERGED or run.accuracy_missed or run.place(Mark.EXX_NOT_CONVERGED):
        return False
    if run.is_optimization:
        return False if run.done else None
    return True if run.scf is Mark.CONVERGED else None
