"""The daemon's memory with 10^4, 10^5 and 10^6 jobs in the database and some on their way, beside an empty daemon."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from benchmarks.daemon import BenchDaemon, bench_daemon, render_spec
from benchmarks.process import peak_rss_mb, rss_mb
from benchmarks.report import Figure, Options, Report, at_most, ratio_at_most
from benchmarks.sources import write_molecules
from penstock.domain.errors import ConflictError

_FLOW_S = 10.0


def run(options: Options) -> Report:
    """A fresh daemon for each size, and once more for the largest database found again."""
    sizes = (1000, 10_000) if options.quick else (10_000, 100_000, 1_000_000)
    with bench_daemon(options.scratch / "empty") as daemon:
        empty_mb = rss_mb(daemon.pid)
    figures = []
    for rows in sizes:
        figures += _measure(options.scratch / f"jobs-{rows}", rows, empty_mb)
    largest, smallest = figures[-2].value, figures[1].value  # each time with some on their way
    figures.append(Figure(f"{sizes[-1]} jobs against {sizes[0]}", "MB", largest, smallest, ratio_at_most(1.25)))
    return Report("memory", "The daemon's resident memory, beside an empty daemon", {"jobs": list(sizes)}, figures)


def _measure(root: Path, rows: int, empty_mb: float) -> list[Figure]:
    with bench_daemon(root) as daemon:
        write_molecules(root / "molecules.csv", rows)
        daemon.submit(render_spec("flow", "molecules.csv", {"name": "command", "command": "true"}))
        daemon.wait_until_ingested("flow")
        time.sleep(_FLOW_S)
        figures = [
            Figure(f"{rows} jobs, some on their way", "MB", rss_mb(daemon.pid), empty_mb, at_most(250)),
            Figure(f"{rows} jobs, peak", "MB", peak_rss_mb(daemon.pid), empty_mb, at_most(250)),
        ]
        with contextlib.suppress(ConflictError):  # the smallest may have ended by now
            daemon.client.pause("flow")
        _settle(daemon)
        daemon.terminate()
        daemon.spawn()
        daemon.wait_until_up()
        time.sleep(1.0)
        figures.append(Figure(f"{rows} jobs, found again", "MB", rss_mb(daemon.pid), empty_mb, at_most(250)))
    return [figures[2], figures[0], figures[1]]


def _settle(daemon: BenchDaemon) -> None:
    """Until nothing is on its way."""
    moving = {"submitting", "queued", "running", "collecting"}
    while moving & daemon.info("flow").states.keys():
        time.sleep(0.05)
