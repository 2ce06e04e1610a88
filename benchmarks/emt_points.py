"""10,000 EMT single points, tracked and durable, beside `multiprocessing.Pool` doing the same from the same file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.daemon import NICE, BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import tree_cpu_s
from benchmarks.report import Figure, Options, Report, compare, ratio_at_least
from benchmarks.sources import write_copper

_SLOTS = 2


def run(options: Options) -> Report:
    """The daemon and the pool in turns; both begin with the file and end with the last result written."""
    frames, pairs = (1000, 2) if options.quick else (10_000, 3)
    ours, theirs, cpu = [], [], []
    with bench_daemon(options.scratch / "daemon") as daemon:
        source = daemon.root / "copper.xyz"
        write_copper(source, frames)
        for turn in range(pairs):
            spent = tree_cpu_s(daemon.pid)
            ours.append(frames / _daemon_s(daemon, f"emt-{turn}"))
            cpu.append((tree_cpu_s(daemon.pid) - spent) / frames * 1e3)
            theirs.append(frames / _pool_s(source, options.scratch / "pool.jsonl", frames))
    figures = [
        compare("EMT single points a second", "/s", ours, theirs, ratio_at_least(0.7)),
        Figure("CPU a job, daemon with workers and runners", "ms", sorted(cpu)[len(cpu) // 2], samples=tuple(cpu)),
    ]
    title = f"{frames} EMT single points of 4 atoms, {_SLOTS} slots, beside multiprocessing.Pool({_SLOTS})"
    return Report("emt_points", title, {"frames": frames, "slots": _SLOTS}, figures)


def _daemon_s(daemon: BenchDaemon, workflow_id: str) -> float:
    spec = render_spec(workflow_id, "copper.xyz", {"name": "emt"}, slots=_SLOTS)
    began = time.perf_counter()
    daemon.submit(spec)
    daemon.wait(workflow_id)
    return time.perf_counter() - began


def _pool_s(source: Path, target: Path, frames: int) -> float:
    """The whole program, from its start, as a person would run it."""
    argv = ["nice", f"-n{NICE}", sys.executable, "-m", __name__, str(source), str(target)]
    began = time.perf_counter()
    subprocess.run(argv, env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, check=True)
    wall_s = time.perf_counter() - began
    with target.open(encoding="utf-8") as lines:
        if (written := sum(1 for _ in lines)) != frames:
            raise WrongOutcomeError(f"the pool wrote {written} results for {frames} frames")
    return wall_s


# ---- the baseline, a program of its own -----------------------------------------------------------------------------


def calculate(atoms: Any) -> dict[str, Any]:
    """Energy and largest force component of one frame, as an EMT job gives them."""
    from ase.calculators.emt import EMT

    atoms.calc = EMT()
    energy = atoms.get_potential_energy()
    return {"name": atoms.info["name"], "energy_ev": energy, "max_force": float(abs(atoms.get_forces()).max())}


def main(source: str, target: str) -> None:
    """Reads the frames, shares them out, writes one JSON line a result."""
    from ase.io import iread

    with get_context("fork").Pool(_SLOTS) as pool, Path(target).open("w", encoding="utf-8") as file:
        results = pool.imap_unordered(calculate, iread(source, format="extxyz"), chunksize=50)
        file.writelines(f"{json.dumps(result)}\n" for result in results)


if __name__ == "__main__":
    main(*sys.argv[1:])
