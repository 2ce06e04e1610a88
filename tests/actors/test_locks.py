"""Workflows that share resources, in virtual time: never more held than there is, whenever a workflow breaks."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.actors.locks import Locks, WorkflowLocks
from penstock.actors.workflow_messages import CancelWorkflow, PauseWorkflow, ResumeWorkflow, Touched
from penstock.domain.budget import Queueing
from penstock.domain.ids import new_ulid
from penstock.domain.locks import Wish
from penstock.domain.spec import BatchTable, LockNeeds
from penstock.store.lock_table import LockTable
from penstock.testing.simulated_world import Behaviour
from penstock.testing.virtual_clock import VirtualClock

from .campaign import BrokenError, Campaign
from .test_resuming import ONCE, fail_first_attempts, revision_of

_FIRST, _, _LAST = os.environ.get("CHAOS_SEEDS", "6").rpartition(":")
SEEDS = range(int(_FIRST or 0), int(_LAST))
ORCA = LockNeeds(resources={"orca": 1})
BOTH = LockNeeds({"orca": 1}, ["laser"])
LASER = LockNeeds(names=["laser"])


class Limited(Campaign):
    """A campaign with a licence of which there are `count`; `most` is the most that ever ran under it at once."""

    def __init__(self, root: Path, jobs: int, count: int, needs: LockNeeds = ORCA, **more: Any) -> None:
        super().__init__(root, jobs, locks=needs, **more)
        self.count = count
        self.table = self.locks.resources if needs.resources else self.locks.names_in(str(self.directory / "locks"))
        run = self.locks.run

        async def breaking(table: LockTable, work: Callable[[], Any]) -> Any:
            if self._breaks():
                raise BrokenError("before a lock")
            result = await run(table, work)
            if self._breaks():
                raise BrokenError("after a lock")
            return result

        self.locks.run = breaking  # type: ignore[method-assign]
        self.locks.resources.set_capacities({"orca": count})

    def check_locks(self) -> None:
        """All was given back, and no more than there is ever ran."""
        standing = self.table.standing()
        assert (standing.leases, standing.waiters) == ((), ())
        assert self.world.peak[self.id] <= self.count


async def test_no_more_jobs_run_than_there_are_licences(tmp_path: Path) -> None:
    async with Limited(tmp_path, 12, 2, slots=5) as run:
        assert await run.until_ended() == "completed"
        run.check_books()
        run.check_locks()
        assert run.world.peak["w"] == 2
    (tokens,) = {type(row[0]) for row in run.query("SELECT locks FROM submission")}
    assert tokens is str


@pytest.mark.parametrize("style", ["array", "bundle", "auto"])
async def test_a_submission_to_a_scheduler_is_as_wide_as_there_are_licences(tmp_path: Path, style: Any) -> None:
    async with Limited(tmp_path, 20, 3, slots=8, queueing=Queueing(), batch=BatchTable(style)) as run:
        assert await run.until_ended() == "completed"
        run.check_books()
        run.check_locks()
        assert run.query("SELECT max(width) FROM submission")[0][0] <= 3


async def test_two_of_a_licence_for_each_attempt(tmp_path: Path) -> None:
    async with Limited(tmp_path, 6, 5, LockNeeds(resources={"orca": 2}), slots=6) as run:
        assert await run.until_ended() == "completed"
        run.check_locks()
        assert run.world.peak["w"] == 2


async def test_a_named_lock_lets_one_attempt_run_at_a_time(tmp_path: Path) -> None:
    async with Limited(tmp_path, 5, 1, LockNeeds({"orca": 1}, ["laser"]), slots=4, queueing=Queueing()) as run:
        assert await run.until_ended() == "completed"
        run.check_locks()
        names = run.locks.names_in(str(run.directory / "locks"))
        assert names.standing().leases == ()
        assert names.standing().capacities == {}


@pytest.mark.parametrize("needs", [ORCA, LASER, BOTH], ids=["resource", "name", "both"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_workflow_that_breaks_at_any_commit_keeps_the_limit(
    tmp_path: Path, seed: int, needs: LockNeeds
) -> None:
    dice = random.Random(seed)
    behaviour = Behaviour(fails=0.1, loses=0.1, doubts=0.1, delays=0.1, repeats=0.1)
    queueing = Queueing() if seed % 2 else None
    count = 1 if needs.names else 2
    async with Limited(
        tmp_path, 10, count, needs, slots=4, seed=seed, behaviour=behaviour, queueing=queueing,
        breaks=lambda: dice.random() < 0.05,
    ) as run:  # fmt: skip
        await run.until_ended()
        run.check_books()
        run.check_locks()


async def test_who_waits_is_woken_and_the_line_is_kept(tmp_path: Path) -> None:
    async with Limited(tmp_path, 2, 1, slots=2) as run:
        await run.until(lambda: run.states()["running"] == 1)
        table = run.locks.resources
        assert [waiter.name for waiter in table.standing().waiters] == ["w"]
        assert table.take(Wish("other", "other/1", {"orca": 1})) == ()
        assert [waiter.name for waiter in table.standing().waiters] == ["w", "other"]
        assert await run.until_ended() == "completed"
        assert "w" not in {waiter.name for waiter in table.standing().waiters}


async def test_a_paused_workflow_does_not_stand_in_the_line(tmp_path: Path) -> None:
    async with Limited(tmp_path, 2, 1, slots=2) as run:
        await run.until(lambda: bool(run.table.standing().waiters))
        await run.ask(PauseWorkflow(None))
        assert run.table.standing().waiters == ()
        await run.ask(ResumeWorkflow(None))
        assert run.table.standing().waiters != ()
        await run.ask(CancelWorkflow(None))
        assert await run.until_ended() == "cancelled"
        run.check_locks()


async def test_more_of_a_resource_is_used_at_once(tmp_path: Path) -> None:
    async with Limited(tmp_path, 8, 4, slots=4) as run:
        run.table.set_capacities({"orca": 1})
        await run.until(lambda: run.states()["running"] == 1)
        run.locks.configure({"orca": 4})
        await run.until(lambda: run.states()["running"] == 4)
        assert await run.until_ended() == "completed"


async def test_without_locks_no_file_is_made(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 2) as run:
        assert await run.until_ended() == "completed"
        run.locks.configure({})
        assert not run.locks.resources.path.exists()
        assert not run.locks.names_in(str(run.directory / "locks")).path.exists()


async def test_a_lock_file_that_is_lost_is_made_anew_from_what_is_held(tmp_path: Path) -> None:
    async with Limited(tmp_path, 3, 1, slots=2) as run:
        await run.until(lambda: run.states()["running"] == 1)
        for path in run.table.path.parent.iterdir():
            path.unlink()
        await run.locks.close()
        fresh = Locks(tmp_path / "state", run.clock)
        fresh.resources.set_capacities({"orca": 1})
        await fresh.close()
        run.supervisor._scopes["w"].cancel()
        await run.until(lambda: not run.supervisor_runs())
        run.start()
        await run.until(lambda: bool(run.table.standing().leases))
        assert run.table.standing().used()["orca"] == 1
        assert await run.until_ended() == "completed"
        run.check_locks()


async def test_workflows_take_turns_and_each_is_woken_for_its_own(tmp_path: Path) -> None:
    clock, woken = VirtualClock(), list[str]()
    locks = Locks(tmp_path, clock)
    locks.configure({"orca": 2})

    async def workflow(name: str) -> WorkflowLocks:
        one = WorkflowLocks(name, locks, lambda: woken.append(name))
        await one.find_again(ORCA, str(tmp_path / name), {})
        return one

    first, second, third = [await workflow(name) for name in ("first", "second", "third")]
    (a, b, c, d) = (new_ulid(float(n)) for n in range(4))
    grant = await first.take(a, 5, 0)
    assert grant is not None
    assert grant.tasks == 2
    assert await second.take(b, 5, 0) is None
    assert await third.take(c, 5, 0) is None
    assert await first.take(d, 5, 0) is None
    await first.keep(a, grant.tokens, 1)
    assert woken == ["second"]
    assert await first.take(d, 5, 0) is None, "it stands behind the others"
    assert await third.take(c, 1, 0) is None
    taken = await second.take(b, 5, 0)
    assert taken is not None
    assert taken.tasks == 1
    await first.keep(a, grant.tokens, 0)
    assert woken == ["second", "third"]
    await third.withdraw()
    assert woken == ["second", "third", "first"]
    assert await first.take(d, 5, 0) is not None
    await locks.close()


async def test_who_needs_locks_as_well_holds_none_while_it_waits(tmp_path: Path) -> None:
    locks = Locks(tmp_path, VirtualClock())
    locks.configure({"orca": 1})
    one = WorkflowLocks("one", locks, lambda: None)
    await one.find_again(BOTH, str(tmp_path), {})
    assert locks.resources.take(Wish("other", "other/1", {"orca": 1})) == ()
    locks.resources.set_capacities({"orca": 1})
    assert locks.resources.take(Wish("other", "other/1", {"orca": 1})) != ()
    assert await one.take(new_ulid(1.0), 3, 0) is None
    assert locks.names_in(str(tmp_path)).standing().leases == ()
    locks.resources.keep("other/1", {"orca": 1}, 0)
    grant = await one.take(new_ulid(1.0), 3, 0)
    assert grant is not None
    assert grant.tasks == 1
    assert grant.tokens.environment() == {"PENSTOCK_LOCK_TOKEN_ORCA": "2", "PENSTOCK_LOCK_TOKEN_LASER": "2"}
    await locks.close()


async def test_a_workflow_resumed_with_other_locks_needs_those(tmp_path: Path) -> None:
    async with Limited(tmp_path, 6, 1, LockNeeds(), slots=3, retry=ONCE) as run:
        fail_first_attempts(run, 2, 3, 5)
        assert await run.until_ended() == "failed"
        assert run.query("SELECT DISTINCT locks FROM submission") == [(None,)]
        run.world.peak.clear()
        run.start()
        assert await run.ask(ResumeWorkflow(None, revision_of(run, locks__resources={"orca": 1}))) == Touched(3)
        assert await run.until_ended() == "completed"
        run.check_books()
        run.table = run.locks.resources
        run.check_locks()
    assert run.query("SELECT count(*) FROM submission WHERE locks IS NOT NULL") == [(3,)]
