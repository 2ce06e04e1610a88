"""A day of the daemon with 200 workflows at work at any time, in virtual time: what it holds does not grow."""

from __future__ import annotations

from pathlib import Path

from .day import Day, Sample

WORKFLOWS = 200
LULL = 8  # by then workflows end as fast as they are submitted, and retention has begun to remove some


async def test_a_day_with_200_workflows_leaves_nothing_behind(tmp_path: Path) -> None:
    day = Day(tmp_path, workflows=WORKFLOWS, jobs=4)
    async with day.run():
        await day.hours(24)
    assert day.world.violations == []
    assert [sample.hour for sample in day.samples] == list(range(1, 25))
    assert day.samples[-1].submitted > 2 * WORKFLOWS
    noon, evening = day.samples[LULL:16], day.samples[16:]
    for what in ("series", "scrape_bytes", "tasks", "rss_mb"):
        assert most(evening, what) < 1.1 * most(noon, what), what
    for what in ("threads", "descriptors"):  # one for each database in use just then
        assert most(evening, what) < WORKFLOWS / 2, what


def most(samples: list[Sample], what: str) -> float:
    return max(float(getattr(sample, what)) for sample in samples)
