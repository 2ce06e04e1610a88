"""ORCA's output, versions 4 to 6, read in one pass.

A file may hold several runs, one appended to the other; the last one counts. Each line that matters is found by a
marker, and what it says is kept in the state of the run it belongs to. What that means is decided at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from penstock.domain.calculation import Evidence, FailureClass
from penstock.domain.geometry import ATOMIC_NUMBERS, bare_atoms
from penstock.domain.report import Report
from penstock.engines.marker_scan import Hit, MarkerScan, line_number
from penstock.engines.orca import sections
from penstock.engines.orca.lines import DOUBTS, FIRST_MARKERS, MARKERS, SECTION_MAX, take, text_until
from penstock.engines.orca.run import Run, finite
from penstock.engines.orca.signs import Found, Sign, explain, most_telling
from penstock.engines.program_report import whole

_NOT_CONVERGED: Final = frozenset(
    {FailureClass.SCF_NOT_CONVERGED, FailureClass.GEOMETRY_NOT_CONVERGED, FailureClass.BLOWN_UP}
)
_NAMELESS: Final = frozenset({FailureClass.MODULE_CRASH, FailureClass.TRUNCATED})
_UNCONVERGED: Final = Sign("", FailureClass.GEOMETRY_NOT_CONVERGED, 46)
_BLOWN_UP: Final = Sign("", FailureClass.BLOWN_UP, 47)
_ABSURD_HARTREE: Final = 5e5  # where no geometry is printed
_LOWEST_HARTREE: Final = {symbol: -1.5 * 0.7687 * number ** (7 / 3) for symbol, number in ATOMIC_NUMBERS.items()}
"""Thomas and Fermi's energy of an atom, -0.77 Z^(7/3), exceeds any real one; half as much again is absurd."""
_QUICK_SCAN: Final = MarkerScan(FIRST_MARKERS)
_SCAN: Final = MarkerScan(MARKERS)
_DOUBTS: Final = frozenset(range(len(FIRST_MARKERS) - len(DOUBTS), len(FIRST_MARKERS)))


def report(path: Path) -> Report:
    """What the file says, in bounded memory; OSError where it cannot be read, no other error.

    One quick pass is enough for a run that ended well; for any other a second one looks for all that tells why it did
    not.
    """
    run = _scan_quickly(path)
    return whole(_conclude(run or _scan(path), path), path)


def add_standard_error(report: Report, path: Path) -> Report:
    """The report with a better name for the failure where standard error has one: mpirun and schedulers write there."""
    if report.failure not in _NAMELESS:
        return report
    try:
        signs = _scan(path).found.values()
        found = most_telling(one for one in signs if one.sign.failure not in _NAMELESS)
        if found is None:
            return report
        evidence = Evidence(path.name, line_number(path, found.offset), found.line.strip())
    except OSError:
        return report
    return msgspec.structs.replace(report, failure=found.sign.failure, evidence=evidence, message=None)


def _scan(path: Path) -> Run:
    run = Run()
    for hit in _SCAN.hits(path):
        run = take(run, hit, MARKERS[hit.marker])
    return run


def _scan_quickly(path: Path) -> Run | None:
    """The run, if it ended well and no sign of the contrary is anywhere; else None."""
    run = Run()
    for hit in _QUICK_SCAN.hits(path):
        if hit.marker in _DOUBTS:
            return None
        run = take(run, hit, FIRST_MARKERS[hit.marker])
    return run if run.has_ended and (run.optimisation is None or run.optimisation.has_converged) else None


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


def _conclude(run: Run, path: Path) -> Report:
    geometry = sections.parse_atoms(run.geometry.data) if run.geometry else None
    found = _decisive(run, geometry)
    failure = found.sign.failure if found else None if run.has_ended else FailureClass.TRUNCATED
    return Report(
        engine="orca",
        version=run.version,
        ended=_ended(run),
        converged=False if failure in _NOT_CONVERGED else True if failure is None else None,
        failure=failure,
        evidence=Evidence(path.name, line_number(path, found.offset), found.line.strip()) if found else None,
        energy_hartree=finite(run.energy),
        scf_cycles=run.scf_cycles,
        max_gradient_hartree_per_bohr=_max_gradient(run),
        optimization=run.optimisation.result() if run.optimisation else None,
        wall_time_s=run.sum_of_times_s if run.wall_time_s is None else run.wall_time_s,
        cores=run.cores or run.processes,
        message=_message(run, found, geometry) if found else None,
        geometry=geometry,
        properties=_properties(run),
    )


def _ended(run: Run) -> Literal["normal", "error", "truncated"]:
    if run.has_ended:
        return "normal"
    return "error" if any(one.sign.own for one in run.found.values()) else "truncated"


def _decisive(run: Run, geometry: str | None) -> Found | None:
    """The line that says why the run failed; None for a good run and for one that stops without a word."""
    signs = run.found.values()
    if not run.has_ended:
        return most_telling(signs)
    if any(one.sign.fatal for one in signs):
        has_crashed = any(one.sign.fatal and one.sign.failure is FailureClass.MODULE_CRASH for one in signs)
        return most_telling(one for one in signs if has_crashed or one.sign.fatal)
    if (blown_up := _absurd_energy(run, geometry)) is not None:
        return blown_up
    if run.optimisation is not None and not run.optimisation.has_converged and not _is_atom(geometry):
        said = [one for one in signs if one.sign.failure is FailureClass.GEOMETRY_NOT_CONVERGED]
        return most_telling(said) or Found(_UNCONVERGED, run.optimisation.offset, run.optimisation.line)
    return None


def _is_atom(geometry: str | None) -> bool:
    """Whether there is but one atom, whose optimisation is a single point."""
    return geometry is not None and geometry.startswith("1\n")


def _absurd_energy(run: Run, geometry: str | None) -> Found | None:
    """The energy that no such molecule can have."""
    if geometry is None:
        lowest, highest = -_ABSURD_HARTREE, _ABSURD_HARTREE
    else:
        symbols = bare_atoms(geometry).split()[::4]
        lowest, highest = sum(map(_LOWEST_HARTREE.__getitem__, symbols)) - 10, 10 + len(symbols)
    for energy, place in ((run.energy, run.energy_at), (run.scf_energy, run.scf_energy_at)):
        if energy is not None and place is not None and not lowest < energy < highest:
            return Found(_BLOWN_UP, *place)
    return None


def _message(run: Run, found: Found, geometry: str | None) -> str | None:
    if found.sign.failure is FailureClass.BLOWN_UP:
        return f"an absurd energy: {found.line.strip()}"
    if found.sign.failure is FailureClass.MODULE_CRASH and (absurd := _absurd_energy(run, geometry)):
        return f"{found.line.strip()}, after an absurd energy: {' '.join(absurd.line.split())}"
    result = run.optimisation.result() if run.optimisation else None
    return explain(found, run.found.values(), result.cycles if result else None)


def _max_gradient(run: Run) -> float | None:
    if run.gradient is None:
        return run.max_gradient
    return sections.parse_max_component(run.gradient.decode())


def _frontier(hit: Hit) -> tuple[float, float] | None:
    return sections.parse_frontier_ev(hit.data, hit.start, hit.start + SECTION_MAX)


def _properties(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = dict(run.labelled)
    energy = finite(run.energy)
    if energy is not None and (dispersion := run.labelled.get("dispersion_hartree")) is not None:
        values["energy_without_dispersion_hartree"] = round(energy - dispersion, 12)
    if run.orbitals is not None and (frontier := _frontier(run.orbitals)):
        homo, lumo = frontier
        values |= {"homo_ev": homo, "lumo_ev": lumo, "homo_lumo_gap_ev": round(lumo - homo, 6)}
    if run.frequencies is not None:
        frequencies = sections.parse_frequencies(text_until(run.frequencies, b"NORMAL MODES").decode().splitlines())
        values |= {"frequencies_per_cm": frequencies, "imaginary_frequencies": sum(one < 0 for one in frequencies)}
    if excitations := sorted(energy for states in run.excitations_ev.values() for energy in states):
        values["excitation_energies_ev"] = excitations
    return values
