"""One pass over an output of CRYSTAL: the lines that matter of its last run.

Nothing is parsed here; of each kind of line the last one is kept (of errors the first few). A run begins at its banner:
where several are in one file, only the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from penstock.engines.marker_scan import Hit, MarkerScan

_TERMINATION: Final = re.compile(r" *E{10} TERMINATION +DATE\b")
_WHOLE: Final = re.compile(r".* DATE +\d{2} +\d{2} +\d{4} +TIME +\d{2}:\d{2}:\d{2}[.,]\d *")
_STARTING: Final = re.compile(r" *E{10} STARTING +DATE ")
_BANNER: Final = re.compile(r"\* +CRYSTAL(\d\d) .*\*")
_CORES: Final = re.compile(r"PROCESS +\d+ +OF +(\d+) +WORKING|(\d+) PROCESSORS WORKING")
_NODE: Final = re.compile(r"NODE +(\d+) +CPU TIME =")
_ERROR: Final = re.compile(r" *ERROR \*{4}")
_ERRORS_MAX: Final = 20


@dataclass(slots=True)
class Line:
    """A line that was found: where it begins in the text (some byte of it), and its text."""

    offset: int
    text: str


@dataclass(slots=True)
class PrintedRun:
    """What the last run in a file printed. `None`, 0 and empty: it was not there."""

    cores: int | None = None
    version: str | None = None
    release: str | None = None
    started: Line | None = None
    ended: Line | None = None
    stopped: Line | None = None  # the time table's own word for an end in error
    scf_start: Line | None = None
    scf: Line | None = None
    scf_cycles: int = 0
    scf_count: int = 0
    energy: Line | None = None
    is_central: bool = False  # what follows are energies of displaced atoms
    optimization: Line | None = None  # that it began, or its last point
    optimization_end: Line | None = None
    unsatisfied: Line | None = None
    gap: Line | None = None
    fermi: Line | None = None
    gradient: Line | None = None
    forces: Hit | None = None
    is_forces_last: bool = False  # whether `forces` are those of the last point
    elapsed: Line | None = None
    orbitals: Line | None = None
    electrons: Line | None = None
    dimensionality: Line | None = None
    lattice: Hit | None = None
    geometries: list[tuple[Hit | None, Hit]] = field(default_factory=list)  # the last two: lattice, atoms
    modes: Hit | None = None
    zero_point: Line | None = None
    wavefunction_energy: Line | None = None
    warnings: int = 0
    errors: list[Line] = field(default_factory=list)
    events: list[tuple[str, Line]] = field(default_factory=list)  # what the system or the MPI library said

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected of it: a banner that follows is another run's."""
        return self.ended is not None or self.stopped is not None or bool(self.errors)


Handler = Callable[[PrintedRun, Hit], None]


def scan_run(path: Path) -> PrintedRun:
    """The last run in `path`, an empty one where there is none; OSError where it cannot be read."""
    run = PrintedRun()
    for hit in _SCAN.hits(path):
        if hit.marker in _BEGINS:
            run = _begin(run, hit)
        else:
            _HANDLERS[hit.marker](run, hit)
    return run


def _begin(run: PrintedRun, hit: Hit) -> PrintedRun:
    """A line of a run's beginning: the next run's, where it cannot be this one's any more."""
    text = hit.line()
    if match := _CORES.search(text):
        run = PrintedRun() if run.is_over else run
        run.cores = int(match[1] or match[2])
    elif match := _BANNER.search(text):
        run = PrintedRun(run.cores) if run.is_over or run.version or run.started else run
        run.version = match[1]
        run.events.clear()
    elif _STARTING.match(text):
        run = PrintedRun(run.cores) if run.is_over or run.started else run
        run.started = Line(hit.offset, text)
    elif run.is_over and text.strip(" *") == "":
        run = PrintedRun()  # the frame of a banner that is cut short
    return run


def _line(name: str) -> Handler:
    """A handler that keeps the last such line under `name`."""

    def keep(run: PrintedRun, hit: Hit) -> None:
        setattr(run, name, Line(hit.offset, hit.line()))

    return keep


def _event(name: str) -> Handler:
    """A handler for what is printed around the program: kept in order, the first of each kind."""

    def keep(run: PrintedRun, hit: Hit) -> None:
        if run.ended is None and all(known != name for known, _ in run.events):
            run.events.append((name, Line(hit.offset, hit.line())))

    return keep


def _release(run: PrintedRun, hit: Hit) -> None:
    match = re.search(r"public : ([\w.]+)", hit.line())
    if match and run.started is None:
        run.release = match[1]


def _end(run: PrintedRun, hit: Hit) -> None:
    text = hit.line()
    is_whole = hit.data.find(b"\n", hit.start) >= 0 or _WHOLE.fullmatch(text)
    if _TERMINATION.match(text) and is_whole and not _is_title(hit):
        run.ended = Line(hit.offset, text)


def _error(run: PrintedRun, hit: Hit) -> None:
    text = hit.line()
    if _ERROR.match(text) and len(run.errors) < _ERRORS_MAX and not _is_title(hit):
        run.errors.append(Line(hit.offset, text))


def _is_title(hit: Hit) -> bool:
    """Whether the line is the deck's title, which may say anything: it stands below the start and above a header."""
    begin = hit.data.rfind(b"\n", 0, hit.start) + 1
    above = hit.data[hit.data.rfind(b"\n", 0, max(0, begin - 1)) + 1 : begin]
    below = next(iter(hit.lines_after(1024)), "")
    return b"EEEEEEEEEE STARTING" in above or below.startswith(" CRYSTAL - ")


def _scf(run: PrintedRun, hit: Hit) -> None:
    if _is_title(hit):
        return
    text = hit.line()
    run.scf = Line(hit.offset, text)
    cycles = re.search(r"CYCLES +(\d{1,9})", text)
    run.scf_cycles += int(cycles[1]) if cycles else 0
    run.scf_count += cycles is not None
    _energy(run, hit)


def _energy(run: PrintedRun, hit: Hit) -> None:
    if not run.is_central:
        run.energy = Line(hit.offset, hit.line())


def _central(run: PrintedRun, hit: Hit) -> None:
    """The undisplaced geometry in a table of displaced ones; its energy was printed before, with more digits."""
    text = hit.line()
    if re.match(r" *CENTRAL POINT +[-\d]", text):
        run.energy = run.energy or Line(hit.offset, text)
        run.is_central = True
        run.modes = None


def _optimization(run: PrintedRun, hit: Hit) -> None:
    run.optimization = Line(hit.offset, hit.line())
    run.is_central = False
    run.is_forces_last = False


def _optimization_end(run: PrintedRun, hit: Hit) -> None:
    text = hit.line()
    if text.lstrip().startswith("* OPT END - ") and not _is_title(hit):
        run.optimization_end = Line(hit.offset, text)
        run.is_central = False
        _energy(run, hit)


def _forces(run: PrintedRun, hit: Hit) -> None:
    if run.is_central:
        return
    run.forces = hit
    run.is_forces_last = True


def _atoms(run: PrintedRun, hit: Hit) -> None:
    near = run.lattice if run.lattice is not None and hit.offset - run.lattice.offset < 2048 else None
    run.geometries = [*run.geometries[-1:], (near, hit)]


def _lattice(run: PrintedRun, hit: Hit) -> None:
    run.lattice = hit


def _modes(run: PrintedRun, hit: Hit) -> None:
    run.modes = run.modes or hit


def _warning(run: PrintedRun, _: Hit) -> None:
    run.warnings += 1


def _node(run: PrintedRun, hit: Hit) -> None:
    if run.ended is not None and (match := _NODE.match(hit.line())):
        run.cores = int(match[1]) + 1


def _fermi(run: PrintedRun, hit: Hit) -> None:
    run.fermi = Line(hit.offset, hit.line())


def _gap(run: PrintedRun, hit: Hit) -> None:
    """An insulating state; the Fermi energy of a conducting one before it holds no more."""
    run.gap = Line(hit.offset, hit.line())
    if run.fermi is not None and "CONDUCTING" in run.fermi.text:
        run.fermi = None


def _conducting(run: PrintedRun, hit: Hit) -> None:
    run.gap = run.fermi = Line(hit.offset, hit.line())


_BEGINNINGS: Final = (
    b"  OF  ",
    b" PROCESSORS WORKING",
    b"*                               CRYSTAL",
    b"EEEEEEEEEE STARTING",
    b"*                                                                             *",
)
_MARKERS: Final[tuple[tuple[bytes, Handler], ...]] = (
    (b"public : ", _release),
    (b"EEEEEEEEEE TERMINATION", _end),
    (b"ERROR ****", _error),
    (b"ERR         TELAPSE", _line("stopped")),
    (b"END         TELAPSE", _line("elapsed")),
    (b"CRYSTAL - SCF - TYPE", _line("scf_start")),
    (b"== SCF ENDED", _scf),
    (b"TOTAL ENERGY(", _energy),
    (b"TOTAL ENERGY + ", _energy),
    (b"TOTAL ENERGY -", _line("wavefunction_energy")),
    (b"CENTRAL POINT  ", _central),
    (b"OPTIMIZATION STARTS", _optimization),
    (b"OPTIMIZATION - POINT", _optimization),
    (b"* OPT END - ", _optimization_end),
    (b"CONVERGENCE TESTS UNSATISFIED", _line("unsatisfied")),
    (b"BAND GAP:", _gap),
    (b"POSSIBLY CONDUCTING STATE", _conducting),
    (b"FERMI ENERGY:  ", _conducting),
    (b"FERMI ENERGY   ", _fermi),
    (b" MAX GRADIENT  ", _line("gradient")),
    (b"CARTESIAN FORCES IN HARTREE/BOHR", _forces),
    (b"NUMBER OF AO  ", _line("orbitals")),
    (b"N. OF ELECTRONS PER CELL", _line("electrons")),
    (b"DIMENSIONALITY OF THE SYSTEM", _line("dimensionality")),
    (b"LATTICE PARAMETERS (ANGSTROMS AND DEGREES) - BOHR", _lattice),
    (b"ATOMS IN THE ASYMMETRIC UNIT", _atoms),
    (b"MODES         EIGV", _modes),
    (b" E0            :", _line("zero_point")),
    (b"WARNING ****", _warning),
    (b"NODE  ", _node),
    (b"out-of-memory handler", _event("memory")),
    (b"oom-kill", _event("memory")),
    (b"oom_kill", _event("memory")),
    (b"Out Of Memory", _event("memory")),
    (b"insufficient virtual memory", _event("memory")),
    (b"annot allocate memory", _event("memory")),
    (b"xceeded job memory limit", _event("memory")),
    (b"DUE TO TIME LIMIT", _event("walltime")),
    (b"job killed: walltime", _event("walltime")),
    (b"TERM_RUNLIMIT", _event("walltime")),
    (b"o space left on device", _event("disk")),
    (b"isk quota exceeded", _event("disk")),
    (b"error during write", _event("disk")),
    (b"not enough slots available", _event("mpi")),
    (b"MPI_Abort", _event("mpi")),
    (b"MPI_ABORT was invoked", _event("mpi")),
    (b"Abort(", _event("mpi")),
    (b"egmentation fault", _event("crash")),
    (b"SIGSEGV", _event("crash")),
    (b"forrtl: severe", _event("crash")),
    (b"BAD TERMINATION", _event("bad termination")),
    (b"floating point exception", _event("crash")),
    (b"ANISOTROPIC SHRINKING FACTOR", _event("input")),
    (b"BASIS SET LINEARLY DEPENDENT", _event("linear dependence")),
    (b"SIGTERM", _event("terminated")),
)
_SCAN: Final = MarkerScan([*_BEGINNINGS, *(marker for marker, _ in _MARKERS)])
_BEGINS: Final = frozenset(range(len(_BEGINNINGS)))
_HANDLERS: Final[dict[int, Handler]] = {
    number: handler for number, (_, handler) in enumerate(_MARKERS, len(_BEGINNINGS))
}
