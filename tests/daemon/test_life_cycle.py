"""Archive, delete and restore, killed at every moment at which they touch the world, and once more while recovering."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from tests.daemon.killed import run_killed
from tests.store.filled import chunk, result, workflow_row

from penstock.actors.archive_tasks import WriteArchive
from penstock.actors.board import Board
from penstock.actors.task import Task
from penstock.control import messages as m
from penstock.daemon import retention as retentions
from penstock.daemon.life_cycle import LifeCycle
from penstock.daemon.retention import EVERY_S, Retention
from penstock.daemon.workflows import Workflows
from penstock.domain.context import Context, Mode, plan_context, render_context
from penstock.domain.errors import ConflictError
from penstock.domain.ids import new_ulid
from penstock.domain.locks import Wish
from penstock.domain.resources import Resources
from penstock.domain.submission import Submission
from penstock.domain.views import Selection, WorkflowInfo
from penstock.files.threads import ask_in_thread
from penstock.store import export, queries
from penstock.store.archive_reader import Nobody, read_archive
from penstock.store.catalogue import Catalogue
from penstock.store.lock_table import LOCKS_NAME, LockTable
from penstock.store.merging import MergeOrder, merge
from penstock.store.placement import Placement
from penstock.store.rows import NewStep
from penstock.store.workflow_store import WorkflowStore
from penstock.testing.virtual_clock import VirtualClock

DAY_S = 86_400.0
START = VirtualClock().time()
NOW = 1_800_000_000.0
SPEC = (
    '{"recipe": "campaign", "structures": {"source": "source/m.csv"}, "engine": {"name": "emt"}, "id": "w", '
    '"isolation": "isolated"}'
)


class Inline:
    """Does tasks at once, in this process."""

    async def run(self, task: Task[Any]) -> Any:
        return task.run()


class House:
    """A work root, a state directory and a place for archives, which outlive every daemon."""

    def __init__(self, root: Path, mode: Mode) -> None:
        self.root = root
        self.mode = mode
        self.work, self.state, self.kept = root / "work", root / "state", root / "kept"
        self.context = plan_context(mode, str(self.work), "w")
        self.directory = Path(self.context.directory)
        self.archive = self.kept / "w.tar.zst"

    def build(self) -> None:
        """Two workflows that have ended, with jobs, files and links."""
        for place in (self.work, self.state, self.kept):
            place.mkdir(parents=True)
        for workflow_id in ("other", "w"):
            anyio.run(self._fill, workflow_id)

    def _lay_out(self, context: Context) -> None:
        directory = Path(context.directory)
        directory.mkdir(parents=True)
        Path(context.database).parent.mkdir(exist_ok=True)
        (directory / "context.toml").write_text(render_context(context))
        (directory / "structures.db").write_bytes(b"a view")
        for name in ("jobs", "exports", "source", "storage", "locks"):
            (directory / name).mkdir()
        (directory / "exports" / "old.csv").write_text("old")
        (directory / "source" / "m.csv").write_text("geometry\nH 0 0 0\n")

    async def _fill(self, workflow_id: str) -> None:
        context = plan_context(self.mode, str(self.work), workflow_id)
        directory, database = Path(context.directory), Path(context.database)
        self._lay_out(context)
        store = WorkflowStore(database, workflow_id, contextlib.nullcontext)
        values = {"workflow_id": workflow_id, "mode": self.mode, "namespace": context.namespace, "spec": SPEC}
        row = workflow_row(workflow_id)
        await store.create(
            type(row)(**{name: values.get(name, getattr(row, name)) for name in row.__struct_fields__}),
            [("source/m.csv", 10, "0" * 64)],
            among_others=context.shares_database,
        )
        [step] = await store.add_steps([NewStep("calculate", "fan")])
        await store.add_chunk(step, context.namespace, chunk(2, done=True))
        jobs = await store.take_ready(2, NOW)
        ulid = new_ulid(NOW)
        submission = Submission(ulid, workflow_id, "/w", str(self.mode), "emt", 0, 0, False, len(jobs), Resources())
        begun = await store.begin_submission(submission, "local", jobs, NOW)
        assert begun is not None
        attempts = begun[0]
        for attempt in attempts:
            made = directory / attempt.directory
            made.mkdir(parents=True)
            (made / "stdout").write_text(f"{workflow_id} {attempt.job_id}\n")
            (made / ".claim").symlink_to(ulid)
        results = [result(ulid, attempt) for attempt in attempts]
        await store.record_results(results, {"submitting": 2}, [ulid])
        await store.close()
        with sqlite3.connect(database) as db:
            db.execute("UPDATE workflow SET state = 'completed' WHERE workflow_id = ?", (workflow_id,))
        db.close()
        catalogue = Catalogue(self.state / "catalogue.db", contextlib.nullcontext)
        await catalogue.open()
        await catalogue.add(workflow_id, context.directory)
        await catalogue.update(self._info(workflow_id))
        await catalogue.close()

    def _info(self, workflow_id: str) -> WorkflowInfo:
        context = plan_context(self.mode, str(self.work), workflow_id)
        states = {"completed": 2}
        return WorkflowInfo(
            workflow_id, "campaign", "completed", context.directory, str(self.mode), "local", "emt", 1, 0, 2, states,
            states, 0, False, None, NOW, NOW, context.database,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[LifeCycle, Workflows, Catalogue]]:
        """A daemon, after it has found everything again and ended what was begun."""
        clock = VirtualClock()
        catalogue = Catalogue(self.state / "catalogue.db", clock.busy)
        await catalogue.open()
        around = SimpleNamespace(cluster=SimpleNamespace(post=lambda *_: None))
        workflows = Workflows(
            catalogue, lambda _: cast("Any", around), Board(), clock, Placement(str(self.state), "in_place")
        )
        life_cycle = LifeCycle(workflows, catalogue, Inline(), clock)
        try:
            async with workflows.supervisor, anyio.create_task_group() as tasks:
                await workflows.find_again(tasks, life_cycle.resume_one)
                await life_cycle.resume()
                yield life_cycle, workflows, catalogue
                await workflows.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await catalogue.close()

    def act(self, doing: Callable[[LifeCycle], Coroutine[Any, Any, object]]) -> None:
        """One daemon's life."""

        async def live() -> None:
            async with self.life() as (life_cycle, _, _):
                await doing(life_cycle)

        anyio.run(live)

    def exported(self, workflow_id: str) -> str:
        """What the workflow's results are."""
        target = self.root / "export.json"
        context = plan_context(self.mode, str(self.work), workflow_id)
        export.export_jobs(Path(context.database), workflow_id, "json", target, Selection(), overwrite=True)
        return target.read_text()

    def files(self, workflow_id: str) -> dict[str, str]:
        """The workflow's files, links with their targets."""
        top = self.directory.with_name(workflow_id)
        found = {}
        for path in sorted((top / "jobs").rglob("*")):
            if path.is_symlink() or path.is_file():
                found[str(path.relative_to(top))] = str(path.readlink()) if path.is_symlink() else path.read_text()
        return found

    def looks(self) -> tuple[list[str], set[str], set[str]]:
        """Workflows that the next daemon knows, names in the work directory, names beside the archive."""

        async def known() -> list[str]:
            async with self.life() as (_, workflows, _):
                assert workflows.operations == {}
                return sorted(info.id for info in workflows._board.workflows.values())

        names = {path.name for path in self.directory.parent.iterdir()} - {"shared"}
        return anyio.run(known), names, {path.name for path in self.kept.iterdir()}

    def rows(self, workflow_id: str) -> int:
        """How many jobs of a workflow its database holds."""
        database = Path(plan_context(self.mode, str(self.work), workflow_id).database)
        if not database.is_file():
            return 0
        return queries.list_jobs(database, workflow_id, Selection(), limit=1, offset=0, order="id")[1]

    def claimed(self, workflow_id: str) -> bool:
        """Whether its database says which daemon works on it."""
        database = Path(plan_context(self.mode, str(self.work), workflow_id).database)
        with closing(sqlite3.connect(database)) as db:
            ((daemon,),) = db.execute("SELECT daemon FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchall()
        return daemon is not None


@pytest.fixture(params=[Mode.ISOLATED, Mode.SHARED], ids=str, scope="module")
def pattern(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("pattern") / "house", request.param)
    house.build()
    shutil.copytree(house.root, house.root.with_name("original"), symlinks=True)
    return house


def copied(pattern: House, original: str = "original") -> None:
    """The house as it was built, or as it was kept under another name, in the same place, for every moment anew."""
    shutil.rmtree(pattern.root)
    shutil.copytree(pattern.root.with_name(original), pattern.root, symlinks=True)


def storm(
    pattern: House,
    doing: Callable[[LifeCycle], Coroutine[Any, Any, object]],
    check: Callable[[str], None],
    original: str = "original",
) -> int:
    """Kills `doing` at each of its moments, and now and then the recovery too; `check` looks at what is left."""
    moment = 0
    while True:
        moment += 1
        copied(pattern, original)
        if not run_killed(lambda: pattern.act(doing), pattern.root, moment):
            return moment - 1
        if moment % 3 == 0:
            run_killed(lambda: pattern.act(nothing), pattern.root, moment // 3)
        pattern.act(nothing)
        check(f"killed at moment {moment}")


async def nothing(_: LifeCycle) -> None:
    """The daemon only recovers."""


@pytest.mark.parametrize("delete", [False, True])
def test_an_archive_is_written_whole_or_not_and_nothing_goes_before_it_is(pattern: House, delete: bool) -> None:
    copied(pattern)
    before, files, other = (
        pattern.exported("w"),
        pattern.files("w"),
        (pattern.exported("other"), pattern.files("other")),
    )
    outcomes = set()

    def check(when: str) -> None:
        known, names, beside = pattern.looks()
        if beside:
            with pattern.archive.open("rb") as source:
                assert read_archive(source, "w", Nobody()).end.left_out == [], when
        if delete and beside:
            assert (known, names, beside) == (["other"], {"other"}, {"w.tar.zst"}), when
            assert pattern.rows("w") == 0, when
            pattern.act(lambda life: life.restore(m.Restore("w")))
        else:
            assert (known, names) == (["other", "w"], {"other", "w"}), when
        outcomes.add(bool(beside))
        assert (pattern.exported("w"), pattern.files("w")) == (before, files), when
        assert (pattern.exported("other"), pattern.files("other")) == other, when
        assert not [p for p in pattern.directory.iterdir() if p.name.startswith(".archive-")], when

    moments = storm(pattern, lambda life: life.archive(m.Archive("w", str(pattern.archive), delete)), check)
    assert moments > (20 if delete else 10)
    assert outcomes == {False, True}


def test_a_workflow_is_deleted_as_a_whole_or_is_there_as_a_whole(pattern: House) -> None:
    copied(pattern)
    before, other = pattern.exported("w"), (pattern.exported("other"), pattern.files("other"))
    outcomes = set()

    def check(when: str) -> None:
        known, names, _ = pattern.looks()
        outcomes.add(len(known))
        if "w" in known:
            assert names == {"other", "w"}, when
            assert pattern.exported("w") == before, when
        else:
            assert names == {"other"}, when
            assert pattern.rows("w") == 0, when
        assert (pattern.exported("other"), pattern.files("other")) == other, when

    assert storm(pattern, lambda life: life.delete(m.Delete("w")), check) > 10
    assert outcomes == {1, 2}


def test_a_workflow_is_restored_as_a_whole_or_not_at_all(pattern: House) -> None:
    copied(pattern)
    before, files = pattern.exported("w"), pattern.files("w")
    pattern.act(lambda life: life.archive(m.Archive("w", str(pattern.archive), delete=True)))
    shutil.copytree(pattern.root, pattern.root.with_name("archived"), symlinks=True)
    outcomes = set()

    def check(when: str) -> None:
        known, names, beside = pattern.looks()
        outcomes.add(len(known))
        assert beside == {"w.tar.zst"}, when
        if "w" not in known:
            assert names == {"other"}, when
            assert pattern.rows("w") == 0, when
            pattern.act(lambda life: life.restore(m.Restore("w")))
        assert (pattern.exported("w"), pattern.files("w")) == (before, files), when
        assert pattern.claimed("w"), when

    assert storm(pattern, lambda life: life.restore(m.Restore("w")), check, "archived") > 15
    assert outcomes == {1, 2}


def test_cleaning_is_ended_and_takes_no_result(pattern: House) -> None:
    copied(pattern)
    before, files = pattern.exported("w"), pattern.files("w")

    def check(when: str) -> None:
        assert pattern.looks()[:2] == (["other", "w"], {"other", "w"}), when
        assert (pattern.exported("w"), pattern.files("w")) == (before, files), when

    assert storm(pattern, lambda life: life.clean(m.Clean("w", exports=True)), check) > 3
    assert list((pattern.directory / "exports").iterdir()) == []
    assert (pattern.directory.with_name("other") / "exports" / "old.csv").exists()


def alter(database: str | Path, *statements: str) -> None:
    """Rows as others could have left them."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_files_of_results_that_others_have_stay_until_they_are_given_up(pattern: House) -> None:
    copied(pattern)
    whose = "2 of other"
    if pattern.mode is Mode.SHARED:
        taken = "UPDATE job SET origin = '{}', job_dir = '../w/' || job_dir WHERE workflow_id = 'other'"
        alter(pattern.context.database, taken)
    else:
        whose = "2 of w@merged"
        usual = plan_context(Mode.SHARED, str(pattern.work), "w").database
        merge(MergeOrder(pattern.context.database, "w", str(pattern.directory), usual, beside=True))
    files = pattern.files("w")

    async def refused(life: LifeCycle) -> None:
        with pytest.raises(ConflictError, match=f"{whose}.*--force"):
            await life.delete(m.Delete("w"))
        with pytest.raises(ConflictError, match=f"{whose}.*without --delete"):
            await life.archive(m.Archive("w", str(pattern.archive), delete=True))

    pattern.act(refused)
    assert pattern.files("w") == files
    assert not pattern.archive.exists()
    pattern.act(lambda life: life.delete(m.Delete("other")))  # who took results over has none of others
    pattern.act(lambda life: life.delete(m.Delete("w", force=True)))
    assert pattern.looks()[:2] == ([], set())


def test_what_is_taken_over_while_an_archive_is_written_keeps_the_workflow(
    pattern: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(pattern)
    write = WriteArchive.run

    def taken(task: WriteArchive) -> Any:
        written = write(task)
        usual = plan_context(Mode.SHARED, str(pattern.work), "w").database
        if pattern.mode is Mode.SHARED:
            alter(usual, "UPDATE job SET origin = '{}', job_dir = '../w/' || job_dir WHERE workflow_id = 'other'")
        else:
            merge(MergeOrder(pattern.context.database, "w", str(pattern.directory), usual, beside=True))
        return written

    monkeypatch.setattr(WriteArchive, "run", taken)

    async def refused(life: LifeCycle) -> None:
        with pytest.raises(ConflictError, match=r"archived in .*, but not removed: .*--force"):
            await life.archive(m.Archive("w", str(pattern.archive), delete=True))
        assert [archive.location for archive in await life.archives_of("w")] == [str(pattern.archive)]

    pattern.act(refused)
    assert pattern.looks() == (["other", "w"], {"other", "w"}, {"w.tar.zst"})


def test_what_a_deleted_workflow_held_others_can_have(pattern: House) -> None:
    copied(pattern)
    shared = Path(plan_context(Mode.SHARED, str(pattern.work), "w").locks)
    shared.mkdir(parents=True, exist_ok=True)
    tables = [LockTable(place / LOCKS_NAME) for place in (pattern.state / "locks", shared)]
    for table in tables:
        assert table.take(Wish("w", f"w/{new_ulid(NOW)}", {"license": 1}))
        assert not table.take(Wish("other", f"other/{new_ulid(NOW)}", {"license": 1}))
        table.close()
    pattern.act(lambda life: life.delete(m.Delete("w")))
    for table in tables:
        standing = table.standing()
        assert (standing.leases, [waiter.name for waiter in standing.waiters]) == ((), ["other"])
        table.close()


def test_what_was_said_of_a_job_since_its_archive_is_archived_before_it_is_removed(pattern: House) -> None:
    copied(pattern)
    table = 'json(\'{"archive_after": "2d", "delete_after": "5d"}\')'
    spec = f"UPDATE workflow SET spec = json_set(spec, '$.retention', {table}) WHERE workflow_id = 'w'"
    alter(pattern.context.database, spec, "UPDATE event SET at = 0")

    async def due() -> None:
        async with pattern.life() as (life_cycle, workflows, catalogue):
            retention = Retention(life_cycle, workflows._board, catalogue, Inline(), life_cycle._clock)
            await life_cycle.archive(m.Archive("w", str(pattern.archive)))
            assert [due.action for due in await retention.due()] == ["delete"]
            word = (
                f"INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES ('w', {START + 1}, '{{}}', 1, 'null')"
            )
            alter(pattern.context.database, word.format("workflow_restored"))
            assert [due.action for due in await retention.due()] == ["delete"]
            alter(pattern.context.database, word.format("job_set"))
            assert [due.action for due in await retention.due()] == ["archive", "delete"]

    anyio.run(due)


def test_a_review_of_many_workflows_takes_one_thread_and_passes_over_what_cannot_be_read(
    pattern: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(pattern)
    table = 'json(\'{"archive_after": "2d"}\')'
    for workflow_id in ("w", "other"):
        spec = f"UPDATE workflow SET spec = json_set(spec, '$.retention', {table}) WHERE workflow_id = '{workflow_id}'"
        alter(plan_context(pattern.mode, str(pattern.work), workflow_id).database, spec)
    asked: list[Any] = []

    async def counted(path: Any, function: Any, *arguments: Any) -> Any:
        asked.append(path)
        return await ask_in_thread(path, function, *arguments)

    async def due() -> None:
        async with pattern.life() as (life_cycle, workflows, catalogue):
            retention = Retention(life_cycle, workflows._board, catalogue, Inline(), life_cycle._clock)
            assert {due.id for due in await retention.due()} == {"w", "other"}
            assert len(asked) == 1
            alter(pattern.context.database, "DELETE FROM workflow WHERE workflow_id = 'w'")
            assert {due.id for due in await retention.due()} == {"other"}

    monkeypatch.setattr(retentions, "ask_in_thread", counted)
    anyio.run(due)


def test_retention_archives_and_removes_in_its_time(pattern: House) -> None:
    copied(pattern)
    with sqlite3.connect(pattern.context.database) as db:
        table = f'json(\'{{"archive_after": "2d", "delete_after": "5d", "destination": "{pattern.kept}"}}\')'
        db.execute(f"UPDATE workflow SET spec = json_set(spec, '$.retention', {table}) WHERE workflow_id = 'w'")
        db.execute("UPDATE workflow SET updated_at = ? WHERE workflow_id = 'w'", (START,))
        db.execute("DELETE FROM event WHERE workflow_id = 'w' AND kind = 'workflow_state'")
    db.close()

    async def days() -> None:
        async with pattern.life() as (life_cycle, workflows, catalogue), anyio.create_task_group() as tasks:
            clock = life_cycle._clock
            assert isinstance(clock, VirtualClock)
            retention = Retention(life_cycle, workflows._board, catalogue, Inline(), clock)
            tasks.start_soon(retention.keep)
            await clock.run_until(lambda: bool(list(pattern.kept.iterdir())), 3 * DAY_S)
            assert 2 * DAY_S <= clock.time() - START <= 2 * DAY_S + 2 * EVERY_S
            assert pattern.directory.exists()
            await clock.run_until(lambda: not pattern.directory.exists(), 5 * DAY_S)
            assert 5 * DAY_S <= clock.time() - START <= 5 * DAY_S + 2 * EVERY_S
            await clock.run_until(lambda: "w" not in workflows._board.workflows, DAY_S)
            tasks.cancel_scope.cancel()

    anyio.run(days)
    assert pattern.looks()[:2] == (["other"], {"other"})
