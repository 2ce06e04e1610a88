"""The markers that an output of pw.x is searched for, and what is printed around it by others."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Mark(IntEnum):
    """The markers, by their place in `MARKERS`."""

    PROGRAM = 0
    DONE = 1
    ERROR = 2
    ERROR_OLD = 3
    SCF = 4
    CONVERGED = 5
    NOT_CONVERGED = 6
    ENERGY = 7
    ENERGY_EXX = 8
    THRESHOLD = 9
    FORCES = 10
    STRESS = 11
    FERMI = 12
    LEVELS = 13
    TOTAL_MAGNETIZATION = 14
    ABSOLUTE_MAGNETIZATION = 15
    SMEARING = 16
    BFGS = 17
    STEPS = 18
    BFGS_CONVERGED = 19
    BFGS_FAILED = 20
    STEPS_EXHAUSTED = 21
    DAMPED = 22
    DAMPED_CONVERGED = 23
    CELL_CONVERGED = 24
    DYNAMICS = 25
    FINAL_ENERGY = 26
    FINAL_ENTHALPY = 27
    CPU_TIME = 28
    STOPPED = 29
    SIGNAL = 30
    BANDS = 31
    CELL = 32
    POSITIONS = 33
    NATOMS = 34
    CELLDM = 35
    AXES = 36
    VOLUME = 37
    NEW_VOLUME = 38
    CLOCK = 39
    SERIAL = 40
    PROCESSORS = 41
    PROCESSORS_OLD = 42
    ABSURD = 43
    EXX_NOT_CONVERGED = 44
    BFGS_ENDED = 45


_NAMED: Final = {
    Mark.PROGRAM: b"     Program ",
    Mark.DONE: b"JOB DONE.",
    Mark.ERROR: b"Error in routine",
    Mark.ERROR_OLD: b" : error #",
    Mark.SCF: b"Self-consistent Calculation",
    Mark.CONVERGED: b"     convergence has been achieved in",
    Mark.NOT_CONVERGED: b"     convergence NOT achieved after",
    Mark.ENERGY: b"!    total energy ",
    Mark.ENERGY_EXX: b"!!   total energy ",
    Mark.THRESHOLD: b"convergence threshold ",
    Mark.FORCES: b"Forces acting on atoms",
    Mark.STRESS: b"total   stress  (",
    Mark.FERMI: b"the Fermi energy is",
    Mark.LEVELS: b"highest occupied",
    Mark.TOTAL_MAGNETIZATION: b"total magnetization ",
    Mark.ABSOLUTE_MAGNETIZATION: b"absolute magnetization ",
    Mark.SMEARING: b"smearing contrib. (-TS)",
    Mark.BFGS: b"     BFGS Geometry Optimization",
    Mark.STEPS: b"number of scf cycles ",
    Mark.BFGS_CONVERGED: b"bfgs converged in",
    Mark.BFGS_FAILED: b"bfgs failed after",
    Mark.STEPS_EXHAUSTED: b"The maximum number of steps has been reached",
    Mark.DAMPED: b"Damped ",
    Mark.DYNAMICS: b"Molecular Dynamics Calculation",
    Mark.FINAL_ENERGY: b"     Final energy ",
    Mark.FINAL_ENTHALPY: b"     Final enthalpy ",
    Mark.CPU_TIME: b"Maximum CPU time exceeded",
    Mark.STOPPED: b"     Program stopped by user request",
    Mark.BANDS: b"End of band structure calculation",
    Mark.CELL: b"CELL_PARAMETERS (",
    Mark.POSITIONS: b"ATOMIC_POSITIONS (",
    Mark.NATOMS: b"number of atoms/cell ",
    Mark.CELLDM: b"celldm(1)=",
    Mark.AXES: b"     crystal axes:",
    Mark.VOLUME: b"unit-cell volume ",
    Mark.NEW_VOLUME: b"new unit-cell volume ",
    Mark.CLOCK: b"     PWSCF        :",
    Mark.SERIAL: b"     Serial version",
    Mark.PROCESSORS: b"version (MPI",
    Mark.PROCESSORS_OLD: b"Number of processors in use:",
    Mark.ABSURD: b"NaN Ry",
    Mark.SIGNAL: b"Signal Received, stopping",
    Mark.DAMPED_CONVERGED: b"Damped Dynamics: convergence achieved",
    Mark.CELL_CONVERGED: b"     convergence achieved, Efinal=",
    Mark.EXX_NOT_CONVERGED: b"EXX convergence NOT achieved",
    Mark.BFGS_ENDED: b"End of BFGS Geometry Optimization",
}
# What others print around pw.x: a scheduler, an MPI library, the kernel, a Fortran runtime.
_OTHERS: Final = (
    b"No space left on device",
    b"isk quota exceeded",
    b"annot allocate memory",
    b"ut of memory",
    b"oom-kill",
    b"oom_kill",
    b"OOM Kill",
    b"bad_alloc",
    b"nsufficient virtual memory",
    b"Allocation would exceed memory limit",
    b"DUE TO TIME LIMIT",
    b"ot enough slots",
    b"MPI_ABORT",
    b"MPI_Abort",
    b"MPI_INIT",
    b"Fortran runtime error",
    b"forrtl: severe",
    b"SIGSEGV",
    b"SIGBUS",
    b"SIGILL",
    b"SIGFPE",
    b"egmentation fault",
)
MARKERS: Final = (*(_NAMED[mark] for mark in Mark), *_OTHERS)
