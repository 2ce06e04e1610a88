"""What the log costs: lines, bytes and CPU a job, of a campaign that goes well and of one in which every job fails.

The baseline is the same campaign with `log_level = "error"`, at which nothing of it is written.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.daemon import ENDED, BenchDaemon, bench_daemon, render_spec
from benchmarks.process import cpu_s
from benchmarks.report import Figure, Options, Report, ratio_at_most
from benchmarks.sources import write_molecules

_LEVELS: Final = ("error", "info", "debug")
_CAMPAIGNS: Final = {"all well": "true", "all fail": "false"}
_ROUNDS: Final = 3


class _Cost(NamedTuple):
    """Of one campaign, for each job."""

    lines: float
    bytes: float
    cpu_ms: float  # of the daemon's own process
    wall_ms: float


def run(options: Options) -> Report:
    """No-op jobs, two at a time; the levels take turns, so that the machine's moods are shared out."""
    jobs, rounds = (100, 1) if options.quick else (2000, _ROUNDS)
    costs: dict[tuple[str, str], list[_Cost]] = {}
    for number in range(rounds):
        for level in _LEVELS:
            config = f'[daemon]\nlog_level = "{level}"\n'
            with bench_daemon(options.scratch / f"{level}-{number}", config) as daemon:
                write_molecules(daemon.root / "molecules.csv", jobs)
                _campaign(daemon, "warm", "true", jobs)
                for what, command in _CAMPAIGNS.items():
                    costs.setdefault((what, level), []).append(_campaign(daemon, f"{command}-it", command, jobs))
    figures = []
    for what in _CAMPAIGNS:
        quiet = costs[what, "error"]
        for level in ("info", "debug"):
            loud = costs[what, level]
            figures += [
                Figure(f"{what}, {level}: lines a job", "1", _median(loud, "lines")),
                Figure(f"{what}, {level}: bytes a job", "B", _median(loud, "bytes")),
                *(
                    Figure(
                        f"{what}, {level}: {words} a job",
                        "ms",
                        _median(loud, name),
                        baseline=_median(quiet, name),
                        aim=ratio_at_most(1.05) if level == "info" and name == "cpu_ms" else None,
                        samples=tuple(getattr(cost, name) for cost in loud),
                        baseline_samples=tuple(getattr(cost, name) for cost in quiet),
                    )
                    for name, words in (("cpu_ms", "CPU of the daemon"), ("wall_ms", "time"))
                ),
            ]
    return Report("log_lines", "What the log costs", {"jobs": jobs, "rounds": rounds}, figures)


def _campaign(daemon: BenchDaemon, name: str, command: str, jobs: int) -> _Cost:
    size, lines = _log(daemon.log)
    cpu, began = cpu_s(daemon.pid), time.monotonic()
    engine: dict[str, object] = {"name": "command", "command": command}
    daemon.submit(render_spec(name, "molecules.csv", engine, tables={"retry": {"max_attempts": 1}}))
    while daemon.info(name).state not in ENDED:
        time.sleep(0.1)
    spent, took = cpu_s(daemon.pid) - cpu, time.monotonic() - began
    more, longer = _log(daemon.log)
    return _Cost((longer - lines) / jobs, (more - size) / jobs, spent / jobs * 1000, took / jobs * 1000)


def _log(path: Path) -> tuple[int, int]:
    text = path.read_bytes()
    return len(text), text.count(b"\n")


def _median(costs: list[_Cost], name: str) -> float:
    return statistics.median(float(getattr(cost, name)) for cost in costs)
