"""Imported rows written into a workflow's database: in runs, with counts kept beside."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from penstock.domain.ids import new_ulid
from penstock.domain.states import PUBLIC_STATUS, JobState
from penstock.store.events import Event
from penstock.store.imports.rows import ImportedFile, ImportedJob, ImportedProperty
from penstock.store.rows import NewStep

_RUN: Final = 2000
ELSEWHERE: Final = "elsewhere"
"""The cluster of submissions that another tool made, as far as anybody knows."""


class Writer:
    """Rows of one workflow. Ids of jobs and materials are given here, so that whoever writes can refer to them."""

    def __init__(self, db: sqlite3.Connection, workflow_id: str, namespace: str) -> None:
        self.db = db
        self.workflow_id = workflow_id
        self.states: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._namespace = namespace
        self._jobs: list[tuple[int, int, ImportedJob]] = []
        self._job = self._greatest("job")
        self._material = self._greatest("material")

    def _greatest(self, table: str) -> int:
        return int(self.db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])

    def add_step(self, key: str, kind: str, state: str) -> int:
        """A step; its id."""
        cursor = self.db.execute(
            "INSERT INTO step (workflow_id, key, kind, state) VALUES (?, ?, ?, ?)", (self.workflow_id, key, kind, state)
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_planned(self, step: NewStep) -> int:
        """A step of a spec's plan; its id."""
        fields = msgspec.structs.asdict(step)
        cursor = self.db.execute(
            f"INSERT INTO step ({', '.join(fields)}, workflow_id, state) VALUES ({', '.join('?' * len(fields))}, ?, ?)",
            (*fields.values(), self.workflow_id, "running"),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_material(self, name: str, step_id: int, source_index: int) -> int:
        """A material; its id."""
        self._material += 1
        self.counts["materials"] += 1
        self.db.execute(
            "INSERT INTO material (id, workflow_id, namespace, name, step_id, source_index) VALUES (?, ?, ?, ?, ?, ?)",
            (self._material, self.workflow_id, self._namespace, name, step_id, source_index),
        )
        return self._material

    def add_job(self, job: ImportedJob) -> int:
        """A job with its material (a new one where it names none) and attempt; its id. Written with others."""
        self._job = max(self._job + 1, 1) if job.id is None else job.id
        material = job.material_id
        if material is None:
            material = self.add_material(job.name, job.step_id, job.orig_index)
        self.states[job.state] += 1
        self.counts["jobs"] += 1
        self._jobs.append((self._job, material, job))
        if len(self._jobs) >= _RUN:
            self.flush()
        return self._job

    def flush(self) -> None:
        """Writes the jobs that were put together."""
        jobs, self._jobs = self._jobs, []
        self.db.executemany(_JOB, [self._job_row(*entry) for entry in jobs])
        adopted = [(id_, job) for id_, _, job in jobs if job.attempt is not None]
        if adopted:
            self._add_attempts(adopted)
        for id_, _, job in jobs:
            if job.properties:
                self.add_properties(id_, 1 if job.attempt else 0, job.properties)
        self.add_events(Event("job_imported", id_, job.origin) for id_, _, job in jobs)

    def add_events(self, events: Iterable[Event]) -> None:
        """Lines of the workflow's history."""
        now = time.time()
        self.db.executemany(
            "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, ?, ?, ?, ?)",
            ((self.workflow_id, now, event.kind, event.job_id, _json(event.data)) for event in events),
        )

    def _job_row(self, id_: int, material: int, job: ImportedJob) -> tuple[Any, ...]:
        return (
            *(id_, job.orig_index, job.line, job.name, job.elements, job.natoms, job.charge, job.spin, job.geometry),
            *(job.deck, job.state, PUBLIC_STATUS[job.state], job.created_at, job.updated_at, self.workflow_id),
            *(job.step_id, material, job.step, job.job_dir, 1 if job.attempt else 0, job.max_forces, job.scf_steps),
            *(job.final_energy, job.wall_time_s, job.failure, job.error_message, job.blamed, job.never_rerun),
        )

    def _add_attempts(self, adopted: list[tuple[int, ImportedJob]]) -> None:
        """Attempts of a submission that is closed from its beginning."""
        ulid = new_ulid()
        self.db.execute(
            "INSERT INTO submission (ulid, workflow_id, cluster, lane, size, state, created_at, closed_at) "
            "VALUES (?, ?, ?, 0, ?, 'closed', 0, 0)",
            (ulid, self.workflow_id, ELSEWHERE, len(adopted)),
        )
        rows = []
        for position, (id_, job) in enumerate(adopted):
            attempt = job.attempt
            assert attempt is not None
            begun = attempt.started_at or attempt.ended_at or 0.0
            rows.append(
                (
                    *(self.workflow_id, id_, ulid, position, attempt.directory, attempt.output, attempt.state),
                    *(attempt.failure, attempt.message, begun, attempt.started_at, attempt.ended_at),
                )
            )
        self.db.executemany(
            "INSERT INTO attempt (workflow_id, job_id, number, submission, position, directory, output, state, "
            "failure, message, created_at, started_at, ended_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def add_properties(self, job_id: int, attempt: int, properties: tuple[ImportedProperty, ...]) -> None:
        """Results of a job; one of the same name takes the place of an older one."""
        self.db.executemany(
            "INSERT OR REPLACE INTO property (job_id, name, workflow_id, attempt, value, unit) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [(job_id, p.name, self.workflow_id, attempt, _json(p.value), p.unit) for p in properties],
        )

    def add_file(self, job_id: int | None, file: ImportedFile) -> None:
        """A file of a job, or a source of the workflow."""
        if job_id is not None:
            self.counts["files"] += 1
        self.db.execute(
            "INSERT INTO file (workflow_id, job_id, attempt, role, path, bytes, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.workflow_id, job_id, None if job_id is None else 1),
                *(file.role, file.path, file.bytes, file.sha256),
            ),
        )

    def reject(self, step_id: int, orig_index: int, line: int, reason: str) -> None:
        """A row that became no job."""
        self.db.execute(
            "INSERT INTO rejected (workflow_id, step_id, orig_index, line, reason) VALUES (?, ?, ?, ?, ?)",
            (self.workflow_id, step_id, orig_index, line, reason),
        )

    def finish(self) -> None:
        """Writes what is left, and how many jobs are in each state."""
        self.flush()
        self.db.execute("DELETE FROM tally WHERE workflow_id = ?", (self.workflow_id,))
        self.db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?)", [(self.workflow_id, s, n) for s, n in self.states.items()]
        )

    def add_link(self, parent: tuple[Any, ...], step_id: int, step: str, state: JobState, message: str | None) -> int:
        """A job for the next step of a material's chain, like its parent (the columns of `LIKE_PARENT`); its id."""
        self.flush()
        self._job += 1
        parent_id, *like = parent
        self.db.execute(
            f"INSERT INTO job (id, parent_id, {LIKE_PARENT}, step_id, step, state, status, error_message) "
            f"VALUES ({', '.join('?' * (len(like) + 7))})",
            (self._job, parent_id, *like, step_id, step, state, PUBLIC_STATUS[state], message),
        )
        self.states[state] += 1
        self.counts["jobs"] += 1
        return self._job

    def move(self, job_id: int, before: JobState, after: JobState) -> None:
        """A job that is written already turns out to be in another state."""
        self.db.execute("UPDATE job SET state = ?, status = ? WHERE id = ?", (after, PUBLIC_STATUS[after], job_id))
        self.states[before] -= 1
        self.states[after] += 1


LIKE_PARENT: Final = (
    "orig_index, source_line, name, elements, natoms, charge, spin, geometry, deck, workflow_id, material_id, "
    "created_at, updated_at, never_rerun"
)
_JOB: Final = (
    "INSERT INTO job (id, orig_index, source_line, name, elements, natoms, charge, spin, geometry, deck, state, "
    "status, created_at, updated_at, workflow_id, step_id, material_id, step, job_dir, attempts, max_forces, "
    "scf_steps, final_energy, wall_time_s, failure, error_message, blamed, never_rerun) "
    f"VALUES ({', '.join('?' * 28)})"
)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
