"""Everything a workflow's supervisor writes, one transaction a call: state, attempts, results and history together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.calculation import BLAMELESS, PackedChunk
from penstock.domain.completion import CompletionAction, CompletionState
from penstock.domain.errors import ConflictError, StoreError
from penstock.domain.remedy import AppliedRemedy
from penstock.domain.states import PUBLIC_STATUS, AttemptState, JobState, Status, WorkflowState
from penstock.domain.submission import Submission
from penstock.domain.views import EventInfo
from penstock.store.chain import hold_back, lead_again, lead_back, lead_on
from penstock.store.completion import drop_completions, plan_completions
from penstock.store.database import BusyGuard, Database
from penstock.store.deriving import forget_conclusions
from penstock.store.events import Event, insert_events
from penstock.store.removal import REMOVE_WORKFLOW
from penstock.store.reviews import CLEARED, Amendment
from penstock.store.rows import (
    WORKFLOW_COLUMNS,
    AttemptResult,
    JobFacts,
    NewStep,
    OpenAttempt,
    OpenSubmission,
    ReadyJob,
    StepRow,
    WorkflowRow,
    job_directory,
)
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations
from penstock.store.selection import Where, as_array, in_states
from penstock.store.sharing import SHARED_INDEXES, are_still_ours, name_calculations


class WorkflowStore:
    """A workflow's rows in a database. `tally` counts its jobs by state and is true after every commit.

    `turns` counts the commits after which something else may be derived than before: jobs came, ended, or began anew.
    """

    def __init__(self, database: Path, workflow_id: str, busy: BusyGuard) -> None:
        self.workflow_id = workflow_id
        self.tally: Counter[str] = Counter()
        self.turns = 0
        self.rejected = 0
        self.completions: Counter[str] = Counter()
        self._is_chain = False
        self._derives = False
        self._db = Database(database, load_migrations(WORKFLOW_MIGRATIONS), busy)

    @property
    def own(self) -> Where:
        """The condition that a row is this workflow's."""
        return Where("workflow_id = ?", (self.workflow_id,))

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._db.is_open

    async def close(self) -> None:
        """Closes the connection until the next use."""
        await self._db.close()

    async def create(
        self, row: WorkflowRow, files: Sequence[tuple[str, int, str]], *, among_others: bool = False
    ) -> None:
        """Creates the database where there is none, and in it the workflow and source files (path, bytes, sha256).

        `among_others`: the file may hold more workflows. What a creation that was killed has left there of the same
        one is replaced; ConflictError when that has been worked on.
        """
        await self._db.create()
        async with self._db.transaction() as db:
            if among_others:
                await self._make_room(db, row.daemon)
            if list(await db.execute_fetchall("SELECT 1 FROM workflow WHERE workflow_id = ?", (self.workflow_id,))):
                return
            fields = msgspec.structs.astuple(row)
            marks = ",".join("?" * len(fields))
            await db.execute(f"INSERT INTO workflow ({WORKFLOW_COLUMNS}) VALUES ({marks})", fields)
            await db.executemany(
                "INSERT INTO file (workflow_id, role, path, bytes, sha256) VALUES (?, 'source', ?, ?, ?)",
                [(self.workflow_id, *file) for file in files],
            )
            await self._events(db, [Event("workflow_created", 0, {"recipe": row.recipe})])

    async def _make_room(self, db: aiosqlite.Connection, claim: str | None) -> None:
        for index in SHARED_INDEXES:
            await db.execute(index)
        begun = list(
            await db.execute_fetchall("SELECT daemon FROM workflow WHERE workflow_id = ?", (self.workflow_id,))
        )
        if not begun:
            return
        if begun[0][0] not in (None, claim):
            message = (
                f"another daemon makes a workflow {self.workflow_id!r} in {self._db.path}, or has been ended over it "
                f"({begun[0][0]}); choose another id"
            )
            raise ConflictError(message)
        if list(await db.execute_fetchall("SELECT 1 FROM job WHERE workflow_id = ? LIMIT 1", (self.workflow_id,))):
            message = f"{self._db.path} holds results of a workflow {self.workflow_id!r} already; choose another id"
            raise ConflictError(message)
        for statement in REMOVE_WORKFLOW:
            await db.execute(statement, {"id": self.workflow_id})

    async def load(self) -> tuple[WorkflowRow, list[StepRow], list[OpenSubmission]]:
        """The workflow, its steps and its open submissions; fills `tally`. StoreError when it is not there."""
        rows = await self._db.fetch(
            f"SELECT {WORKFLOW_COLUMNS} FROM workflow WHERE workflow_id = ?", [self.workflow_id]
        )
        if not rows:
            raise StoreError(f"{self._db.path} holds no workflow {self.workflow_id!r}", healable=False)
        row = WorkflowRow(*rows[0])
        tally = await self._db.fetch("SELECT state, jobs FROM tally WHERE workflow_id = ?", [self.workflow_id])
        self.tally = Counter({state: jobs for state, jobs in tally if jobs})
        self.rejected = (
            await self._db.fetch("SELECT count(*) FROM rejected WHERE workflow_id = ?", [self.workflow_id])
        )[0][0]
        self.completions = Counter(
            dict(
                await self._db.fetch(
                    "SELECT state, count(*) FROM completion WHERE workflow_id = ?1 "
                    "AND run = (SELECT max(run) FROM completion WHERE workflow_id = ?1) GROUP BY state",
                    [self.workflow_id],
                )
            )
        )
        return row, await self._steps(), await self._open_submissions()

    async def last_told(self) -> float | None:
        """When the newest event of the workflow was told; None when there is none among the newest of the file."""
        newest = "SELECT max(at) FROM event WHERE seq > (SELECT max(seq) FROM event) - ? AND workflow_id = ?"
        found: float | None = (await self._db.fetch(newest, [_LOOKED_BACK, self.workflow_id]))[0][0]
        return found

    async def _steps(self) -> list[StepRow]:
        rows = await self._db.fetch(
            "SELECT id, key, kind, state, cursor, after, parameters, resources, optional, whole FROM step "
            "WHERE workflow_id = ? ORDER BY id",
            [self.workflow_id],
        )
        steps = [StepRow(*row) for row in rows]
        self._is_chain = any(step.after is not None and step.kind not in _DERIVED for step in steps)
        self._derives = any(step.kind in _DERIVED for step in steps)
        return steps

    async def add_steps(self, steps: Sequence[NewStep]) -> list[StepRow]:
        """Inserts the steps that do not exist; returns all."""
        async with self._db.transaction() as db:
            await db.executemany(
                "INSERT OR IGNORE INTO step (key, kind, after, parameters, resources, optional, whole, workflow_id, "
                "state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *msgspec.structs.astuple(step),
                        self.workflow_id,
                        "running" if step.kind in _DERIVED else "expanding",
                    )
                    for step in steps
                ],
            )
        return await self._steps()

    async def _open_submissions(self) -> list[OpenSubmission]:
        rows = await self._db.fetch(
            "SELECT s.ulid, s.lane, s.width, s.memory_mb, s.walltime_s, s.step_id, s.locks, "
            "a.position, a.job_id, a.number, a.directory, a.state FROM submission s "
            "JOIN attempt a ON a.submission = s.ulid WHERE s.state = 'open' AND s.workflow_id = ? "
            "ORDER BY s.ulid, a.position",
            [self.workflow_id],
        )
        found: dict[str, OpenSubmission] = {}
        for ulid, lane, *shared, position, job_id, number, directory, state in rows:
            submission = found.setdefault(ulid, OpenSubmission(ulid, lane, [], *shared))
            submission.attempts.append(OpenAttempt(position, job_id, number, directory, AttemptState(state)))
        return list(found.values())

    # ---- taking structures in ---------------------------------------------------------------------------------------

    async def add_chunk(
        self,
        step: StepRow,
        namespace: str,
        chunk: PackedChunk,
        links: Sequence[StepRow] = (),
        methods: Mapping[int, str] = MappingProxyType({}),
    ) -> list[EventInfo]:
        """A run of structures becomes materials and ready jobs; the cursor moves in the same transaction.

        For each of `links`, the steps that go on from `step` or from one another, they become jobs that wait.
        `methods`: by step, the key of how it is calculated, where results are shared.
        """
        async with self._db.transaction() as db:
            last_job = await _scalar(db, "SELECT coalesce(max(id), 0) FROM job")
            last_material = await _scalar(db, "SELECT coalesce(max(id), 0) FROM material")
            own = (self.workflow_id, step.id)
            key = step.key if links else None
            row = (timestamp(), *own, last_material, chunk.rows, last_job)
            await db.execute(_INSERT_JOBS, (*row, JobState.READY, JobState.READY, key, None))
            await db.execute(_INSERT_MATERIALS, (namespace, last_job))
            if links:
                await self._insert_links(db, row, step, links, chunk.count)
            if self._derives:
                await db.execute("UPDATE job SET subject = material_id WHERE id > ?", (last_job,))
            if methods:
                begins = ((last_job + 1 + n * chunk.count, one.id) for n, one in enumerate((step, *links)))
                named = [(first_job, step_id, methods[step_id]) for first_job, step_id in begins]
                await name_calculations(db, chunk.keys, last_material + 1, named)
            await db.executemany(
                "INSERT INTO rejected (workflow_id, step_id, orig_index, line, reason) VALUES (?, ?, ?, ?, ?)",
                [(*own, r.orig_index, r.line, r.reason) for r in chunk.rejected],
            )
            await db.execute(
                "UPDATE step SET cursor = ?, state = ? WHERE id = ?",
                (chunk.cursor, "running" if chunk.done else "expanding", step.id),
            )
            data = {"jobs": chunk.count, "rejected": len(chunk.rejected), "done": chunk.done}
            events = await self._events(db, [Event("jobs_ingested", 0, data)])
            waiting = chunk.count * len(links)
            tally = await self._shift_tally(db, {JobState.READY: chunk.count, JobState.WAITING: waiting})
        self.tally = tally
        self.turns += 1
        self.rejected += len(chunk.rejected)
        return events

    async def _insert_links(
        self, db: aiosqlite.Connection, row: tuple[Any, ...], step: StepRow, links: Sequence[StepRow], count: int
    ) -> None:
        """Jobs of the steps behind `step`, each a run of ids of its own, so that a parent's id is known by counting."""
        stamp, workflow_id, _, last_material, rows, last_job = row
        begins = {step.key: last_job} | {link.key: last_job + n * count for n, link in enumerate(links, 1)}
        for link in links:
            shared = (stamp, workflow_id, link.id, last_material, rows, begins[link.key])
            parents = begins[link.after or step.key]
            await db.execute(_INSERT_JOBS, (*shared, JobState.WAITING, Status.READY, link.key, parents))
            await db.execute("UPDATE step SET state = 'running' WHERE id = ?", (link.id,))

    async def set_step(self, step: StepRow, state: str) -> None:
        """Records a step's state."""
        async with self._db.transaction() as db:
            await db.execute("UPDATE step SET state = ? WHERE id = ?", (state, step.id))

    # ---- submitting -------------------------------------------------------------------------------------------------

    async def take_ready(self, limit: int, now: float) -> list[ReadyJob]:
        """Up to `limit` jobs that may be submitted now, of one step and asking for the same resources, oldest first."""
        due = "state = 'ready' AND workflow_id = ? AND (not_before IS NULL OR not_before <= ?)"
        first = await self._db.fetch(
            f"SELECT memory_mb, walltime_s, step_id FROM job WHERE {due} ORDER BY id LIMIT 1", [self.workflow_id, now]
        )
        if not first:
            return []
        raised = " AND (memory_mb IS NOT NULL OR walltime_s IS NOT NULL)" if first[0][:2] != (None, None) else ""
        rows = await self._db.fetch(
            "SELECT id, name, geometry, charge, spin, attempts + 1, step_id, memory_mb, walltime_s, deck, handed, "
            f"resume, parameters, remedies, own, {_READY_AT} FROM job WHERE {due}{raised} "
            "AND memory_mb IS ? AND walltime_s IS ? AND step_id = ? ORDER BY id LIMIT ?",
            [self.workflow_id, now, *first[0], limit],
        )
        return [ReadyJob(*row) for row in rows]

    async def timed_out_directories(self, job_ids: Sequence[int]) -> dict[int, str]:
        """Of those of these jobs whose newest attempt ran out of walltime, that attempt's directory.

        Attempts that never started, or were lost without fault of their own, do not count, nor do those of other tools,
        whose files have other names.
        """
        rows = await self._db.fetch(
            "SELECT a.job_id, a.directory FROM json_each(?) AS wanted JOIN attempt a ON a.job_id = wanted.value "
            "WHERE a.failure = 'walltime' AND substr(a.directory, 1, 1) != '/' "
            "AND a.number = (SELECT max(number) FROM attempt b WHERE b.job_id = a.job_id AND b.state != 'not_run' "
            f"AND coalesce(b.failure, '') NOT IN ({_BLAMELESS}))",
            [as_array(job_ids)],
        )
        return dict(rows)

    async def next_due(self) -> float | None:
        """When the first job that waits for its retry may run (seconds since the epoch), None when none waits."""
        rows = await self._db.fetch(
            "SELECT min(not_before) FROM job WHERE state = 'ready' AND workflow_id = ? AND not_before IS NOT NULL",
            [self.workflow_id],
        )
        due: float | None = rows[0][0]
        return due

    async def begun_since(self, then: float) -> tuple[int, float | None]:
        """How many attempts were begun after `then` (seconds since the epoch), and when the first of them was."""
        rows = await self._db.fetch(
            "SELECT coalesce(sum(size), 0), min(created_at) FROM submission WHERE workflow_id = ? AND created_at > ?",
            [self.workflow_id, then],
        )
        begun, first = rows[0]
        return begun, first

    async def begin_submission(
        self,
        submission: Submission,
        cluster: str,
        jobs: Sequence[ReadyJob],
        now: float,
        *,
        shares: bool = False,
        locks: str | None = None,
    ) -> tuple[list[OpenAttempt], list[EventInfo]] | None:
        """Commits the intent: the submission, one attempt a job, the jobs as submitting.

        None, and nothing is done, where results are shared and another workflow has begun one of these calculations.
        `locks`: JSON, the tokens of what it holds.
        """
        attempts = [
            OpenAttempt(n, job.id, job.number, f"{job_directory(job.id)}/{job.number}", AttemptState.INTENT)
            for n, job in enumerate(jobs)
        ]
        async with self._db.transaction() as db:
            stamp = timestamp()
            if shares and not await are_still_ours(db, self.workflow_id, [job.id for job in jobs], stamp):
                return None
            await db.execute(
                "INSERT INTO submission VALUES (?, ?, ?, ?, ?, 'open', ?, NULL, ?, ?, ?, ?, ?)",
                (
                    *(submission.ulid, self.workflow_id, cluster, submission.lane, len(jobs), now),
                    *(submission.width, jobs[0].memory_mb, jobs[0].walltime_s, jobs[0].step_id, locks),
                ),
            )
            await db.executemany(
                "INSERT INTO attempt (workflow_id, job_id, number, submission, position, directory, state, created_at, "
                "remedy, revision) SELECT workflow_id, ?2, ?3, ?4, ?5, ?6, 'intent', ?7, json_extract(?8, '$[#-1]'), "
                "revision FROM workflow WHERE workflow_id = ?1",
                [
                    (self.workflow_id, a.job_id, a.number, submission.ulid, a.position, a.directory, now, job.remedies)
                    for a, job in zip(attempts, jobs, strict=True)
                ],
            )
            await db.executemany(
                "UPDATE job SET state = 'submitting', attempts = ?, job_dir = ?, not_before = NULL, updated_at = ? "
                "WHERE id = ?",
                [(a.number, a.directory, stamp, a.job_id) for a in attempts],
            )
            data = {"submission": submission.ulid, "jobs": len(jobs), "lane": submission.lane}
            if submission.width > 1:
                data["width"] = submission.width
            events = await self._events(db, [Event("submission_intended", 0, data)])
            tally = await self._shift_tally(db, {JobState.READY: -len(jobs), JobState.SUBMITTING: len(jobs)})
        self.tally = tally
        return attempts, events

    # ---- what the cluster saw ---------------------------------------------------------------------------------------

    async def mark_seen(
        self,
        ulid: str,
        changes: Sequence[tuple[OpenAttempt, AttemptState, JobState, float | None]],
        before: Mapping[str, int],
        *,
        doubts: Mapping[int, str] = MappingProxyType({}),
        settled: Sequence[Event] = (),
    ) -> list[EventInfo]:
        """Records that attempts are queued, running or in doubt: (attempt, its state, its job's state, started at).

        `before` counts the jobs by the state they are leaving; `doubts` says by position why an attempt is in doubt
        now, and `settled` are the events of those that no longer are.
        """
        async with self._db.transaction() as db:
            await db.executemany(
                "UPDATE attempt SET state = ?, started_at = coalesce(?, started_at), message = ? "
                "WHERE submission = ? AND position = ?",
                [
                    (state, started, doubts.get(attempt.position), ulid, attempt.position)
                    for attempt, state, _, started in changes
                ],
            )
            stamp = timestamp()
            await db.executemany(
                "UPDATE job SET state = ?, status = ?, updated_at = ? WHERE id = ?",
                [(state, PUBLIC_STATUS[state], stamp, attempt.job_id) for attempt, _, state, _ in changes],
            )
            doubtful = [
                Event("job_in_doubt", attempt.job_id, {"attempt": attempt.number, "reason": doubts[attempt.position]})
                for attempt, *_ in changes
                if attempt.position in doubts
            ]
            began = [
                Event("job_started", attempt.job_id, {"attempt": attempt.number})
                for attempt, _, state, _ in changes
                if state is JobState.RUNNING
            ]
            events = await self._events(db, [*doubtful, *settled, *began])
            shift = Counter({state: -count for state, count in before.items()})
            shift.update(Counter(state for _, _, state, _ in changes))
            tally = await self._shift_tally(db, shift)
        self.tally = tally
        return events

    async def record_results(
        self,
        results: Sequence[AttemptResult],
        before: Mapping[str, int],
        closed: Sequence[str],
        *,
        settled: Sequence[Event] = (),
    ) -> list[EventInfo]:
        """Commits ends: attempts, jobs, metrics, properties, files, history and closed submissions together.

        `before` counts the jobs by the state they are leaving; `settled` are the events of doubts that this ends.
        """
        stamp, now = timestamp(), time.time()
        async with self._db.transaction() as db:
            await db.executemany(
                "UPDATE attempt SET state = ?, failure = ?, message = ?, exit_code = ?, exit_signal = ?, "
                "started_at = ?, ended_at = ?, evidence = ? WHERE submission = ? AND position = ?",
                [_attempt_fields(result) for result in results],
            )
            await db.executemany(_UPDATE_JOB, [_job_fields(result, stamp) for result in results])
            await self._keep_outputs(db, results)
            ends = [result.event for result in results if result.event is not None]
            events = await self._events(db, [*settled, *ends])
            await db.executemany(
                "UPDATE submission SET state = 'closed', closed_at = ? WHERE ulid = ?", [(now, ulid) for ulid in closed]
            )
            shift = Counter({state: -count for state, count in before.items()})
            shift.update(Counter(result.job_state for result in results))
            if self._is_chain:
                shift.update(await lead_on(db, [result.attempt.job_id for result in results]))
                again = [result.attempt.job_id for result in results if result.job_state is JobState.READY]
                shift.update(await hold_back(db, again) if again else {})
            tally = await self._shift_tally(db, shift)
        self.tally = tally
        self.turns += bool(results)
        return events

    async def _keep_outputs(self, db: aiosqlite.Connection, results: Sequence[AttemptResult]) -> None:
        properties: list[tuple[Any, ...]] = []
        files: list[tuple[Any, ...]] = []
        for result in results:
            if result.outcome is None:
                continue
            job, number = result.attempt.job_id, result.attempt.number
            for name, value in result.outcome.properties.items():
                properties.append((job, name, self.workflow_id, number, msgspec.json.encode(value).decode()))
            files.extend(
                (self.workflow_id, job, number, f"{result.attempt.directory}/{name}") for name in result.outcome.files
            )
        if properties:
            await db.executemany(
                "INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value) VALUES (?, ?, ?, ?, ?)",
                properties,
            )
        if files:
            await db.executemany(
                "INSERT INTO file (workflow_id, job_id, attempt, role, path) VALUES (?, ?, ?, 'output', ?)", files
            )

    # ---- what people ask for ----------------------------------------------------------------------------------------

    async def set_workflow(
        self, event: Event | None = None, *, actions: Sequence[CompletionAction] = (), **columns: Any
    ) -> list[EventInfo]:
        """Changes columns of the workflow's row, with an event and what is to be done at its end, in one transaction.

        A workflow that runs again forgets what has not been done at its last end.
        """
        columns["updated_at"] = time.time()
        assignments = ", ".join(f"{name} = ?" for name in columns)
        async with self._db.transaction() as db:
            await db.execute(
                f"UPDATE workflow SET {assignments} WHERE workflow_id = ?", (*columns.values(), self.workflow_id)
            )
            await plan_completions(db, self.workflow_id, actions)
            if columns.get("state") == WorkflowState.RUNNING:
                await drop_completions(db, self.workflow_id)
            events = await self._events(db, [event] if event else [])
        if actions:
            self.completions = Counter({CompletionState.PENDING: len(actions)})
        return events

    async def claim(self, daemon: str) -> None:
        """Writes down who works on the workflow, which changes nothing of the workflow itself."""
        async with self._db.transaction() as db:
            await db.execute("UPDATE workflow SET daemon = ? WHERE workflow_id = ?", (daemon, self.workflow_id))

    async def move_jobs(
        self, where: Where, to: JobState, event: Event, *, reset: bool = False
    ) -> tuple[int, list[EventInfo]]:
        """Puts all jobs that `where` holds into state `to`; `reset` clears failure and counters for a fresh start."""
        clear = CLEARED if reset else ""
        async with self._db.transaction() as db:
            left = await db.execute_fetchall(
                f"SELECT state, count(*) FROM job WHERE {where.sql} GROUP BY state", where.parameters
            )
            shift = Counter({state: -count for state, count in left})
            moved = -sum(shift.values())
            if not moved:
                return 0, []
            if reset:
                for table in ("property", "file"):  # of results that do not count any more
                    await db.execute(
                        f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM job WHERE {where.sql})", where.parameters
                    )
            changed = await db.execute_fetchall(
                f"UPDATE job SET state = ?, status = ?, awaits = NULL, updated_at = ?{clear} WHERE {where.sql} "
                "RETURNING id",
                (to, PUBLIC_STATUS[to], timestamp(), *where.parameters),
            )
            shift[to] += moved
            jobs = [row[0] for row in changed]
            if self._derives and to is JobState.READY:
                await forget_conclusions(db, self.workflow_id, jobs)
            if self._is_chain:
                shift.update(await (lead_back if to is JobState.READY else lead_on)(db, jobs))
            events = await self._events(db, [msgspec.structs.replace(event, data=event.data | {"jobs": moved})])
            tally = await self._shift_tally(db, shift)
        self.tally = tally
        self.turns += 1
        return moved, events

    async def amend(
        self, change: Callable[[aiosqlite.Connection], Awaitable[Amendment]], *, are_first: bool = False
    ) -> tuple[Amendment, list[EventInfo]]:
        """Carries out a change of rows together with its events and the tally.

        `are_first`: the results that it brings are the first of their jobs, and nothing was derived without them.
        """
        async with self._db.transaction() as db:
            amendment = await change(db)
            events = await self._events(db, amendment.events)
            shift = Counter(amendment.shift)
            if self._derives and amendment.changed and not are_first:
                await forget_conclusions(db, self.workflow_id, amendment.changed)
            if self._is_chain and amendment.shift:
                is_reset = amendment.shift.get(JobState.READY, 0) > 0
                shift.update(await (lead_back if is_reset else lead_again)(db, amendment.changed))
            tally = await self._shift_tally(db, shift)
        self.tally = tally
        self.turns += bool(amendment.events or amendment.shift or amendment.changed)
        return amendment, events

    async def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return await self._db.fetch(sql, parameters)

    async def mark_never_rerun(self, where: Where, *, marked: bool) -> int:
        """Sets or clears the never-rerun mark; returns how many jobs it touched."""
        async with self._db.transaction() as db:
            cursor = await db.execute(f"UPDATE job SET never_rerun = ? WHERE {where.sql}", (marked, *where.parameters))
            return cursor.rowcount

    async def request_cancel(self, where: Where) -> list[int]:
        """Records that the jobs `where` holds are to be ended; returns their ids."""
        async with self._db.transaction() as db:
            await db.execute(f"UPDATE job SET cancel_requested = 1 WHERE {where.sql}", where.parameters)
            rows = await db.execute_fetchall(f"SELECT id FROM job WHERE {where.sql}", where.parameters)
            return [row[0] for row in rows]

    async def count(self, where: Where) -> int:
        """How many jobs `where` holds."""
        return int((await self._db.fetch(f"SELECT count(*) FROM job WHERE {where.sql}", where.parameters))[0][0])

    async def job_ids(self, where: Where) -> list[int]:
        """The ids of the jobs that `where` holds; only for sets known to be small, such as running jobs."""
        return [row[0] for row in await self._db.fetch(f"SELECT id FROM job WHERE {where.sql}", where.parameters)]

    async def retry_facts(self, job_ids: Sequence[int]) -> dict[int, JobFacts]:
        """What is known of these jobs that the decision about another attempt needs."""
        rows = await self._db.fetch(
            "SELECT id, blamed, blameless, never_rerun, parameters, remedies, own FROM job "
            "WHERE id IN (SELECT value FROM json_each(?))",
            [as_array(job_ids)],
        )
        return {
            job: JobFacts(blamed, blameless, bool(never), parameters, _REMEDIES.decode(remedies or "[]"), own)
            for job, blamed, blameless, never, parameters, remedies, own in rows
        }

    async def changed_parameters(self, job_ids: Sequence[int]) -> dict[int, tuple[str | None, str | None]]:
        """Of those of these jobs whose engine parameters are not their step's: what they are now, and their own (JSON).

        The former where a remedy has changed them, the latter what the job was made with over those of its step.
        """
        rows = await self._db.fetch(
            "SELECT id, parameters, own FROM job WHERE id IN (SELECT value FROM json_each(?)) "
            "AND (parameters IS NOT NULL OR own IS NOT NULL)",
            [as_array(job_ids)],
        )
        return {job: (parameters, own) for job, parameters, own in rows}

    async def count_by_step(self, *states: JobState) -> dict[int, int]:
        """How many jobs of each step are in any of `states`."""
        where = in_states(*states) & self.own
        rows = await self._db.fetch(
            f"SELECT step_id, count(*) FROM job WHERE {where.sql} GROUP BY step_id", where.parameters
        )
        return dict(rows)

    # ---- inside a transaction ---------------------------------------------------------------------------------------

    async def _events(self, db: aiosqlite.Connection, events: Sequence[Event]) -> list[EventInfo]:
        return await insert_events(db, self.workflow_id, events)

    async def _shift_tally(self, db: aiosqlite.Connection, shift: Mapping[str, int]) -> Counter[str]:
        """Applies `shift` to the stored tally and returns what the tally is once this transaction commits."""
        tally = self.tally.copy()
        for state, change in shift.items():
            if change:
                tally[str(state)] += change
                await db.execute(
                    "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
                    (self.workflow_id, state, change),
                )
        return Counter({state: jobs for state, jobs in tally.items() if jobs})


_DERIVED: Final = frozenset({"unfold", "analysis"})
_LOOKED_BACK: Final = 5000  # events; in a file that others share, a workflow's newest may be far back
_READY_AT: Final = "max(CAST(strftime('%s', updated_at) AS REAL), coalesce(not_before, 0.0))"
_REMEDIES: Final = msgspec.json.Decoder(tuple[AppliedRemedy, ...])
# The fields of a structure by position; `key` counts the structures of a chunk from 0.
_INSERT_JOBS: Final = """
    INSERT INTO job (orig_index, source_line, name, elements, natoms, charge, spin, geometry, deck, status, state,
                     created_at, updated_at, workflow_id, step_id, material_id, id, step, parent_id)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
           json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'), ?8, ?7, ?1, ?1, ?2,
           ?3, ?4 + 1 + key, ?6 + 1 + key, ?9, ?10 + 1 + key
    FROM json_each(?5)
"""
_INSERT_MATERIALS: Final = """
    INSERT INTO material (id, workflow_id, namespace, name, step_id, source_index)
    SELECT material_id, workflow_id, ?, name, step_id, orig_index FROM job WHERE id > ? ORDER BY id
"""
_UPDATE_JOB: Final = (
    "UPDATE job SET state = ?, status = ?, failure = ?, error_message = ?, not_before = ?, blamed = blamed + ?, "
    "blameless = blameless + ?, max_forces = coalesce(?, max_forces), scf_steps = coalesce(?, scf_steps), "
    "final_energy = coalesce(?, final_energy), final_geometry = coalesce(?, final_geometry), "
    "wall_time_s = coalesce(?, wall_time_s), memory_mb = coalesce(?, memory_mb), "
    "walltime_s = coalesce(?, walltime_s), final_deck = coalesce(?, final_deck), checkpoint = coalesce(?, checkpoint), "
    "parameters = coalesce(?, parameters), remedies = coalesce(?, remedies), resume = coalesce(?, resume), "
    "cancel_requested = 0, updated_at = ? WHERE id = ?"
)
_BLAMELESS: Final = ", ".join(f"'{failure}'" for failure in sorted(BLAMELESS))


def timestamp(now: float | None = None) -> str:
    """UTC as the public columns write it: `YYYY-MM-DD HH:MM:SS`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))


def _attempt_fields(result: AttemptResult) -> tuple[Any, ...]:
    end = result.exit
    return (
        result.attempt_state,
        result.failure,
        result.message,
        end.code if end else None,
        end.signal if end else None,
        end.started_at if end else None,
        end.ended_at if end else None,
        _json(msgspec.structs.asdict(result.outcome.evidence) if result.outcome and result.outcome.evidence else None),
        result.ulid,
        result.attempt.position,
    )


def _job_fields(result: AttemptResult, stamp: str) -> tuple[Any, ...]:
    outcome, end = result.outcome, result.exit
    good = outcome is not None and outcome.failure is None
    return (
        result.job_state,
        PUBLIC_STATUS[result.job_state],
        result.failure,
        result.message,
        result.not_before,
        result.blamed,
        result.blameless,
        outcome.max_force_hartree_per_bohr if outcome and good else None,
        outcome.scf_cycles if outcome and good else None,
        outcome.final_energy_hartree if outcome and good else None,
        outcome.geometry if outcome and good else None,
        end.ended_at - end.started_at if end else None,
        result.memory_mb,
        result.walltime_s,
        outcome.deck if outcome and good else None,
        _json(outcome.checkpoint) if outcome and good and outcome.checkpoint else None,
        result.parameters,
        result.remedies,
        _json(result.resume),
        stamp,
        result.attempt.job_id,
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


async def _scalar(db: aiosqlite.Connection, sql: str) -> int:
    return int(next(iter(await db.execute_fetchall(sql)))[0])
