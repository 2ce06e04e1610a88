"""Shared by the tests of scheduler codecs: the samples of real schedulers, requests, and what no answer may ever do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from penstock.clusters.scheduler import ACTIVE, JobRequest, JobRow, UnreadableAnswerError
from penstock.clusters.shell import Completed
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent"))
with_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory of answers recorded from real schedulers"
)


def good(text: str | bytes) -> Completed:
    return Completed(0, text.encode() if isinstance(text, str) else text, b"")


def failed(stderr: str, code: int = 1, stdout: str = "") -> Completed:
    return Completed(code, stdout.encode(), stderr.encode())


def request(
    width: int = 1, options: SchedulerOptions | None = None, *, exclude: tuple[str, ...] = (), **amounts: int
) -> JobRequest:
    return JobRequest(
        ulid=ULID,
        width=width,
        script="/spool/a b/script",
        directory="/spool/a b",
        resources=Resources(**amounts),
        walltime_s=3601,
        warn_s=90,
        options=options or SchedulerOptions(),
        exclude_nodes=exclude,
    )


def ends(rows: Iterable[JobRow]) -> set[tuple[str, str, int]]:
    """The tasks that are said to have ended."""
    return {(row.ulid, row.job_id, task) for row in rows if row.phase not in ACTIVE for task in row.tasks}


def check_every_cut(whole: bytes, parse: Callable[[Completed], Iterable[JobRow]]) -> None:
    """An answer cut anywhere says nothing, or at least no end which the whole one does not tell."""
    true_ends = ends(parse(good(whole)))
    for length in range(len(whole)):
        try:
            rows = parse(good(whole[:length]))
        except UnreadableAnswerError:
            continue
        assert ends(rows) <= true_ends


def check_anything(raw: Completed, *parsers: Callable[[Completed], object]) -> None:
    """Nothing but UnreadableAnswerError ever comes out."""
    for parse in parsers:
        with contextlib.suppress(UnreadableAnswerError):
            parse(raw)
