"""Workflows in shared mode in virtual time: what one has calculated, another does not calculate again."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.actors.workflow_messages import CancelWorkflow, RetryJobs
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.context import Mode
from penstock.domain.spec import ChainTable, RetryTable
from penstock.domain.views import Selection
from penstock.testing.scripted_workers import outcome_of_exit
from penstock.testing.simulated_world import Behaviour

from .campaign import ALL, Campaign


def shared(root: Path, workflow_id: str, jobs: int = 3, **more: Any) -> Campaign:
    """A campaign over hydrogen atoms, which are all the same: its jobs differ in nothing but their charge."""
    campaign = Campaign(root, jobs, workflow_id=workflow_id, mode=more.pop("mode", Mode.SHARED), **more)
    campaign.workers._structures = different(jobs)
    return campaign


def different(count: int) -> list[Any]:
    from penstock.domain.calculation import Structure

    return [Structure(n, n + 2, f"h{n}", "H", 1, 0, 2, f"1\n\nH 0 0 {n}.0\n") for n in range(count)]


@contextlib.asynccontextmanager
async def together(*campaigns: Campaign) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for campaign in campaigns:
            await stack.enter_async_context(campaign)
        yield


def attempts(campaign: Campaign) -> int:
    return int(campaign.query("SELECT count(*) FROM attempt WHERE workflow_id = ?", campaign.id)[0][0])


def tally(campaign: Campaign) -> dict[str, int]:
    """The jobs by state as counted one by one, which is what the tally has."""
    counted = dict(campaign.query("SELECT state, count(*) FROM job WHERE workflow_id = ? GROUP BY state", campaign.id))
    kept = dict(campaign.query("SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs", campaign.id))
    assert kept == counted
    return counted


async def test_a_result_that_is_there_is_taken_over_and_provenance_says_so(tmp_path: Path) -> None:
    async with shared(tmp_path, "a") as a:
        assert await a.until_ended() == "completed"
    async with shared(tmp_path, "b", 5) as b:
        assert await b.until_ended() == "completed"
    assert (attempts(a), attempts(b)) == (3, 2)
    assert tally(b) == {"completed": 5}
    rows = b.query("SELECT name, final_energy, attempts, job_dir, origin FROM job WHERE workflow_id = 'b' ORDER BY id")
    assert [row[1] for row in rows] == [-1.0] * 5
    name, _, tried, directory, origin = rows[0]
    assert (name, tried) == ("h0", 0)
    assert directory == "../a/jobs/0000/1/1"
    assert (b.directory / directory).resolve() == a.directory / "jobs/0000/1/1"
    assert origin == '{"workflow":"a","job":1,"attempt":1,"directory":"jobs/0000/1/1"}'
    assert [row[4] for row in rows[3:]] == [None, None]
    events = b.query("SELECT data FROM event WHERE workflow_id = 'b' AND kind = 'job_reused' ORDER BY seq")
    assert len(events) == 3
    assert '"workflow":"a"' in events[0][0]


async def test_what_another_calculates_now_is_waited_for(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    a, b = shared(tmp_path, "a", 1, behaviour=slow), shared(tmp_path, "b", 1)
    async with together(a, b):
        await a.until(lambda: a.states()["running"] == 1)
        await b.until(lambda: b.states()["waiting"] == 1)
        assert b.query("SELECT awaits FROM job WHERE workflow_id = 'b'") == [(1,)]
        assert await a.until_ended() == "completed"
        assert await b.until_ended() == "completed"
    assert (attempts(a), attempts(b)) == (1, 0)


async def test_what_fails_elsewhere_is_calculated_after_all(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    a = shared(tmp_path, "a", 1, behaviour=slow, retry=RetryTable(max_attempts=1))
    a.workers._rule = lambda _: Outcome(FailureClass.EXIT_CODE, "no")
    b = shared(tmp_path, "b", 1)
    async with together(a, b):
        await a.until(lambda: a.states()["running"] == 1)
        await b.until(lambda: b.states()["waiting"] == 1)
        assert await a.until_ended() == "failed"
        assert await b.until_ended() == "completed"
    assert (attempts(a), attempts(b)) == (1, 1)


async def test_the_same_structure_twice_in_one_workflow_is_calculated_once(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 4, mode=Mode.SHARED) as campaign:
        assert await campaign.until_ended() == "completed"
    assert attempts(campaign) == 1
    assert tally(campaign) == {"completed": 4}


@pytest.mark.parametrize("mode", [Mode.ISOLATED, Mode.HYBRID])
async def test_other_modes_neither_give_nor_take(tmp_path: Path, mode: Mode) -> None:
    async with shared(tmp_path, "a") as a:
        await a.until_ended()
    async with shared(tmp_path, "b", mode=mode) as b:
        assert await b.until_ended() == "completed"
    async with shared(tmp_path, "c", parameters='{"argv": ["false"]}') as c:  # another method
        assert await c.until_ended() == "completed"
    assert (attempts(a), attempts(b), attempts(c)) == (3, 3, 3)
    assert b.query("SELECT count(*) FROM material WHERE workflow_id = 'b' AND key IS NOT NULL") == [(0,)]
    assert b.query("SELECT DISTINCT namespace FROM material WHERE workflow_id = 'b'") == [("b",)]


async def test_who_waits_can_be_cancelled(tmp_path: Path) -> None:
    a, b = shared(tmp_path, "a", 1, behaviour=Behaviour(attempt_s=(100.0, 100.0))), shared(tmp_path, "b", 1)
    async with together(a, b):
        await a.until(lambda: a.states()["running"] == 1)
        await b.until(lambda: b.states()["waiting"] == 1)
        await b.ask(CancelWorkflow(None))
        assert await b.until_ended() == "cancelled"
        assert await a.until_ended() == "completed"
    assert tally(b) == {"cancelled": 1}


async def test_another_try_by_request_is_ones_own_and_serves_nobody_else(tmp_path: Path) -> None:
    async with shared(tmp_path, "a", 1) as a:
        await a.until_ended()
    async with shared(tmp_path, "b", 1) as b:
        await b.until_ended()
        b.start()
        await b.ask(RetryJobs(Selection(jobs=(2,))))
        assert await b.until_ended() == "completed"
    assert b.query("SELECT origin, calculation FROM job WHERE id = 2") == [(None, None)]
    assert attempts(b) == 1
    async with shared(tmp_path, "c", 1) as c:
        await c.until_ended()
    assert '"workflow":"a"' in c.query("SELECT origin FROM job WHERE workflow_id = 'c'")[0][0]


async def test_chains_share_every_step(tmp_path: Path) -> None:
    def chain(workflow_id: str, steps: list[str]) -> Campaign:
        campaign = shared(
            tmp_path,
            workflow_id,
            2,
            recipe="crystal",
            engine={"name": "crystal"},
            parameters='{"task": "sp", "argv": ["crystal"], "properties": ["properties"]}',
            chain=ChainTable(steps=steps),
        )
        campaign.workers._rule = lambda item: (
            Outcome(None, final_energy_hartree=-2.0, checkpoint=["fort.9"])
            if item.exit.code == 0
            else outcome_of_exit(item)
        )
        return campaign

    async with chain("a", ["OPT", "SP"]) as a:
        assert await a.until_ended() == "completed"
    async with chain("b", ["OPT", "SP", "FREQ"]) as b:
        assert await b.until_ended() == "completed"
    assert (attempts(a), attempts(b)) == (4, 2)
    handed = b.query("SELECT handed FROM job WHERE workflow_id = 'b' AND step = 'FREQ' ORDER BY id LIMIT 1")[0][0]
    assert handed == '{"directory":"../a/jobs/0000/3/1","files":["fort.9"]}'


class Unlucky:
    """Breaks an actor now and then."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = 12

    def __call__(self) -> bool:
        breaks = self._left > 0 and self._random.random() < 0.08
        self._left -= breaks
        return breaks


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_calculated_twice_whatever_breaks(tmp_path: Path, seed: int) -> None:
    """Three workflows over the same structures take turns at random, and break before and after commits."""
    chance = random.Random(seed)
    campaigns = [
        shared(tmp_path, name, 12, breaks=Unlucky(seed * 10 + n), seed=n, behaviour=Behaviour(attempt_s=(0.5, 20.0)))
        for n, name in enumerate("abc")
    ]
    async with together(*campaigns):
        left = list(campaigns)
        while left:
            campaign = chance.choice(left)
            steps = itertools.count()
            limit = chance.randint(1, 40)
            await run_some(campaign, lambda steps=steps, limit=limit: next(steps) >= limit)  # type: ignore[misc]
            left = [one for one in left if one.supervisor_runs()]
    for campaign in campaigns:
        assert campaign.world.violations == []
        assert tally(campaign) == {"completed": 12}
    winners = campaigns[0].query("SELECT count(*), count(DISTINCT calculation) FROM job WHERE origin IS NULL")
    assert winners == [(12, 12)]
    done = campaigns[0].query("SELECT count(*) FROM attempt WHERE state = 'completed'")
    assert done == [(12,)]


async def run_some(campaign: Campaign, enough: Callable[[], bool]) -> None:
    """Moves a campaign's time on a little."""
    await campaign.until(lambda: enough() or not campaign.supervisor_runs())


async def test_the_selection_of_one_workflow_never_touches_another(tmp_path: Path) -> None:
    a, b = shared(tmp_path, "a", 3, mode=Mode.HYBRID), shared(tmp_path, "b", 3, mode=Mode.HYBRID)
    async with together(a, b):
        await a.until_ended()
        await b.until_ended()
        a.start()
        await a.ask(RetryJobs(Selection(statuses=("completed",))))
        assert await a.until_ended() == "completed"
        await b.ask(RetryJobs(ALL)) if b.supervisor_runs() else None
    assert (attempts(a), attempts(b)) == (6, 3)
    assert tally(b) == {"completed": 3}
