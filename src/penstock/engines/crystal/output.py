"""What an output of CRYSTAL says, in one pass: crystal and properties, 14 to 23, serial or MPI."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from penstock.domain.calculation import Evidence, FailureClass
from penstock.domain.report import BandGapKind, Optimization, Report
from penstock.engines.crystal.failures import Failure, find_failure, is_error_end, scf_failed
from penstock.engines.crystal.numbers import parse_number
from penstock.engines.crystal.printed_geometry import PrintedGeometry, read_geometry, render_block
from penstock.engines.crystal.printed_run import Line, PrintedRun, scan_run
from penstock.engines.crystal.vibrations import read_vibrations
from penstock.engines.marker_scan import Hit, line_number
from penstock.engines.program_report import whole

_HEAD: Final = re.compile(
    rb"\*[ ]+CRYSTAL\d\d[ ]+\*"
    rb"|E{10} STARTING  DATE "
    rb"|PROCESS +\d+ +OF +\d+ +WORKING"
    rb"|\d+ PROCESSORS WORKING"
)
_ENERGY: Final = re.compile(r"\(AU\):?(?:\([ *\d]+\))? *(\S+)|CENTRAL POINT +(\S+)")
_POINTS: Final = re.compile(r"POINTS? +(\d{1,9})")
_PERIODS: Final = re.compile(r"([0-3]) *$")
_GAP: Final = re.compile(r"BAND GAP: *(\S+) *eV", re.IGNORECASE)
_KINDS: Final[tuple[tuple[str, BandGapKind], ...]] = (
    ("INDIRECT", "indirect"),
    ("DIRECT", "direct"),
    ("ALPHA", "alpha"),
    ("BETA", "beta"),
)
_FERMI: Final = re.compile(r"(?:EFERMI\(AU\)|FERMI ENERGY:?) *(\S+)")
_WAVEFUNCTION: Final = re.compile(r"TOTAL ENERGY +(\S+)")
_ORBITALS: Final = re.compile(r"NUMBER OF AO +(\d{1,9})")
_ELECTRONS: Final = re.compile(r"ELECTRONS PER CELL +(\d{1,9})")
_GRADIENT: Final = re.compile(r"MAX GRADIENT +(\S+)")
_ELAPSED: Final = re.compile(r"TELAPSE +(\S+)")
_DATE: Final = re.compile(r"DATE +(\d{2}) +(\d{2}) +(\d{4}) +TIME +(\d{2}):(\d{2}):(\d{2}[.,]\d)")
_FORCE_ROW: Final = re.compile(r" +\d+ +\d+ +(\S+) +(\S+) +(\S+) *")
_UNCONVERGED: Final = frozenset({FailureClass.SCF_NOT_CONVERGED, FailureClass.GEOMETRY_NOT_CONVERGED})
_ENERGY_MOST_HARTREE: Final = 1e7


def recognises(head: bytes) -> bool:
    """Whether an output that begins so is one of crystal's or properties'."""
    return _HEAD.search(head) is not None


class Reading(NamedTuple):
    """What an output says, and its last whole geometry: None without one, or with ghosts, which no deck can tell."""

    report: Report
    geometry: PrintedGeometry | None


def report(path: Path) -> Report:
    """What the last run in `path` says; OSError where it cannot be read.

    The energy is the final one, with its dispersion and other semiclassical corrections. The SCF cycles are those of
    the SCFs in this file: an optimisation prints only its first there. The gradient is the largest Cartesian component
    where that of the last geometry is printed, else the optimiser's own. A conducting state has no gap.
    """
    return whole(read_output(path).report, path)


def read_output(path: Path) -> Reading:
    """The report on `path` and its final geometry, in one pass; OSError."""
    run = scan_run(path)
    geometry = last_geometry(run)
    has_ghosts = geometry is not None and any(atom[0] == 0 for atom in geometry.primitive.atoms)
    return Reading(_report(path, run, geometry), None if has_ghosts else geometry)


def _report(path: Path, run: PrintedRun, geometry: PrintedGeometry | None) -> Report:
    energy = _energy(run.energy)
    failure = find_failure(run) or _find_blow_up(run, energy, geometry)
    gap, kind = _gap(run.gap)
    properties = _properties(run, geometry)
    if kind is not None:
        properties["band_gap_kind"] = kind
    if gap is not None:
        properties["band_gap_ev"] = gap
    return Report(
        "crystal",
        version=_version(run),
        ended=_ended(run),
        converged=_converged(run),
        failure=failure.kind if failure else None,
        evidence=_evidence(path, failure),
        energy_hartree=energy,
        scf_cycles=run.scf_cycles if run.scf_count else None,
        max_gradient_hartree_per_bohr=_gradient(run),
        optimization=_optimization(run, energy),
        band_gap_ev=gap,
        band_gap_kind=kind,
        wall_time_s=_wall_time(run),
        cores=run.cores,
        message=failure.message if failure else None,
        geometry=render_block(geometry.primitive) if geometry else None,
        properties=properties,
    )


def last_geometry(run: PrintedRun) -> PrintedGeometry | None:
    """The last geometry of a run that is printed in full."""
    match = _PERIODS.search(run.dimensionality.text) if run.dimensionality else None
    periods = int(match[1]) if match else None
    read = (read_geometry(lattice, atoms, periods) for lattice, atoms in reversed(run.geometries))
    return next((geometry for geometry in read if geometry is not None), None)


def _version(run: PrintedRun) -> str | None:
    return " ".join(filter(None, [run.version, run.release])) or None


def _ended(run: PrintedRun) -> Literal["normal", "error", "truncated"]:
    if is_error_end(run):
        return "error"
    return "normal" if run.ended else "truncated"


def _evidence(path: Path, failure: Failure | None) -> Evidence | None:
    if failure is None or failure.line is None:
        return None
    return Evidence(path.name, line_number(path, failure.line.offset), failure.line.text.strip())


def _converged(run: PrintedRun) -> bool | None:
    """None where there was nothing to converge, or the run did not get that far."""
    failure = find_failure(run)
    if scf_failed(run) or (failure and failure.kind in _UNCONVERGED):
        return False
    if run.optimization is not None or run.optimization_end is not None:
        return failure is None and run.optimization_end is not None
    return True if run.scf is not None and failure is None else None


def _optimization(run: PrintedRun, energy: float | None) -> Optimization | None:
    end = run.optimization_end
    last = end or run.optimization
    if last is None:
        return None
    cycles = _POINTS.search(last.text)
    is_converged = end is not None and "- CONVERGED" in end.text
    return Optimization(is_converged, int(cycles[1]) if cycles else None, _energy(end) if end else energy)


def _energy(line: Line | None) -> float | None:
    match = _ENERGY.search(line.text) if line else None
    return parse_number(match[1] or match[2]) if match else None


def _gap(line: Line | None) -> tuple[float | None, BandGapKind | None]:
    if line is None:
        return None, None
    if "BAND GAP" not in line.text:
        return None, "conducting"
    match = _GAP.search(line.text)
    gap = parse_number(match[1]) if match else None
    if gap is None:
        return None, None
    return gap, next((kind for name, kind in _KINDS if name in line.text), "unspecified")


def _gradient(run: PrintedRun) -> float | None:
    if run.is_forces_last and run.forces is not None and (forces := _read_forces(run.forces)):
        return max(map(abs, forces))
    match = _GRADIENT.search(run.gradient.text) if run.gradient else None
    return parse_number(match[1]) if match else None


def _read_forces(heading: Hit) -> list[float]:
    """All Cartesian components; empty where the table is cut short or damaged."""
    forces: list[float] = []
    for line in heading.lines_after():
        match = _FORCE_ROW.fullmatch(line)
        if match is None:
            if forces:
                return forces if not line.strip() else []
            continue
        numbers = [number for text in match.groups() if (number := parse_number(text)) is not None]
        if len(numbers) != 3:
            return []
        forces += numbers
    return []


def _wall_time(run: PrintedRun) -> float | None:
    """By the program's own clock, else from the dates of its beginning and end."""
    last = run.elapsed or run.stopped
    match = _ELAPSED.search(last.text) if last else None
    if match:
        return parse_number(match[1])
    begin, end = _date(run.started), _date(run.ended)
    return (end - begin).total_seconds() if begin and end and end >= begin else None


def _date(line: Line | None) -> datetime | None:
    match = _DATE.search(line.text) if line else None
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second.replace(',', '.')}00000")
    except ValueError:  # a damaged date
        return None


def _properties(run: PrintedRun, geometry: PrintedGeometry | None) -> dict[str, Any]:
    """Further results, by name; only what the file has."""
    found = {
        "fermi_energy_hartree": _number_in(_FERMI, run.fermi),
        "volume_angstrom3": geometry.volume_angstrom3 if geometry else None,
        "wavefunction_energy_hartree": _number_in(_WAVEFUNCTION, run.wavefunction_energy),
        "orbitals": _count_in(_ORBITALS, run.orbitals),
        "electrons": _count_in(_ELECTRONS, run.electrons),
        "atoms": sum(atom[0] != 0 for atom in geometry.primitive.atoms) if geometry else None,
        "warnings": run.warnings,
    }
    known = {name: value for name, value in found.items() if value is not None}
    return {**known, **read_vibrations(run)}


def _number_in(pattern: re.Pattern[str], line: Line | None) -> float | None:
    match = pattern.search(line.text) if line else None
    return parse_number(match[1]) if match else None


def _count_in(pattern: re.Pattern[str], line: Line | None) -> int | None:
    match = pattern.search(line.text) if line else None
    return int(match[1]) if match else None


def _find_blow_up(run: PrintedRun, energy: float | None, geometry: PrintedGeometry | None) -> Failure | None:
    """A run that converged to an energy that no matter has, or to none that can be read."""
    if run.energy is None or (run.scf is None and run.optimization_end is None):
        return None
    if energy is None:
        return Failure(FailureClass.BLOWN_UP, run.energy, "its final energy cannot be read")
    lowest = _lowest_energy(run, geometry)
    if lowest < energy < 0:
        return None
    return Failure(FailureClass.BLOWN_UP, run.energy, f"its final energy, {energy:.6g} Eh, is absurd")


def _lowest_energy(run: PrintedRun, geometry: PrintedGeometry | None) -> float:
    """A bound below any total energy, in Eh: an electron of an atom has 0.77 Z^(4/3) Eh (Thomas and Fermi)."""
    electrons = _count_in(_ELECTRONS, run.electrons)
    heaviest = max((atom[0] % 100 for atom in geometry.primitive.atoms), default=0) if geometry else 0
    if not electrons or not heaviest:
        return -_ENERGY_MOST_HARTREE
    return -1.5 * electrons * math.pow(heaviest, 4 / 3)
