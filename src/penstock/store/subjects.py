"""What is known of a subject, read by whoever derives something from it in a process of its own."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.properties import Conclusion
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import WHOLE, JobRecord, Subject
from penstock.store.connection import reading
from penstock.store.deriving import OF_SUBJECT, SEEN, JobSeen
from penstock.store.results import read_conclusions
from penstock.store.selection import as_array

_JOBS: Final = f"""
    SELECT j.id, s.key AS step, coalesce(m.name, '{WHOLE}') AS subject, j.name, j.state, j.geometry, j.charge, j.spin,
        j.label,
        coalesce((SELECT a.number FROM attempt a WHERE a.job_id = j.id AND a.directory = j.job_dir), j.attempts)
            AS attempt,
        j.resume IS NOT NULL OR EXISTS (SELECT 1 FROM attempt a WHERE a.job_id = j.id AND a.failure = 'walltime')
            AS went_on, -- from a geometry, or perhaps from files that `[checkpoint] carry` names
        j.final_energy, j.max_forces, j.final_geometry, j.error_message, j.job_dir, j.origin,
        coalesce(j.parameters, s.parameters, w.parameters) AS parameters, iif(j.parameters IS NULL, j.own, NULL) AS own,
        (SELECT json_group_object(p.name, json(p.value)) FROM property p WHERE p.job_id = j.id) AS properties
    FROM job j JOIN step s ON s.id = j.step_id LEFT JOIN material m ON m.id = j.subject
        JOIN workflow w ON w.workflow_id = j.workflow_id
    WHERE {{}} ORDER BY j.id
"""


_J_OF_SUBJECT: Final = "+j.workflow_id = ? AND j.subject = ?"  # as OF_SUBJECT
_REVISIONS: Final = """
    SELECT min(a.revision), max(a.revision) FROM job j JOIN attempt a ON a.job_id = j.id AND a.directory = j.job_dir
    WHERE {} AND j.state = 'completed'
"""
_CHANGED: Final = """
    SELECT DISTINCT json_extract(c.value, '$.key') FROM event e, json_each(e.data, '$.changes') c
    WHERE e.workflow_id = ?1 AND e.kind = 'workflow_changed'
        AND json_extract(e.data, '$.revision') BETWEEN ?2 + 1 AND ?3
        AND (json_extract(c.value, '$.key') LIKE 'engine.%' OR json_extract(c.value, '$.key') LIKE 'steps.%')
    ORDER BY 1
"""


class SubjectReader:
    """Reads the subjects of a workflow; everything as one moment has it."""

    def __init__(self, db: sqlite3.Connection, workflow_id: str, directory: Path) -> None:
        self._db = db
        self._workflow_id = workflow_id
        self._directory = directory

    def spec(self) -> tuple[str, WorkflowSpec, str]:
        """The workflow's recipe, its spec, and the engine's parameters (JSON)."""
        recipe, spec, parameters = self._db.execute(
            "SELECT recipe, spec, parameters FROM workflow WHERE workflow_id = ?", (self._workflow_id,)
        ).fetchone()
        return recipe, msgspec.json.decode(spec, type=WorkflowSpec), parameters

    def step_parameters(self, key: str) -> str | None:
        """What a step's engine is given (JSON), where that is not what the workflow's is."""
        found: str | None = self._db.execute(
            "SELECT parameters FROM step WHERE workflow_id = ? AND key = ?", (self._workflow_id, key)
        ).fetchone()[0]
        return found

    def subject(self, material: int) -> Subject:
        """The subject that material is; 0: all together."""
        if not material:
            jobs = tuple(self._jobs("j.workflow_id = ? AND j.subject IS NOT NULL"))
            return Subject(WHOLE, jobs, self._concluded(0))
        jobs = tuple(self._jobs(_J_OF_SUBJECT, material))
        (name,) = self._db.execute("SELECT name FROM material WHERE id = ?", (material,)).fetchone()
        return Subject(name, jobs, self._concluded(material))

    def subject_of(self, job: int) -> tuple[Subject, JobRecord]:
        """The subject that a job is about, and the job."""
        (material,) = self._db.execute("SELECT subject FROM job WHERE id = ?", (job,)).fetchone()
        subject = self.subject(material)
        return subject, next(record for record in subject.jobs if record.id == job)

    def seen(self, material: int) -> list[JobSeen]:
        """Its jobs as they are now."""
        condition = OF_SUBJECT if material else "workflow_id = ? AND subject IS NOT NULL AND ? = 0"
        return self._db.execute(
            f"SELECT {SEEN} FROM job WHERE {condition} ORDER BY id", (self._workflow_id, material)
        ).fetchall()

    def seen_job(self, job: int) -> list[JobSeen]:
        """A job as it is now."""
        return self._db.execute(f"SELECT {SEEN} FROM job WHERE id = ?", (job,)).fetchall()

    def trouble(self, material: int) -> str | None:
        """Why some result about that material could not be turned into jobs; None where all could (0: together)."""
        parents = [job for job, _, _ in self.seen(material)] if material else [0]
        row = self._db.execute(
            "SELECT trouble FROM unfolding WHERE step_id IN (SELECT id FROM step WHERE workflow_id = ?) "
            "AND parent_id IN (SELECT value FROM json_each(?)) AND trouble IS NOT NULL LIMIT 1",
            (self._workflow_id, as_array(parents)),
        ).fetchone()
        return row[0] if row else None

    def changed_between(self, material: int) -> list[str]:
        """The keys of the engine's parameters that were changed after some of its results, and before others."""
        about = _J_OF_SUBJECT if material else "j.workflow_id = ? AND j.subject IS NOT NULL AND ? = 0"
        first, last = self._db.execute(_REVISIONS.format(about), (self._workflow_id, material)).fetchone()
        if first == last:
            return []
        return [key for (key,) in self._db.execute(_CHANGED, (self._workflow_id, first, last))]

    def _concluded(self, material: int) -> dict[str, Conclusion]:
        found = read_conclusions(self._db, self._workflow_id, material)
        return {one.step: one.conclusion for one in found}

    def _jobs(self, condition: str, *parameters: Any) -> Iterator[JobRecord]:
        cursor = self._db.cursor()
        cursor.row_factory = sqlite3.Row
        for row in cursor.execute(_JOBS.format(condition), (self._workflow_id, *parameters)):
            yield self._record(row)

    def _record(self, row: sqlite3.Row) -> JobRecord:
        own = msgspec.json.decode(row["own"]) if row["own"] else {}
        directory = row["job_dir"]
        return JobRecord(
            id=row["id"],
            step=row["step"],
            subject=row["subject"],
            name=row["name"],
            state=row["state"],
            geometry=row["geometry"],
            charge=row["charge"],
            multiplicity=row["spin"],
            label=msgspec.json.decode(row["label"] or "{}"),
            attempt=row["attempt"],
            went_on=bool(row["went_on"]),
            energy_hartree=row["final_energy"],
            max_force_hartree_per_bohr=row["max_forces"],
            final_geometry=row["final_geometry"],
            properties=msgspec.json.decode(row["properties"]),
            parameters=msgspec.json.decode(row["parameters"]) | own,
            failure=None if row["state"] == "completed" else row["error_message"] or row["state"],
            directory=str((self._directory / directory).resolve()) if directory else None,
            origin=_origin(row["origin"]),
        )


def _origin(text: str | None) -> str | None:
    """The attempt of another workflow that gave a result, as `workflow:job.number`."""
    if text is None:
        return None
    origin = msgspec.json.decode(text)
    return f"{origin.get('workflow')}:{origin.get('job')}.{origin.get('attempt')}"


@contextlib.contextmanager
def read_subjects(database: Path, workflow_id: str, directory: Path) -> Iterator[SubjectReader]:
    """A reader of a workflow's subjects; `directory` is the workflow's own. Raises StoreError."""
    with reading(database) as db:
        yield SubjectReader(db, workflow_id, directory)
