"""Merges on request: by a worker process, in one transaction on the database of shared workflows."""

from __future__ import annotations

from pathlib import Path

from penstock.actors.worker_tasks import MergeResults
from penstock.actors.workers import Workers, run_unless_silent
from penstock.control import messages as m
from penstock.daemon.workflows import Workflows
from penstock.domain.context import Mode, plan_context, read_context, work_root_of
from penstock.domain.errors import SpecError
from penstock.files.threads import ask_in_thread
from penstock.store.merging import plan_merge


async def merge_results(workflows: Workflows, workers: Workers, request: m.Merge) -> m.Merged:
    """Merges what has ended of a workflow, whatever its state. SpecError, ConflictError, StoreError."""
    directory = Path(workflows.info(request.id).directory)
    workflows.refuse_held(request.id)
    if request.into is not None and not Path(request.into).is_absolute():
        raise SpecError(f"{request.into} is not an absolute path", key="into")
    source = await ask_in_thread(directory, read_context, directory, request.id)
    shared = await workflows.placed(plan_context(Mode.SHARED, str(work_root_of(directory)), request.id))
    order = await ask_in_thread(
        directory,
        lambda: plan_merge(source, shared.database, request.into, request.on_conflict, dry_run=request.dry_run),
    )
    return m.Merged(await run_unless_silent(workers, MergeResults(order)))
