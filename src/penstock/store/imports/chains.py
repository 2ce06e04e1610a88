"""What a spec's chain has beyond what another tool began: jobs that follow those it made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.domain.states import JobState
from penstock.store.imports.writing import LIKE_PARENT, Writer
from penstock.store.rows import NewStep

NOT_HANDED: Final = (
    "the step before it was run by another tool, whose files cannot be handed on; retry that step, and this one follows"
)
_BAD: Final = frozenset({JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.SKIPPED})


def complete_chains(writer: Writer, chain: Sequence[NewStep]) -> None:
    """Every material gets a job for each of the steps (in their order) that follows one it has."""
    ids = dict(writer.db.execute("SELECT key, id FROM step WHERE workflow_id = ?", (writer.workflow_id,)).fetchall())
    for step in chain:
        if step.after is not None:
            _follow(writer, ids[step.after], ids[step.key], step.key)


def _follow(writer: Writer, before: int, step_id: int, key: str) -> None:
    """Jobs of a step, behind those of the step before it."""
    writer.flush()
    db = writer.db
    own = dict(db.execute("SELECT material_id, id FROM job WHERE step_id = ?", (step_id,)).fetchall())
    parents = db.execute(f"SELECT id, state, {LIKE_PARENT} FROM job WHERE step_id = ?", (before,)).fetchall()
    material = 2 + LIKE_PARENT.split(", ").index("material_id")
    for parent_id, state, *like in parents:
        job = own.get((parent_id, state, *like)[material])
        stands, message = _standing(JobState(state))
        if job is None:
            writer.add_link((parent_id, *like), step_id, key, stands, message)
            continue
        db.execute("UPDATE job SET parent_id = ? WHERE id = ?", (parent_id, job))
        (now,) = db.execute("SELECT state FROM job WHERE id = ?", (job,)).fetchone()
        if now in (JobState.READY, JobState.WAITING):
            writer.move(job, JobState(now), stands)
            db.execute("UPDATE job SET error_message = ? WHERE id = ?", (message, job))


def _standing(parent: JobState) -> tuple[JobState, str | None]:
    """How a job stands whose parent is in that state."""
    if parent is JobState.COMPLETED:
        return JobState.SKIPPED, NOT_HANDED
    if parent in _BAD:
        return JobState.SKIPPED, "the step before it did not complete"
    return JobState.WAITING, None
