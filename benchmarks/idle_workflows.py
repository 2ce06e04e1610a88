"""What a hundred workflows cost that have nothing to do, beside a daemon without any."""

from __future__ import annotations

import time

from benchmarks.daemon import BenchDaemon, WrongOutcomeError, bench_daemon, render_spec
from benchmarks.process import cpu_s, rss_mb, threads
from benchmarks.report import Aim, Figure, Options, Report, at_most
from benchmarks.sources import write_molecules
from penstock.domain.views import Selection

_ROWS = 30
_REST_S = 75.0  # databases close after 5 s of rest, worker processes end and threads with them after a minute


def run(options: Options) -> Report:
    """First nothing, then that many paused, then as many more that run with every job held."""
    workflows, window_s = (10, 5.0) if options.quick else (100, 20.0)
    rest_s = 12.0 if options.quick else _REST_S
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", _ROWS)
        time.sleep(5.0)
        empty = _measure(daemon, window_s)
        for n in range(workflows):
            _submit_paused(daemon, f"paused-{n}")
        time.sleep(rest_s)
        paused = _measure(daemon, window_s)
        for n in range(workflows):
            _submit_paused(daemon, f"held-{n}")
            daemon.client.pause(f"held-{n}", Selection(statuses=("ready",)))
            daemon.client.resume(f"held-{n}")
        time.sleep(rest_s)
        held = _measure(daemon, window_s)
        _check(daemon, workflows)
    figures = []
    for name, (cpu, count, mb) in ((f"{workflows} paused", paused), ("as many again, jobs held", held)):
        figures += [
            Figure(f"{name}: CPU", "%", cpu, empty[0], at_most(0.5)),
            Figure(f"{name}: threads", "", count, empty[1], Aim("value", "at most", empty[1] + 8)),
            Figure(f"{name}: memory", "MB", mb, empty[2]),
        ]
    parameters = {"workflows": workflows, "window_s": window_s, "rest_s": rest_s}
    return Report("idle_workflows", "Workflows with nothing to do, beside an empty daemon", parameters, figures)


def _submit_paused(daemon: BenchDaemon, workflow_id: str) -> None:
    """Pauses when all structures are in; the few jobs that were under way by then end by themselves."""
    engine: dict[str, object] = {"name": "command", "command": "sleep 0.2"}
    daemon.submit(render_spec(workflow_id, "molecules.csv", engine, slots=1))
    daemon.wait_until_ingested(workflow_id)
    daemon.client.pause(workflow_id)


def _measure(daemon: BenchDaemon, window_s: float) -> tuple[float, int, float]:
    """CPU in percent of one core, threads, memory; nobody asks the daemon anything meanwhile."""
    spent, began = cpu_s(daemon.pid), time.perf_counter()
    time.sleep(window_s)
    percent = 100 * (cpu_s(daemon.pid) - spent) / (time.perf_counter() - began)
    return percent, threads(daemon.pid), rss_mb(daemon.pid)


def _check(daemon: BenchDaemon, workflows: int) -> None:
    """What was measured was what was meant: everything still has jobs, and none of them moves."""
    for info in daemon.client.list_workflows().workflows:
        at_rest = "ready" if info.state == "paused" else "held"
        if info.state not in ("paused", "running") or info.states.keys() - {at_rest, "completed"}:
            raise WrongOutcomeError(f"{info.id} is {info.state} with {info.states}")
    found = len(daemon.client.list_workflows().workflows)
    if found != 2 * workflows:
        raise WrongOutcomeError(f"{found} workflows instead of {2 * workflows}")
