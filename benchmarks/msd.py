"""Mean-squared displacements of 10^5 frames of 10^3 atoms in a file, beside a plain loop and MDAnalysis.

The loop is numpy's, over lags, and would take hours for all of them: it is timed for a few lags and a few atoms, and
its time for all is reckoned from that, as it goes with atoms times origins. MDAnalysis (`EinsteinMSD` with `fft=True`)
is not installed with the project: `pip install MDAnalysis tidynamics` adds it, without it its rows are left out. It
holds everything in memory; where that is too little it is given fewer frames, and the table says how many. Ours gives
the whole tensor and the scatter over stretches of time, both others the sum over three axes only. Each is measured in a
process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.report import Figure, Options, Report, ratio_at_most

_SIZE: Final = (100_000, 1000)
_QUICK_SIZE: Final = (4000, 100)
_LOOP_ATOMS: Final = 20
_LOOP_LAGS: Final = 24
_BYTES_A_NUMBER_OF_THEIRS: Final = 40  # what MDAnalysis takes at its peak, roughly, for each coordinate
_EQUAL: Final = 1e-6  # relative: MDAnalysis reads positions in single precision, as they are in the file


def run(options: Options) -> Report:
    """All at full size, or a small one."""
    return measure(*(_QUICK_SIZE if options.quick else _SIZE), options.scratch)


def measure(frames: int, atoms: int, scratch: Path) -> Report:
    """Everything for `frames` of `atoms`."""
    path = scratch / "positions.f32"
    _write_walk(path, frames, atoms)
    ours = _in_a_process("ours", path, frames, atoms)
    loop = _in_a_process("loop", path, frames, atoms)
    faults = _differences("the loop", ours["loop"], loop["msd"])
    lags_a_second = frames * (frames - 1) / 2 / loop["origins"]
    figures = [
        Figure(
            f"wall time; loop reckoned from {_LOOP_LAGS} lags of {_LOOP_ATOMS} atoms",
            "s",
            ours["wall_s"],
            loop["wall_s"] * lags_a_second * atoms / _LOOP_ATOMS,
            ratio_at_most(0.1),
        )
    ]
    if importlib.util.find_spec("MDAnalysis") and importlib.util.find_spec("tidynamics"):
        fewer = min(frames, int(0.5 * _memory_bytes() / (_BYTES_A_NUMBER_OF_THEIRS * 3 * atoms)))
        theirs = _in_a_process("theirs", path, fewer, atoms)
        same = ours if fewer == frames else _in_a_process("ours", path, fewer, atoms)
        faults += _differences("MDAnalysis", same["all"], theirs["msd"])
        of = "" if fewer == frames else f" of {fewer} frames"
        figures += [
            Figure(f"wall time{of}, beside MDAnalysis", "s", same["wall_s"], theirs["wall_s"], ratio_at_most(1.0)),
            Figure(f"peak memory{of}, beside MDAnalysis", "MB", same["peak_mb"], theirs["peak_mb"], ratio_at_most(1.0)),
        ]
    else:
        print("MDAnalysis is left out: pip install MDAnalysis tidynamics")
    figures.append(Figure("peak memory", "MB", ours["peak_mb"], aim=None))
    parameters = {"frames": frames, "atoms": atoms, "loop_lags": _LOOP_LAGS, "loop_atoms": _LOOP_ATOMS}
    return Report("msd", "Mean-squared displacements over all origins", parameters, figures, faults)


def _write_walk(path: Path, frames: int, atoms: int) -> None:
    rng = np.random.default_rng(0)
    walk = np.memmap(path, np.float32, "w+", shape=(frames, atoms, 3))
    last = np.zeros((atoms, 3))
    for begin in range(0, frames, 1000):
        steps = rng.normal(size=(min(1000, frames - begin), atoms, 3)) * 0.1
        paths = last + steps.cumsum(axis=0)
        walk[begin : begin + len(steps)] = paths
        last = paths[-1]


def _in_a_process(what: str, path: Path, frames: int, atoms: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.msd", what, str(path), str(frames), str(atoms)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True).stdout
    measured: dict[str, Any] = json.loads(answer)
    return measured


def _differences(whose: str, ours: list[float], theirs: list[float]) -> list[str]:
    worst = float(np.max(np.abs(np.array(ours) / np.array(theirs) - 1)))
    return [] if worst < _EQUAL else [f"ours differs from {whose} by {worst:.1e}"]


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _lags(frames: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """From the shortest to half of the trajectory, where a displacement is known well enough to be compared."""
    return np.linspace(1, frames // 2, _LOOP_LAGS).astype(np.intp)


def _ours(walk: Any, frames: int, atoms: int) -> dict[str, Any]:
    from penstock.analysis.msd import compute_msd
    from penstock.analysis.trajectory import make_trajectory

    few = min(_LOOP_ATOMS, atoms - 1)
    species = ["H"] * few + ["He"] * (atoms - few)
    began = time.perf_counter()
    found = compute_msd(make_trajectory([walk], species, 1.0), remove_drift=False)
    wall_s = time.perf_counter() - began
    hydrogen, helium = found["H"].total_a2, found["He"].total_a2
    lags = _lags(frames)
    together = (few * hydrogen + (atoms - few) * helium) / atoms
    return {"wall_s": wall_s, "loop": hydrogen[lags].tolist(), "all": together[lags].tolist()}


def _loop(walk: Any, frames: int, atoms: int) -> dict[str, Any]:
    few = min(_LOOP_ATOMS, atoms - 1)
    positions = np.asarray(walk[:, :few], float)
    lags = _lags(frames)
    found = []
    began = time.perf_counter()
    for lag in lags:
        moved = positions[lag:] - positions[:-lag]
        found.append(float((moved**2).sum(axis=2).mean()))
    wall_s = (time.perf_counter() - began) * _LOOP_ATOMS / few
    return {"wall_s": wall_s, "msd": found, "origins": int((frames - lags).sum())}


def _theirs(walk: Any, frames: int, atoms: int) -> dict[str, Any]:
    universes = importlib.import_module("MDAnalysis").Universe
    einstein = importlib.import_module("MDAnalysis.analysis.msd").EinsteinMSD
    began = time.perf_counter()
    universe = universes.empty(atoms, trajectory=False)
    universe.load_new(np.asarray(walk), order="fac")
    analysis = einstein(universe, select="all", msd_type="xyz", fft=True).run()
    wall_s = time.perf_counter() - began
    return {"wall_s": wall_s, "msd": analysis.results.timeseries[_lags(frames)].tolist()}


def _main() -> None:
    what, path, frames, atoms = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    walk = np.memmap(path, np.float32, "r", shape=(frames, atoms, 3))
    measured = {"ours": _ours, "loop": _loop, "theirs": _theirs}[what](walk, frames, atoms)
    measured["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps(measured))


if __name__ == "__main__":
    _main()
