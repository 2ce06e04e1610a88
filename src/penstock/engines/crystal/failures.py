"""Why a run of CRYSTAL failed: from the lines it printed to a class, with the line it rests on."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from penstock.domain.calculation import FailureClass
from penstock.engines.crystal.printed_run import Line, PrintedRun

_SCF: Final = FailureClass.SCF_NOT_CONVERGED
_GEOMETRY: Final = FailureClass.GEOMETRY_NOT_CONVERGED

# What CRYSTAL writes after ERROR **** routine ****; the first pattern that is found names the class.
_BY_TEXT: Final[tuple[tuple[str, FailureClass], ...]] = (
    (r"shrink", FailureClass.INPUT_ERROR),
    (r"guessp|optinfo|freqinfo|restart", FailureClass.INPUT_ERROR),
    (r"linear(ly)? depend|\bcholsk\b|\brholsk\b|cholesky", FailureClass.LINEAR_DEPENDENCE),
    (r"scf failed|too many cycles|fermi energy not in interval|scf.*not.*converge", _SCF),
    (r"geometry optimi[sz]ation failed|geometry.*collapsed|opt.*not.*converge", _GEOMETRY),
    (r"memory|allocat", FailureClass.OUT_OF_MEMORY),
    (r"no space|quota|error during write|writing|disk", FailureClass.DISK),
    (r"spinlock|multiplicity|spin.*(odd|even)", FailureClass.MULTIPLICITY_ERROR),
    (r"wave ?function.*not.*found|fort\.(9|20|98)", FailureClass.INPUT_ERROR),
    (r"basis|not neutral|\becp\b|pseudo-?potential|shell", FailureClass.BASIS_ERROR),
    (r"mpi|processors|too many proc", FailureClass.MPI_ERROR),
    (r"input|keyword|directive|format|end of (data|file)|unknown|wrong|inconsistent", FailureClass.INPUT_ERROR),
    (r"not (found|allowed|available)|incompatib|missing|neighb|smalldist", FailureClass.INPUT_ERROR),
    (r"symmetry|space group|g-vectors", FailureClass.INPUT_ERROR),
)
_BY_EVENT: Final = {
    "memory": FailureClass.OUT_OF_MEMORY,
    "walltime": FailureClass.WALLTIME,
    "disk": FailureClass.DISK,
    "input": FailureClass.INPUT_ERROR,
    "linear dependence": FailureClass.LINEAR_DEPENDENCE,
    "crash": FailureClass.MODULE_CRASH,
    "mpi": FailureClass.MPI_ERROR,
    "bad termination": FailureClass.MODULE_CRASH,
    "terminated": FailureClass.TRUNCATED,
}
"""In the order in which one explains another: a full disk makes the program crash, a crash makes MPI abort."""
_PROGRAM: Final = frozenset({"input", "linear dependence", "crash", "mpi", "bad termination"})


class Failure(NamedTuple):
    """Why it failed, where that stands, and in words where the line alone would not tell."""

    kind: FailureClass
    line: Line | None = None
    message: str | None = None


def classify_error(text: str) -> FailureClass:
    """The class of an `ERROR **** routine **** text` of CRYSTAL."""
    return next(
        (kind for pattern, kind in _BY_TEXT if re.search(pattern, text, re.IGNORECASE)), FailureClass.MODULE_CRASH
    )


def find_failure(run: PrintedRun) -> Failure | None:
    """Why the run failed; None if it ended well, or at least says nothing else."""
    return _from_errors(run) or _from_events(run) or _from_silence(run) or _from_convergence(run)


def is_error_end(run: PrintedRun) -> bool:
    """Whether the program, or the MPI library for it, said that it stopped in error."""
    return bool(run.errors) or run.stopped is not None or any(name in _PROGRAM for name, _ in run.events)


def scf_failed(run: PrintedRun) -> bool:
    """Whether the last SCF that is printed ended without convergence."""
    return run.scf is not None and "CONVERGENCE ON" not in run.scf.text


def _from_errors(run: PrintedRun) -> Failure | None:
    """The first error with a name of its own, else the first."""
    named = [(classify_error(line.text), line) for line in run.errors]
    if not named:
        return None
    kind, line = next((pair for pair in named if pair[0] is not FailureClass.MODULE_CRASH), named[0])
    return Failure(kind, line)


def _from_events(run: PrintedRun) -> Failure | None:
    if run.ended is not None:
        return None
    seen = dict(run.events)
    name = next((name for name in _BY_EVENT if name in seen), None)
    return Failure(_BY_EVENT[name], seen[name]) if name else None


def _from_silence(run: PrintedRun) -> Failure | None:
    if run.stopped is not None:
        return Failure(FailureClass.MODULE_CRASH, run.stopped, "stopped in error without saying which")
    return Failure(FailureClass.TRUNCATED) if run.ended is None else None


def _from_convergence(run: PrintedRun) -> Failure | None:
    """A run that ended by its normal banner without having reached what it was for."""
    if scf_failed(run):
        return Failure(_SCF, run.scf)
    if run.optimization_end is not None:
        is_converged = "- CONVERGED" in run.optimization_end.text
        return None if is_converged else Failure(_GEOMETRY, run.optimization_end)
    if run.unsatisfied is not None:
        return Failure(_GEOMETRY, run.unsatisfied)
    if run.optimization is not None:
        return Failure(_GEOMETRY, run.optimization, "the optimisation began, but its end is not told")
    if run.scf_start is not None and run.scf is None:
        return Failure(_SCF, run.scf_start, "an SCF began, but its end is not told")
    return None
