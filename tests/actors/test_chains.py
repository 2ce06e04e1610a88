"""Chains of steps, remedies and limits in virtual time: a real workflow and database, scripted outcomes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.actors.worker_tasks import Collect, CollectItem, Render, RenderItem
from penstock.actors.workflow_messages import CancelWorkflow, MarkJobs, PauseWorkflow, ResumeWorkflow, RetryJobs
from penstock.domain.budget import Queueing
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.errors import PenstockError
from penstock.domain.remedy import Change, RemedyTable, Rule
from penstock.domain.spec import ChainTable, CheckpointTable, LimitTable, RetryTable
from penstock.domain.states import ENDED
from penstock.domain.views import Selection
from penstock.testing.scripted_workers import outcome_of_exit
from penstock.testing.simulated_world import Behaviour

from .campaign import ALL, Campaign

SCF = FailureClass.SCF_NOT_CONVERGED
_FIRST, _, _LAST = os.environ.get("CHAOS_SEEDS", "8").rpartition(":")
SEEDS = range(int(_FIRST or 0), int(_LAST))
Verdict = Callable[[str, int, int], Outcome | None]
"""What becomes of an attempt, by its step, material and number; None: what its exit says."""


class Chain(Campaign):
    """A workflow of the recipe `crystal`; `rendered` and `collected` keep by directory what workers were asked."""

    def __init__(
        self,
        root: Path,
        materials: int,
        steps: list[str],
        verdict: Verdict = lambda *_: None,
        *,
        optional: list[str] | None = None,
        retry: RetryTable | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            root,
            materials,
            recipe="crystal",
            engine={"name": "crystal"},
            parameters='{"task": "sp", "argv": ["crystal"], "properties": ["properties"]}',
            chain=ChainTable(steps=steps, optional=optional or []),
            retry=retry or RetryTable(),
            **more,
        )
        self.steps = steps
        self.materials = materials
        self.rendered: dict[str, RenderItem] = {}
        self.collected: dict[str, CollectItem] = {}
        self._verdict = verdict
        self.workers._rule = self._judge
        self._run_task = self.workers.run
        self.workers.run = self._look  # type: ignore[method-assign]

    async def _look(self, task: Any) -> Any:
        if isinstance(task, Render):
            self.rendered |= {item.directory: item for item in task.items}
        elif isinstance(task, Collect):
            root = f"{self.directory}/"
            self.collected |= {item.directory.removeprefix(root): item for item in task.items}
        return await self._run_task(task)

    def _judge(self, item: CollectItem) -> Outcome:
        by_exit = outcome_of_exit(item)
        job, number = int(Path(item.directory).parent.name), int(Path(item.directory).name)
        step, material = self.steps[(job - 1) // self.materials], (job - 1) % self.materials + 1
        if by_exit.failure is not None:
            return by_exit
        said = self._verdict(step, material, number)
        return said or Outcome(None, final_energy_hartree=-1.0, geometry=made(job, number), checkpoint=["fort.9"])

    def job(self, step: str, material: int = 1) -> int:
        """The job's id."""
        return self.steps.index(step) * self.materials + material

    def table(self) -> dict[str, str]:
        """By step, the states of its jobs in the materials' order, by their first letters."""
        rows = self.query("SELECT step, state FROM job ORDER BY id")
        return {step: "".join(state[0] for key, state in rows if key == step) for step in self.steps}

    def check_chain(self) -> None:
        """Every job has ended as the one before it allows, and went on from what that left."""
        self.check_books()
        optional = set(self._spec.chain.optional)
        rows = self.query("SELECT id, step, state, parent_id FROM job")
        state_of, step_of = {row[0]: row[2] for row in rows}, {row[0]: row[1] for row in rows}
        assert set(state_of.values()) <= ENDED
        for job, _, state, parent in rows:
            if parent is None:
                assert state != "skipped"
                continue
            failed = state_of[parent] in ("failed", "timeout")
            done = state_of[parent] == "completed" or (failed and step_of[parent] in optional)
            assert (state == "skipped") != done, (job, state, state_of[parent])


def made(job: int, number: int) -> str:
    """The geometry that an attempt leaves."""
    return f"1\n\nH {job} {number} 0\n"


def fails(*which: tuple[str, int], failure: FailureClass = FailureClass.EXIT_CODE, until: int = 99) -> Verdict:
    """These steps of these materials fail in all attempts before number `until`."""

    def verdict(step: str, material: int, number: int) -> Outcome | None:
        return Outcome(failure, "as agreed") if (step, material) in which and number < until else None

    return verdict


async def test_every_material_goes_through_its_chain_on_its_own(tmp_path: Path) -> None:
    async with Chain(tmp_path, 5, ["OPT", "SP", "BAND"], slots=3) as run:
        assert await run.until_ended() == "completed"
        assert run.info.reason is None
        run.check_chain()
        assert run.table() == dict.fromkeys(["OPT", "SP", "BAND"], "ccccc")
        assert run.world.peak["w"] == 3
        tasks = {
            run.steps[(item.job_id - 1) // 5]: json.loads(item.parameters or b"{}") for item in run.rendered.values()
        }
        assert tasks == {"OPT": {}, "SP": {}, "BAND": {}}  # what no remedy changed comes with the step
    steps = run.query("SELECT key, after, json_extract(parameters, '$.task') FROM step ORDER BY id")
    assert steps == [("OPT", None, "opt"), ("SP", "OPT", "sp"), ("BAND", "SP", "band")]


async def test_each_step_goes_on_from_the_geometry_and_the_files_of_the_one_before(tmp_path: Path) -> None:
    async with Chain(tmp_path, 2, ["OPT", "SP", "BAND"]) as run:
        await run.until_ended()
    first = run.rendered["jobs/0000/1/1"]
    assert (first.carry_from, first.calculation.previous, first.calculation.geometry) == (None, (), "1\n\nH 0 0 0\n")
    second = run.rendered[f"jobs/0000/{run.job('SP', 2)}/1"]
    assert (second.carry_from, second.calculation.previous) == ("jobs/0000/2/1", ("fort.9",))
    assert second.calculation.geometry == made(2, 1)
    third = run.rendered[f"jobs/0000/{run.job('BAND', 2)}/1"]
    assert third.carry_from == f"jobs/0000/{run.job('SP', 2)}/1"
    assert third.calculation.geometry == made(run.job("SP", 2), 1)


async def test_what_a_checkpoint_carries_comes_from_the_job_itself_and_never_from_the_step_before(
    tmp_path: Path,
) -> None:
    verdict = fails(("OPT", 1), failure=FailureClass.WALLTIME, until=2)
    table, retry = RemedyTable(engine=False), RetryTable(max_attempts=2)
    carry = CheckpointTable(carry=["restart"])
    async with Chain(tmp_path, 1, ["OPT", "SP"], verdict, retry=retry, remedies=table, checkpoint=carry) as run:
        assert await run.until_ended() == "completed"
    first, again, after = (run.rendered[f"jobs/0000/{name}"] for name in ("1/1", "1/2", "2/1"))
    assert [(item.carry_from, item.is_own) for item in (first, again, after)] == [
        (None, False),
        ("jobs/0000/1/1", True),
        ("jobs/0000/1/2", False),
    ]


async def test_a_step_that_fails_takes_the_rest_of_its_chain_along_and_the_workflow_says_so(tmp_path: Path) -> None:
    async with Chain(tmp_path, 3, ["OPT", "SP", "BAND"], fails(("OPT", 2), ("SP", 3))) as run:
        assert await run.until_ended() == "failed"
        assert run.info.reason == "2 jobs failed, 3 skipped"
        assert run.table() == {"OPT": "cfc", "SP": "csf", "BAND": "css"}
        run.check_chain()


async def test_an_optional_step_may_fail_without_failing_the_workflow(tmp_path: Path) -> None:
    steps = ["OPT", "OPT2", "SP"]
    async with Chain(tmp_path, 2, steps, fails(("OPT2", 1)), optional=["OPT2"]) as run:
        assert await run.until_ended() == "completed"
        assert run.info.reason is None
        assert run.table() == {"OPT": "cc", "OPT2": "fc", "SP": "cc"}
        run.check_chain()
    passed_over = run.rendered[f"jobs/0000/{run.job('SP', 1)}/1"]
    assert (passed_over.carry_from, passed_over.calculation.geometry) == ("jobs/0000/1/1", made(1, 1))


async def test_a_retry_brings_back_what_was_skipped(tmp_path: Path) -> None:
    async with Chain(tmp_path, 2, ["OPT", "SP", "BAND"], fails(("OPT", 1), until=2)) as run:
        assert await run.until_ended() == "failed"
        run.start()
        await run.ask(RetryJobs(Selection(statuses=("failed", "timeout"))))
        assert await run.until_ended() == "completed"
        run.check_chain()
    assert run.rendered[f"jobs/0000/{run.job('SP')}/1"].carry_from == "jobs/0000/1/2"


async def test_retrying_only_what_was_skipped_ends_at_once_as_it_was(tmp_path: Path) -> None:
    async with Chain(tmp_path, 2, ["OPT", "SP", "BAND"], fails(("OPT", 1))) as run:
        assert await run.until_ended() == "failed"
        run.start()
        await run.ask(RetryJobs(Selection(statuses=("skipped",))))
        assert await run.until_ended() == "failed"
        assert run.table() == {"OPT": "fc", "SP": "sc", "BAND": "sc"}
        run.check_chain()


async def test_a_held_step_holds_up_its_own_material_alone(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    async with Chain(tmp_path, 3, ["OPT", "SP"], behaviour=slow, slots=1) as run:
        await run.until(lambda: run.states()["running"] == 1)
        await run.ask(PauseWorkflow(Selection(jobs=(3,))))
        await run.until(lambda: run.states()["completed"] == 4)
        await run.clock.advance(1000.0)
        assert run.table() == {"OPT": "cch", "SP": "ccw"}
        assert run.info.state == "running"
        await run.ask(ResumeWorkflow(Selection(jobs=(3,))))
        assert await run.until_ended() == "completed"
        run.check_chain()


async def test_a_paused_workflow_begins_no_step_whose_time_has_come(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    async with Chain(tmp_path, 1, ["OPT", "SP"], behaviour=slow) as run:
        await run.until(lambda: run.states()["running"] == 1)
        await run.ask(PauseWorkflow(None))
        await run.until(lambda: run.states()["completed"] == 1)
        await run.clock.advance(1000.0)
        assert run.states() == {"completed": 1, "ready": 1}
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"


async def test_cancelling_a_running_step_skips_what_would_follow(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    async with Chain(tmp_path, 2, ["OPT", "SP", "DOSS"], behaviour=slow, slots=2) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(CancelWorkflow(Selection(jobs=(1,))))
        await run.until_ended()
        assert run.table() == {"OPT": "cc", "SP": "sc", "DOSS": "sc"}
        assert run.query("SELECT state FROM job WHERE id = 1") == [("cancelled",)]
        run.check_chain()


async def test_a_cancelled_workflow_leaves_nothing_waiting(tmp_path: Path) -> None:
    slow = Behaviour(attempt_s=(100.0, 100.0))
    async with Chain(tmp_path, 2, ["OPT", "SP", "DOSS"], behaviour=slow, slots=2) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(CancelWorkflow(None))
        assert await run.until_ended() == "cancelled"
        assert run.states() == {"cancelled": 6}


# ---- remedies -------------------------------------------------------------------------------------------------------


def stubborn(times: int, failure: FailureClass = SCF, message: str = "too many cycles") -> Verdict:
    """The SP of every material fails that often, and leaves where it came to."""

    def verdict(step: str, material: int, number: int) -> Outcome | None:
        left = {"geometry": f"1\n\nH 0 {material} {number}\n", "checkpoint": ["fort.20"]}
        return Outcome(failure, message, **left) if step == "SP" and number <= times else None  # type: ignore[arg-type]

    return verdict


async def test_what_a_rule_changes_reaches_the_next_attempt_and_is_recorded(tmp_path: Path) -> None:
    async with Chain(tmp_path, 2, ["OPT", "SP", "BAND"], stubborn(2)) as run:
        assert await run.until_ended() == "completed"
        run.check_chain()
        job = run.job("SP")
        items = [run.rendered[f"jobs/0000/{job}/{number}"] for number in (1, 2, 3)]
        asked = [json.loads(item.parameters) if item.parameters else None for item in items]
        assert asked[0] is None
        assert [
            (own["task"], own.get("more_scf_cycles", 0), own.get("more_mixing", 0)) for own in asked[1:] if own
        ] == [
            ("sp", 1000, 0),
            ("sp", 1000, 10),
        ]
        assert [(item.carry_from, item.calculation.previous) for item in items] == [
            ("jobs/0000/1/1", ("fort.9",)),
            (f"jobs/0000/{job}/1", ("fort.20",)),
            (f"jobs/0000/{job}/2", ("fort.20",)),
        ]
        assert [item.calculation.geometry for item in items[1:]] == ["1\n\nH 0 1 1\n", "1\n\nH 0 1 2\n"]
        for number, item in enumerate(items, 1):
            assert run.collected[f"jobs/0000/{job}/{number}"].parameters == item.parameters
        recorded = run.query("SELECT number, json_extract(remedy, '$.rule') FROM attempt WHERE job_id = ?", job)
        assert recorded == [(1, None), (2, "scf_cycles"), (3, "mixing")]
        assert run.query("SELECT blamed, blameless FROM job WHERE id = ?", job) == [(0, 0)]
        events = run.query("SELECT data FROM event WHERE job_id = ? AND kind = 'job_remedied'", job)
        assert [json.loads(data)["rule"] for (data,) in events] == ["scf_cycles", "mixing"]


async def test_rules_end_at_their_limits_and_the_next_step_is_skipped(tmp_path: Path) -> None:
    async with Chain(tmp_path, 1, ["OPT", "SP", "BAND"], stubborn(99), remedies=RemedyTable(total=20)) as run:
        assert await run.until_ended() == "failed"
        assert run.table() == {"OPT": "c", "SP": "f", "BAND": "s"}
        [(remedies, attempts)] = run.query("SELECT remedies, attempts FROM job WHERE step = 'SP'")
        assert Counter(one["rule"] for one in json.loads(remedies)) == {"scf_cycles": 1, "mixing": 2, "level_shift": 1}
        assert attempts == 5
        [(data,)] = run.query("SELECT data FROM event WHERE kind = 'job_failed'")
        assert "no remedy is left: scf_cycles was used 1 of 1 times" in json.loads(data)["decision"]
        run.check_chain()


async def test_a_retry_begins_with_the_parameters_of_the_step_again(tmp_path: Path) -> None:
    async with Chain(tmp_path, 1, ["OPT", "SP"], stubborn(2), remedies=RemedyTable(total=1)) as run:
        assert await run.until_ended() == "failed"
        run.start()
        await run.ask(RetryJobs(ALL))
        assert await run.until_ended() == "completed"
        job = run.job("SP")
        assert run.rendered[f"jobs/0000/{job}/2"].parameters is not None
        third = run.rendered[f"jobs/0000/{job}/3"]
        assert (third.parameters, third.carry_from) == (None, "jobs/0000/1/1")


async def test_memory_and_walltime_grow_by_rule_and_are_asked_for(tmp_path: Path) -> None:
    for failure, column in ((FailureClass.OUT_OF_MEMORY, "memory_mb"), (FailureClass.WALLTIME, "walltime_s")):
        async with Chain(tmp_path / column, 2, ["OPT", "SP"], stubborn(2, failure), queueing=Queueing()) as run:
            assert await run.until_ended() == "completed"
            asked = run.query(f"SELECT DISTINCT {column} FROM submission WHERE step_id = 2 ORDER BY 1")
            assert (
                asked == {"memory_mb": [(None,), (1500,), (2250,)], "walltime_s": [(None,), (7200,), (14400,)]}[column]
            )
            run.check_chain()


async def test_what_needs_a_person_is_not_tried_again_whatever_the_policy(tmp_path: Path) -> None:
    verdict = stubborn(99, FailureClass.BLOWN_UP)
    async with Chain(tmp_path, 1, ["OPT", "SP", "BAND"], verdict, retry=RetryTable(max_attempts=5)) as run:
        assert await run.until_ended() == "failed"
        assert run.query("SELECT attempts FROM job WHERE step = 'SP'") == [(1,)]
        [(data,)] = run.query("SELECT data FROM event WHERE kind = 'job_failed'")
        assert json.loads(data)["decision"].startswith("needs a person: the energy is absurd")


async def test_rules_of_a_spec_are_for_campaigns_too_and_never_rerun_outweighs_them(tmp_path: Path) -> None:
    rule = Rule("again", FailureClass.EXIT_CODE, limit=2, change={"keep": Change(append=["log"])}, memory=2.0)
    behaviour = Behaviour(fails=1.0, attempt_s=(100.0, 100.0))
    table = RemedyTable(rules=[rule])
    async with Campaign(
        tmp_path, 2, behaviour=behaviour, slots=2, remedies=table, retry=RetryTable(), queueing=Queueing()
    ) as run:
        await run.until(lambda: run.states()["running"] == 2)
        await run.ask(MarkJobs(Selection(jobs=(2,)), never_rerun=True))
        assert await run.until_ended() == "failed"
        run.check_books()
        assert run.query("SELECT id, attempts, memory_mb FROM job") == [(1, 3, 4000), (2, 1, None)]
        assert json.loads(run.query("SELECT parameters FROM job WHERE id = 1")[0][0])["keep"] == ["log"]


# ---- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queueing", [None, Queueing()])
async def test_no_more_run_than_the_limit_less_what_is_reserved(tmp_path: Path, queueing: Queueing | None) -> None:
    limits = LimitTable(max_jobs=5, reserve=2)
    slow = Behaviour(attempt_s=(50.0, 100.0))
    async with Campaign(tmp_path, 20, behaviour=slow, slots=8, limits=limits, queueing=queueing) as run:
        assert await run.until_ended() == "completed"
        assert run.world.peak["w"] == 3
        run.check_books()


def begun_most(run: Campaign, length_s: float) -> int:
    """The most attempts begun in any `length_s` seconds from one of them on."""
    times: list[float] = [at for (at,) in run.query("SELECT created_at FROM attempt ORDER BY created_at")]
    return max(sum(begin <= at < begin + length_s for at in times) for begin in times)


@pytest.mark.parametrize("queueing", [None, Queueing()])
async def test_no_more_attempts_begin_in_a_cycle_than_allowed(tmp_path: Path, queueing: Queueing | None) -> None:
    limits = LimitTable(per_cycle=4, cycle="10min")
    async with Campaign(tmp_path, 18, slots=6, limits=limits, queueing=queueing) as run:
        assert await run.until_ended() == "completed"
        run.check_books()
        times = [at for (at,) in run.query("SELECT created_at FROM attempt ORDER BY created_at")]
        cycles = [list(group) for _, group in itertools.groupby(times, key=lambda at: int((at - times[0]) // 600))]
        assert max(map(len, cycles)) <= 4
        assert times[-1] - times[0] >= 4 * 600 - 1
        assert times[-1] - times[0] < 6 * 600


async def test_a_workflow_that_breaks_begins_no_cycle_of_its_own(tmp_path: Path) -> None:
    broken = [False]

    def breaks() -> bool:
        once, broken[0] = broken[0], False
        return once

    limits = LimitTable(per_cycle=3, cycle="10min")
    async with Campaign(tmp_path, 9, slots=3, limits=limits, breaks=breaks) as run:
        for times in range(1, 4):
            broken[0] = True
            await run.clock.advance(20.0)
            run.workflow.post("poke", PauseWorkflow(Selection(jobs=(9,)))) if broken[0] else None
            await run.until(lambda times=times: run.supervisor.restarts["w"] >= times)  # type: ignore[misc]
        await run.ask(ResumeWorkflow(ALL))
        assert await run.until_ended() == "completed"
        assert begun_most(run, 599.0) <= 3
        run.check_books()


# ---- chaos ----------------------------------------------------------------------------------------------------------

LIMITS = {"scf_cycles": 1, "mixing": 2, "level_shift": 1, "memory": 2, "walltime": 2}


def moody(seed: int) -> Verdict:
    """Every attempt has its fate, the same whenever its outputs are read."""

    def verdict(step: str, material: int, number: int) -> Outcome | None:
        dice = random.Random(f"{seed} {step} {material} {number}")
        failure = dice.choice([None, None, None, SCF, SCF, FailureClass.OUT_OF_MEMORY, FailureClass.EXIT_CODE])
        left = {"checkpoint": ["fort.20"]} if dice.random() < 0.5 else {}
        return None if failure is None else Outcome(failure, "too many cycles", **left)  # type: ignore[arg-type]

    return verdict


def check_remedies(run: Chain, total: int) -> None:
    """Within limits, as recorded; what was read was read with what it had been rendered with."""
    for remedies, parameters in run.query("SELECT remedies, parameters FROM job WHERE remedies IS NOT NULL"):
        used = Counter(one["rule"] for one in json.loads(remedies))
        assert sum(used.values()) <= total
        assert all(count <= LIMITS[rule] for rule, count in used.items())
        own = json.loads(parameters or "{}")
        assert (own.get("more_scf_cycles", 0), own.get("more_mixing", 0)) == (
            1000 * used["scf_cycles"],
            10 * used["mixing"],
        )
    for directory, read in run.collected.items():
        assert read.parameters == run.rendered[directory].parameters
    for directory, item in run.rendered.items():
        [(remedy,)] = run.query("SELECT remedy FROM attempt WHERE directory = ?", directory)
        assert remedy is not None or item.parameters is None  # more memory changes no parameters


@pytest.mark.parametrize("queueing", [None, Queueing()])
@pytest.mark.parametrize("seed", SEEDS)
async def test_chains_with_remedies_survive_whatever_breaks(
    tmp_path: Path, seed: int, queueing: Queueing | None
) -> None:
    dice = random.Random(f"{seed} {queueing}")
    breaks, total = dice.choice([0.01, 0.04]), dice.choice([0, 2, 9])
    behaviour = Behaviour(
        attempt_s=(0.0, dice.choice([3.0, 30.0])),
        loses=dice.choice([0.0, 0.05]),
        doubts=dice.choice([0.0, 0.2]),
        delays=dice.choice([0.0, 0.5]),
        repeats=dice.choice([0.0, 0.5]),
        crashes=dice.choice([0.0, 0.05]),
    )
    async with Chain(
        tmp_path,
        6,
        ["OPT", "OPT2", "SP", "BAND", "DOSS"],
        moody(seed),
        optional=dice.choice([[], ["OPT2", "BAND"]]),
        behaviour=behaviour,
        seed=seed,
        slots=dice.choice([1, 4]),
        retry=RetryTable(max_attempts=dice.choice([1, 2]), delay=dice.choice([None, "30s"])),
        remedies=RemedyTable(total=total),
        breaks=lambda: dice.random() < breaks,
        queueing=queueing,
    ) as run:
        await run.until_ended()
        assert run.given_up == {}
        run.check_chain()
        check_remedies(run, total)
        assert sum(run.states().values()) == 30
        optional = run._spec.chain.optional
        bad = [state for step, state in run.query("SELECT step, state FROM job") if step not in optional]
        assert run.info.state == ("failed" if {"failed", "timeout"} & set(bad) else "completed")


@pytest.mark.parametrize("seed", SEEDS)
async def test_chains_survive_people(tmp_path: Path, seed: int) -> None:
    dice = random.Random(f"people {seed}")
    slow = Behaviour(attempt_s=(0.0, 20.0), delays=0.3, repeats=0.3)
    steps = ["OPT", "SP", "BAND"]
    breaks = [0.01]
    async with Chain(
        tmp_path, 5, steps, moody(seed), behaviour=slow, slots=3, breaks=lambda: dice.random() < breaks[0]
    ) as run:
        for _ in range(12):
            some = Selection(jobs=tuple(dice.sample(range(1, 16), 4)))
            messages: list[Any] = [PauseWorkflow(some), ResumeWorkflow(some), CancelWorkflow(some), RetryJobs(some)]
            if not run.supervisor_runs():
                run.start()
            with contextlib.suppress(PenstockError):
                await run.ask(dice.choice(messages))
            await run.clock.advance(dice.uniform(0.0, 20.0))
        if not run.supervisor_runs():
            run.start()
        breaks[0] = 0.0
        await run.clock.advance(60.0)
        with contextlib.suppress(PenstockError):  # it may have ended meanwhile
            await run.ask(ResumeWorkflow(ALL))
        await run.until_ended()
        assert run.given_up == {}
        assert run.world.violations == []
        counted = dict(run.query("SELECT state, count(*) FROM job GROUP BY state"))
        assert dict(run.query("SELECT state, jobs FROM tally WHERE jobs")) == counted
        assert set(counted) <= ENDED
