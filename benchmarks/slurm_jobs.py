"""1,000 jobs that do nothing on a real Slurm, each tracked by itself, beside the same by `sbatch` alone.

As an array with a task for each job, and as bundles that work through many; beside one raw `sbatch --array` whose queue
is looked at now and then until it is empty, and beside as many calls of `sbatch`. All four take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.services.slurm import RealSlurm

from benchmarks.daemon import BenchDaemon, bench_daemon, render_spec
from benchmarks.process import cpu_s, tree_cpu_s
from benchmarks.report import Figure, Options, Report, at_most, compare, ratio_at_most
from benchmarks.schedulers import CLUSTER, NEEDS, RAW_NEEDS, calls, real_slurm, same_host
from benchmarks.sources import write_molecules

_SOURCE: Final = "molecules.csv"
_BUNDLES: Final = 4
_POLL_S: Final = 0.25
_REST_S: Final = 3.0  # the scheduler and its accounts are busy for a while after the last end
_NOTHING: Final = "#!/bin/sh\ntrue\n"
_LOOP: Final = 'n=$1; shift; while [ "$n" -gt 0 ]; do sbatch "$@" >/dev/null || exit 1; n=$((n - 1)); done'


class _Cost(NamedTuple):
    """What a workflow took: from its submission until all is recorded, and meanwhile."""

    wall_s: float
    daemon_ms: float  # CPU for each job: of the daemon's own process
    others_ms: float  # of its workers, and of what it ran on the cluster's host: sbatch, squeue, sh, tar
    calls: int


def run(options: Options) -> Report:
    """Array, raw array, bundles and loop in turns."""
    jobs, pairs = (200, 1) if options.quick else (1000, 5)
    arrays, bundles, raw_s, loop_s = [], [], [], []
    root = options.scratch / "daemon"
    with real_slurm() as slurm, bench_daemon(root, same_host(root), slurm.environment) as daemon:
        write_molecules(root / _SOURCE, jobs)
        write_molecules(root / "few.csv", 4)
        _work(daemon, "warm-up", "few.csv", "array", 4, 4)
        for turn in range(pairs):
            folder = options.scratch / f"raw-{turn}"
            folder.mkdir()
            raw_s.append(_array_s(slurm, folder, jobs))
            arrays.append(_work(daemon, f"array-{turn}", _SOURCE, "array", jobs, jobs))
            bundles.append(_work(daemon, f"bundle-{turn}", _SOURCE, "bundle", _BUNDLES, jobs))
            loop_s.append(_loop_s(slurm, folder, jobs))
    walls, bundled = [cost.wall_s for cost in arrays], [cost.wall_s for cost in bundles]
    figures = [
        compare(f"{jobs} jobs, a task each; raw array", "s", walls, raw_s, ratio_at_most(1.15)),
        compare(f"{jobs} jobs, a task each; loop of sbatch", "s", walls, loop_s),
        compare(f"{jobs} jobs in {_BUNDLES} tasks; raw array", "s", bundled, raw_s, ratio_at_most(0.2)),
    ]
    figures += [*_costs("a task each", arrays), *_costs("bundles", bundles)]
    parameters = {"jobs": jobs, "pairs": pairs, "bundles": _BUNDLES, "poll_s": _POLL_S}
    return Report("slurm_jobs", f"{jobs} x true on Slurm of this host, beside sbatch", parameters, figures)


def _costs(what: str, costs: list[_Cost]) -> list[Figure]:
    def figure(name: str, unit: str, samples: list[float], limit: float | None = None) -> Figure:
        aim = None if limit is None else at_most(limit)
        return Figure(f"{what}: {name}", unit, statistics.median(samples), aim=aim, samples=tuple(samples))

    return [
        figure("calls of the scheduler", "", [cost.calls for cost in costs], 20),
        figure("CPU a job, daemon", "ms", [cost.daemon_ms for cost in costs], 5),
        figure("CPU a job, its workers and commands", "ms", [cost.others_ms for cost in costs]),
    ]


def _work(daemon: BenchDaemon, workflow_id: str, source: str, style: str, slots: int, jobs: int) -> _Cost:
    tables: Mapping[str, Mapping[str, object]] = NEEDS | {"batch": {"style": style}}
    engine: dict[str, object] = {"name": "command", "command": "true"}
    spec = render_spec(workflow_id, source, engine, slots=slots, cluster=CLUSTER, tables=tables)
    called = sum(calls(daemon).values())
    own_s, tree_s = cpu_s(daemon.pid), tree_cpu_s(daemon.pid)
    began = time.perf_counter()
    daemon.submit(spec)
    daemon.wait(workflow_id, every_s=0.1)
    wall_s = time.perf_counter() - began
    own_s, tree_s = cpu_s(daemon.pid) - own_s, tree_cpu_s(daemon.pid) - tree_s
    made = sum(calls(daemon).values()) - called
    time.sleep(_REST_S)
    return _Cost(wall_s, own_s / jobs * 1e3, (tree_s - own_s) / jobs * 1e3, made)


def _array_s(slurm: RealSlurm, folder: Path, jobs: int) -> float:
    began = time.perf_counter()
    slurm.submit(_NOTHING, f"--array=0-{jobs - 1}", f"--chdir={folder}", *RAW_NEEDS)
    return _until_empty(slurm, began)


def _loop_s(slurm: RealSlurm, folder: Path, jobs: int) -> float:
    script = folder / "nothing.sh"
    script.write_text(_NOTHING, encoding="utf-8")
    argv = ["sh", "-c", _LOOP, "sh", str(jobs), f"--chdir={folder}", *RAW_NEEDS, str(script)]
    began = time.perf_counter()
    subprocess.run(argv, env=os.environ | slurm.environment, check=True)
    return _until_empty(slurm, began)


def _until_empty(slurm: RealSlurm, began: float) -> float:
    while slurm.run(["squeue", "--noheader", "--format=%i"]):
        time.sleep(_POLL_S)
    wall_s = time.perf_counter() - began
    time.sleep(_REST_S)
    return wall_s
