"""How long a slot stands empty: from the end of a job to the start of its successor, and to the next submission."""

from __future__ import annotations

import contextlib
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.daemon import bench_daemon, render_spec
from benchmarks.report import Figure, Options, Report, at_most, percentile
from benchmarks.sources import write_molecules

_PREFETCHED_S = 0.3  # several to a bundle, the next bundle waits at the runner
_ALONE_S = 0.9  # one to a submission, and the next is made when it has ended


class _Gaps(NamedTuple):
    to_start_ms: list[float]  # within bundles too
    between_ms: list[float]  # from the last end of a submission to the first start of the next
    to_submission_ms: list[float]  # from the last end of a submission to the making of the next


def run(options: Options) -> Report:
    """Durations on both sides of the limit below which the next submission is made ahead; one slot, and two."""
    jobs = 20 if options.quick else 100
    figures = []
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", jobs)
        for duration_s in (_PREFETCHED_S, _ALONE_S):
            for slots in (1, 2):
                name = f"sleep-{duration_s:g}s-{slots}".replace(".", "-")
                engine: dict[str, object] = {"name": "command", "command": f"sleep {duration_s}"}
                daemon.submit(render_spec(name, "molecules.csv", engine, slots=slots))
                gaps = _read_gaps(Path(daemon.wait(name).directory) / "workflow.db")
                figures += _figures(f"{duration_s:g} s, {slots} slot{'s'[: slots > 1]}", gaps)
    return Report("turnaround", "From the end of a job to its successor in the same slot", {"jobs": jobs}, figures)


def _figures(what: str, gaps: _Gaps) -> list[Figure]:
    return [
        Figure(f"{what}: to the next start, p50", "ms", percentile(gaps.to_start_ms, 50)),
        Figure(f"{what}: to the next start, p95", "ms", percentile(gaps.to_start_ms, 95), aim=at_most(100)),
        Figure(f"{what}: across submissions, p50", "ms", percentile(gaps.between_ms, 50)),
        Figure(f"{what}: across submissions, p95", "ms", percentile(gaps.between_ms, 95), aim=at_most(100)),
        Figure(f"{what}: to the next submission, p50", "ms", percentile(gaps.to_submission_ms, 50)),
        Figure(f"{what}: to the next submission, p95", "ms", percentile(gaps.to_submission_ms, 95), aim=at_most(100)),
    ]


def _read_gaps(database: Path) -> _Gaps:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        lanes = [lane for (lane,) in db.execute("SELECT DISTINCT lane FROM submission")]
        gaps = _Gaps([], [], [])
        for lane in lanes:
            attempts = db.execute(
                "SELECT a.started_at, a.ended_at, s.ulid FROM attempt a JOIN submission s ON s.ulid = a.submission "
                "WHERE s.lane = ? ORDER BY a.started_at",
                [lane],
            ).fetchall()
            made = [at for (at,) in db.execute("SELECT created_at FROM submission WHERE lane = ? ORDER BY 1", [lane])]
            for (_, ended, ulid), (started, _, next_ulid) in pairwise(attempts):
                gaps.to_start_ms.append((started - ended) * 1000)
                if ulid != next_ulid:
                    gaps.between_ms.append((started - ended) * 1000)
                    gaps.to_submission_ms.extend([(at - ended) * 1000 for at in made if at > ended][:1])
    return gaps
