"""Backups on request: by a worker process, since copying and checking a large database takes its time."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.actors.worker_tasks import BackUp
from penstock.actors.workers import Workers, run_unless_silent
from penstock.control import messages as m
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.views import WorkflowInfo
from penstock.store.backup import default_path


async def back_up(info: WorkflowInfo, request: m.Backup, workers: Workers) -> m.BackupWritten:
    """Copies the database of a workflow, in whatever state it is. SpecError, StoreError, ConflictError."""
    if not info.database:
        raise ConflictError(f"where workflow {info.id} has its database is not known: {info.reason}")
    path = default_path(Path(info.directory), info.id, time.time()) if request.path is None else Path(request.path)
    if not path.is_absolute():
        raise SpecError(f"{path} is not an absolute path", key="path")
    done = await run_unless_silent(workers, BackUp(info.database, info.id, str(path), request.overwrite))
    return m.BackupWritten(str(path), done.bytes, done.workflows, done.jobs)
