"""What ORCA, MPI libraries and schedulers print when a run goes wrong, as a table, and which of it is decisive.

An output of a failed run holds several such lines: the reason, then an abort from each process, then what mpirun makes
of it. The lowest rank is the most telling line. Nothing here is looked at for a run that ended well, because ORCA
prints words such as "Error" and "out of memory" in good runs too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from penstock.domain.calculation import FailureClass

_BASIS: Final = FailureClass.BASIS_ERROR
_CRASH: Final = FailureClass.MODULE_CRASH
_DISK: Final = FailureClass.DISK
_GEOMETRY: Final = FailureClass.GEOMETRY_NOT_CONVERGED
_INPUT: Final = FailureClass.INPUT_ERROR
_MEMORY: Final = FailureClass.OUT_OF_MEMORY
_MPI: Final = FailureClass.MPI_ERROR
_MULTIPLICITY: Final = FailureClass.MULTIPLICITY_ERROR
_SCF: Final = FailureClass.SCF_NOT_CONVERGED
_TRUNCATED: Final = FailureClass.TRUNCATED
_WALLTIME: Final = FailureClass.WALLTIME


class Sign(NamedTuple):
    """A text that tells of a failure. `own`: ORCA itself says so, so the run ended by an error and not by a kill.

    `also`: a pattern that the line must hold as well; `fatal`: it spoils a run even if the normal banner follows.
    """

    text: str
    failure: FailureClass
    rank: int
    own: bool = True
    also: str = ""
    fatal: bool = False


class Found(NamedTuple):
    """A sign that was found at byte `offset` of the text, on the line `line`; `after` is the next that is not blank."""

    sign: Sign
    offset: int
    line: str
    after: str = ""


SIGNS: Final = (
    Sign("Error : multiplicity", _MULTIPLICITY, 10),
    Sign("-> impossible", _MULTIPLICITY, 10, also="multiplicity"),
    Sign("There are no ", _BASIS, 12, also="basis functions? on atom"),
    Sign("There is no basis function on atom", _BASIS, 12),
    Sign("Basis not recognized", _BASIS, 12),
    Sign("basis set not found", _BASIS, 12),
    Sign("Unknown basis set", _BASIS, 12),
    Sign("Requested ECP not available", _BASIS, 12),
    Sign("not available for this element", _BASIS, 13),
    Sign("not enough slots available", _MPI, 14, own=False),
    Sign("exceeds number of pairs", _MPI, 14),
    Sign("exceeds the number of", _MPI, 14, also="process|cores"),
    Sign("All nodes which are allocated for this job are already filled", _MPI, 14, own=False),
    Sign("mpirun: command not found", _MPI, 14, own=False),
    Sign("mpirun: not found", _MPI, 14, own=False),
    Sign("not enough memory", _MEMORY, 20),
    Sign("Please increase MaxCore", _MEMORY, 21),
    Sign("ERROR - OUT OF MEMORY", _MEMORY, 20),
    Sign("OUT OF MEMORY", _MEMORY, 22),
    Sign("insufficient memory", _MEMORY, 22, also="error|need|available"),
    Sign("cannot allocate memory", _MEMORY, 22, own=False),
    Sign("memory allocation failed", _MEMORY, 22),
    Sign("std::bad_alloc", _MEMORY, 22, own=False),
    Sign("oom-kill", _MEMORY, 22, own=False),
    Sign("oom_kill", _MEMORY, 22, own=False),
    Sign("OOM Killed", _MEMORY, 22, own=False),
    Sign("exceeded memory limit", _MEMORY, 22, own=False),
    Sign("exceeded job memory limit", _MEMORY, 22, own=False),
    Sign("No space left on device", _DISK, 16, own=False),
    Sign("Disk quota exceeded", _DISK, 16, own=False),
    Sign("not enough disk space", _DISK, 16),
    Sign("disk is full", _DISK, 16),
    Sign("UNRECOGNIZED OR DUPLICATED KEYWORD", _INPUT, 26),
    Sign("Unknown identifier in", _INPUT, 26),
    Sign("Unrecognized symbol in", _INPUT, 26),
    Sign("'END' was expected", _INPUT, 26),
    Sign("ERROR: expect a", _INPUT, 26),
    Sign("could not read ctyp", _INPUT, 26),
    Sign("found a coordinate defin", _INPUT, 26),
    Sign("dummy atom or point charge expected", _INPUT, 26),
    Sign("CANNOT OPEN FILE", _INPUT, 26),
    Sign("XYZ File reading requested", _INPUT, 26),
    Sign("non-ASCII character", _INPUT, 26),
    Sign("called with full pathname", _INPUT, 26),
    Sign("check syntax!", _INPUT, 26),
    Sign("HF exchange must be handled somehow", _INPUT, 26),
    Sign("Invalid or unknown value for", _INPUT, 26),
    Sign("Zero distance ", _INPUT, 26),
    Sign("INPUT ERROR", _INPUT, 28),
    Sign("DUE TO TIME LIMIT", _WALLTIME, 30, own=False),
    Sign("job killed: walltime", _WALLTIME, 30, own=False),
    Sign("TERM_RUNLIMIT", _WALLTIME, 30, own=False),
    Sign("exception type=timeout", _WALLTIME, 30, own=False),
    Sign("exceeded its walltime", _WALLTIME, 30, own=False),
    Sign("not fully converged!", _SCF, 40, also="FINAL SINGLE POINT ENERGY|[Ww]avefunction|SCF", fatal=True),
    Sign("SCF NOT CONVERGED AFTER", _SCF, 40, fatal=True),
    Sign("iterations have NOT converged", _SCF, 41, also="CCSD|CEPA|CPF|QCI|Coupled|MDCI|CI iter", fatal=True),
    Sign("SCF has not converged", _SCF, 41, fatal=True),
    Sign("SERIOUS PROBLEM IN SOSCF", _SCF, 41, fatal=True),
    Sign("(ORCA_CASSCF): Convergence Failure", _SCF, 41, fatal=True),
    Sign("TD-DFT did not converge", _SCF, 41, fatal=True),
    Sign("IS NOT FULLY CONVERGED", _SCF, 42, fatal=True),
    Sign("wavefunction IS NOT CONVERGED", _SCF, 42, fatal=True),
    Sign("The optimization did not converge but reached", _GEOMETRY, 45),
    Sign("OPTIMIZATION DID NOT CONVERGE", _GEOMETRY, 45),
    Sign("MPI_ABORT was invoked", _MPI, 60, own=False),
    Sign("An error occurred in MPI_", _MPI, 60, own=False),
    Sign("application called MPI_Abort", _MPI, 60, own=False),
    Sign("mpirun was unable to", _MPI, 60, own=False),
    Sign("PMIX ERROR", _MPI, 62, own=False),
    Sign("ORTE_ERROR_LOG", _MPI, 62, own=False),
    Sign("ORTE has lost communication", _MPI, 60, own=False),
    Sign("PRTE has lost communication", _MPI, 60, own=False),
    Sign("ORCA finished by error termination", _CRASH, 70, fatal=True),
    Sign("ORCA finished with error return", _CRASH, 71, fatal=True),
    Sign("An error has occured in the", _CRASH, 71),
    Sign("corrupt or from a different ORCA version", _CRASH, 65),
    Sign("Diagonalization failure", _CRASH, 68),
    Sign("FATAL ERROR ENCOUNTERED", _CRASH, 72),
    Sign("exited on signal", _CRASH, 73, own=False),
    Sign("Segmentation fault", _CRASH, 74, own=False),
    Sign("LEAVING ORCA", _CRASH, 79),
    Sign("aborting the run", _CRASH, 80),
    Sign("aborting calculation", _CRASH, 80),
    Sign(" CANCELLED AT ", _TRUNCATED, 90, own=False),
)

_BENIGN: Final = re.compile(r"warning|according to maxcore|may lead to|will continue|falling back", re.IGNORECASE)
_SCHEDULER_FIRST: Final = 5


def spellings(sign: Sign) -> set[bytes]:
    """The text as ORCA's modules spell it: versions differ in upper and lower case, not in words."""
    text = sign.text
    forms = (text, text.lower(), text.upper(), text.capitalize(), text.title(), text[:1].upper() + text[1:])
    return {form.encode() for form in forms}


def confirms(sign: Sign, line: str) -> bool:
    """Whether `line` really tells of the failure."""
    if sign.failure is _MEMORY and _BENIGN.search(line):
        return False
    return re.search(sign.also, line, re.IGNORECASE) is not None


def most_telling(found: Iterable[Found]) -> Found | None:
    """The one that names the reason best. A scheduler's word comes first where ORCA itself says nothing."""
    signs = list(found)
    ended_itself = any(one.sign.own for one in signs)

    def rank(one: Found) -> tuple[int, int]:
        is_first = one.sign.failure is _WALLTIME and not ended_itself
        return (_SCHEDULER_FIRST if is_first else one.sign.rank, one.offset)

    return min(signs, key=rank, default=None)


def explain(found: Found, signs: Iterable[Found], optimisation_cycles: int | None) -> str | None:
    """What the decisive line alone would not tell."""
    failure, line = found.sign.failure, found.line.strip()
    if failure is _MEMORY and (asked := _amount_asked(signs)):
        return None if asked == line else f"{line}; {asked}"
    if failure is _INPUT and found.after and ("KEYWORD" in line.upper() or line.upper() == "INPUT ERROR"):
        return f"{line}: {found.after}"
    if failure is _SCF and any("iterations" in one.sign.text for one in signs):
        return "the coupled-cluster iterations did not converge"
    if failure is _GEOMETRY and optimisation_cycles is not None:
        return f"the optimisation did not converge in {optimisation_cycles} cycles"
    return None


def _amount_asked(signs: Iterable[Found]) -> str:
    """ORCA's own line about how much more memory it wants."""
    lines = [one.line.strip(" =>") for one in signs if "maxcore" in one.sign.text.lower()]
    return lines[0] if lines else ""
