"""An idle daemon with 10,000 jobs that run on a simulated cluster: calls of its scheduler, CPU, memory.

The scheduler's commands are stand-ins of a few lines. Their jobs have been claimed and begun as soon as they have been
submitted, and run until they are cancelled.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.daemon import BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import cpu_s, rss_mb, tree_cpu_s
from benchmarks.report import Figure, Options, Report, at_most
from benchmarks.schedulers import CLUSTER, NEEDS, calls, same_host
from benchmarks.sources import write_molecules

_START_S: Final = 600.0
_SBATCH: Final = """#!{python}
import os, sys, time
from pathlib import Path
options = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
folder, name = Path(options["--chdir"]), options["--job-name"]
tasks = range(int(options.get("--array", "0-0").partition("-")[2]) + 1)
job, now = os.getpid() + 1000, time.time()
for k in tasks:
    (folder / f"claim.{{k}}").symlink_to(f"{{job}}:0:n1")
    (folder / f"journal.{{k}}").write_text(f'["host","n1"]\\n["start",{{k}},{{now:.2f}}]\\n')
    (folder.parent / "news" / f"{{folder.name}}.{{k}}").touch()
with open("{queue}", "a") as queue:
    queue.writelines(f"{{job}}_{{k}}|RUNNING|{{now:.0f}}|{{now:.0f}}|N/A|n1|None|{{name}}\\n" for k in tasks)
print(job)
"""
_SCONTROL: Final = """#!/bin/sh
case "$*" in
*partition*) echo 'PartitionName=all Default=YES State=UP TotalNodes=100 MaxTime=10-00:00:00' ;;
*) printf '%s = %s\\n' SLURM_VERSION 23.02.0 MaxArraySize 10001 MaxJobCount 50000 MinJobAge 300 ;;
esac
"""


def run(options: Options) -> Report:
    """Submits, waits for rest, and looks on."""
    jobs, window_s = (1000, 60.0) if options.quick else (10_000, 180.0)
    rest_s = 20.0 if options.quick else 75.0
    root = options.scratch / "daemon"
    path = f"{_write_programs(options.scratch / 'bin', options.scratch / 'queue')}:{os.environ['PATH']}"
    with bench_daemon(root, same_host(root), {"PATH": path}) as daemon:
        write_molecules(root / "molecules.csv", jobs)
        empty_mb = rss_mb(daemon.pid)
        began = time.perf_counter()
        _start_all(daemon, jobs)
        started_s = time.perf_counter() - began
        time.sleep(rest_s)
        called, own_s, tree_s = calls(daemon), cpu_s(daemon.pid), tree_cpu_s(daemon.pid)
        began = time.perf_counter()
        time.sleep(window_s)
        passed_s = time.perf_counter() - began
        own_s, tree_s = cpu_s(daemon.pid) - own_s, tree_cpu_s(daemon.pid) - tree_s
        made = sum(calls(daemon).values()) - sum(called.values())
        _check(daemon, jobs)
        figures = [
            Figure("calls of the scheduler a minute", "/min", made * 60 / passed_s, aim=at_most(2)),
            Figure("CPU of the daemon", "%", 100 * own_s / passed_s, aim=at_most(2)),
            Figure("CPU of its workers and commands", "%", 100 * (tree_s - own_s) / passed_s),
            Figure("memory", "MB", rss_mb(daemon.pid), empty_mb),
            Figure("until all were seen running", "s", started_s),
        ]
        daemon.terminate()  # there is nothing that could end the jobs
    parameters = {"jobs": jobs, "window_s": window_s, "rest_s": rest_s}
    return Report("idle_cluster", f"{jobs} jobs running on a simulated cluster", parameters, figures)


def _start_all(daemon: BenchDaemon, jobs: int) -> None:
    engine: dict[str, object] = {"name": "command", "command": "sleep 86400"}
    tables = NEEDS | {"batch": {"style": "array"}}
    daemon.submit(render_spec("many", "molecules.csv", engine, slots=jobs, cluster=CLUSTER, tables=tables))
    deadline = time.monotonic() + _START_S
    while daemon.info("many").states.get("running") != jobs:
        if time.monotonic() > deadline:
            raise WrongOutcomeError(f"not all {jobs} jobs run: {daemon.info('many').states}")
        time.sleep(1.0)


def _check(daemon: BenchDaemon, jobs: int) -> None:
    """What was measured was what was meant."""
    seen = daemon.client.report_cluster(CLUSTER).report.jobs
    states = daemon.info("many").states
    if states != {"running": jobs} or seen != {"RUNNING": jobs}:
        raise WrongOutcomeError(f"{jobs} jobs should run; the daemon says {states}, the queue it saw {seen}")


def _write_programs(folder: Path, queue: Path) -> Path:
    """The scheduler's commands, and its queue as a file."""
    folder.mkdir()
    queue.touch()
    programs = {
        "sbatch": _SBATCH.format(python=sys.executable, queue=queue),
        "squeue": f"#!/bin/sh\nexec cat {queue}\n",
        "scontrol": _SCONTROL,
        "sinfo": "#!/bin/sh\necho 'all|n1|128|512000|(null)'\n",
        "sacct": "#!/bin/sh\n",
        "sacctmgr": "#!/bin/sh\nexit 1\n",
        "scancel": "#!/bin/sh\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder
