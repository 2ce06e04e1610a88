"""Jobs made of results and conclusions drawn from them, in virtual time: a real workflow and database."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from penstock.actors.derive_tasks import Conclude, Unfold
from penstock.actors.report_tasks import WriteReport
from penstock.actors.worker_tasks import CollectItem
from penstock.actors.workers import WorkerLostError
from penstock.actors.workflow_messages import CancelWorkflow, PauseWorkflow, ResumeWorkflow, RetryJobs
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.context import Mode
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.remedy import Change, Rule
from penstock.domain.spec import RetryTable, WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.domain.views import Selection
from penstock.engines.command import CommandEngine
from penstock.recipes import registry
from penstock.recipes.recipe import Step, View
from penstock.store.results import read_results
from penstock.testing.scripted_workers import outcome_of_exit

from .campaign import Campaign
from .test_resuming import revision_of

SEEDS = range(int(os.environ.get("CHAOS_SEEDS", "8").rpartition(":")[2]))
CHILDREN = 3


class Family:
    """Each structure gets children; an analysis counts them, another all of them, and what it found is refined."""

    name = "family"
    version = 1

    def steps(self, view: View) -> list[Step]:
        return [
            Step("start", "fan"),
            Step("child", "unfold", "start", optional=True),
            Step("count", "analysis", "child"),
            Step("total", "analysis", "child", whole=True),
            Step("refine", "unfold", "total", whole=True, engine={"argv": ["fine"]}),
            Step("refined", "analysis", "refine", whole=True),
        ]

    def unfold(self, spec: WorkflowSpec, step: str, subject: Subject, parent: JobRecord | None) -> list[Unfolded]:
        if step == "refine":
            assert parent is None
            total = subject.concluded["total"].properties[0].value
            return [Unfolded("fine", "1\n\nHe 0 0 0\n", {"total": total})]
        assert parent is not None
        if parent.name == "h1":
            raise ValueError("h1 has no children")
        return [
            Unfolded(f"{parent.name} {n}", f"1\n\nH {n} 0 0\n", {"n": n}, {"argv": [str(n)]}, multiplicity=2)
            for n in range(CHILDREN)
        ]

    def conclude(self, spec: WorkflowSpec, step: str, subject: Subject) -> Conclusion:
        jobs = [job for job in subject.jobs if job.step == ("refine" if step == "refined" else "child")]
        done = [job for job in jobs if job.is_completed]
        if step == "count" and not done:
            raise ValueError("no child came to anything")
        missing = tuple(f"{job.name}: {job.failure}" for job in jobs if not job.is_completed)
        energies = [job.energy_hartree for job in done]
        found = PropertyResult(step, subject.name, len(done), "1", attempts=tuple(job.attempt_name for job in done))
        return Conclusion((found,), (Figure("bars", "bars", "Bars", "", {"energies": energies}),), missing)


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._RECIPES, "family", Family())


def run_family(root: Path, structures: int, **more: Any) -> Campaign:
    return Campaign(root, structures, recipe="family", retry=RetryTable(), **more)


def failing(run: Campaign, *names: str) -> None:
    """Has the jobs of these names fail, whenever they run."""

    def rule(item: CollectItem) -> Outcome:
        job = int(Path(item.directory).parent.name)
        ((name,),) = run.query("SELECT name FROM job WHERE id = ?", job)
        return Outcome(FailureClass.EXIT_CODE, "as agreed") if name in names else outcome_of_exit(item)

    run.workers._rule = rule


def values(run: Campaign) -> dict[tuple[str, str], Any]:
    found = read_results(Path(run.context.database), run.id)
    return {(p.name, p.subject): p.value for p in found.properties}


async def test_results_unfold_and_are_concluded_from(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        assert await run.until_ended() == "completed", run.info.reason
        run.check_books()
        assert run.query("SELECT name, state, label, own FROM job ORDER BY id") == [
            ("h0", "completed", None, None),
            *((f"h0 {n}", "completed", f'{{"n":{n}}}', f'{{"argv":["{n}"]}}') for n in range(CHILDREN)),
            ("fine", "completed", '{"total":3}', None),
        ]
        assert values(run) == {("count", "h0"): 3, ("total", "all"): 3, ("refined", "all"): 1}
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.properties[0].attempts == ("2.1", "3.1", "4.1")
        assert counted.conclusion.figures[0].data == {"energies": [-1.0] * 3}


async def test_jobs_run_with_the_parameters_that_they_were_made_with(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        rendered: dict[int, Any] = {}
        ask = run.workers.run

        async def look(task: Any) -> Any:
            if type(task).__name__ in {"Render", "Collect"}:
                for item in task.items:
                    job = int(Path(item.directory).parent.name)
                    rendered[job] = json.loads(item.parameters or task.parameters)["argv"]
            return await ask(task)

        run.workers.run = look  # type: ignore[method-assign]
        assert await run.until_ended() == "completed"
    assert rendered == {1: ["true"], 2: ["0"], 3: ["1"], 4: ["2"], 5: ["fine"]}


@pytest.mark.parametrize(("alters", "attempts"), [(False, 2), (True, 1)])
async def test_no_remedy_alters_what_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, alters: bool, attempts: int
) -> None:
    rule = Rule("another", FailureClass.EXIT_CODE, change={"argv": Change(append=["-x"])}, alters=alters)
    monkeypatch.setattr(CommandEngine, "rules", (rule,))
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0")
        await run.until_ended()
        ((job,),) = run.query("SELECT id FROM job WHERE name = 'h0 0'")
        assert run.query("SELECT count(*) FROM attempt WHERE job_id = ?", job) == [(attempts,)]


async def test_what_cannot_be_unfolded_fails_its_subject_and_no_other(tmp_path: Path) -> None:
    async with run_family(tmp_path, 3) as run:
        assert await run.until_ended() == "failed"
        assert run.info.reason == "count of h1: h1 has no children"
        assert values(run) == {("count", "h0"): 3, ("count", "h2"): 3, ("total", "all"): 6, ("refined", "all"): 1}
        run.check_books()


async def test_failed_children_are_noted_and_do_not_fail_the_workflow(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 1")
        assert await run.until_ended() == "completed"
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.notes == ("h0 1: as agreed",)
        assert values(run)["count", "h0"] == 2


async def test_a_retried_child_takes_back_what_was_concluded(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0", "h0 1", "h0 2")
        assert await run.until_ended() == "failed"
        assert run.info.reason == "count of h0: no child came to anything"
        failing(run)
        run.start()
        await run.ask(RetryJobs(Selection(statuses=("failed",))))
        assert values(run) == {}
        assert await run.until_ended() == "completed"
        assert values(run) == {("count", "h0"): 3, ("total", "all"): 3, ("refined", "all"): 1}
        assert len(run.query("SELECT 1 FROM job WHERE name = 'fine'")) == 1
        run.check_books()


async def test_a_result_that_others_were_made_of_is_not_calculated_again(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until_ended()
        run.start()
        assert (await run.ask(RetryJobs(Selection(jobs=(1,))))).changed == 0
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3


async def test_resuming_tries_once_more_what_could_not_be_concluded(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        run.workers._trouble = lambda task: WorkerLostError("died") if isinstance(task, Conclude) else None
        assert await run.until_ended() == "failed"
        assert "died" in (run.info.reason or "")
        run.workers._trouble = lambda _: None
        run.start()
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        assert values(run)["count", "h0"] == 3


async def test_another_spec_has_everything_derived_again_though_its_report_is_still_being_written(
    tmp_path: Path,
) -> None:
    async with run_family(tmp_path, 1) as run:
        ask, written = run.workers.run, anyio.Event()

        async def write_slowly(task: Any) -> Any:
            if isinstance(task, WriteReport):
                await written.wait()
            return await ask(task)

        run.workers.run = write_slowly  # type: ignore[method-assign]
        await run.until(lambda: run.info.state == "completed")
        await run.ask(ResumeWorkflow(None, revision_of(run, metadata={"more": True})))
        written.set()
        assert await run.until_ended() == "completed"
        assert values(run) == {("count", "h0"): 3, ("total", "all"): 3, ("refined", "all"): 1}
        assert run.query("SELECT count(*) FROM event WHERE kind = 'subject_concluded'") == [(6,)]
        assert run.query("SELECT count(*), count(DISTINCT name) FROM job") == [(5, 5)]


async def test_results_of_two_methods_are_told_apart(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 1")
        await run.until_ended()
        failing(run)
        run.start()
        await run.ask(ResumeWorkflow(None, revision_of(run, engine__argv=["other"], priority=3)))
        assert await run.until_ended() == "completed"
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.notes == (
            "beware: some of its results were calculated before engine.argv changed, some after",
        )
        run.start()
        await run.ask(ResumeWorkflow(None, revision_of(run, priority=4)))
        assert await run.until_ended() == "completed"
        (again, *_) = read_results(Path(run.context.database), run.id).concluded
        assert again.conclusion.notes == counted.conclusion.notes


async def test_a_subject_that_takes_workers_down_is_found(tmp_path: Path) -> None:
    async with run_family(tmp_path, 5) as run:
        poison = 3  # h2's job

        def trouble(task: Any) -> Exception | None:
            return WorkerLostError("died") if isinstance(task, Unfold) and poison in task.parents else None

        run.workers._trouble = trouble
        assert await run.until_ended() == "failed"
        assert run.query("SELECT parent_id, trouble FROM unfolding WHERE trouble IS NOT NULL ORDER BY 1") == [
            (2, "h1 has no children"),
            (poison, "died"),
        ]
        assert values(run)["total", "all"] == 9


async def test_a_paused_or_cancelled_workflow_derives_nothing(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until(lambda: bool(run.states()["running"]))
        await run.ask(PauseWorkflow(None))
        await run.clock.advance(1000.0)
        assert run.states() == {"completed": 1}
        await run.ask(CancelWorkflow(None))
        assert await run.until_ended() == "cancelled"
        assert values(run) == {}
        assert run.query("SELECT * FROM unfolding") == []


async def test_children_are_shared_with_whoever_calculates_the_same(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1, mode=Mode.SHARED) as run:
        assert await run.until_ended() == "completed"
        keys = [key for (key,) in run.query("SELECT calculation FROM job ORDER BY id")]
        assert len(set(keys)) == len(keys) == 5
        assert all(keys)
        assert run.query("SELECT count(*) FROM material WHERE key IS NULL") == [(0,)]


@pytest.mark.parametrize("seed", SEEDS)
async def test_whenever_it_breaks_everything_is_derived_once(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with run_family(tmp_path, 4, breaks=lambda: dice.random() < 0.03) as run:
        assert await run.until_ended() == "failed"
        assert run.info.reason == "count of h1: h1 has no children"
        run.check_books()
        names = Counter(name for (name,) in run.query("SELECT name FROM job"))
        assert set(names.values()) == {1}
        assert sum(names.values()) == 4 + 3 * CHILDREN + 1
        assert values(run) == {
            **{("count", name): CHILDREN for name in ("h0", "h2", "h3")},
            ("total", "all"): 3 * CHILDREN,
            ("refined", "all"): 1,
        }
        kinds = Counter(kind for (kind,) in run.query("SELECT kind FROM event"))
        assert kinds["jobs_unfolded"] == 4 + 1
        assert kinds["subject_concluded"] == 4 + 2


def test_attempts_of_properties_keep_their_jobs_when_these_get_other_numbers() -> None:
    from penstock.store.transfer import renumbered

    attempts = msgspec.json.encode(["2.1", "other:7.1"]).decode()
    assert renumbered(attempts, 10) == '["12.1","other:7.1"]'
