"""What is done at a workflow's end: each action once, in its order, found again after a kill at any point."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.daemon.house import House, Life
from tests.store.filled import create

from penstock.actors.workflow_messages import CancelWorkflow, RetryJobs
from penstock.daemon.completion import Completions
from penstock.daemon.completion_acts import export_act
from penstock.domain.completion import CompletionAction
from penstock.domain.context import work_root_of
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.views import Selection, WorkflowInfo
from penstock.files.threads import SilentError
from penstock.store.completion import CompletionStore, load_completions

ACTIONS = [CompletionAction("export", format=name) for name in ("csv", "json", "ase")]


class Acts:
    """Does every action by writing it down; `trouble` is raised instead, once, by what it names."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.trouble: dict[str, BaseException] = {}

    async def export(self, info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        self.seen.append((action.format, again))
        if error := self.trouble.pop(action.format, None):
            raise error
        return f"{action.format} of {info.id}"

    async def tidy(self, info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        self.seen.append(("tidy", again))
        return "tidied"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


@contextlib.asynccontextmanager
async def at_work(house: House, life: Life, acts: Acts) -> AsyncIterator[Completions]:
    """A daemon that looks after ends."""
    completions = Completions(life.workflows, life.board, house.clock, {"export": acts.export, "clean": acts.tidy})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(completions.run)
        yield completions
        tasks.cancel_scope.cancel()


def wish(house: House, actions: list[CompletionAction]) -> Any:
    request = house.request()
    return msgspec.structs.replace(request, spec=msgspec.structs.replace(request.spec, on_complete=actions))


def counts(life: Life) -> dict[str, int]:
    return life.board.workflows["w"].completions


def states(house: House) -> list[str]:
    return [c.state for c in load_completions(house.directory / "workflow.db", "w")]


async def until(house: House, life: Life, expected: dict[str, int]) -> None:
    def reached() -> bool:
        known = "w" in life.board.workflows and not life.workflows.supervisor.has_child("w")
        return known and counts(life) == expected

    await house.clock.run_until(reached, 600.0)


async def test_actions_are_done_once_in_their_order(house: House) -> None:
    acts = Acts()
    async with house.life() as life, at_work(house, life, acts) as completions:
        await life.create(wish(house, ACTIONS))
        await until(house, life, {"done": 3})
        assert acts.seen == [("csv", False), ("json", False), ("ase", False)]
        (first, *_) = load_completions(house.directory / "workflow.db", "w")
        assert (first.position, first.action, first.result) == (1, "export csv", "csv of w")
        with pytest.raises(ConflictError, match="no action of workflow w has failed"):
            await completions.again("w", None)
        with pytest.raises(NotFoundError, match="has actions 1 to 3, not 4"):
            await completions.again("w", 4)
        await completions.again("w", 2)
        await until(house, life, {"done": 3})
        assert acts.seen[3:] == [("json", False)]
    told = sqlite3.connect(house.directory / "workflow.db")
    assert [row[0] for row in told.execute("SELECT kind FROM event WHERE kind LIKE '%action%'")] == [
        "workflow_action_done"
    ] * 4
    told.close()


async def test_what_fails_is_recorded_and_done_again_by_request(house: House) -> None:
    acts = Acts()
    acts.trouble["json"] = SpecError("no room")
    async with house.life() as life, at_work(house, life, acts) as completions:
        await life.create(wish(house, [ACTIONS[0], ACTIONS[1], CompletionAction("clean"), ACTIONS[2]]))
        await until(house, life, {"done": 2, "failed": 1, "held": 1})
        assert [name for name, _ in acts.seen] == ["csv", "json", "ase"]
        assert load_completions(house.directory / "workflow.db", "w")[1].result == "no room"
        assert life.state() == ("completed", {"completed": 3})
        await completions.again("w", None)
        await until(house, life, {"done": 4})
        assert [name for name, _ in acts.seen[3:]] == ["json", "tidy"]


async def test_what_meets_a_silent_file_system_is_put_off_and_no_failure(house: House) -> None:
    acts = Acts()
    acts.trouble["json"] = SilentError("the file system of /far does not answer")
    async with house.life() as life, at_work(house, life, acts):
        await life.create(wish(house, [ACTIONS[0], ACTIONS[1]]))
        await until(house, life, {"done": 2})
        assert acts.seen == [("csv", False), ("json", False), ("json", True)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(6))
async def test_a_kill_at_any_step_repeats_at_most_the_action_that_was_begun(
    house: House, monkeypatch: pytest.MonkeyPatch, call: int, when: str
) -> None:
    acts, record, calls = Acts(), CompletionStore.record, 0

    async def broken(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call + 1 and when == "before":
            await anyio.sleep_forever()
        recorded = await record(*args)
        if calls == call + 1:
            await anyio.sleep_forever()
        return recorded

    async with house.life() as life:
        with monkeypatch.context() as patched:
            patched.setattr(CompletionStore, "record", broken)
            async with at_work(house, life, acts):
                await life.create(wish(house, ACTIONS))
                await house.clock.run_until(lambda: calls > call, 600.0)
                await house.clock.advance(5.0)
    async with house.life() as life, at_work(house, life, acts):
        await life.find_again()
        await until(house, life, {"done": 3})
    done = [name for name, _ in acts.seen]
    assert list(dict.fromkeys(done)) == ["csv", "json", "ase"]
    begun_twice = [name for name, again in acts.seen if again]
    assert len(done) <= 4
    assert len(begun_twice) <= 1


async def test_a_retry_drops_what_waits_and_its_end_does_all_again(house: House) -> None:
    acts = Acts()
    actions = [CompletionAction("export", "ended", "csv"), CompletionAction("export", "completed", "json")]
    async with house.life() as life:
        await life.create(wish(house, actions))
        await life.until_ended()
        assert counts(life) == {"pending": 2}
        await life.workflows.ask("w", RetryJobs(Selection(jobs=(1,))), 60.0)
        assert states(house) == ["dropped", "dropped"]
        async with at_work(house, life, acts):
            await until(house, life, {"done": 2})
    assert [name for name, _ in acts.seen] == ["csv", "json"]


async def test_no_actions_after_a_cancellation(house: House) -> None:
    acts = Acts()
    async with house.life() as life, at_work(house, life, acts) as completions:
        await life.create(wish(house, ACTIONS))
        await life.workflows.ask("w", CancelWorkflow(None), 60.0)
        await life.until_ended()
        await house.clock.advance(10.0)
        assert (acts.seen, counts(life)) == ([], {})
        with pytest.raises(ConflictError, match="is cancelled"):
            await completions.again("w", None)


async def test_where_an_export_goes(house: House) -> None:
    tasks: list[Any] = []

    class Workers:
        async def run(self, task: Any) -> Any:
            tasks.append(task)
            return 3

    async with house.life() as life:
        await life.create(house.request())
        await life.until_ended()
        info = life.board.workflows["w"]
    act = export_act(Workers())
    root = house.work.parent
    assert work_root_of(Path(info.directory)) == root
    assert await act(info, ACTIONS[0], again=False) == f"3 jobs written to {root}/workflow_results/w.csv"
    await act(info, CompletionAction("export", path="out/x.json", format="json"), again=False)
    await act(info, CompletionAction("export", path="/elsewhere/x.csv"), again=True)
    assert [(task.path, task.overwrite) for task in tasks] == [
        (f"{root}/workflow_results/w.csv", True),
        (f"{root}/out/x.json", False),
        ("/elsewhere/x.csv", True),
    ]


async def test_what_was_written_before_a_restoration_was_written_by_another(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    completions = CompletionStore(tmp_path / "workflow.db", "w", contextlib.nullcontext)
    done = (
        """INSERT INTO completion VALUES ('w', {0}, 1, '{{"action": "export", "path": "x.csv"}}', 'done', NULL, {0})"""
    )
    restored = "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES ('w', 2, 'workflow_restored', 0, '{}')"
    for statement, has_written in ((done.format(1), True), (restored, False), (done.format(3), True)):
        with contextlib.closing(sqlite3.connect(tmp_path / "workflow.db")) as db:
            db.execute(statement)
            db.commit()
        assert await completions.has_written("x.csv") == has_written
    await completions.close()
