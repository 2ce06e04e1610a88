"""How soon the daemon answers `status` while 10^5 jobs flow, beside the same question to the same daemon at rest."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.daemon import ENDED, BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import cpu_s
from benchmarks.report import Figure, Options, Report, at_most, percentile
from benchmarks.sources import write_copper

_ASK_EVERY_S = 0.005
_REST_S = 10.0  # the database of a workflow at rest is closed by then


def run(options: Options) -> Report:
    """EMT jobs: of all engines the one that makes the daemon busiest."""
    jobs = 2000 if options.quick else 100_000
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_copper(daemon.root / "copper.xyz", jobs)
        began, spent = time.perf_counter(), cpu_s(daemon.pid)
        daemon.submit(render_spec("flow", "copper.xyz", {"name": "emt"}))
        busy_ms = _ask(daemon, lambda state: state in ENDED)
        wall_s, spent = time.perf_counter() - began, cpu_s(daemon.pid) - spent
        if (info := daemon.info("flow")).state != "completed":
            raise WrongOutcomeError(f"flow is {info.state}: {info.reason}")
        time.sleep(_REST_S)
        until = time.perf_counter() + min(wall_s, 20.0)
        idle_ms = _ask(daemon, lambda _: time.perf_counter() > until)
    figures = [
        Figure("status, p50", "ms", percentile(busy_ms, 50), percentile(idle_ms, 50)),
        Figure("status, p99", "ms", percentile(busy_ms, 99), percentile(idle_ms, 99), at_most(10)),
        Figure("status, longest", "ms", max(busy_ms), max(idle_ms)),
        Figure("jobs a second meanwhile", "/s", jobs / wall_s),
        Figure("daemon's own CPU", "% of a core", 100 * spent / wall_s),
    ]
    parameters = {"jobs": jobs, "asked": len(busy_ms), "asked_at_rest": len(idle_ms)}
    return Report("status_latency", f"status while {jobs} EMT jobs flow, beside the same at rest", parameters, figures)


def _ask(daemon: BenchDaemon, enough: Callable[[str], bool]) -> list[float]:
    """Milliseconds of every answer until the workflow's state is `enough`."""
    latencies_ms = []
    while True:
        asked = time.perf_counter()
        state = daemon.info("flow").state
        latencies_ms.append((time.perf_counter() - asked) * 1000)
        if enough(state):
            return latencies_ms
        time.sleep(_ASK_EVERY_S)
