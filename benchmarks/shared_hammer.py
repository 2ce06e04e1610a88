"""Twenty processes at one shared database for a minute: through our store, beside plain SQLite in the same minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.hammering import ROWS, count_all, run_processes
from benchmarks.report import Figure, Options, Report, at_most

_PROCESSES: Final = 20


def run(options: Options) -> Report:
    """Half of them as actors, half as library users; the baselines are the same writes with SQLite's own waiting."""
    seconds = 3.0 if options.quick else 60.0
    ours = _measure(options.scratch / "ours.db", ["actor", "writer"] * (_PROCESSES // 2), seconds)
    plain = _measure(options.scratch / "plain.db", ["plain"] * _PROCESSES, seconds)
    reads_first = _measure(options.scratch / "reads_first.db", ["plain-reads-first"] * _PROCESSES, seconds)
    names = ("transactions a second", "errors seen", "rows lost", "longest transaction", "fewest by one process")
    units = ("/s", "", "", "s", "")
    aims = (None, at_most(0), at_most(0), None, None)
    figures = [
        Figure(f"{name}{beside}", unit, value, baseline, aim if not beside else None)
        for beside, against in (
            (", beside SQLite's own waiting", plain),
            (", beside reading before writing", reads_first),
        )
        for name, unit, value, baseline, aim in zip(names, units, ours, against, aims, strict=True)
    ]
    faults = [f"{what}: {value:g}" for what, value in zip(names[1:3], ours[1:3], strict=True) if value]
    parameters = {"processes": _PROCESSES, "seconds": seconds, "rows in a transaction": ROWS}
    return Report("shared_hammer", f"{_PROCESSES} processes at one database", parameters, figures, faults)


def _measure(database: Path, kinds: list[str], seconds: float) -> tuple[float, ...]:
    tallies = run_processes(database, kinds, seconds)
    found = count_all(database)
    lost = sum(abs(found.get(name, 0) - tally.commits * ROWS) + tally.missing for name, tally in tallies.items())
    commits = [tally.commits for tally in tallies.values()]
    errors = sum(len(tally.errors) for tally in tallies.values())
    return sum(commits) / seconds, errors, lost, max(tally.longest_s for tally in tallies.values()), min(commits)
