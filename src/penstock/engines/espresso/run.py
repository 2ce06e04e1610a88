"""What one run of pw.x has printed so far: the last of everything that counts, and how its SCFs and its steps ended."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from penstock.domain.report import Optimization
from penstock.engines.espresso.failures import classify_system
from penstock.engines.espresso.geometry_blocks import BOHR_ANGSTROM, Block, number, printed_geometry
from penstock.engines.espresso.marks import Mark
from penstock.engines.marker_scan import Hit

_WORK: Final = frozenset(
    {Mark.SCF, Mark.ENERGY, Mark.CONVERGED, Mark.NOT_CONVERGED, Mark.BFGS, Mark.FORCES, Mark.NATOMS, Mark.AXES}
)
"""A run that does any of this after its end did not end."""
_MARKS: Final = tuple(Mark)
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
        self.initial_stress: list[str] = []  # of the geometry that the run was given
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
            self._take_others(hit)
            return
        mark = _MARKS[hit.marker]
        if mark in _WORK:
            self.done = False
        if (handler := _HANDLERS.get(mark)) is not None:
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
        moves = (
            Mark.BFGS,
            Mark.BFGS_ENDED,
            Mark.STEPS,
            Mark.DAMPED,
            Mark.BFGS_CONVERGED,
            Mark.BFGS_FAILED,
            Mark.FINAL_ENERGY,
        )
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

    def _take_others(self, hit: Hit) -> None:
        line = hit.line()
        if self.system is None and not self.done and classify_system(line) is not None:
            self.system = Place(hit.offset, line)

    def take_done(self, hit: Hit) -> None:
        """The end counts only with the rule below it: what is cut off before that is no whole output."""
        self.done = hit.line().strip() == "JOB DONE." and hit.data.find(_RULE, hit.start, hit.start + 200) > 0

    def take_error(self, hit: Hit) -> None:
        """The first error box; the words outside of a box are no error."""
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

    def take_scf(self, hit: Hit) -> None:
        """How the SCF stands, and how many cycles it took."""
        self.scf = Mark(hit.marker)
        if hit.marker != Mark.SCF and (match := _COUNT.search(hit.line())):
            self.scf_cycles += int(match[1])

    def take_energy(self, hit: Hit) -> None:
        """The accuracy stands right below the energy; an SCF that need not converge is said to have done so anyway."""
        near = hit.data[hit.start : hit.start + _ACCURACY_NEAR]
        match = _ACCURACY.search(near[near.find(_ACCURACY_WORDS) :].decode("ascii", "replace"))
        accuracy = _positive(match[1], 1.0) if match else None
        self.accuracy_missed = bool(accuracy and self._threshold and accuracy > 1.01 * self._threshold)

    def take_threshold(self, hit: Hit) -> None:
        """What the SCF is to converge to, in Ry; a relaxation only makes it tighter."""
        match = re.search(r"=\s*(\S+)", hit.line())
        if match is not None and self._threshold is None:
            self._threshold = _positive(match[1], 1.0)

    def take_steps(self, hit: Hit) -> None:
        """How many geometries there were."""
        if match := _COUNT.search(hit.line()):
            self._steps = int(match[1])

    def take_forces(self, hit: Hit) -> None:
        """The lines of the atoms, as far as they are all there."""
        end = hit.data.find(b"Total force", hit.start, hit.start + _FORCES_MAX)
        block = hit.data[hit.start : end if end > 0 else hit.start + _FORCES_MAX].decode("ascii", "replace")
        whole = re.search(r"\n[ \t\r]*\n((?:[ \t]*atom[^\n]*\n)+)", block)
        self.forces = whole[1].splitlines() if whole else []

    def take_stress(self, hit: Hit) -> None:
        """The three rows of the tensor; before any position was printed they are of the geometry it began with."""
        self.stress = _lines(hit, 3)
        if self._positions is None and not self.initial_stress:
            self.initial_stress = self.stress

    def take_axes(self, hit: Hit) -> None:
        """The cell vectors of the beginning."""
        if not self._axes:
            self._axes = _lines(hit, 3)

    def take_cell(self, hit: Hit) -> None:
        """A cell; it counts once its positions follow."""
        self._next_cell = _block(hit, 3)

    def take_positions(self, hit: Hit) -> None:
        """Whole positions with the cell above them; a block that is cut short leaves the one before in its place."""
        if (positions := _block(hit, self.natoms or 0)) is not None:
            self._positions, self._cell = positions, self._next_cell


_HANDLERS: Final = {
    Mark.DONE: Run.take_done,
    Mark.ERROR: Run.take_error,
    Mark.ERROR_OLD: Run.take_error,
    Mark.SCF: Run.take_scf,
    Mark.CONVERGED: Run.take_scf,
    Mark.NOT_CONVERGED: Run.take_scf,
    Mark.ENERGY: Run.take_energy,
    Mark.THRESHOLD: Run.take_threshold,
    Mark.STEPS: Run.take_steps,
    Mark.FORCES: Run.take_forces,
    Mark.STRESS: Run.take_stress,
    Mark.AXES: Run.take_axes,
    Mark.CELL: Run.take_cell,
    Mark.POSITIONS: Run.take_positions,
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
