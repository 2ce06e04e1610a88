"""`python -m benchmarks [NAME ...] [--quick] [--out DIR]`: tables and JSON; exit code 1 for a fault."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.report import LeftOutError, Options, Report, show, write

NAMES: Final = (
    "cold_start",
    "commands",
    "dynamics",
    "emt_points",
    "hull",
    "idle_workflows",
    "ingestion",
    "memory",
    "orca_parse",
    "rescan",
    "scrape",
    "shared_hammer",
    "status_latency",
    "turnaround",
    "workflow_list",
    "live_view",
    "slurm_jobs",
    "staging",
    "chains",
    "elastic_espresso",
    "idle_cluster",
    "kill_storm",
    "locks",
    "log_lines",
    "contexts",
    "day",
    "merge",
    "archive",
    "msd",
)
_RESULTS: Final = Path(__file__).parent / "results"


def main() -> int:
    """The entry point. A missed aim is shown, not punished: machines differ; a fault is one everywhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it works, not how fast it is")
    parser.add_argument("--out", type=Path, default=_RESULTS, metavar="DIR", help="where the JSON goes")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that daemons are stopped here too
    faults = 0
    for name in arguments.names or NAMES:
        try:
            report = _run(name, quick=arguments.quick)
        except LeftOutError as why:
            print(f"{name} is left out: {why}\n", flush=True)
            faults += name in arguments.names
            continue
        show(report)
        print(f"{write(report, arguments.out, quick=arguments.quick)}\n", flush=True)
        faults += len(report.faults)
    return 1 if faults else 0


def _run(name: str, *, quick: bool) -> Report:
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"penstock-{name}-") as scratch:
        report: Report = importlib.import_module(f"benchmarks.{name}").run(Options(quick, Path(scratch)))
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
