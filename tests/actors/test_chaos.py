"""Whatever breaks, and whenever: every job ends, exactly one attempt wins, none is executed twice.

Some seeds by default; `CHAOS_SEEDS=1000` in the environment runs a thousand, `CHAOS_SEEDS=17:18` the seventeenth alone.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.actors.workflow_messages import (
    CancelWorkflow,
    ChangeBudget,
    MarkJobs,
    PauseWorkflow,
    ResolveJobs,
    ResumeWorkflow,
    RetryJobs,
)
from penstock.domain.budget import Queueing
from penstock.domain.errors import BusyError, ConflictError
from penstock.domain.spec import BatchTable, CheckpointTable, RetryTable
from penstock.domain.states import ENDED, Resolution
from penstock.domain.views import Selection
from penstock.testing.simulated_world import Behaviour

from .campaign import Campaign

_FIRST, _, _LAST = os.environ.get("CHAOS_SEEDS", "30").rpartition(":")
SEEDS = range(int(_FIRST or 0), int(_LAST))
"""Of the campaigns without people; half as many have them."""

JOBS = 30


def rough(dice: random.Random) -> Behaviour:
    """A cluster on a bad day."""
    return Behaviour(
        latency_s=(0.0, dice.choice([0.1, 5.0])),
        attempt_s=(0.0, dice.choice([0.2, 3.0, 30.0])),
        running_max=dice.choice([1, 3, 100]),
        pending_max=dice.choice([1, 2, 100]),
        fails=dice.choice([0.0, 0.3]),
        loses=dice.choice([0.0, 0.05]),
        doubts=dice.choice([0.0, 0.3]),
        delays=dice.choice([0.0, 0.5]),
        repeats=dice.choice([0.0, 0.5]),
        crashes=dice.choice([0.0, 0.02, 0.1]),
    )


def campaign(tmp_path: Path, seed: int, jobs: int) -> Campaign:
    dice = random.Random(seed)
    breaks = dice.choice([0.0, 0.01, 0.04])
    return Campaign(
        tmp_path,
        jobs,
        behaviour=rough(dice),
        seed=seed,
        slots=dice.choice([1, 3, 8]),
        retry=RetryTable(max_attempts=dice.choice([1, 3]), delay=dice.choice([None, "30s"])),
        breaks=lambda: dice.random() < breaks,
    )


def queueing_campaign(tmp_path: Path, seed: int, jobs: int) -> Campaign:
    """The same at a cluster with a scheduler, in all shapes of submissions."""
    dice = random.Random(f"queueing {seed}")
    breaks = dice.choice([0.0, 0.01, 0.04])
    return Campaign(
        tmp_path,
        jobs,
        behaviour=msgspec.structs.replace(rough(dice), outgrows=dice.choice([0.0, 0.2])),
        seed=seed,
        slots=dice.choice([1, 3, 8]),
        retry=RetryTable(max_attempts=dice.choice([1, 3]), delay=dice.choice([None, "30s"]), walltime_growth=2.0),
        breaks=lambda: dice.random() < breaks,
        queueing=Queueing(dice.choice([2, 1000]), dice.choice([None, 5])),
        batch=BatchTable(dice.choice(["auto", "array", "bundle"]), dice.choice([3, 1000])),
        checkpoint=CheckpointTable(carry=["restart"]),
    )


def check_every_job(run: Campaign) -> None:
    run.check_books()
    states = dict(run.query("SELECT id, state FROM job"))
    assert set(states.values()) <= ENDED
    won = {job for job, state in states.items() if state == "completed"}
    assert {job for (_, job), count in run.world.succeeded.items() if count} == won
    assert max(run.world.succeeded.values(), default=0) <= 1
    attempts = dict(run.query("SELECT job_id, count(*) FROM attempt GROUP BY job_id"))
    assert dict(run.query("SELECT id, attempts FROM job WHERE attempts")) == attempts


async def test_breaking_all_the_time_only_takes_longer(tmp_path: Path) -> None:
    dice = random.Random(0)
    async with Campaign(tmp_path, JOBS, slots=3, breaks=lambda: dice.random() < 0.05) as run:
        assert await run.until_ended() == "completed"
        assert run.supervisor.restarts["w"] > 5
        check_every_job(run)


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_job_ends_once(tmp_path: Path, seed: int) -> None:
    async with campaign(tmp_path, seed, JOBS) as run:
        slots = run._spec.slots
        state = await run.until_ended()
        assert run.given_up == {}
        assert run.world.peak["w"] <= slots
        check_every_job(run)
        failed = run.states()["failed"]
        assert state == ("failed" if failed else "completed")
        assert sum(run.states().values()) == JOBS


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_job_ends_once_at_a_scheduler(tmp_path: Path, seed: int) -> None:
    async with queueing_campaign(tmp_path, seed, JOBS) as run:
        slots = run._spec.slots
        state = await run.until_ended()
        assert run.given_up == {}
        assert run.world.peak["w"] <= slots
        assert run.board.running_most <= slots
        check_every_job(run)
        states = run.states()
        assert state == ("failed" if states["failed"] + states["timeout"] else "completed")
        assert sum(states.values()) == JOBS


async def command(run: Campaign, dice: random.Random) -> None:
    """Something that a person may do at any time."""
    some = Selection(jobs=tuple(dice.sample(range(1, JOBS + 1), 5)))
    message: Any = dice.choice(
        [
            PauseWorkflow(None),
            ResumeWorkflow(None),
            PauseWorkflow(some),
            ResumeWorkflow(some),
            CancelWorkflow(some),
            RetryJobs(Selection(statuses=("failed", "cancelled"))),
            MarkJobs(some, never_rerun=dice.random() < 0.5),
            ResolveJobs(some, dice.choice(list(Resolution))),
            ChangeBudget(dice.choice([1, 4]), None),
        ]
    )
    with contextlib.suppress(BusyError, ConflictError):  # broken off by a crash, or the workflow has ended
        await run.ask(message)


@pytest.mark.parametrize("seed", SEEDS[::2])
@pytest.mark.parametrize("kind", [campaign, queueing_campaign])
async def test_people_interfere(tmp_path: Path, seed: int, kind: Callable[[Path, int, int], Campaign]) -> None:
    dice = random.Random(f"person {seed}")
    async with kind(tmp_path, seed, JOBS) as run:
        for _ in range(15):
            await run.clock.advance(dice.uniform(0.0, 20.0))
            await command(run, dice)
        while run.supervisor_runs() and ("paused" in run.info.state or run.states()["held"]):
            try:
                await run.ask(ResumeWorkflow(None))
                await run.ask(ResumeWorkflow(Selection()))
            except (BusyError, ConflictError):
                continue
        await run.until_ended()
        assert run.given_up == {}
        check_every_job(run)
