"""The workflow's database: one transaction a call, a tally that is never wrong, columns that plain SQLite can read."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.domain.calculation import FailureClass
from penstock.domain.errors import ConflictError, StoreError
from penstock.domain.resources import Resources
from penstock.domain.states import ACTIVE, AttemptState, JobState
from penstock.domain.submission import Submission
from penstock.domain.views import Selection
from penstock.store.events import Event
from penstock.store.removal import remove_begun
from penstock.store.rows import JobFacts, OpenAttempt, StepRow
from penstock.store.selection import Where, in_states, where_selected
from penstock.store.workflow_store import WorkflowStore

from .filled import NOW, chunk, create, make_store, query, result, submit, workflow_row

PUBLIC = (
    "id, orig_index, elements, natoms, status, charge, spin, geometry, job_dir, max_forces, scf_steps, final_energy, "
    "error_message, created_at, updated_at"
)


async def test_a_workflow_is_created_once_and_loaded_as_it_was(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    again, same = await create(tmp_path)
    row, steps, opened = await make_store_and_load(tmp_path)
    assert (row.workflow_id, row.slots, row.state) == ("w", 1, "running")
    assert steps == [step] == [same]
    assert (step.state, step.cursor, opened) == ("expanding", "", [])
    assert query(tmp_path, "SELECT path, bytes FROM file WHERE role = 'source'") == [("source/m.csv", 10)]
    assert query(tmp_path, "SELECT kind FROM event") == [("workflow_created",)]
    await store.close()
    await again.close()


async def make_store_and_load(directory: Path) -> tuple[Any, Any, Any]:
    store = make_store(directory)
    try:
        return await store.load()
    finally:
        await store.close()


async def test_a_store_without_its_workflow_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        await make_store(tmp_path).load()
    store, _ = await create(tmp_path)
    await store.close()
    other = WorkflowStore(tmp_path / "workflow.db", "other", store._db._busy)
    with pytest.raises(StoreError, match="holds no workflow 'other'"):
        await other.load()
    await other.close()


async def test_a_chunk_becomes_materials_jobs_and_a_cursor_together(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3, rejected=2))
    events = await store.add_chunk(step, "w", chunk(2, first=5, done=True))
    await store.close()
    assert query(tmp_path, "SELECT id, orig_index, name, status, spin FROM job WHERE id > 3") == [
        (4, 5, "h5", "ready", 2),
        (5, 6, "h6", "ready", 2),
    ]
    names = query(tmp_path, "SELECT m.name, j.name FROM job j JOIN material m ON m.id = j.material_id ORDER BY j.id")
    assert names == [(f"h{n}", f"h{n}") for n in (0, 1, 2, 5, 6)]
    assert query(tmp_path, "SELECT orig_index, line, reason FROM rejected") == [(3, 5, "no atoms"), (4, 6, "no atoms")]
    assert query(tmp_path, "SELECT state, cursor FROM step") == [("running", "7")]
    assert (store.tally, store.rejected) == ({"ready": 5}, 2)
    assert events[0].text == "2 structures taken in, 0 rejected, the source is read to its end"


async def test_jobs_are_taken_in_order_and_not_before_their_time(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3))
    ulid, attempts = await submit(store, 1)
    assert [attempt.job_id for attempt in attempts] == [1]
    await store.record_results([result(ulid, attempts[0], good=False, again=True)], {"submitting": 1}, [ulid])
    assert [job.id for job in await store.take_ready(10, NOW)] == [2, 3]
    assert await store.next_due() == NOW + 60.0
    due = await store.take_ready(10, NOW + 60.0)
    assert [(job.id, job.number) for job in due] == [(1, 2), (2, 1), (3, 1)]
    assert await store.retry_facts([1, 2]) == {1: JobFacts(1), 2: JobFacts()}
    await store.close()


async def test_an_intent_survives_and_a_closed_submission_is_gone(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(2))
    ulid, attempts = await submit(store, 2)
    await store.close()
    [opened] = (await make_store_and_load(tmp_path))[2]
    assert (opened.ulid, opened.lane, opened.attempts) == (ulid, 0, attempts)
    assert [attempt.directory for attempt in attempts] == ["jobs/0000/1/1", "jobs/0000/2/1"]
    await store.load()
    await store.record_results([result(ulid, one) for one in attempts], {"submitting": 2}, [ulid])
    assert (await store.load())[2] == []
    await store.close()


async def test_results_are_kept_with_their_properties_and_files(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(1))
    ulid, [attempt] = await submit(store, 1)
    await store.mark_seen(ulid, [(attempt, AttemptState.RUNNING, JobState.RUNNING, NOW)], {"submitting": 1})
    assert query(tmp_path, "SELECT status, state FROM job") == [("running", "running")]
    await store.record_results([result(ulid, attempt)], {"running": 1}, [ulid])
    await store.close()
    columns = "status, final_energy, max_forces, scf_steps, wall_time_s, error_message"
    assert query(tmp_path, f"SELECT {columns} FROM job") == [("completed", -5.25, 0.125, 7, 2.0, None)]
    assert query(tmp_path, "SELECT name, value, attempt FROM property") == [("dipole", "[0.0,0.0,1.5]", 1)]
    assert query(tmp_path, "SELECT path FROM file WHERE role = 'output'") == [("jobs/0000/1/1/stdout",)]
    assert query(tmp_path, "SELECT state, exit_code, started_at, ended_at FROM attempt") == [
        ("completed", 0, NOW, NOW + 2.0)
    ]


async def test_the_public_columns_are_readable_with_plain_sqlite(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(2))
    ulid, [attempt] = await submit(store, 1)
    await store.record_results([result(ulid, attempt)], {"submitting": 1}, [ulid])
    sql = f"SELECT {PUBLIC} FROM job WHERE status = 'completed'; SELECT {PUBLIC} FROM jobs WHERE id = 2"
    program = shutil.which("sqlite3")
    if program:  # while the store still has it open
        argv = [program, "-readonly", str(tmp_path / "workflow.db"), sql]
        first, second = (await anyio.run_process(argv)).stdout.decode().split("\n2|")
    else:
        rows = [query(tmp_path, part)[0] for part in sql.split(";")]
        first, second = ("|".join("" if value is None else str(value) for value in row) for row in rows)
    assert first.startswith("1|0|H|1|completed|0|2|1\n\nH 0 0 0\n|jobs/0000/1/1|0.125|7|-5.25||")
    assert "|ready|" in f"|{second}"
    await store.close()


async def test_resetting_clears_what_the_failures_left(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(2))
    ulid, attempts = await submit(store, 2)
    await store.record_results([result(ulid, one, good=False) for one in attempts], {"submitting": 2}, [ulid])
    assert query(tmp_path, "SELECT failure, error_message, blamed FROM job WHERE id = 1") == [
        ("exit_code", "ended with exit code 1", 1)
    ]
    where = where_selected("w", Selection(jobs=(1,))) & in_states(JobState.FAILED)
    moved, [event] = await store.move_jobs(where, JobState.READY, Event("jobs_reset", 0), reset=True)
    assert (moved, event.text, event.data) == (1, "1 job made ready again", {"jobs": 1})
    assert await store.move_jobs(where, JobState.READY, Event("jobs_reset", 0), reset=True) == (0, [])
    assert query(tmp_path, "SELECT state, failure, error_message, blamed, attempts FROM job WHERE id = 1") == [
        ("ready", None, None, 0, 1)
    ]
    assert store.tally == {"ready": 1, "failed": 1}
    await store.close()


async def test_a_failed_commit_changes_neither_the_database_nor_the_tally(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(10))
    await store._db.fetch("PRAGMA max_page_count = 40")
    with pytest.raises(StoreError, match="full") as caught:
        await store.add_chunk(step, "w", chunk(5000, first=10))
    assert caught.value.healable
    assert store.tally == {"ready": 10}
    await store._db.fetch("PRAGMA max_page_count = 1000000")
    await store.add_chunk(step, "w", chunk(5000, first=10))
    assert store.tally == {"ready": 5010}
    assert query(tmp_path, "SELECT count(*), max(orig_index) FROM job") == [(5010, 5009)]
    await store.close()


# ---- any sequence of operations -------------------------------------------------------------------------------------


class Random:
    """Carries out random operations as the workflow actor would, and compares after each."""

    def __init__(self, directory: Path, store: WorkflowStore, step: StepRow) -> None:
        self.directory = directory
        self.store = store
        self.step = step
        self.open: dict[str, dict[int, tuple[OpenAttempt, JobState]]] = {}
        self.read = 0

    async def do(self, operation: str, number: int, flag: bool) -> None:
        await getattr(self, operation)(number, flag)
        counted = dict(query(self.directory, "SELECT state, count(*) FROM job GROUP BY state"))
        assert self.store.tally == counted
        assert dict(query(self.directory, "SELECT state, jobs FROM tally WHERE jobs")) == counted

    async def add(self, number: int, flag: bool) -> None:
        await self.store.add_chunk(self.step, "w", chunk(number, first=self.read, rejected=flag))
        self.read += number

    async def submit(self, number: int, flag: bool) -> None:
        if self.store.tally["ready"] and await self.store.take_ready(1, NOW):
            ulid, attempts = await submit(self.store, number + 1)
            self.open[ulid] = {one.position: (one, JobState.SUBMITTING) for one in attempts}

    async def start(self, number: int, flag: bool) -> None:
        for ulid, attempts in self.open.items():
            chosen = {n: one for n, (one, state) in attempts.items() if state is JobState.SUBMITTING and n <= number}
            updates = [(one, AttemptState.RUNNING, JobState.RUNNING, NOW if flag else None) for one in chosen.values()]
            await self.store.mark_seen(ulid, updates, {"submitting": len(chosen)})
            attempts.update({n: (one, JobState.RUNNING) for n, one in chosen.items()})

    async def end(self, number: int, flag: bool) -> None:
        for ulid in list(self.open):
            attempts = self.open[ulid]
            chosen = dict(list(attempts.items())[: number + 1])
            results = [result(ulid, one, good=flag, again=bool(n % 2)) for n, (one, _) in chosen.items()]
            before = Counter(str(state) for _, state in chosen.values())
            for position in chosen:
                del attempts[position]
            closed = [] if attempts else [ulid]
            await self.store.record_results(results, before, closed)
            if closed:
                del self.open[ulid]

    async def move(self, number: int, flag: bool) -> None:
        before, after = (JobState.READY, JobState.HELD) if flag else (JobState.HELD, JobState.READY)
        await self.store.move_jobs(in_states(before) & Where("id % 3 = ?", (number % 3,)), after, Event("jobs_held", 0))

    async def retry(self, number: int, flag: bool) -> None:
        where = in_states(JobState.FAILED) & where_selected("w", Selection(jobs=tuple(range(number * 3))))
        await self.store.move_jobs(where, JobState.READY, Event("jobs_reset", 0), reset=flag)

    async def cancel(self, number: int, flag: bool) -> None:
        ids = await self.store.request_cancel(in_states(*ACTIVE))
        assert len(ids) == sum(len(attempts) for attempts in self.open.values())

    async def reopen(self, number: int, flag: bool) -> None:
        await self.store.close()
        self.store = make_store(self.directory)
        _, _, opened = await self.store.load()
        assert {one.ulid for one in opened} == set(self.open)


OPERATIONS = ["add", "submit", "start", "end", "move", "retry", "cancel", "reopen"]


@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 6), st.booleans()), max_size=25))
@settings(max_examples=25)
def test_the_tally_is_true_after_every_operation(operations: list[tuple[str, int, bool]]) -> None:
    anyio.run(functools.partial(run_operations, [("add", 6, True), *operations]))


async def run_operations(operations: list[tuple[str, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        machine = Random(Path(name), *await create(Path(name)))
        try:
            for operation in operations:
                await machine.do(*operation)
        finally:
            await machine.store.close()


async def test_jobs_that_got_more_go_apart_from_the_others(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(5))
    ulid, attempts = await submit(store, 3)
    ends = [
        msgspec.structs.replace(result(ulid, attempts[0], good=False, again=True), not_before=None),
        msgspec.structs.replace(result(ulid, attempts[1], good=False, again=True), not_before=None, memory_mb=2000),
        msgspec.structs.replace(result(ulid, attempts[2], good=False, again=True), memory_mb=2000, walltime_s=9),
    ]
    await store.record_results(ends, {"submitting": 3}, [ulid])
    assert [job.id for job in await store.take_ready(10, NOW)] == [1, 4, 5]
    plain, _ = await submit(store, 10)
    raised = await store.take_ready(10, NOW)
    assert [(job.id, job.memory_mb, job.walltime_s) for job in raised] == [(2, 2000, None)]
    later = await store.take_ready(10, NOW + 60.0)
    assert [job.id for job in later] == [2]
    wide = Submission("U" * 26, "w", "/w", "isolated", "emt", 0, 0, False, 1, Resources(), 1)
    await store.begin_submission(wide, "local", raised, NOW)
    assert [(job.id, job.memory_mb, job.walltime_s) for job in await store.take_ready(10, NOW + 60.0)] == [(3, 2000, 9)]
    opened = {one.ulid: one for one in (await store.load())[2]}
    assert (opened[plain].memory_mb, opened[plain].width) == (None, 1)
    assert (opened[wide.ulid].memory_mb, opened[wide.ulid].walltime_s) == (2000, None)
    plan = query(
        tmp_path,
        "EXPLAIN QUERY PLAN SELECT id FROM job WHERE state = 'ready' AND (memory_mb IS NOT NULL "
        "OR walltime_s IS NOT NULL) AND memory_mb IS 2000 AND walltime_s IS NULL ORDER BY id LIMIT 5",
    )
    assert "job_ready_raised" in str(plan)
    await store.close()


async def test_what_timed_out_last_is_gone_on_from(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3))

    async def end(failures: dict[int, FailureClass | None]) -> None:
        """All three jobs run; those with a failure fail with it, None never started."""
        ulid, attempts = await submit(store, 3)
        ends = []
        for attempt in attempts:
            failure = failures[attempt.job_id]
            ended = result(ulid, attempt, good=False, again=True)
            state = AttemptState.NOT_RUN if failure is None else AttemptState.FAILED
            ends.append(msgspec.structs.replace(ended, failure=failure, attempt_state=state, not_before=None))
        await store.record_results(ends, {"submitting": 3}, [ulid])

    await end(dict.fromkeys((1, 2, 3), FailureClass.WALLTIME))
    assert len(await store.timed_out_directories([1, 2, 3])) == 3
    await end({1: FailureClass.RUNNER_LOST, 2: None, 3: FailureClass.EXIT_CODE})
    expected = {1: "jobs/0000/1/1", 2: "jobs/0000/2/1"}
    assert await store.timed_out_directories([1, 2, 3]) == expected
    await end({1: FailureClass.WALLTIME, 2: FailureClass.DISK, 3: None})
    assert await store.timed_out_directories([1, 2, 3]) == expected | {1: "jobs/0000/1/3"}
    assert await store.timed_out_directories([]) == {}
    await store.close()


async def test_doubts_have_a_reason_while_they_last(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(1))
    ulid, [attempt] = await submit(store, 1)
    doubt = [(attempt, AttemptState.IN_DOUBT, JobState.IN_DOUBT, None)]
    events = await store.mark_seen(ulid, doubt, {"submitting": 1}, doubts={0: "no answer"})
    assert [event.text for event in events] == ["attempt 1 is in doubt: no answer"]
    assert query(tmp_path, "SELECT state, message FROM attempt") == [("in_doubt", "no answer")]
    settled = [Event("job_doubt_settled", 1, {"attempt": 1, "by": "it runs"})]
    running = [(attempt, AttemptState.RUNNING, JobState.RUNNING, NOW)]
    events = await store.mark_seen(ulid, running, {"in_doubt": 1}, settled=settled)
    assert [event.kind for event in events] == ["job_doubt_settled", "job_started"]
    assert query(tmp_path, "SELECT state, message FROM attempt") == [("running", None)]
    events = await store.record_results([result(ulid, attempt)], {"running": 1}, [], settled=settled)
    assert [event.kind for event in events] == ["job_doubt_settled", "job_completed"]
    await store.close()


async def test_two_daemons_that_make_the_same_workflow_among_others_do_not_take_it_from_one_another(
    tmp_path: Path,
) -> None:
    row = msgspec.structs.replace(workflow_row(), mode="shared", daemon="one")
    store = make_store(tmp_path)
    await store.create(row, [], among_others=True)
    with pytest.raises(ConflictError, match="another daemon"):
        await store.create(msgspec.structs.replace(row, daemon="two"), [], among_others=True)
    remove_begun(tmp_path / "workflow.db", "w", "two")
    assert query(tmp_path, "SELECT daemon FROM workflow") == [("one",)]
    await store.create(row, [], among_others=True)  # what was begun by the same daemon is begun anew
    remove_begun(tmp_path / "workflow.db", "w", "one")
    assert query(tmp_path, "SELECT daemon FROM workflow") == []
    await store.close()


async def test_who_works_on_a_workflow_is_no_change_of_it(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.claim("here")
    assert query(tmp_path, "SELECT daemon, updated_at FROM workflow") == [("here", NOW)]
    await store.close()
