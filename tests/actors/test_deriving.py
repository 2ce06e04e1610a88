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
from penstock.actors.ledger import Ledger
from penstock.actors.report_tasks import WriteReport
from penstock.actors.worker_tasks import CollectItem, ReadChunk, Render
from penstock.actors.workers import WorkerLostError
from penstock.actors.workflow_messages import (
    CancelWorkflow,
    DrainWorkflow,
    PauseWorkflow,
    ResumeWorkflow,
    RetryJobs,
    SetJob,
)
from penstock.domain.calculation import FailureClass, Outcome
from penstock.domain.context import Mode, plan_context
from penstock.domain.errors import ConflictError, StoreError
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.remedy import Change, Rule
from penstock.domain.revision import Revision, SpecChange
from penstock.domain.spec import RetryTable, WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.domain.views import Selection
from penstock.engines.command import CommandEngine
from penstock.recipes import registry
from penstock.recipes.recipe import Step, View
from penstock.store.deriving import Due
from penstock.store.merging import MergeOrder, merge
from penstock.store.result_pages import how_analyses_are
from penstock.store.results import read_results
from penstock.store.reviews import ReviewKind, Seen
from penstock.testing.scripted_workers import outcome_of_exit

from .campaign import Campaign
from .test_resuming import revision_of
from .test_reviews import review

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
        assert [one.subjects for one in how_analyses_are(Path(run.context.database), run.id, 0)[0]] == [1, 1, 1]
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
            "beware: engine.argv changed between the calculations that this rests on (resume)",
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

    attempts = msgspec.json.encode(["2.1", "other:7.1", "2026.11-si:7.1"]).decode()
    assert renumbered(attempts, 10) == '["12.1","other:7.1","2026.11-si:7.1"]'


async def test_a_daemon_that_drains_leaves_what_is_due_to_the_next(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until(lambda: bool(run.states()["running"]))
        await run.ask(DrainWorkflow())
        await run.clock.advance(1000.0)
        assert run.states() == {"completed": 1}
        assert run.info.state == "running"
        await run.supervisor.stop_child(run.id)
        run.start()
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3


async def test_another_word_on_a_job_has_its_conclusions_drawn_anew(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until_ended()
        run.start()
        await run.ask(SetJob(2, None, {"final_energy": -7.0}, "me", None))
        assert run.info.state == "running"
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.figures[0].data == {"energies": [-7.0, -1.0, -1.0]}


async def test_a_word_on_a_job_does_not_make_a_failed_analysis_a_success(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0", "h0 1", "h0 2")
        assert await run.until_ended() == "failed"
        run.start()
        await run.ask(SetJob(1, None, {"final_energy": -7.0}, "me", None))
        assert await run.until_ended() == "failed"
        assert run.info.reason == "count of h0: no child came to anything"


async def test_metrics_that_are_read_anew_are_concluded_from(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until_ended()
        run.start()
        run.workers.look = lambda look: Seen(
            look.job,
            look.attempts,
            look.directory,
            found=True,
            number=1,
            outcome=Outcome(None, final_energy_hartree=-3.0),
        )
        reviewed = await review(run, ReviewKind.RECOMPUTE)
        assert reviewed.changed == 5
        assert await run.until_ended() == "completed"
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.figures[0].data == {"energies": [-3.0] * 3}


async def test_a_success_that_is_found_is_named_by_its_own_attempt(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0")
        await run.until_ended()
        run.start()
        run.workers.look = lambda look: Seen(
            look.job, look.attempts, look.directory, found=True, highest=5, number=4, outcome=Outcome(None)
        )
        reviewed = await review(run, ReviewKind.RESCAN)
        assert reviewed.changed == 1
        assert await run.until_ended() == "completed"
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.properties[0].attempts == ("2.4", "3.1", "4.1")


async def test_taking_a_result_over_takes_no_conclusion_back(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1, mode=Mode.SHARED) as run:
        await run.until_ended()
    async with run_family(tmp_path, 1, mode=Mode.SHARED, workflow_id="v") as run:
        assert await run.until_ended() == "completed"
        kinds = Counter(kind for (kind,) in run.query("SELECT kind FROM event WHERE workflow_id = 'v'"))
        assert kinds["job_reused"] == 5
        assert kinds["subject_concluded"] == 3
        assert kinds["jobs_unfolded"] == 2


async def test_children_that_were_merged_are_found_by_whoever_calculates_the_same(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as first:
        await first.until_ended()
        shared = plan_context(Mode.SHARED, str(tmp_path), "v").database
        order = MergeOrder(first.context.database, first.id, str(first.directory), shared, beside=True)
        assert merge(order).new == 5
    async with run_family(tmp_path, 1, mode=Mode.SHARED, workflow_id="v") as run:
        assert await run.until_ended() == "completed"
        assert run.query("SELECT count(*) FROM event WHERE workflow_id = 'v' AND kind = 'job_reused'") == [(5,)]


async def test_what_is_derived_while_results_change_does_not_count(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        slow = slowly(run, Conclude)
        await run.until(lambda: slow.waiting)
        await run.ask(SetJob(2, None, {"final_energy": -7.0}, "me", None))
        slow.go_on()
        assert await run.until_ended() == "completed"
        (counted, *_) = read_results(Path(run.context.database), run.id).concluded
        assert counted.conclusion.figures[0].data == {"energies": [-7.0, -1.0, -1.0]}


async def test_a_cancelled_workflow_gets_no_jobs_any_more_and_may_go_on(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        slow = slowly(run, Unfold)
        await run.until(lambda: slow.waiting)
        await run.ask(CancelWorkflow(None))
        slow.go_on()
        assert await run.until_ended() == "cancelled"
        assert run.query("SELECT state, count(*) FROM job GROUP BY state") == [("completed", 1)]
        run.start()
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3


async def test_a_retry_while_all_together_unfold_is_seen(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0")
        slow = slowly(run, Unfold, lambda task: task.step == "refine")
        await run.until(lambda: slow.waiting)
        failing(run)
        await run.ask(RetryJobs(Selection(statuses=("failed",))))
        slow.go_on()
        assert await run.until_ended() == "completed"
        assert run.query("SELECT label FROM job WHERE name = 'fine'") == [('{"total":3}',)]


async def test_a_source_whose_end_gives_nothing_is_still_concluded_from(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        read = run.workers._read
        last = anyio.Event()

        def in_two(task: Any) -> Any:
            chunk = read(task)
            return msgspec.structs.replace(
                chunk, done=task.cursor != "", cursor=chunk.cursor + ("" if task.cursor else "0")
            )

        run.workers._read = in_two  # type: ignore[method-assign]
        ask = run.workers.run

        async def wait(task: Any) -> Any:
            if isinstance(task, ReadChunk) and task.cursor:
                await last.wait()
            return await ask(task)

        run.workers.run = wait  # type: ignore[method-assign]
        await run.until(lambda: run.states() == {"completed": 4})
        await run.clock.advance(100.0)
        last.set()
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3


async def test_another_spec_for_a_paused_workflow_has_everything_concluded_anew(tmp_path: Path) -> None:
    async with run_family(tmp_path, 2) as run:
        slow = slowly(run, Render, lambda task: "h1" in {item.calculation.name for item in task.items})
        await run.until(lambda: len(values(run)) == 1)
        await run.ask(PauseWorkflow(None))
        slow.go_on()
        await run.until(lambda: set(run.states()) <= {"completed", "ready"})
        before = run.query("SELECT at FROM conclusion")
        assert len(before) == 1
        ((spec, parameters),) = run.query("SELECT spec, parameters FROM workflow")
        revised = spec.replace('"slots":2', '"slots":1')
        assert revised != spec
        await run.ask(ResumeWorkflow(None, Revision(spec, revised, parameters, 1, 0, ())))
        await run.until_ended()
        kinds = Counter(kind for (kind,) in run.query("SELECT kind FROM event"))
        assert kinds["subject_concluded"] == 2 + 2 + 1


async def test_what_another_spec_does_not_want_is_not_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Family.steps
    monkeypatch.setattr(Family, "steps", lambda self, view: steps(self, view)[: 3 * view.spec.slots])
    async with run_family(tmp_path, 1) as run:
        await run.until_ended()
        assert len(values(run)) == 3
        ((spec, parameters),) = run.query("SELECT spec, parameters FROM workflow")
        run.start()
        fewer = spec.replace('"slots":2', '"slots":1')
        await run.ask(ResumeWorkflow(None, Revision(spec, fewer, parameters, 1, 0, ())))
        assert await run.until_ended() == "completed"
        assert values(run) == {("count", "h0"): 3}


@pytest.mark.parametrize(("key", "is_told"), [("engine.command", True), ("slots", False)])
async def test_results_from_before_and_after_a_change_are_not_compared_in_silence(
    tmp_path: Path, *, key: str, is_told: bool
) -> None:
    async with run_family(tmp_path, 1) as run:
        failing(run, "h0 0")
        await run.until_ended()
        failing(run)
        ((spec, parameters),) = run.query("SELECT spec, parameters FROM workflow")
        run.start()
        await run.ask(RetryJobs(Selection(statuses=("failed",))))
        await run.until_ended()
        assert read_results(Path(run.context.database), run.id).concluded[0].conclusion.notes == ()
        run.start()
        run.workers.look = lambda look: Seen(look.job, look.attempts, look.directory, found=look.job == 2)
        await run.ask(ResumeWorkflow(None, Revision(spec, spec, parameters, 2, 0, (SpecChange(key, 1, 2),))))
        await review(run, ReviewKind.RESET_MISSING)
        await run.until_ended()
        notes = read_results(Path(run.context.database), run.id).concluded[0].conclusion.notes
        assert notes == (
            ("beware: engine.command changed between the calculations that this rests on (resume)",) if is_told else ()
        )


async def test_nothing_is_left_to_resume_of_what_has_been_refined(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        await run.until_ended()
        run.start()
        with pytest.raises(ConflictError, match="nothing of it is left"):
            await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"


async def test_a_database_that_cannot_be_read_says_nothing_of_results(tmp_path: Path) -> None:
    async with run_family(tmp_path, 1) as run:
        troubles = iter([StoreError("disk full", healable=True)] * 2)
        run.workers._trouble = lambda task: next(troubles, None) if isinstance(task, Conclude | Unfold) else None
        assert await run.until_ended() == "completed"
        assert len(values(run)) == 3


async def test_a_conclusion_that_cannot_be_kept_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude = Family.conclude

    def odd(self: Family, spec: WorkflowSpec, step: str, subject: Subject) -> Conclusion:
        if subject.name == "h2":
            return Conclusion((PropertyResult("x", "h2", 1j, "1"),))
        return conclude(self, spec, step, subject)

    monkeypatch.setattr(Family, "conclude", odd)
    async with run_family(tmp_path, 4) as run:
        assert await run.until_ended() == "failed"
        failed = run.query("SELECT name, failure FROM conclusion WHERE failure IS NOT NULL ORDER BY subject")
        assert [name for name, _ in failed] == ["h1", "h2"]
        assert "error in Penstock" in failed[1][1]


async def test_looks_that_take_long_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Ledger.look_for_due
    looks: list[tuple[float, bool]] = []

    async def slow(self: Ledger, at_once: int) -> Due | None:
        begun = self._clock.monotonic()
        await self._clock.sleep(1.0)
        due = await look(self, at_once)
        looks.append((begun, due is not None))
        return due

    monkeypatch.setattr(Ledger, "look_for_due", slow)
    async with run_family(tmp_path, 3) as run:
        assert await run.until_ended() == "failed"
        assert values(run)["total", "all"] == 6
        in_vain = [n for n, (_, found) in enumerate(looks[:-1]) if not found]
        assert in_vain
        assert all(looks[n + 1][0] - looks[n][0] >= 20.0 for n in in_vain)


class Slowed:
    """Tasks of workers that wait until they may go on."""

    def __init__(self) -> None:
        self.waiting = False
        self._event = anyio.Event()

    def go_on(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        self.waiting = True
        await self._event.wait()


def slowly(run: Campaign, kind: type[Any], which: Any = lambda _: True) -> Slowed:
    """Has the first of these tasks end, and what it says of it stay back, until it may go on."""
    slowed = Slowed()
    ask = run.workers.run

    async def late(task: Any) -> Any:
        answer = await ask(task)
        if isinstance(task, kind) and which(task) and not slowed.waiting:
            await slowed.wait()
        return answer

    run.workers.run = late  # type: ignore[method-assign]
    return slowed
