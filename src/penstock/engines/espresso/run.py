"""What one run of pw.x has printed so far: the last of everything that counts, and how its SCFs and its steps ended."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple, Self

from penstock.domain.report import Optimization
from penstock.engines.espresso.failures import classify_system
from penstock.engines.espresso.geometry_blocks import BOHR_ANGSTROM, Block, number, printed_geometry
from penstock.engines.marker_scan import Hit


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

_WORK: Final = frozenset(
    {Mark.SCF, Mark.ENERGY, Mark.CONVERGED, Mark.NOT_CONVERGED, Mark.BFGS, Mark.FORCES, Mark.NATOMS, Mark.AXES}
)
"""A run that does any of this after its end did not end."""
_RULE: Final = b"=" + b"-" * 78 + b"="
_BOX: Final = b"%" * 20
_ERROR: Final = re.compile(r"\s*Error in routine\s+(.*?)\s*\(\s*(-?[0-9*]+)\s*\)")
_ERROR_OLD: Final = re.compile(r"\s*from\s+(\S.*?)\s*: error #\s*(-?[0-9*]+)")
_COUNT: Final = re.compile(r"(?:in|after|=)\s*([0-9]+)")
_ENERGY: Final = re.compile(r"=\s*(\S+)\s*Ry")
_AFTER_EQUALS: Final = re.compile(r"=\s*([0-9.,]+)")
_ACCURACY_WORDS: Final = b"estimated scf accuracy"
_ACCURACY: Final = re.compile(r"[<=]\s*(\S+)\s+Ry")
_ACCURACY_NEAR: Final = 400
_FORCES_MAX: Final = 1 << 20


class Place(NamedTuple):
    """A line of the output and the byte it stands at."""

    offset: int
    line: str


class ErrorBox(NamedTuple):
    """An error as pw.x frames it: the routine, the lines of the message as one, the place of its first line."""

    routine: str
    text: str
    place: Place


class Run:
    """One run. Everything is the last that was seen, if not said otherwise."""

    def __init__(self, version: str | None = None) -> None:
        self.version = version
        self.done = False
        self.error: ErrorBox | None = None  # the first
        self.system: Place | None = None  # the first line of others that names a failure
        self.scf_cycles = 0  # the sum over all SCFs
        self.scf: Mark | None = None  # SCF while one runs, then CONVERGED or NOT_CONVERGED
        self.accuracy_missed = False  # the last SCF counts as converged, but is further off than it had to be
        self.forces: list[str] = []
        self.stress: list[str] = []
        self._threshold: float | None = None
        self._places: dict[int, Place] = {}
        self._steps = 0
        self._axes: list[str] = []
        self._next_cell: Block | None = None  # printed, but its positions not yet
        self._cell: Block | None = None
        self._positions: Block | None = None
        self._is_over = False

    def followed_by_another(self) -> Self:
        """Another program's output follows in the file; it is none of pw.x's business."""
        self._is_over = True
        return self

    def see(self, hit: Hit) -> None:
        """Take a marker in."""
        if self._is_over:
            return
        if hit.marker >= len(Mark):
            self._see_others(hit)
            return
        mark = Mark(hit.marker)
        if mark in _WORK:
            self.done = False
        handler = _HANDLERS.get(mark)
        if handler is not None:
            handler(self, hit)
        self._places[mark] = Place(hit.offset, hit.line())

    # ---- what was seen ----

    def place(self, mark: Mark) -> Place | None:
        """Where `mark` was seen last."""
        return self._places.get(mark)

    def line(self, mark: Mark) -> str:
        """The last line with `mark`, empty where there is none."""
        place = self._places.get(mark)
        return place.line if place else ""

    @property
    def natoms(self) -> int | None:
        """How many atoms the cell has."""
        match = _COUNT.search(self.line(Mark.NATOMS))
        return int(match[1]) if match else None

    @property
    def is_optimization(self) -> bool:
        """Whether it moves atoms towards a minimum, rather than not at all or in time."""
        moves = (Mark.BFGS, Mark.STEPS, Mark.DAMPED, Mark.BFGS_CONVERGED, Mark.BFGS_FAILED, Mark.FINAL_ENERGY)
        return Mark.DYNAMICS not in self._places and any(mark in self._places for mark in moves)

    @property
    def moves_converged(self) -> bool:
        """Whether the optimisation says that it converged, and never that it gave up."""
        good = (Mark.BFGS_CONVERGED, Mark.DAMPED_CONVERGED, Mark.CELL_CONVERGED)
        bad = (Mark.BFGS_FAILED, Mark.STEPS_EXHAUSTED)
        return any(mark in self._places for mark in good) and not any(mark in self._places for mark in bad)

    def optimization(self) -> Optimization | None:
        """The optimisation, if it is one; its cycles are the geometries that an SCF was done for."""
        if not self.is_optimization:
            return None
        converged = _COUNT.search(self.line(Mark.BFGS_CONVERGED))
        cycles = int(converged[1]) if converged else self._steps
        final = self.line(Mark.FINAL_ENTHALPY) or self.line(Mark.FINAL_ENERGY)
        return Optimization(self.moves_converged, cycles or None, rydberg_hartree(final or self.energy_line()))

    def energy_line(self) -> str:
        """The line of the final energy: of a hybrid functional that of the outer loop, where it came last."""
        inner, outer = self._places.get(Mark.ENERGY), self._places.get(Mark.ENERGY_EXX)
        places = [place for place in (inner, outer) if place is not None]
        return max(places).line if places else ""

    def geometry(self) -> str | None:
        """The geometry printed last; None where atoms do not move."""
        return printed_geometry(self._positions, self._cell, self._axes, self._alat_bohr(), self.natoms)

    def volume_angstrom3(self) -> float | None:
        """The volume of the last cell."""
        for mark in (Mark.NEW_VOLUME, Mark.VOLUME):
            match = _AFTER_EQUALS.search(self.line(mark))
            if match is not None:
                return _positive(match[1], BOHR_ANGSTROM**3)
        return None

    def _alat_bohr(self) -> float | None:
        match = _AFTER_EQUALS.search(self.line(Mark.CELLDM))
        return _positive(match[1], 1.0) if match else None

    # ---- how markers are taken in ----

    def _see_others(self, hit: Hit) -> None:
        line = hit.line()
        if self.system is None and not self.done and classify_system(line) is not None:
            self.system = Place(hit.offset, line)

    def _see_done(self, hit: Hit) -> None:
        """The end counts only with the rule below it: what is cut off before that is no whole output."""
        self.done = hit.line().strip() == "JOB DONE." and hit.data.find(_RULE, hit.start, hit.start + 200) > 0

    def _see_error(self, hit: Hit) -> None:
        framed = _BOX in hit.data[max(0, hit.start - 160) : hit.start]
        match = (_ERROR if hit.marker == Mark.ERROR else _ERROR_OLD).match(hit.line())
        if match is None or not framed or self.error is not None:
            return
        text: list[str] = []
        for line in hit.lines_after(4096):
            if "%%%%" in line:
                break
            text.append(line.strip())
        said = [line for line in text if line]
        self.done = False
        self.error = ErrorBox(match[1], " ".join(said) or hit.line().strip(), _first_line(hit))

    def _see_scf(self, hit: Hit) -> None:
        self.scf = Mark(hit.marker)
        if hit.marker != Mark.SCF and (match := _COUNT.search(hit.line())):
            self.scf_cycles += int(match[1])

    def _see_energy(self, hit: Hit) -> None:
        """The accuracy stands right below the energy; an SCF that need not converge is said to have done so anyway."""
        near = hit.data[hit.start : hit.start + _ACCURACY_NEAR]
        match = _ACCURACY.search(near[near.find(_ACCURACY_WORDS) :].decode("ascii", "replace"))
        accuracy = _positive(match[1], 1.0) if match else None
        self.accuracy_missed = bool(accuracy and self._threshold and accuracy > 1.01 * self._threshold)

    def _see_threshold(self, hit: Hit) -> None:
        match = re.search(r"=\s*(\S+)", hit.line())
        if match is not None and self._threshold is None:
            self._threshold = _positive(match[1], 1.0)

    def _see_steps(self, hit: Hit) -> None:
        if match := _COUNT.search(hit.line()):
            self._steps = int(match[1])

    def _see_forces(self, hit: Hit) -> None:
        end = hit.data.find(b"Total force", hit.start, hit.start + _FORCES_MAX)
        block = hit.data[hit.start : end if end > 0 else hit.start + _FORCES_MAX].decode("ascii", "replace")
        whole = re.search(r"\n[ \t\r]*\n((?:[ \t]*atom[^\n]*\n)+)", block)
        self.forces = whole[1].splitlines() if whole else []

    def _see_stress(self, hit: Hit) -> None:
        self.stress = _lines(hit, 3)

    def _see_axes(self, hit: Hit) -> None:
        if not self._axes:
            self._axes = _lines(hit, 3)

    def _see_cell(self, hit: Hit) -> None:
        self._next_cell = _block(hit, 3)

    def _see_positions(self, hit: Hit) -> None:
        """Whole positions with the cell above them; a block that is cut short leaves the one before in its place."""
        if (positions := _block(hit, self.natoms or 0)) is not None:
            self._positions, self._cell = positions, self._next_cell


_HANDLERS: Final = {
    Mark.DONE: Run._see_done,
    Mark.ERROR: Run._see_error,
    Mark.ERROR_OLD: Run._see_error,
    Mark.SCF: Run._see_scf,
    Mark.CONVERGED: Run._see_scf,
    Mark.NOT_CONVERGED: Run._see_scf,
    Mark.ENERGY: Run._see_energy,
    Mark.THRESHOLD: Run._see_threshold,
    Mark.STEPS: Run._see_steps,
    Mark.FORCES: Run._see_forces,
    Mark.STRESS: Run._see_stress,
    Mark.AXES: Run._see_axes,
    Mark.CELL: Run._see_cell,
    Mark.POSITIONS: Run._see_positions,
}


def _lines(hit: Hit, count: int) -> list[str]:
    found: list[str] = []
    for line in hit.lines_after():
        found.append(line)
        if len(found) == count:
            break
    return found


def rydberg_hartree(line: str) -> float | None:
    """The energy behind the `=` of a line, in Eh; None where there is none."""
    match = _ENERGY.search(line)
    try:
        return number(match[1]) * 0.5 if match else None
    except ValueError:
        return None


def _positive(text: str, factor: float) -> float | None:
    try:
        value = number(text) * factor
    except ValueError:
        return None
    return value if value > 0 else None


def _block(hit: Hit, count: int) -> Block | None:
    """The card that begins at the marker; None unless all its lines are there."""
    title = hit.line()
    lines = _lines(hit, count)
    if not title.startswith(("CELL_", "ATOMIC_")) or len(lines) < count or not count:
        return None
    return Block(title.partition(" ")[2], lines)


def _first_line(hit: Hit) -> Place:
    """The line below the marker's."""
    line = next(hit.lines_after(4096), "")
    return Place(hit.base + hit.data.find(b"\n", hit.start) + 1, line.strip() or hit.line().strip())
