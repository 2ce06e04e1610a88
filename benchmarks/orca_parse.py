"""Reading the output of an ORCA optimisation of 100 MB, beside cclib.

Both read the same file, of our own making: an optimisation of 60 atoms with all that ORCA prints in every cycle.
Each reads it in a process of its own, which measures itself: seconds without the imports, and the most memory it had.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.report import Figure, LeftOutError, Options, Report, at_most, compare, ratio_at_most

_ATOMS: Final = 60
_ORBITALS: Final = 700
_OCCUPIED: Final = 120
_OURS: Final = """
from pathlib import Path
from penstock.engines.orca.output import report
def read(path):
    found = report(Path(path))
    return found.energy_hartree, found.optimization.cycles
"""
_CCLIB: Final = """
import logging
import cclib
HARTREE_EV = 27.21138505  # cclib's own
def read(path):
    data = cclib.io.ccopen(path, loglevel=logging.CRITICAL).parse()
    return float(data.scfenergies[-1]) / HARTREE_EV, len(data.atomcoords) - 1
"""
_MEASURE: Final = """
import json, resource, sys, time
began = time.perf_counter()
energy, cycles = read(sys.argv[1])
seconds = time.perf_counter() - began
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, energy, cycles]))
"""


class _Reading(msgspec.Struct, frozen=True, array_like=True):
    """What one process measured, and what it read, to be sure that it did."""

    seconds: float
    peak_mb: float
    energy_hartree: float
    cycles: int


def run(options: Options) -> Report:
    """Three turns of ours for one of cclib's before and after; the file is warm in the cache for all."""
    if importlib.util.find_spec("cclib") is None:
        raise LeftOutError("cclib is not installed; pip install cclib")
    path = options.scratch / "optimisation.out"
    size_mb = 4 if options.quick else 100
    energy_hartree, cycles = _write(path, size_mb * 1_000_000)
    ours = [_read(_OURS, path) for _ in range(3)]
    theirs = [_read(_CCLIB, path) for _ in range(1 if options.quick else 2)]
    figures = [
        compare(
            "reading the output",
            "s",
            [one.seconds for one in ours],
            [one.seconds for one in theirs],
            ratio_at_most(1 / 20),
        ),
        Figure("peak memory of the reading process", "MB", ours[0].peak_mb, theirs[0].peak_mb, at_most(50)),
    ]
    faults = [
        f"{who} read {one.energy_hartree} Eh after {one.cycles} cycles, not {energy_hartree} Eh after {cycles}"
        for who, one in [("ours", ours[0]), ("cclib", theirs[0])]
        if not math.isclose(one.energy_hartree, energy_hartree, rel_tol=1e-7) or one.cycles != cycles
    ]
    title = f"An ORCA optimisation output of {size_mb} MB"
    return Report("orca_parse", title, {"mb": size_mb, "atoms": _ATOMS, "cycles": cycles}, figures, faults)


def _read(reader: str, path: Path) -> _Reading:
    argv = [sys.executable, "-c", reader + _MEASURE, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=_Reading)


def _write(path: Path, size: int) -> tuple[float, int]:
    """An optimisation that converges once the file has `size` bytes; its final energy and its cycles."""
    cycle = 0
    with path.open("w", encoding="ascii") as file:
        file.write(_HEAD)
        while file.tell() < size:
            cycle += 1
            file.write(f"{_OPT_BOX}\n         *{f'GEOMETRY OPTIMIZATION CYCLE {cycle:3d}':^59s}*\n{_OPT_BOX}\n")
            file.write("".join(_cycle(cycle)))
        file.write(_CONVERGED.format(cycle))
        file.write("".join(_single_point(cycle + 1)))
        file.write(_TAIL)
    return _energy(cycle + 1), cycle


def _energy(cycle: int) -> float:
    return -1234.5 - 0.01 * (1 - math.exp(-cycle / 40))


def _cycle(cycle: int) -> Iterator[str]:
    yield from _single_point(cycle)
    yield "------------------\nCARTESIAN GRADIENT\n------------------\n\n"
    for atom in range(_ATOMS):
        gradient = [0.01 * math.sin(3 * atom + axis) / cycle for axis in range(3)]
        yield f"{atom + 1:4d}   C   :" + "".join(f"{one:15.9f}" for one in gradient) + "\n"
    yield (
        "\nDifference to translation invariance:\n           :   -0.0000000000   -0.0000000000   -0.0000000000\n\n"
        f"Norm of the Cartesian gradient     ...{0.05 / cycle:16.10f}\n"
        f"RMS gradient                       ...{0.004 / cycle:16.10f}\n"
        f"MAX gradient                       ...{0.01 / cycle:16.10f}\n\n"
    )
    yield "                                .--------------------.\n"
    yield "          ----------------------|Geometry convergence|-------------------------\n"
    yield "          Item                value                   Tolerance       Converged\n"
    yield "          ---------------------------------------------------------------------\n"
    for item, tolerance in (
        ("RMS gradient", 0.0001),
        ("MAX gradient", 0.0003),
        ("RMS step", 0.002),
        ("MAX step", 0.004),
    ):
        yield f"          {item:16s}{0.02 / cycle:16.10f}{tolerance:24.10f}      NO\n"
    yield "          ---------------------------------------------------------------------\n\n"
    yield "The optimization has not yet converged - more geometry cycles are needed\n\n\n"
    yield "    Redundant Internal Coordinates\n            (Angstroem and degrees)\n\n"
    for bond in range(3 * _ATOMS):
        yield f"{bond + 1:5d}. A(C{bond % _ATOMS:4d},C{(bond + 1) % _ATOMS:4d},C{(bond + 2) % _ATOMS:4d})"
        yield f"{109.5:18.2f}{0.000012:10.6f}{-0.01:8.2f}{109.49:10.2f}\n"
    yield "    ----------------------------------------------------------------------------\n\n"


def _single_point(cycle: int) -> Iterator[str]:
    energy = _energy(cycle)
    yield "---------------------------------\nCARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------\n"
    places = [[4.0 * math.cos(atom), 4.0 * math.sin(atom), 0.3 * atom + 0.001 * cycle] for atom in range(_ATOMS)]
    yield from (f"  C {x:14.6f}{y:14.6f}{z:14.6f}\n" for x, y, z in places)
    yield "\n----------------------------\nCARTESIAN COORDINATES (A.U.)\n----------------------------\n"
    yield "  NO LB      ZA    FRAG     MASS         X           Y           Z\n"
    for atom, place in enumerate(places):
        yield f"{atom:4d} C     6.0000    0    12.011" + "".join(f"{one * 1.8897261:12.6f}" for one in place) + "\n"
    yield "\n--------------\nSCF ITERATIONS\n--------------\n"
    yield "ITER       Energy         Delta-E        Max-DP      RMS-DP      [F,P]     Damp\n"
    yield "               ***  Starting incremental Fock matrix formation  ***\n"
    for step in range(12):
        error = math.exp(-step)
        yield f"{step:3d}  {energy + error:16.10f}{-error:17.12f}{error:12.8f}{error / 10:12.8f}{error:11.7f} 0.7000\n"
    yield "                            ***DIIS convergence achieved***\n\n" + _SUCCESS
    yield "----------------\nTOTAL SCF ENERGY\n----------------\n\n"
    yield f"Total Energy       :     {energy:16.8f} Eh     {energy * 27.2113834:16.5f} eV\n\n"
    yield "---------------\nSCF CONVERGENCE\n---------------\n\n"
    yield "  Last Energy change         ...   -6.6439e-10  Tolerance :   1.0000e-08\n"
    yield "  Last MAX-Density change    ...    1.3852e-06  Tolerance :   1.0000e-07\n"
    yield "  Last RMS-Density change    ...    1.4998e-07  Tolerance :   5.0000e-09\n"
    yield "  Last DIIS Error            ...    7.6711e-07  Tolerance :   1.0000e-05\n\n"
    yield "----------------\nORBITAL ENERGIES\n----------------\n\n  NO   OCC          E(Eh)            E(eV) \n"
    for orbital in range(_ORBITALS):
        hartree = -10 + 12 * orbital / _ORBITALS
        yield f"{orbital:4d}   {2.0 * (orbital < _OCCUPIED):.4f}{hartree:15.6f}{hartree * 27.2114:15.4f} \n"
    yield "\n-----------------------\nMULLIKEN ATOMIC CHARGES\n-----------------------\n"
    yield from (f"{atom:4d} C :{0.01 * math.sin(atom):12.6f}\n" for atom in range(_ATOMS))
    yield "Sum of atomic charges:    0.0000000\n\n"
    yield "-------------------------------\nLOEWDIN REDUCED ORBITAL CHARGES\n-------------------------------\n"
    for atom in range(_ATOMS):
        yield f"{atom:3d} C s       :{2.999446:13.6f}  s :{2.999446:13.6f}\n"
        yield from (
            f"      {shell:10s}:{0.75:13.6f}\n" for shell in ("pz", "px", "py", "dz2", "dxz", "dyz", "dx2y2", "dxy")
        )
    yield "\n\n-------------------------   --------------------\n"
    yield f"FINAL SINGLE POINT ENERGY{energy:22.12f}\n"
    yield "-------------------------   --------------------\n\n\n"


_OPT_BOX: Final = " " * 9 + "*" * 61
_HEAD: Final = """
                                 *****************
                                 * O   R   C   A *
                                 *****************

                         Program Version 5.0.4 -  RELEASE  -

================================================================================
                                       INPUT FILE
================================================================================
NAME = job.inp
|  1> ! B3LYP def2-TZVP Opt
|  2> %pal nprocs 16 end
|  3> * xyzfile 0 1 start.xyz
|  4>                          ****END OF INPUT****
================================================================================

                       *****************************
                       * Geometry Optimization Run *
                       *****************************

Geometry optimization settings:
Convergence Tolerances:
Energy Change            TolE     ....  5.0000e-06 Eh
Max. Gradient            TolMAXG  ....  3.0000e-04 Eh/bohr
RMS Gradient             TolRMSG  ....  1.0000e-04 Eh/bohr
Max. Displacement        TolMAXD  ....  4.0000e-03 bohr
RMS Displacement         TolRMSD  ....  2.0000e-03 bohr

"""
_SUCCESS: Final = """               *****************************************************
               *                     SUCCESS                       *
               *           SCF CONVERGED AFTER  12 CYCLES          *
               *****************************************************

"""
_CONVERGED: Final = """                    ***********************HURRAY********************
                    ***        THE OPTIMIZATION HAS CONVERGED     ***
                    *************************************************

                 *******************************************************
                 *** FINAL ENERGY EVALUATION AT THE STATIONARY POINT ***
                 ***               (AFTER {:4d} CYCLES)               ***
                 *******************************************************
"""
_TAIL: Final = """
Timings for individual modules:

Sum of individual times         ...    86399.000 sec (=1439.983 min)
                             ****ORCA TERMINATED NORMALLY****
TOTAL RUN TIME: 1 days 0 hours 0 minutes 1 seconds 2 msec
"""
