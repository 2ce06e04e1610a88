"""ORCA's output, versions 4 to 6, read in one pass.

A file may hold several runs, one appended to the other; the last one counts. Each line that matters is found by a
marker, and what it says is kept in the state of the run it belongs to. What that means is decided at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from penstock.domain.calculation import Evidence, FailureClass
from penstock.domain.geometry import ATOMIC_NUMBERS, bare_atoms
from penstock.domain.report import Optimization, Report
from penstock.engines.marker_scan import Hit, MarkerScan, line_number
from penstock.engines.orca import sections
from penstock.engines.orca.signs import SIGNS, Found, Sign, confirms, explain, most_telling, spellings

_TITLE: Final = b"O   R   C   A"
_MARGIN: Final = b"\n" + b" " * 33 + b"*"
"""How a run begins, also one that stops before its title is complete."""

_SECTION_MAX: Final = 1 << 20
_BANNER: Final = re.compile(r"\s*\*{4}ORCA TERMINATED NORMALLY\*{4}\s*")
_RUN_TIME: Final = re.compile(
    r"\s*TOTAL RUN TIME:\s*(\d+) days\s+(\d+) hours\s+(\d+) minutes\s+(\d+) seconds\s+(\d+) msec\s*"
)
_CYCLES: Final = re.compile(r"SCF CONVERGED AFTER\s+(\d{1,9}) CYCLES")
_OPT_CYCLE: Final = re.compile(r"GEOMETRY OPTIMIZATION CYCLE\s+(\d{1,9})\b")
_MAX_GRADIENT: Final = re.compile(rf"MAX gradient\s+\.\.\.\s+({sections.NUMBER})\s*$")
_SUM_OF_TIMES: Final = re.compile(rf"Sum of individual times\s+\.\.\.\s+({sections.NUMBER}) sec \(=")
_PROCESSES: Final = re.compile(r"Program running with\s+(\d{1,6}) parallel MPI-processes")
_VERSION: Final = re.compile(r"Program Version\s+(\S+)")
_TOTAL_ENERGY: Final = re.compile(r"Total Energy\s+:\s+(\S+)\s+Eh")
_STATE: Final = re.compile(rf"STATE\s+\d+:\s+E=\s*{sections.NUMBER}\s+au\s+({sections.NUMBER})\s+eV.*")
_LABELLED: Final[dict[bytes, tuple[str, re.Pattern[str]]]] = {
    marker: (name, re.compile(rf"{pattern}\s+({sections.NUMBER})(?:\s.*)?$"))
    for marker, name, pattern in (
        (b"Dispersion correction  ", "dispersion_hartree", r"Dispersion correction"),
        (b"Magnitude (Debye)", "dipole_debye", r"Magnitude \(Debye\)\s*:"),
        (b"Expectation value of <S**2>", "s_squared", r"Expectation value of <S\*\*2>\s*:"),
        (b"Zero point energy", "zero_point_energy_hartree", r"Zero point energy\s+\.\.\."),
        (b"Total Enthalpy", "enthalpy_hartree", r"Total Enthalpy\s+\.\.\."),
        (b"Final Gibbs free en", "gibbs_energy_hartree", r"Final Gibbs free en(?:ergy|thalpy)\s+\.\.\."),
    )
}
_NOT_CONVERGED: Final = frozenset(
    {FailureClass.SCF_NOT_CONVERGED, FailureClass.GEOMETRY_NOT_CONVERGED, FailureClass.BLOWN_UP}
)
_UNCONVERGED: Final = Sign("", FailureClass.GEOMETRY_NOT_CONVERGED, 46)
_BLOWN_UP: Final = Sign("", FailureClass.BLOWN_UP, 47)
_ABSURD_HARTREE: Final = 5e5  # where no geometry is printed


class _Text(NamedTuple):
    """A table of the output and where it stands."""

    text: bytes
    offset: int


class _Optimisation:
    """What is known of a geometry optimisation; in a relaxed scan, of one after the other."""

    def __init__(self) -> None:
        self.cycles_before = 0
        self.cycle = 0
        self.converged = False
        self.all_converged = True
        self.energy: float | None = None
        self.at_stationary_point = False
        self.is_over = False
        self.offset = 0
        self.line = ""

    def begin_cycle(self, number: int, hit: Hit) -> None:
        if number <= self.cycle:
            self.all_converged = self.all_converged and self.converged
            self.cycles_before += self.cycle
            self.converged = self.at_stationary_point = self.is_over = False
        self.cycle, self.offset, self.line = number, hit.offset, hit.line()

    def take_energy(self, energy: float | None) -> None:
        if not self.is_over:
            self.energy = energy
            self.is_over = self.at_stationary_point

    @property
    def has_converged(self) -> bool:
        return self.converged and self.all_converged

    def result(self) -> Optimization:
        return Optimization(self.has_converged, self.cycles_before + self.cycle, _finite(self.energy))


class _Run:
    """One run of ORCA, as far as it is known."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.has_banner = False
        self.has_ended = False
        self.wall_time_s: float | None = None
        self.sum_of_times_s: float | None = None
        self.energy: float | None = None
        self.energy_at: tuple[int, str] | None = None
        self.scf_energy: float | None = None
        self.scf_energy_at: tuple[int, str] | None = None
        self.scf_cycles: int | None = None
        self.max_gradient: float | None = None
        self.gradient: _Text | None = None
        self.geometry: _Text | None = None
        self.optimisation: _Optimisation | None = None
        self.cores: int | None = None
        self.processes: int | None = None
        self.orbitals: Hit | None = None
        self.frequencies: Hit | None = None
        self.excitations_ev: dict[str, list[float]] = {}
        self.states = ""
        self.labelled: dict[str, float] = {}
        self.found: dict[Sign, Found] = {}


def report(path: Path) -> Report:
    """What the file says, in one pass and bounded memory; OSError where it cannot be read, no other error."""
    run = _Run()
    for hit in _SCAN.hits(path):
        if _is_echo(hit):
            continue
        marker = _SCAN.markers[hit.marker]
        if marker == _TITLE or (marker == _MARGIN and run.has_ended):
            run = _Run()
        elif (handle := _HANDLERS.get(marker)) is not None:
            handle(run, hit)
        elif (sign := _SIGN_OF.get(marker)) is not None:
            _note_sign(run, hit, sign)
    return _conclude(run, path)


def recognises(head: bytes) -> bool:
    """Whether an output that begins so is ORCA's."""
    return b"* O   R   C   A *" in head or b"ORCA finished by error termination" in head or b"[file orca_main/" in head


_MAIN_NAMES: Final = ("orca.out", "calc.out", "job.out", "orca.log", "calc.log", "job.log", "stdout")
_LATE_NAMES: Final = re.compile(r"slurm.*\.out|flux-.*\.out|logs|.*\.log")
_ATOMIC: Final = re.compile(r".*_atom\d+\.out")


def main_output(names: Iterable[str]) -> list[str]:
    """Of the file names in a directory, those that may be a run's main output, the likeliest first.

    `_atom95.out` and its like are runs of single atoms for the initial guess: they too end normally.
    """

    def rank(name: str) -> int | None:
        plain = name.removesuffix(".gz")
        if _ATOMIC.fullmatch(plain):
            return None
        if plain in _MAIN_NAMES:
            return _MAIN_NAMES.index(plain)
        if _LATE_NAMES.fullmatch(plain):
            return 200
        return 100 if plain.endswith(".out") else None

    ranked = sorted((place, name) for name in names if (place := rank(name)) is not None)
    return [name for _, name in ranked]


def _is_echo(hit: Hit) -> bool:
    """Whether the line is one of the echoed input, where anything may stand."""
    begin = hit.data.rfind(b"\n", max(0, hit.start - 4096), hit.start) + 1
    return hit.data[begin : begin + 1] == b"|"


def _section(hit: Hit, blank_lines: int) -> _Text | None:
    """The text from a heading to the blank line that ends its table; None where the file stops before."""
    data = hit.data
    end_of_line = data.find(b"\n", hit.start)
    separator = b"\r\n\r\n" if data[end_of_line - 1 : end_of_line] == b"\r" else b"\n\n"
    end = hit.start
    for _ in range(blank_lines):
        end = data.find(separator, end + 1, hit.start + _SECTION_MAX)
        if end < 0:
            return None
    return _Text(data[end_of_line + 1 : end], hit.offset)


def _on_version(run: _Run, hit: Hit) -> None:
    if match := _VERSION.search(hit.line()):
        run.version = match[1]


def _on_banner(run: _Run, hit: Hit) -> None:
    run.has_banner = _BANNER.fullmatch(hit.line()) is not None


def _on_run_time(run: _Run, hit: Hit) -> None:
    match = _RUN_TIME.fullmatch(hit.line())
    if match is None:
        return
    days, hours, minutes, seconds, milliseconds = map(int, match.groups())
    run.wall_time_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000
    run.has_ended = run.has_banner


def _on_sum_of_times(run: _Run, hit: Hit) -> None:
    if match := _SUM_OF_TIMES.search(hit.line()):
        run.sum_of_times_s = sections.parse_number(match[1])


def _on_energy(run: _Run, hit: Hit) -> None:
    line = hit.line()
    run.energy = sections.parse_energy(line.partition("FINAL SINGLE POINT ENERGY")[2])
    run.energy_at = (hit.offset, line)
    if run.optimisation is not None:
        run.optimisation.take_energy(run.energy)


def _on_scf_energy(run: _Run, hit: Hit) -> None:
    line = hit.line()
    if match := _TOTAL_ENERGY.search(line):
        run.scf_energy = sections.parse_energy(match[1])
        run.scf_energy_at = (hit.offset, line)


def _on_scf_converged(run: _Run, hit: Hit) -> None:
    if match := _CYCLES.search(hit.line()):
        run.scf_cycles = (run.scf_cycles or 0) + int(match[1])


def _on_optimisation_cycle(run: _Run, hit: Hit) -> None:
    match = _OPT_CYCLE.search(hit.line())
    if match is None:
        return
    if run.optimisation is None:
        run.optimisation = _Optimisation()
    run.optimisation.begin_cycle(int(match[1]), hit)
    _forgive_scf(run)


def _on_stationary_point(run: _Run, hit: Hit) -> None:
    if run.optimisation is not None:
        run.optimisation.at_stationary_point = True
        _forgive_scf(run)


def _forgive_scf(run: _Run) -> None:
    """An optimisation may go on after an SCF that did not quite converge; then the following ones count."""
    run.found = {sign: one for sign, one in run.found.items() if sign.failure is not FailureClass.SCF_NOT_CONVERGED}


def _on_optimised(run: _Run, hit: Hit) -> None:
    if run.optimisation is not None:
        run.optimisation.converged = True


def _on_other_job(run: _Run, hit: Hit) -> None:
    """What follows is no part of the optimisation any more."""
    if run.optimisation is not None:
        run.optimisation.is_over = True


def _on_max_gradient(run: _Run, hit: Hit) -> None:
    if match := _MAX_GRADIENT.search(hit.line()):
        run.max_gradient = sections.parse_number(match[1])
        run.gradient = None


def _on_gradient(run: _Run, hit: Hit) -> None:
    blank_lines = 2 if hit.line().strip() == "CARTESIAN GRADIENT" else 1
    run.gradient = _section(hit, blank_lines) or run.gradient


def _on_geometry(run: _Run, hit: Hit) -> None:
    run.geometry = _section(hit, 1) or run.geometry


def _on_input(run: _Run, hit: Hit) -> None:
    end = hit.data.find(b"END OF INPUT", hit.start, hit.start + _SECTION_MAX)
    if end < 0:
        return
    echo = hit.data[hit.start : end].decode("utf-8", "replace").replace("\r", "")
    run.cores = sections.parse_cores(echo) or run.cores


def _on_processes(run: _Run, hit: Hit) -> None:
    if match := _PROCESSES.search(hit.line()):
        run.processes = int(match[1])


def _on_orbitals(run: _Run, hit: Hit) -> None:
    run.orbitals = hit


def _on_frequencies(run: _Run, hit: Hit) -> None:
    run.frequencies = hit
    _on_other_job(run, hit)


def _on_excited_states(run: _Run, hit: Hit) -> None:
    run.states = hit.line().partition("EXCITED STATES")[2].strip()
    run.excitations_ev[run.states] = []


def _on_state(run: _Run, hit: Hit) -> None:
    match = _STATE.fullmatch(hit.line().strip())
    energy = sections.parse_number(match[1]) if match else None
    if energy is not None:
        run.excitations_ev.setdefault(run.states, []).append(energy)


def _on_labelled(run: _Run, hit: Hit) -> None:
    name, pattern = _LABELLED[_SCAN.markers[hit.marker]]
    match = pattern.search(hit.line())
    value = sections.parse_number(match[1]) if match else None
    if value is not None:
        run.labelled[name] = value


def _note_sign(run: _Run, hit: Hit, sign: Sign) -> None:
    if sign in run.found:
        return
    line = hit.line()
    if confirms(sign, line):
        after = next((text.strip() for text in hit.lines_after(4096) if text.strip()), "")
        run.found[sign] = Found(sign, hit.offset, line, after)


_HANDLERS: Final[dict[bytes, Callable[[_Run, Hit], None]]] = {
    b"Program Version": _on_version,
    b"****ORCA TERMINATED NORMALLY****": _on_banner,
    b"TOTAL RUN TIME:": _on_run_time,
    b"Sum of individual times": _on_sum_of_times,
    b"FINAL SINGLE POINT ENERGY": _on_energy,
    b"Total Energy       :": _on_scf_energy,
    b"SCF CONVERGED AFTER": _on_scf_converged,
    b"GEOMETRY OPTIMIZATION CYCLE": _on_optimisation_cycle,
    b"FINAL ENERGY EVALUATION AT THE STATIONARY POINT": _on_stationary_point,
    b"THE OPTIMIZATION HAS CONVERGED": _on_optimised,
    b"  JOB NUMBER ": _on_other_job,
    b"ORCA NUMERICAL FREQUENCIES": _on_other_job,
    b"MAX gradient": _on_max_gradient,
    b"CARTESIAN GRADIENT": _on_gradient,
    b"The cartesian gradient:": _on_gradient,
    b"The final MP2 gradient": _on_gradient,
    b"CARTESIAN COORDINATES (ANGSTROEM)": _on_geometry,
    b"INPUT FILE": _on_input,
    b"Program running with": _on_processes,
    b"ORBITAL ENERGIES": _on_orbitals,
    b"VIBRATIONAL FREQUENCIES": _on_frequencies,
    b"EXCITED STATES": _on_excited_states,
    b"STATE ": _on_state,
    **dict.fromkeys(_LABELLED, _on_labelled),
}
_SIGN_OF: Final = {spelling: sign for sign in SIGNS for spelling in spellings(sign)}
_SCAN: Final = MarkerScan([_TITLE, _MARGIN, *_HANDLERS, *_SIGN_OF])


def _conclude(run: _Run, path: Path) -> Report:
    geometry = sections.parse_atoms(run.geometry.text.decode("utf-8", "replace")) if run.geometry else None
    found = _decisive(run, geometry)
    failure = found.sign.failure if found else None if run.has_ended else FailureClass.TRUNCATED
    return Report(
        engine="orca",
        version=run.version,
        ended=_ended(run),
        converged=False if failure in _NOT_CONVERGED else True if failure is None else None,
        failure=failure,
        evidence=Evidence(path.name, line_number(path, found.offset), found.line.strip()) if found else None,
        energy_hartree=_finite(run.energy),
        scf_cycles=run.scf_cycles,
        max_gradient_hartree_per_bohr=_max_gradient(run),
        optimization=run.optimisation.result() if run.optimisation else None,
        wall_time_s=run.sum_of_times_s if run.wall_time_s is None else run.wall_time_s,
        cores=run.cores or run.processes,
        message=_message(run, found, geometry) if found else None,
        geometry=geometry,
        properties=_properties(run),
    )


def _ended(run: _Run) -> Literal["normal", "error", "truncated"]:
    if run.has_ended:
        return "normal"
    return "error" if any(one.sign.own for one in run.found.values()) else "truncated"


def _decisive(run: _Run, geometry: str | None) -> Found | None:
    """The line that says why the run failed; None for a good run and for one that stops without a word."""
    signs = run.found.values()
    if not run.has_ended:
        return most_telling(signs)
    if any(one.sign.fatal for one in signs):
        has_crashed = any(one.sign.fatal and one.sign.failure is FailureClass.MODULE_CRASH for one in signs)
        return most_telling(one for one in signs if has_crashed or one.sign.fatal)
    if (blown_up := _absurd_energy(run, geometry)) is not None:
        return blown_up
    if run.optimisation is not None and not run.optimisation.has_converged:
        said = [one for one in signs if one.sign.failure is FailureClass.GEOMETRY_NOT_CONVERGED]
        return most_telling(said) or Found(_UNCONVERGED, run.optimisation.offset, run.optimisation.line)
    return None


def _absurd_energy(run: _Run, geometry: str | None) -> Found | None:
    """The energy that no such molecule can have."""
    for energy, place in ((run.energy, run.energy_at), (run.scf_energy, run.scf_energy_at)):
        if energy is not None and place is not None and _is_absurd(energy, geometry):
            return Found(_BLOWN_UP, *place)
    return None


def _is_absurd(energy_hartree: float, geometry: str | None) -> bool:
    """Thomas and Fermi's energy of the atoms, -0.77 Z^(7/3), is more than any real one; half as much again is absurd."""
    if math.isnan(energy_hartree):
        return True
    if geometry is None:
        return abs(energy_hartree) > _ABSURD_HARTREE
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in bare_atoms(geometry).split()[::4]]
    return not -1.5 * 0.7687 * sum(number ** (7 / 3) for number in numbers) - 10 < energy_hartree < 10 + len(numbers)


def _message(run: _Run, found: Found, geometry: str | None) -> str | None:
    if found.sign.failure is FailureClass.BLOWN_UP:
        return f"an absurd energy: {found.line.strip()}"
    if found.sign.failure is FailureClass.MODULE_CRASH and (absurd := _absurd_energy(run, geometry)):
        return f"{found.line.strip()}, after an absurd energy: {' '.join(absurd.line.split())}"
    cycles = run.optimisation.result().cycles if run.optimisation else None
    return explain(found, run.found.values(), cycles)


def _max_gradient(run: _Run) -> float | None:
    if run.gradient is None:
        return run.max_gradient
    return sections.parse_max_component(run.gradient.text.decode("utf-8", "replace"))


def _properties(run: _Run) -> dict[str, Any]:
    values: dict[str, Any] = dict(run.labelled)
    energy = _finite(run.energy)
    if energy is not None and (dispersion := run.labelled.get("dispersion_hartree")) is not None:
        values["energy_without_dispersion_hartree"] = energy - dispersion
    if run.orbitals is not None and (frontier := sections.parse_frontier_ev(run.orbitals.lines_after())):
        homo, lumo = frontier
        values |= {"homo_ev": homo, "lumo_ev": lumo, "homo_lumo_gap_ev": lumo - homo}
    if run.frequencies is not None:
        frequencies = sections.parse_frequencies(run.frequencies.lines_after())
        values |= {"frequencies_per_cm": frequencies, "imaginary_frequencies": sum(one < 0 for one in frequencies)}
    if excitations := sorted(energy for states in run.excitations_ev.values() for energy in states):
        values["excitation_energies_ev"] = excitations
    return values


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
