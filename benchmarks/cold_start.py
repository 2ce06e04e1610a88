"""How long a person waits for `penstockctl status`: the whole command, from a cold process."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.daemon import bench_daemon, render_spec
from benchmarks.report import Options, Report, at_most, compare
from benchmarks.sources import write_molecules

_CTL = (sys.executable, "-c", "from penstock.ctl.main import main; main()")
_PASS = (sys.executable, "-c", "pass")


def run(options: Options) -> Report:
    """`penstockctl status ID` and `python -c pass` in turns."""
    pairs = 5 if options.quick else 20
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", 20)
        daemon.submit(render_spec("small", "molecules.csv", {"name": "command", "command": "true"}))
        daemon.wait("small")
        environment = daemon.environment()
        ours, theirs = [], []
        for _ in range(pairs):
            ours.append(wall_ms((*_CTL, "status", "small"), environment))
            theirs.append(wall_ms(_PASS, environment))
    figure = compare("penstockctl status", "ms", ours, theirs, at_most(150))
    return Report("cold_start", "A command from a cold process, beside python -c pass", {"pairs": pairs}, [figure])


def wall_ms(argv: tuple[str, ...], environment: dict[str, str]) -> float:
    """How long a command takes, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000
