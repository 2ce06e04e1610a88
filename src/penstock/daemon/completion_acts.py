"""Who does which action at a workflow's end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from penstock.actors.clock import Clock
from penstock.actors.worker_tasks import ExportJobs
from penstock.actors.workers import Workers
from penstock.control import messages as m
from penstock.daemon.archive_places import is_folder, new_place_in, path_towards
from penstock.daemon.completion import Act
from penstock.daemon.life_cycle import LifeCycle
from penstock.daemon.merging import merge_results
from penstock.daemon.workflows import Workflows
from penstock.domain.completion import CompletionAction
from penstock.domain.context import work_root_of
from penstock.domain.errors import ConflictError
from penstock.domain.life_cycle import is_url
from penstock.domain.views import OnConflict, Selection, WorkflowInfo
from penstock.files.threads import in_thread
from penstock.store.export import default_path

_LOOK_S: Final = 1.0
_RESULTS: Final = "workflow_results"


def completion_acts(workflows: Workflows, workers: Workers, life_cycle: LifeCycle, clock: Clock) -> dict[str, Act]:
    """By action, who does it."""
    return {
        "export": export_act(workers),
        "merge": merge_act(workflows, workers),
        "archive": archive_act(workflows, life_cycle, clock),
        "clean": clean_act(workflows, life_cycle, clock),
    }


def _root(info: WorkflowInfo) -> Path:
    return work_root_of(Path(info.directory))


def export_act(workers: Workers) -> Act:
    """Writes results, by default to `workflow_results` below the work root."""

    async def act(info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        root = _root(info)
        usual = root / _RESULTS / default_path(Path(info.directory), info.id, action.format).name
        path = usual if action.path is None else root / action.path
        overwrite = again or action.overwrite or action.path is None
        if not overwrite and await in_thread(path, path.exists):
            message = f"{path} is there already; move it away and say 'penstockctl on-complete {info.id} --retry'"
            raise ConflictError(f"{message}, or give overwrite = true")
        task = ExportJobs(info.database, info.id, action.format, str(path), Selection(), overwrite)
        jobs = await workers.run(task)
        return f"{jobs} jobs written to {path}"

    return act


def merge_act(workflows: Workflows, workers: Workers) -> Act:
    """Merges results among those that shared workflows find. Done again, it finds nothing left to do."""

    async def act(info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:  # noqa: ARG001 - the same again
        into = None if action.into is None else str(_root(info) / action.into)
        choice = None if action.on_conflict is None else OnConflict(action.on_conflict)
        report = (await merge_results(workflows, workers, m.Merge(info.id, into, choice))).report
        if not report.applied:
            raise ConflictError(
                f"{report.conflicts} of its results are there with other values; see 'penstockctl merge {info.id} "
                "--dry-run', and give on_conflict"
            )
        return f"{report.new} new and {report.changed} changed results merged into {report.target}"

    return act


def archive_act(workflows: Workflows, life_cycle: LifeCycle, clock: Clock) -> Act:
    """Archives the workflow, and deletes it then where that is wished. An archive since its end is not made again."""

    async def act(info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        place = action.destination
        if not is_url(place):
            place = os.path.join(_root(info), place)  # noqa: PTH118 - a Path loses the slash that means a folder
        if again:  # what a daemon before had begun, the life cycle ends by itself
            await _until_free(info.id, workflows, clock)
            found = await life_cycle.archives_of(info.id)
            made = [archive for archive in found if archive.archived_at >= info.updated_at]
            if made and not action.delete:
                return f"archived to {made[-1].location}"
        path = path_towards(place, info.directory)
        if await in_thread(path, is_folder, place):
            place = await in_thread(path, new_place_in, place, info.id, clock.time())
        archived = await life_cycle.archive(m.Archive(info.id, place, action.delete))
        return f"archived to {archived.archive.location}"

    return act


def clean_act(workflows: Workflows, life_cycle: LifeCycle, clock: Clock) -> Act:
    """Removes what is no result; done again, it finds nothing left to do."""

    async def act(info: WorkflowInfo, action: CompletionAction, *, again: bool) -> str:
        if again:
            await _until_free(info.id, workflows, clock)
        cleaned = await life_cycle.clean(m.Clean(info.id, action.failed, action.exports))
        return f"{cleaned.attempts} attempts and {cleaned.files} files removed, {cleaned.bytes / 1e6:.1f} MB"

    return act


async def _until_free(workflow_id: str, workflows: Workflows, clock: Clock) -> None:
    """Waits for what is under way with a workflow as a whole."""
    while workflow_id in workflows.operations:
        await clock.sleep(_LOOK_S)
