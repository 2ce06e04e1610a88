"""What an output of pw.x says, versions 4 to 7, in one pass; of several runs in one file the last counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from penstock.domain.report import Report
from penstock.engines.espresso.geometry_blocks import number
from penstock.engines.espresso.marks import MARKERS, Mark
from penstock.engines.espresso.run import Run, rydberg_hartree
from penstock.engines.espresso.verdict import judge
from penstock.engines.marker_scan import MarkerScan
from penstock.engines.program_report import whole

ENGINE: Final = "espresso"
_RYDBERG_HARTREE: Final = 0.5
RY_BOHR3_GPA: Final = 14710.507848260711
"""1 Ry/bohr³ in GPa (CODATA 2018)."""

_PROGRAM: Final = re.compile(r"\s*Program\s+(\w+)\s+v\.?\s*(\S+)")
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]*)?(?:[EeDd][-+]?[0-9]+)?")
_WALL: Final = re.compile(r"CPU(?: time,)?\s+(?=[0-9])([0-9.,dhms ]+?)\s*(?:WALL|wall)")
_CLOCK: Final = re.compile(r"([0-9.,]+)\s*([dhms])")
_CLOCK_S: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_FORCE: Final = re.compile(r"\s*atom\s+[0-9]+\s+type\s+[0-9]+\s+force\s*=\s*(\S+)\s+(\S+)\s+(\S+)\s*$")
_LIKELY: Final = re.compile(
    r"(?P<best>stdout|pw\.out|job\.out|espresso\.pwo|.*\.pwo|(?:.*[._-])?(?:pw|scf|relax|vc-?relax)\.out)"
    r"|(?P<other>logs?|.*\.out|.*\.log)"
)

_SCAN: Final = MarkerScan(MARKERS)


def recognises(head: bytes) -> bool:
    """Whether an output that begins so is one of pw.x."""
    return b"Program PWSCF" in head


def main_output(names: Iterable[str]) -> list[str]:
    """The names that a main output of pw.x has, the likeliest first; each may end in `.gz`."""
    found = ((match, name) for name in names if (match := _LIKELY.fullmatch(name.removesuffix(".gz"))))
    return [name for match, name in sorted(found, key=lambda pair: (pair[0]["best"] is None, pair[1]))]


def report(path: Path) -> Report:
    """All that the file states; OSError where it cannot be read, no other error.

    `energy_hartree` is the last total energy (of a vc-relax that of the final SCF, with a basis fit for the final
    cell; with a smearing the free energy, as pw.x prints it); the optimisation's energy is what BFGS ended with,
    for vc-relax the enthalpy.
    """
    run = Run()
    for hit in _SCAN.hits(path):
        if hit.marker == Mark.PROGRAM:
            match = _PROGRAM.match(hit.line())
            if match is not None:
                run = Run(version=match[2]) if match[1] == "PWSCF" else run.followed_by_another()
        else:
            run.see(hit)
    return whole(_to_report(run, path), path)


def _to_report(run: Run, path: Path) -> Report:
    verdict = judge(run, path)
    gap = _gap(run)
    return Report(
        engine=ENGINE,
        version=run.version,
        ended="normal" if run.done else "error" if run.error is not None else "truncated",
        converged=verdict.converged,
        failure=verdict.failure,
        evidence=verdict.evidence,
        message=verdict.message,
        energy_hartree=rydberg_hartree(run.energy_line()),
        scf_cycles=run.scf_cycles or None,
        max_gradient_hartree_per_bohr=_largest_force(run),
        optimization=run.optimization(),
        band_gap_ev=gap,
        band_gap_kind=None if gap is None else "unspecified" if gap > 0 else "conducting",
        wall_time_s=_wall_time(run),
        cores=_cores(run),
        geometry=run.geometry(),
        properties=_properties(run),
    )


def _properties(run: Run) -> dict[str, float | list[float]]:
    """Further results. Stress and pressure have pw.x's sign: positive where the crystal wants to expand."""
    fermi = _value(run.line(Mark.FERMI), after="is")
    magnetization = _values(run.line(Mark.TOTAL_MAGNETIZATION), after="=")
    found: dict[str, float | list[float] | None] = {
        "fermi_energy_ev": fermi,
        "highest_occupied_ev": _level(run, 0),
        "lowest_unoccupied_ev": _level(run, 1),
        "total_magnetization_bohr_magneton": math.hypot(*magnetization) if len(magnetization) > 1 else None,
        "absolute_magnetization_bohr_magneton": _value(run.line(Mark.ABSOLUTE_MAGNETIZATION), after="="),
        "smearing_energy_hartree": rydberg_hartree(run.line(Mark.SMEARING)),
        "enthalpy_hartree": rydberg_hartree(run.line(Mark.FINAL_ENTHALPY)),
        "volume_angstrom3": run.volume_angstrom3(),
        **_stresses(run),
    }
    if len(magnetization) == 1:
        found["total_magnetization_bohr_magneton"] = magnetization[0]
    return {name: value for name, value in found.items() if value is not None}


def _stresses(run: Run) -> dict[str, float | list[float] | None]:
    """The stress of the last geometry, and of an optimisation that of the first."""
    stress = _tensor(run.stress)
    if stress is None:
        return {}
    initial = _tensor(run.initial_stress) if run.is_optimization else None
    return {
        "stress_gpa": stress,
        "pressure_gpa": (stress[0] + stress[4] + stress[8]) / 3,
        "initial_stress_gpa": initial,
    }


def _tensor(lines: list[str]) -> list[float] | None:
    """Nine numbers in GPa, by row; None where one cannot be read: the kbar beside it must not be taken for it."""
    try:
        rows = [[number(text) for text in line.split()[:3]] for line in lines]
    except ValueError:
        return None
    whole = [len(row) for row in rows] == [3, 3, 3]
    return [value * RY_BOHR3_GPA for row in rows for value in row] if whole else None


def _largest_force(run: Run) -> float | None:
    """The largest Cartesian component of the last forces, absolute, in Eh/bohr; None unless all atoms have theirs."""
    components: list[float] = []
    for match in filter(None, map(_FORCE.match, run.forces)):
        try:
            components.extend(abs(number(text)) for text in match.groups())
        except ValueError:
            return None
    whole = bool(components) and (run.natoms is None or len(components) >= 3 * run.natoms)
    return max(components[: 3 * run.natoms if run.natoms else None]) * _RYDBERG_HARTREE if whole else None


def _level(run: Run, index: int) -> float | None:
    levels = _values(run.line(Mark.LEVELS), after="):")
    return levels[index] if index < len(levels) else None


def _gap(run: Run) -> float | None:
    """The difference of the levels printed, which are those of the k-points there were; below zero there is none."""
    occupied, unoccupied = _level(run, 0), _level(run, 1)
    return None if occupied is None or unoccupied is None else max(0.0, unoccupied - occupied)


def _wall_time(run: Run) -> float | None:
    match = _WALL.search(run.line(Mark.CLOCK))
    if match is None:
        return None
    try:
        parts = [number(amount) * _CLOCK_S[unit] for amount, unit in _CLOCK.findall(match[1])]
    except ValueError:
        return None
    return sum(parts) if parts else None


def _cores(run: Run) -> int | None:
    if run.line(Mark.SERIAL):
        return 1
    for mark, after in ((Mark.PROCESSORS, "running on"), (Mark.PROCESSORS_OLD, ":")):
        count = _value(run.line(mark), after=after)
        if count is not None and count >= 1:
            return int(count)
    return None


def _values(line: str, after: str = "") -> list[float]:
    """All numbers of a line that stand behind `after`."""
    texts = _NUMBER.findall(line.partition(after)[2] if after else line)
    try:
        return [number(text) for text in texts]
    except ValueError:
        return []


def _value(line: str, after: str) -> float | None:
    return next(iter(_values(line, after)), None)
