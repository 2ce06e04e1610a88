"""2,000 programs that do nothing, each its own tracked job, beside `xargs -P2` running the same."""

from __future__ import annotations

import subprocess
import time

from benchmarks.daemon import NICE, bench_daemon, render_spec
from benchmarks.process import tree_cpu_s
from benchmarks.report import Figure, Options, Report, compare, ratio_at_least
from benchmarks.sources import write_molecules

_SLOTS = 2


def run(options: Options) -> Report:
    """The daemon and xargs in turns."""
    jobs, pairs = (200, 2) if options.quick else (2000, 5)
    ours, theirs, cpu = [], [], []
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", jobs)
        for turn in range(pairs):
            spec = render_spec(f"true-{turn}", "molecules.csv", {"name": "command", "command": "true"}, slots=_SLOTS)
            spent, began = tree_cpu_s(daemon.pid), time.perf_counter()
            daemon.submit(spec)
            daemon.wait(f"true-{turn}")
            ours.append(jobs / (time.perf_counter() - began))
            cpu.append((tree_cpu_s(daemon.pid) - spent) / jobs * 1e3)
            theirs.append(jobs / _xargs_s(jobs))
    figures = [
        compare("no-op commands a second", "/s", ours, theirs, ratio_at_least(0.5)),
        Figure("CPU a job, daemon with workers and runners", "ms", sorted(cpu)[len(cpu) // 2], samples=tuple(cpu)),
    ]
    return Report(
        "commands", f"{jobs} x true, {_SLOTS} slots, beside xargs -P{_SLOTS} -n1 true", {"jobs": jobs}, figures
    )


def _xargs_s(jobs: int) -> float:
    lines = "".join(f"{n}\n" for n in range(jobs))
    began = time.perf_counter()
    subprocess.run(["nice", f"-n{NICE}", "xargs", f"-P{_SLOTS}", "-n1", "true"], input=lines, text=True, check=True)
    return time.perf_counter() - began
