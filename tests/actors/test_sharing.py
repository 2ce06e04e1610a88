"""Workflows in shared mode in virtual time: what one has calculated, another does not calculate again."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.actors.workflow_messages import CancelWorkflow, PauseWorkflow, RetryJobs, SetJob
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.context import Mode
from penstock.domain.remedy import Change, RemedyTable, Rule
from penstock.domain.spec import ChainTable, RetryTable
from penstock.domain.states import JobState
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


def awaiting(campaign: Campaign) -> int | None:
    """Jobs that wait for other workflows', as metrics show it."""
    return campaign.board.figures.standings[campaign.id].awaiting


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
        await b.until(lambda: awaiting(b) == 1)
        assert awaiting(a) == 0
        assert await a.until_ended() == "completed"
        assert await b.until_ended() == "completed"
        assert awaiting(b) == 0
    assert (attempts(a), attempts(b)) == (1, 0)


async def test_who_waits_for_a_job_of_its_own_waits_for_nobody(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    async with Campaign(tmp_path, 4, mode=Mode.SHARED, behaviour=slow) as campaign:
        await campaign.until(lambda: campaign.states()["waiting"] == 3 and campaign.states()["running"] == 1)
        await campaign.clock.advance(3.0)
        assert awaiting(campaign) == 0
        assert await campaign.until_ended() == "completed"


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


# ---- nobody waits for ever ------------------------------------------------------------------------------------------

SLOW = Behaviour(attempt_s=(100.0, 100.0))
LONG_AGO = "2001-01-01 00:00:00"


def write(campaign: Campaign, sql: str, *parameters: Any) -> None:
    """Changes the database as only another process can."""
    with contextlib.closing(sqlite3.connect(campaign.context.database)) as db, db:
        db.execute(sql, parameters)


async def test_of_a_workflow_that_nobody_has_seen_at_work_lately_nothing_is_waited_for(tmp_path: Path) -> None:
    """Its daemon is gone for good, or cannot start it: its cluster is not configured any more."""
    async with shared(tmp_path, "a", 1, behaviour=SLOW) as a:
        await a.until(lambda: a.states()["running"] == 1)
    async with shared(tmp_path, "b", 1) as b:
        await b.until(lambda: b.states()["waiting"] == 1)
        write(b, "UPDATE workflow SET seen_at = ? WHERE workflow_id = 'a'", LONG_AGO)
        assert await b.until_ended() == "completed"
    assert attempts(b) == 1
    async with shared(tmp_path, "c", 1) as c:
        assert await c.until_ended() == "completed"
    assert attempts(c) == 0


async def test_who_works_shows_it_however_long_a_calculation_takes(tmp_path: Path) -> None:
    async with shared(tmp_path, "a", 1, behaviour=Behaviour(attempt_s=(5000.0, 5000.0))) as a:
        await a.until(lambda: a.states()["running"] == 1)
        write(a, "UPDATE workflow SET seen_at = ?", LONG_AGO)
        await a.ask(PauseWorkflow(None))  # what runs goes on to run
        await a.until(lambda: a.query("SELECT seen_at FROM workflow") != [(LONG_AGO,)], 400.0)


async def test_a_doubt_that_a_person_has_to_settle_is_not_waited_for_for_long(tmp_path: Path) -> None:
    async with shared(tmp_path, "a", 1, behaviour=SLOW) as a:
        await a.until(lambda: a.states()["running"] == 1)
        write(a, "UPDATE job SET state = 'in_doubt'")
        async with shared(tmp_path, "b", 1) as b:
            await b.until(lambda: b.states()["waiting"] == 1)
            write(b, "UPDATE job SET updated_at = ? WHERE id = 1", LONG_AGO)
            assert await b.until_ended() == "completed"
            assert attempts(b) == 1


async def test_another_job_that_got_the_number_of_the_awaited_one_is_not_waited_for(tmp_path: Path) -> None:
    async with shared(tmp_path, "a", 1, behaviour=SLOW) as a:
        await a.until(lambda: a.states()["running"] == 1)
        async with shared(tmp_path, "b", 1) as b:
            await b.until(lambda: b.states()["waiting"] == 1)
            write(b, "UPDATE job SET calculation = 'other' WHERE id = 1")
            assert await b.until_ended() == "completed"


# ---- what is not the same -------------------------------------------------------------------------------------------


async def test_a_result_that_a_person_set_is_taken_over_by_nobody(tmp_path: Path) -> None:
    async with shared(tmp_path, "a", 2) as a:
        await a.until_ended()
        a.start()
        columns: dict[str, float | int | str | None] = {"final_energy": -99.0}
        await a.ask(SetJob(1, None, columns, "somebody", None))
        await a.ask(SetJob(2, JobState.COMPLETED, {}, "somebody", None))
        await a.until_ended()
    async with shared(tmp_path, "b", 2) as b:
        await b.until_ended()
    assert attempts(b) == 2


async def test_a_result_by_changed_parameters_is_for_jobs_with_the_same_change_only(tmp_path: Path) -> None:
    """Who shares it fails in the same way first, and then takes over what the remedy led to."""
    rule = Rule("other", FailureClass.SCF_NOT_CONVERGED, change={"argv": Change(set=["false"])}, limit=1)

    def remedied(workflow_id: str, remedies: RemedyTable) -> Campaign:
        campaign = shared(tmp_path, workflow_id, 1, remedies=remedies, retry=RetryTable(max_attempts=1))
        campaign.workers._rule = lambda item: (
            outcome_of_exit(item) if item.parameters else Outcome(FailureClass.SCF_NOT_CONVERGED, "no")
        )
        return campaign

    async with remedied("a", RemedyTable(rules=[rule])) as a:
        assert await a.until_ended() == "completed"
    async with remedied("b", RemedyTable(rules=[rule])) as b:
        assert await b.until_ended() == "completed"
    async with remedied("c", RemedyTable()) as c:
        assert await c.until_ended() == "failed"
    assert (attempts(a), attempts(b), attempts(c)) == (2, 1, 1)
    assert tally(b) == {"completed": 1}


def chain(root: Path, workflow_id: str, verdict: Callable[[str], Outcome | None], **more: Any) -> Campaign:
    """One material through OPT and SP; `verdict` by the step, None: what the exit says."""
    campaign = shared(
        root,
        workflow_id,
        1,
        recipe="crystal",
        engine={"name": "crystal"},
        parameters='{"task": "sp", "argv": ["crystal"], "properties": ["properties"]}',
        chain=ChainTable(steps=["OPT", "SP"], optional=["OPT"]),
        retry=RetryTable(max_attempts=1),
        **more,
    )

    def judge(item: Any) -> Outcome:
        job = int(Path(item.directory).parent.name)
        [(step,)] = campaign.query("SELECT step FROM job WHERE id = ?", job)
        good = Outcome(None, final_energy_hartree=-2.0, geometry=f"1\n\nH 0 0 {job}\n", checkpoint=["fort.9"])
        return verdict(step) or (good if item.exit.code == 0 else outcome_of_exit(item))

    campaign.workers._rule = judge
    return campaign


async def test_what_goes_on_from_a_failure_is_no_result_for_what_goes_on_from_a_success(tmp_path: Path) -> None:
    failure = Outcome(FailureClass.EXIT_CODE, "no")
    async with chain(tmp_path, "a", lambda step: failure if step == "OPT" else None) as a:
        await a.until_ended()
    assert tally(a) == {"failed": 1, "completed": 1}
    async with chain(tmp_path, "b", lambda _: None) as b:
        await b.until_ended()
    assert tally(b) == {"completed": 2}
    assert attempts(b) == 2


async def test_a_step_that_awaits_another_workflow_waits_for_its_parent_when_that_is_tried_again(
    tmp_path: Path,
) -> None:
    """And not for both, nor for neither: it never begins before its parent has ended."""
    a = chain(tmp_path, "a", lambda _: None, behaviour=SLOW)
    b = chain(tmp_path, "b", lambda _: None, behaviour=Behaviour(attempt_s=(30.0, 30.0)))
    async with together(a, b):
        await a.until(lambda: a.states()["running"] == 1 and a.states()["completed"] == 1)
        await b.until(lambda: b.query("SELECT awaits FROM job WHERE workflow_id = 'b' AND step = 'SP'") == [(2,)])
        await b.ask(RetryJobs(Selection(jobs=(3,))))
        assert b.query("SELECT state, awaits FROM job WHERE id = 4") == [("waiting", None)]
        await a.until_ended()
        await b.until(lambda: b.states()["running"] == 1)
        assert b.query("SELECT state FROM job WHERE id = 4") == [("waiting",)]
        assert await b.until_ended() == "completed"
    assert tally(b) == {"completed": 2}
    assert b.query("SELECT calculation FROM job WHERE workflow_id = 'b'") == [(None,), (None,)]


async def test_what_a_program_is_told_the_name_of_is_the_same_only_by_the_same_name(tmp_path: Path) -> None:
    argv = '{"argv": ["true", "$name"]}'
    async with shared(tmp_path, "a", 2, parameters=argv) as a:
        await a.until_ended()
    b = shared(tmp_path, "b", 2, parameters=argv)
    b.workers._structures = [different(2)[0], msgspec.structs.replace(different(2)[1], name="other")]
    async with b:
        await b.until_ended()
    assert (attempts(a), attempts(b)) == (2, 1)
