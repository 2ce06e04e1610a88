"""Chains: what the end of a job means for the jobs of the same material that go on from it, inside a transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import aiosqlite

from penstock.domain.states import JobState
from penstock.store.selection import as_array

_DONE: Final = "(p.state = 'completed' OR (s.optional AND p.state IN ('failed', 'timeout')))"
_BAD: Final = "p.state IN ('failed', 'timeout', 'cancelled', 'skipped')"
_PARENTS: Final = "FROM job AS p, step AS s WHERE p.id = job.parent_id AND s.id = p.step_id"
_GIVEN: Final = "p.id IN (SELECT value FROM json_each(?))"
_OWN: Final = "job.id IN (SELECT value FROM json_each(?))"
_LINKED: Final = f"""
    UPDATE job SET state = 'waiting', status = 'ready'
    WHERE job.state = 'ready' AND parent_id IS NOT NULL AND {_OWN} RETURNING id
"""
_REVIVE: Final = """
    UPDATE job SET state = 'waiting', status = 'ready', error_message = NULL
    WHERE state = 'skipped' AND parent_id IN (SELECT value FROM json_each(?)) RETURNING id
"""
# What was asked of an optional step that failed is passed on as it was: its geometry, deck and what it had been handed.
# What goes on from another result than the one that its key is about (of a failure, of a remedy, of a second try by
# request) is shared with nobody.
_RELEASE: Final = f"""
    UPDATE job SET state = 'ready', status = 'ready', error_message = NULL,
        geometry = coalesce(p.final_geometry, p.geometry), deck = coalesce(p.final_deck, p.deck),
        handed = CASE WHEN p.state != 'completed' THEN p.handed
            WHEN p.checkpoint IS NOT NULL THEN json_object('directory', p.job_dir, 'files', json(p.checkpoint)) END,
        calculation = CASE WHEN p.state = 'completed' AND p.calculation IS NOT NULL AND p.parameters IS NULL
            THEN job.calculation END,
        awaits = NULL
    {_PARENTS} AND job.state = 'waiting' AND {_DONE} AND {{}} RETURNING job.id
"""
_SKIP: Final = f"""
    UPDATE job SET state = 'skipped', status = 'skipped', awaits = NULL, error_message = 'its step ' || s.key || ' ' ||
        CASE p.state WHEN 'timeout' THEN 'ran out of walltime' WHEN 'failed' THEN 'failed' ELSE 'was ' || p.state END
    {_PARENTS} AND job.state = ? AND NOT {_DONE} AND {_BAD} AND {{}} RETURNING job.id
"""
_WAIT: Final = f"""
    UPDATE job SET state = 'waiting', status = 'ready', awaits = NULL, error_message = NULL
    {_PARENTS} AND job.state = ? AND NOT {_DONE} AND NOT {_BAD} AND {{}} RETURNING job.id
"""


async def lead_on(db: aiosqlite.Connection, parents: Sequence[int]) -> Counter[str]:
    """Jobs that waited for any of `parents` become ready, or are skipped where that has ended badly.

    Returns by how much each state's count of jobs changes.
    """
    shift: Counter[str] = Counter()
    released = await _change(db, _RELEASE.format(_GIVEN), parents)
    _count(shift, JobState.WAITING, JobState.READY, released)
    while parents:
        parents = await _change(db, _SKIP.format(_GIVEN), JobState.WAITING, parents)
        _count(shift, JobState.WAITING, JobState.SKIPPED, parents)
    return shift


async def lead_again(db: aiosqlite.Connection, parents: Sequence[int]) -> Counter[str]:
    """After somebody found another end for `parents`: what was skipped behind them is looked at once more.

    Returns by how much each state's count of jobs changes.
    """
    shift: Counter[str] = Counter()
    behind = parents
    while behind:
        behind = await _change(db, _REVIVE, behind)
        _count(shift, JobState.SKIPPED, JobState.WAITING, behind)
    shift.update(await lead_on(db, parents))
    return shift


async def lead_back(db: aiosqlite.Connection, reset: Sequence[int]) -> Counter[str]:
    """After jobs were made ready by request: each goes on from what its parent has by now, waits, or is skipped.

    What has not begun behind them waits again. Returns by how much each state's count of jobs changes.
    """
    shift: Counter[str] = Counter()
    linked = await _change(db, _LINKED, reset)
    _count(shift, JobState.READY, JobState.WAITING, linked)
    behind: Sequence[int] = reset
    while behind:
        await _change(db, _WAIT.format(_GIVEN), JobState.WAITING, behind)  # not for another workflow any more
        released = await _change(db, _WAIT.format(_GIVEN), JobState.READY, behind)
        _count(shift, JobState.READY, JobState.WAITING, released)
        skipped = await _change(db, _WAIT.format(_GIVEN), JobState.SKIPPED, behind)
        _count(shift, JobState.SKIPPED, JobState.WAITING, skipped)
        behind = released + skipped
    again = await _change(db, _RELEASE.format(_OWN), linked)
    _count(shift, JobState.WAITING, JobState.READY, again)
    shift.update(await _skip(db, JobState.WAITING, linked))
    return shift


async def hold_back(db: aiosqlite.Connection, again: Sequence[int]) -> Counter[str]:
    """Jobs whose attempts are followed by others, and whose parents were reset meanwhile, wait for them.

    Returns by how much each state's count of jobs changes.
    """
    shift: Counter[str] = Counter()
    waiting = await _change(db, _WAIT.format(_OWN), JobState.READY, again)
    _count(shift, JobState.READY, JobState.WAITING, waiting)
    shift.update(await _skip(db, JobState.READY, again))
    return shift


async def _skip(db: aiosqlite.Connection, state: JobState, jobs: Sequence[int]) -> Counter[str]:
    """Those of `jobs` in `state` whose parents have ended badly are skipped, and so is what waits for them."""
    shift: Counter[str] = Counter()
    skipped = await _change(db, _SKIP.format(_OWN), state, jobs)
    _count(shift, state, JobState.SKIPPED, skipped)
    while skipped:
        skipped = await _change(db, _SKIP.format(_GIVEN), JobState.WAITING, skipped)
        _count(shift, JobState.WAITING, JobState.SKIPPED, skipped)
    return shift


async def _change(db: aiosqlite.Connection, sql: str, *parameters: str | Sequence[int]) -> list[int]:
    """The ids of the jobs that an update changed."""
    bound = [p if isinstance(p, str) else as_array(p) for p in parameters]
    return [row[0] for row in await db.execute_fetchall(sql, bound)]


def _count(shift: Counter[str], before: JobState, after: JobState, jobs: Iterable[int]) -> None:
    moved = len(list(jobs))
    shift[str(before)] -= moved
    shift[str(after)] += moved
