"""What an error message of pw.x means: its routine and text, or a system's words around it, to a failure class."""

from __future__ import annotations

import re
from typing import Final

from penstock.domain.calculation import FailureClass

_ROUTINES: Final = (
    (r"read_namelists|read_cards|card_\w+|iosys|input|check_\w*namelist|\w+_checkin|cell_base\w*", "input_error"),
    (r"readpp|read_pseudo\w*|read_ps\w*|read_upf\w*|upf_\w+|setup_?upf\w*|readrrkj|readvan|readnewvan", "basis_error"),
    (r"bfgs|lin_min|terminate_bfgs", "geometry_not_converged"),
)
_TEXTS: Final = (
    (r"cannot allocate|allocation would exceed|insufficient (?:virtual )?memory|out of memory", "out_of_memory"),
    (r"s matrix not positive definite|vectors are linear dependent", "linear_dependence"),
    (r"no space left|disk quota|error (?:while )?writing|cannot write", "disk"),
    (
        r"nodes have no|no plane\w* |no k-points|no g-vectors|too many (?:proc|pools)|invalid number of pools",
        "mpi_error",
    ),
    (r"tot_magnetization|bad spin|multiplicity", "multiplicity_error"),
    (r"(?:pseudo\w*|psp?|\.upf\S*) .*not found|pseudopotential", "basis_error"),
    (r"charge is wrong|smearing is needed|specify occupations|inconsistent dft", "input_error"),
    (r"fixed occupations|atoms? .*overlap|too few bands|not implemented", "input_error"),
)
_SYSTEM: Final = (
    (
        r"out of memory|oom[-_ ]?kill|cannot allocate|bad_alloc|insufficient virtual memory|allocation would exceed",
        "out_of_memory",
    ),
    (r"no space left on device|disk quota exceeded", "disk"),
    (r"due to time limit", "walltime"),
    (r"not enough slots|mpi_abort|mpi_init|pmix|orte_init", "mpi_error"),
    (r"fortran runtime error|forrtl: severe|sigsegv|sigill|sigfpe|sigbus|segmentation fault", "module_crash"),
)


def classify_error(routine: str, text: str) -> FailureClass:
    """The class of an error box of pw.x; MODULE_CRASH where it has no better name. What the text says goes first."""
    for pattern, name in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE):
            return FailureClass(name)
    for pattern, name in _ROUTINES:
        if re.fullmatch(pattern, routine.strip(), re.IGNORECASE):
            return FailureClass(name)
    return FailureClass.MODULE_CRASH


def classify_system(line: str) -> FailureClass | None:
    """The class of a line that a scheduler, MPI or a Fortran runtime printed; None where it tells nothing."""
    for pattern, name in _SYSTEM:
        if re.search(pattern, line, re.IGNORECASE):
            return FailureClass(name)
    return None
