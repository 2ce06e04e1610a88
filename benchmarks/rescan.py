"""10,000 finished ORCA directories adopted by `rescan`, beside two processes that read the same bytes and search them.

Each turn has a workflow of its own, whose database knows nothing of the directories that are put into its place. A
rescan reads directories of other days: in the turns that count, the files are not in memory. That is so for both.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from benchmarks.daemon import BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import peak_rss_mb, tree_cpu_s
from benchmarks.report import Figure, LeftOutError, Options, Report, compare, ratio_at_least
from benchmarks.sources import write_molecules
from penstock import engines
from penstock.domain.views import Selection

_MARKER: Final = b"ORCA TERMINATED NORMALLY"
_OUTPUT: Final = "stdout"
_ENGINE: Final[dict[str, object]] = {"name": "orca", "method": "B3LYP", "basis": "def2-SVP", "task": "energy"}
_ATTEMPT: Final = "2"  # the first may be that of the job which had begun before the workflow was paused
_PROCESSES: Final = 2
_ACTIVE: Final = Selection(statuses=("submitting", "queued", "running", "collecting"))
_SEED: Final = 20240229


def run(options: Options) -> Report:
    """The daemon and the two processes in turns, with files on disk only, then with files in memory."""
    if "orca" not in engines.names():
        raise LeftOutError("this release has no engine orca")
    jobs, pairs = (500, 1) if options.quick else (10_000, 3)
    programs = options.scratch / "programs"
    _write_program(programs)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    finished = options.scratch / "finished"
    total_mb = sum(_write_job(finished, job) for job in range(1, jobs + 1)) / 1e6
    with bench_daemon(options.scratch / "daemon", environment=environment) as daemon:
        write_molecules(daemon.root / "molecules.csv", jobs)
        cold, cold_limit, _ = _turns(daemon, finished, jobs, pairs, in_memory=False)
        spent = tree_cpu_s(daemon.pid)
        warm, warm_limit, reading = _turns(daemon, finished, jobs, pairs, in_memory=True)
        figures = [
            compare("job directories a second, files on disk", "/s", cold, cold_limit, ratio_at_least(0.7)),
            compare("job directories a second, files in memory", "/s", warm, warm_limit),
            compare("the same, beside the engine's reading alone", "/s", warm, reading),
            Figure("CPU a job, daemon with workers", "ms", (tree_cpu_s(daemon.pid) - spent) / jobs / pairs * 1e3),
            Figure("daemon's peak memory", "MB", peak_rss_mb(daemon.pid)),
        ]
    title = f"rescan of {jobs} ORCA directories ({total_mb:.0f} MB), beside {_PROCESSES} processes that search a marker"
    return Report("rescan", title, {"jobs": jobs, "mb": round(total_mb)}, figures)


def _turns(
    daemon: BenchDaemon, finished: Path, jobs: int, pairs: int, *, in_memory: bool
) -> tuple[list[float], list[float], list[float]]:
    """Directories a second: ours, those that are searched for the marker, those that the engine alone reads."""
    ours, searched, read = [], [], []
    for turn in range(pairs):
        workflow_id = f"rescan-{'memory' if in_memory else 'disk'}-{turn}"
        place = _prepare(daemon, workflow_id, jobs)
        finished.rename(place)
        _settle(place, in_memory=in_memory)
        ours.append(jobs / _rescan_s(daemon, workflow_id, jobs))
        place.rename(finished)
        _settle(finished, in_memory=in_memory)
        searched.append(jobs / _alone_s("search", finished, jobs))
        _settle(finished, in_memory=in_memory)
        read.append(jobs / _alone_s("read", finished, jobs))
    return ours, searched, read


def _prepare(daemon: BenchDaemon, workflow_id: str, jobs: int) -> Path:
    """A paused workflow without an active job; the path its job directories are to have."""
    daemon.submit(render_spec(workflow_id, "molecules.csv", _ENGINE, slots=1))
    daemon.wait_until_ingested(workflow_id)
    daemon.client.pause(workflow_id)
    while daemon.client.jobs(workflow_id, _ACTIVE, limit=1).total:
        daemon.client.cancel(workflow_id, _ACTIVE)
        time.sleep(0.05)
    info = daemon.info(workflow_id)
    if info.jobs != jobs:
        raise WrongOutcomeError(f"{info.jobs} jobs of {jobs}: {info.states}")
    place = Path(info.directory, "jobs")
    shutil.rmtree(place, ignore_errors=True)
    return place


def _rescan_s(daemon: BenchDaemon, workflow_id: str, jobs: int) -> float:
    began = time.perf_counter()
    reply = daemon.client.rescan(workflow_id)
    wall_s = time.perf_counter() - began
    if reply.changed != jobs:
        raise WrongOutcomeError(f"{reply.changed} of {jobs} adopted; left: {reply.left}, {reply.shown[:1]}")
    return wall_s


def _settle(root: Path, *, in_memory: bool) -> None:
    """Brings the outputs into the page cache, or out of it."""
    os.sync()
    for path in _outputs(root):
        descriptor = os.open(path, os.O_RDONLY)
        if in_memory:
            os.read(descriptor, 1 << 20)
        else:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _outputs(root: Path) -> Iterator[str]:
    for shard in os.scandir(root):
        yield from _outputs_of(shard.path)


def _outputs_of(shard: str) -> Iterator[str]:
    for job in os.scandir(shard):
        for attempt in os.scandir(job.path):
            yield f"{attempt.path}/{_OUTPUT}"


# ---- the limit, a program of its own --------------------------------------------------------------------------------


def _alone_s(what: str, root: Path, jobs: int) -> float:
    """The whole program, from its start."""
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", __name__, what, str(root)], check=True, capture_output=True, text=True
    )
    wall_s = time.perf_counter() - began
    if int(ended.stdout) != jobs:
        raise WrongOutcomeError(f"{what}: a success in {ended.stdout.strip()} of {jobs} files")
    return wall_s


def count_marked(shard: str) -> int:
    """In how many of a shard's outputs the marker stands."""
    found = 0
    for path in _outputs_of(shard):
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as fast as can be
            found += _MARKER in file.read()
    return found


def count_read(shard: str) -> int:
    """How many of a shard's outputs the engine reads as a success."""
    engine: Any = engines.get("orca")
    return sum(engine.report(Path(path)).failure is None for path in _outputs_of(shard))


def main(what: str, root: str) -> None:
    """Shares the shards out and prints the sum."""
    count = {"search": count_marked, "read": count_read}[what]
    with get_context("fork").Pool(_PROCESSES) as pool:
        print(sum(pool.imap_unordered(count, sorted(shard.path for shard in os.scandir(root)))))


# ---- outputs of our own making --------------------------------------------------------------------------------------


def _write_program(folder: Path) -> None:
    """Something called orca, for the daemon to find; what it begins is cancelled."""
    folder.mkdir()
    program = folder / "orca"
    program.write_text("#!/bin/sh\nexec sleep 86400\n", encoding="utf-8")
    program.chmod(0o755)


def _write_job(root: Path, job: int) -> int:
    """One finished attempt; the bytes of its output."""
    directory = root / f"{job // 1000:04d}" / str(job) / _ATTEMPT
    directory.mkdir(parents=True)
    text = _render_output(random.Random(_SEED + job))
    return (directory / _OUTPUT).write_text(text, encoding="utf-8")


def _render_output(rng: random.Random) -> str:
    """A single point as ORCA 5 prints one, 60 to 120 KB: header, geometry, SCF, orbitals, populations, timings."""
    atoms = rng.randint(20, 45)
    energy = -atoms * rng.uniform(15.0, 25.0)
    places = [[rng.uniform(-6, 6) for _ in range(3)] for _ in range(atoms)]
    symbols = [rng.choice("CHNO") for _ in range(atoms)]
    coordinates = "".join(
        f"  {symbol:<2} {x:15.6f} {y:11.6f} {z:11.6f}\n" for symbol, (x, y, z) in zip(symbols, places, strict=True)
    )
    cycles = "".join(
        f"{n:>3}  {energy + math.exp(-n):16.10f} {-math.exp(-n):14.12f} {math.exp(-n):10.8f} {0.1 * math.exp(-n):10.8f}"
        " 0.0000000 0.7000\n"
        for n in range(14)
    )
    functions = atoms * 12
    orbitals = "".join(
        f"{n:>4}   {2 if n < functions // 4 else 0}.0000 {n * 0.05 - functions / 60:15.6f}"
        f" {(n * 0.05 - functions / 60) * 27.2114:15.4f} \n"
        for n in range(functions)
    )
    charges = "".join(f"{n:>4} {symbol:<2}: {rng.gauss(0, 0.3):11.6f}\n" for n, symbol in enumerate(symbols))
    basis = "".join(
        f" {rng.uniform(0.1, 9000):18.10f} {rng.uniform(-1, 1):15.10f} {rng.uniform(-1, 1):15.10f}\n"
        for _ in range(atoms * 32)
    )
    return _OUTPUT_TEXT.format(
        coordinates=coordinates, cycles=cycles, orbitals=orbitals, charges=charges, basis=basis, energy=energy
    )


_OUTPUT_TEXT: Final = """
                                 *****************
                                 * O   R   C   A *
                                 *****************

                         Program Version 5.0.4 -  RELEASE  -

================================================================================
                                       INPUT FILE
================================================================================
NAME = job.inp
|  1> ! B3LYP def2-SVP
|  2> * xyz 0 1
|  3>                          ****END OF INPUT****
================================================================================

                       ****************************
                       * Single Point Calculation *
                       ****************************

---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
{coordinates}
-------------------------
BASIS SET IN INPUT FORMAT
-------------------------
{basis}
--------------
SCF ITERATIONS
--------------
ITER       Energy         Delta-E        Max-DP      RMS-DP      [F,P]     Damp
{cycles}
               *****************************************************
               *                     SUCCESS                       *
               *           SCF CONVERGED AFTER  14 CYCLES          *
               *****************************************************

----------------
TOTAL SCF ENERGY
----------------

Total Energy       :        {energy:.8f} Eh

----------------
ORBITAL ENERGIES
----------------

  NO   OCC          E(Eh)            E(eV)
{orbitals}

-----------------------
MULLIKEN ATOMIC CHARGES
-----------------------
{charges}
-------------------------   --------------------
FINAL SINGLE POINT ENERGY      {energy:.12f}
-------------------------   --------------------

                             ****ORCA TERMINATED NORMALLY****
TOTAL RUN TIME: 0 days 0 hours 1 minutes 15 seconds 245 msec
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
