"""A CSV of a million rows to ready jobs, beside `sqlite3 .import` of the same file.

The jobs that start meanwhile sleep, so that what is timed is ingestion and nothing else; another client asks for the
workflow's status all the while.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Final

from benchmarks.daemon import BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import cpu_s, peak_rss_mb, rss_mb
from benchmarks.report import Figure, Options, Report, at_most, percentile, ratio_at_most
from benchmarks.sources import write_molecules

_ASK_EVERY_S: Final = 0.02
_SLEEPS: Final[dict[str, object]] = {"name": "command", "command": "sleep 86400"}


def run(options: Options) -> Report:
    """Once each: a minute is long enough not to be noise."""
    rows = 20_000 if options.quick else 1_000_000
    sqlite = shutil.which("sqlite3")
    if sqlite is None:
        raise WrongOutcomeError("the sqlite3 program is missing; on Debian and Ubuntu: apt-get install sqlite3")
    with bench_daemon(options.scratch / "daemon") as daemon:
        source = daemon.root / "molecules.csv"
        write_molecules(source, rows)
        baseline_s = _import_s(sqlite, source, options.scratch / "import.db", rows)
        empty_mb = rss_mb(daemon.pid)
        spent = cpu_s(daemon.pid)
        wall_s, latencies_ms = _ingest(daemon, rows)
        figures = [
            Figure("submit until every row is a job", "s", wall_s, baseline_s, ratio_at_most(5)),
            Figure("rows a second", "/s", rows / wall_s, rows / baseline_s),
            Figure("daemon's peak memory", "MB", peak_rss_mb(daemon.pid), empty_mb, at_most(250)),
            Figure("daemon's own CPU", "s", cpu_s(daemon.pid) - spent),
            Figure("status meanwhile, p50", "ms", percentile(latencies_ms, 50)),
            Figure("status meanwhile, p99", "ms", percentile(latencies_ms, 99)),
            Figure("status meanwhile, longest", "ms", max(latencies_ms)),
        ]
    return Report("ingestion", f"A CSV of {rows} rows to jobs, beside sqlite3 .import", {"rows": rows}, figures)


def _ingest(daemon: BenchDaemon, rows: int) -> tuple[float, list[float]]:
    latencies_ms = []
    began = time.perf_counter()
    daemon.submit(render_spec("million", "molecules.csv", _SLEEPS, slots=1))
    while True:
        asked = time.perf_counter()
        info = daemon.info("million")
        answered = time.perf_counter()
        latencies_ms.append((answered - asked) * 1000)
        if not info.ingesting or info.state != "running":
            break
        time.sleep(_ASK_EVERY_S)
    if (info.state, info.jobs, info.rejected) != ("running", rows, 0):
        raise WrongOutcomeError(f"{info.jobs} jobs and {info.rejected} rejected of {rows} rows, {info.state}")
    return answered - began, latencies_ms


def _import_s(sqlite: str, source: Path, target: Path, rows: int) -> float:
    began = time.perf_counter()
    subprocess.run([sqlite, target, "-cmd", ".mode csv", f'.import "{source}" molecules'], check=True)
    wall_s = time.perf_counter() - began
    with contextlib.closing(sqlite3.connect(target)) as db:
        (found,) = db.execute("SELECT count(*) FROM molecules").fetchone()
    if found != rows:
        raise WrongOutcomeError(f"sqlite3 imported {found} of {rows} rows")
    return wall_s
