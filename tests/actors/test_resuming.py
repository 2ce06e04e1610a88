"""Workflows that failed, were cancelled or rest go on, with another spec where that is wanted, whatever breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.actors import errands
from penstock.actors.workflow_messages import CancelWorkflow, MarkJobs, PauseWorkflow, ResumeWorkflow, Touched
from penstock.domain.calculation import FailureClass
from penstock.domain.errors import ConflictError, PenstockError
from penstock.domain.remedy import Change, RemedyTable, Rule
from penstock.domain.revision import Revision, differences, revise
from penstock.domain.spec import RetryTable, WorkflowSpec
from penstock.domain.views import Selection
from penstock.testing.simulated_world import Behaviour

from .campaign import Campaign
from .test_chains import SCF, Chain, fails

ONCE = RetryTable(max_attempts=1)
SLOW = Behaviour(attempt_s=(50.0, 50.0))


def revision_of(run: Campaign, parameters: str | None = None, **values: Any) -> Revision:
    """What a request would make of the spec that is stored now; `__` in a key is a dot."""
    ((text, stored),) = run.query("SELECT spec, parameters FROM workflow")
    old = msgspec.json.decode(text, type=WorkflowSpec)
    new = revise(old, {}, {key.replace("__", "."): value for key, value in values.items()}, "", "command line")
    spec = msgspec.json.encode(new).decode()
    return Revision(text, spec, parameters or stored, new.slots, new.priority, differences(old, new))


def fail_first_attempts(run: Campaign, *jobs: int) -> None:
    """The first attempts of these jobs fail."""
    rule = run.workers._rule

    def judge(item: Any) -> Any:
        job, number = map(int, item.directory.split("/")[-2:])
        outcome = rule(item)
        return type(outcome)(FailureClass.EXIT_CODE, "as agreed") if job in jobs and number == 1 else outcome

    run.workers._rule = judge


async def test_what_failed_runs_again_and_nothing_else(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 6, retry=ONCE) as run:
        fail_first_attempts(run, 2, 3, 5)
        assert await run.until_ended() == "failed"
        run.start()
        await run.ask(MarkJobs(Selection(jobs=(3,)), never_rerun=True))
        run.start() if not run.supervisor_runs() else None
        assert await run.ask(ResumeWorkflow(None)) == Touched(2)
        assert await run.until_ended() == "failed"
        assert run.query("SELECT id, attempts, state FROM job WHERE attempts > 1 OR state != 'completed'") == [
            (2, 2, "completed"),
            (3, 1, "failed"),
            (5, 2, "completed"),
        ]
        run.check_books()
        run.start()
        with pytest.raises(ConflictError, match="is failed and nothing of it is left to do"):
            await run.ask(ResumeWorkflow(None))
        await run.until_ended()
        assert run.info.state == "failed"


async def test_a_cancelled_source_is_read_on_from_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "_CHUNK", 5)
    async with Campaign(tmp_path, 60, behaviour=SLOW) as run:
        await run.until(lambda: sum(run.states().values()) >= 10)
        await run.ask(CancelWorkflow(None))
        with pytest.raises(ConflictError, match="still under way; say it again when they have ended"):
            await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "cancelled"
        known = sum(run.states().values())
        assert 10 <= known < 60
        run.start()
        assert await run.ask(ResumeWorkflow(None)) == Touched(known)
        assert await run.until_ended() == "completed"
        assert run.states() == {"completed": 60}
        assert run.query("SELECT count(DISTINCT orig_index), count(*) FROM job") == [(60, 60)]
        run.check_books()


async def test_a_revision_reaches_every_step_and_is_told(tmp_path: Path) -> None:
    async with Chain(tmp_path, 2, ["OPT", "SP", "BAND"], fails(("SP", 1), until=2)) as run:
        assert await run.until_ended() == "failed"
        run.start()
        parameters = run._parameters.replace('"crystal"]', '"crystal", "-v"]')
        revision = revision_of(run, parameters, engine__smearing_hartree=0.01, resources__memory="2GB", slots=5)
        await run.ask(ResumeWorkflow(None, revision))
        assert run.info.slots == 5
        assert await run.until_ended() == "completed"
        run.check_chain()
    argvs = [json.loads(p)["argv"] for (p,) in run.query("SELECT parameters FROM step")]
    assert argvs == [["crystal", "-v"]] * 3
    assert run.query("SELECT job_id, number, revision FROM attempt WHERE revision") == [(3, 2, 1), (5, 1, 1)]
    ((told,),) = run.query("SELECT data FROM event WHERE kind = 'workflow_changed'")
    assert {change["key"]: change["new"] for change in json.loads(told)["changes"]} == {
        "engine.smearing_hartree": 0.01,
        "resources.memory": "2GB",
        "slots": 5,
    }
    assert json.loads(told)["revision"] == 1


async def test_what_a_remedy_changed_stays_the_jobs_own(tmp_path: Path) -> None:
    change = Change(set=200)
    rule = Rule(name="other task", on=SCF, change={"scf_cycles": change}, limit=1)
    table = RemedyTable(engine=False, rules=[rule])
    verdict = fails(("OPT", 1), failure=SCF, until=3)
    async with Chain(tmp_path, 1, ["OPT"], verdict, retry=ONCE, remedies=table) as run:
        assert await run.until_ended() == "failed"
        (before,) = run.query("SELECT parameters, remedies FROM job")
        assert before[0] is not None
        run.start()
        await run.ask(ResumeWorkflow(None, revision_of(run, retry__max_attempts=2)))
        assert await run.until_ended() == "completed"
        assert run.query("SELECT parameters, remedies FROM job") == [before]


async def test_a_paused_workflow_is_changed_once_nothing_of_it_runs(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 12, behaviour=SLOW, retry=ONCE) as run:
        await run.until(lambda: run.states()["running"] == 2)
        revision = revision_of(run, resources__cores=2)
        with pytest.raises(ConflictError, match="is running; pause it"):
            await run.ask(ResumeWorkflow(None, revision))
        await run.ask(PauseWorkflow(None))
        with pytest.raises(ConflictError, match="still under way"):
            await run.ask(ResumeWorkflow(None, revision))
        await run.clock.advance(1000.0)
        other = revision_of(run, slots=3)
        assert await run.ask(ResumeWorkflow(None, revision)) == Touched(0)
        await run.ask(PauseWorkflow(None))
        await run.clock.advance(1000.0)
        with pytest.raises(ConflictError, match="was changed meanwhile"):
            await run.ask(ResumeWorkflow(None, other))
        await run.ask(ResumeWorkflow(None))
        assert await run.until_ended() == "completed"
        run.check_books()


@pytest.mark.parametrize("after", range(2))
@pytest.mark.parametrize("call", range(3))
async def test_a_resumption_broken_off_happened_or_did_not(tmp_path: Path, call: int, after: int) -> None:
    left: list[int] = []

    def breaks() -> bool:
        if not left:
            return False
        left[0] -= 1
        return left[0] < 0 and bool(left.pop() or True)

    async with Campaign(tmp_path, 4, retry=ONCE, breaks=breaks) as run:
        fail_first_attempts(run, 1, 4)
        assert await run.until_ended() == "failed"
        run.start()
        await run.until(lambda: run.supervisor_runs() and run.states()["failed"] == 2)
        revision = revision_of(run, resources__cores=2)
        left.append(2 * call + after)
        for _ in range(3):
            if not run.supervisor_runs():
                run.start()
            try:
                await run.ask(ResumeWorkflow(None, revision))
            except PenstockError:
                ((number, cores),) = run.query("SELECT revision, json_extract(spec, '$.resources.cores') FROM workflow")
                assert (number, cores) in {(0, 1), (1, 2)}
        left.clear()
        if not run.supervisor_runs():
            run.start()
        assert await run.until_ended() == "completed"
        assert run.query("SELECT revision FROM workflow") == [(1,)]
        assert run.query("SELECT count(*) FROM event WHERE kind = 'workflow_changed'") == [(1,)]
        assert run.query("SELECT DISTINCT number > 1, revision FROM attempt ORDER BY 1") == [(0, 0), (1, 1)]
        run.check_books()
