"""A day of the daemon in virtual time, 200 workflows at work at any moment: what it holds, and whether that grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import anyio
from tests.daemon.day import Day, Sample

from benchmarks.report import Figure, Options, Report, ratio_at_most

_HOURS = 24
_QUICK_HOURS = 6


def run(options: Options) -> Report:
    """One day; each figure is the median of its last hours, and its baseline that of as many hours before."""
    hours, workflows = (_QUICK_HOURS, 20) if options.quick else (_HOURS, 200)
    day = Day(options.scratch, workflows=workflows, jobs=4)
    began = time.perf_counter()
    anyio.run(_live, day, hours)
    took_s = time.perf_counter() - began
    part = hours // 3
    before, after = day.samples[part : 2 * part], day.samples[2 * part :]
    figures = [
        _figure("resident memory", "MB", "rss_mb", before, after),
        _figure("series of a scrape", "", "series", before, after),
        _figure("size of a scrape", "bytes", "scrape_bytes", before, after),
        _figure("tasks", "", "tasks", before, after),
        Figure("workflows submitted", "", day.samples[-1].submitted),
        Figure("real time for the day", "s", took_s),
    ]
    faults = [f"{len(day.world.violations)} jobs were lost or run twice"] if day.world.violations else []
    parameters = {"hours": hours, "workflows": workflows, "jobs of each": 4}
    return Report("day", "A day in virtual time: its last third against the one before", parameters, figures, faults)


async def _live(day: Day, hours: int) -> None:
    async with day.run():
        await day.hours(hours)


def _figure(what: str, unit: str, field: str, before: Sequence[Sample], after: Sequence[Sample]) -> Figure:
    baseline, value = (median(float(getattr(sample, field)) for sample in part) for part in (before, after))
    return Figure(what, unit, value, baseline, ratio_at_most(1.1))
