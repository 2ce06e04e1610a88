"""A workflow's rows taken out of a database that other workflows may use, inside a transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from penstock.store.schema import store_errors

_JOBS: Final = "(SELECT id FROM job WHERE workflow_id = :id)"
REMOVE_WORKFLOW: Final = (
    f"DELETE FROM calculation WHERE job_id IN {_JOBS}",
    *(
        f"DELETE FROM {table} WHERE workflow_id = :id"
        for table in (
            *("property", "file", "attempt", "submission", "event", "rejected", "tally"),
            *("job", "material", "step", "workflow"),
        )
    ),
)
"""Statements that leave nothing of workflow `:id`. Results that other workflows took from it are copies, and stay."""


def remove_workflow(database: Path, workflow_id: str, *, even_with_jobs: bool = True) -> None:
    """Removes all rows of a workflow; harmless when there are none, or no database.

    With `even_with_jobs` false only what a creation leaves that was killed, and nothing that has ever been worked on.
    """
    if not database.is_file():
        return
    with store_errors(database):
        db = sqlite3.connect(database, timeout=10, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            has_jobs = db.execute("SELECT 1 FROM job WHERE workflow_id = ? LIMIT 1", (workflow_id,)).fetchone()
            if even_with_jobs or not has_jobs:
                for statement in REMOVE_WORKFLOW:
                    db.execute(statement, {"id": workflow_id})
            db.execute("COMMIT")
        finally:
            db.close()
