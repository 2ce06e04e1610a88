"""What a workflow's analyses have said, for those who ask."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from penstock.control import messages as m
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import ConflictError
from penstock.domain.states import ENDED
from penstock.domain.views import WorkflowInfo
from penstock.recipes.registry import draws_conclusions
from penstock.store.result_pages import ResultPage, Wanted, list_results


async def results_of(workflows: Workflows, request: m.ListResults) -> m.Results:
    """A page of them. ConflictError for a workflow that never comes to any."""
    info = workflows.info(request.id)
    wanted = Wanted(request.names, request.subject, request.order)
    page: ResultPage = await anyio.to_thread.run_sync(
        lambda: list_results(
            Path(info.database),
            info.id,
            wanted,
            limit=request.limit,
            offset=request.offset,
            conclusions_offset=request.conclusions_offset,
        )
    )
    if not page.analyses:
        refuse_without_analyses(info)
    return m.Results(
        info.id,
        info.recipe,
        info.state,
        info.reason,
        tuple(page.properties),
        page.total,
        tuple(page.conclusions),
        page.conclusions_total,
        page.names,
        tuple(page.analyses),
        sum(jobs for state, jobs in info.states.items() if state not in ENDED),
    )


def refuse_without_analyses(info: WorkflowInfo) -> None:
    """ConflictError for a workflow whose recipe only runs jobs."""
    if draws_conclusions(info.recipe):
        return
    raise ConflictError(
        f"workflow {info.id} runs jobs (recipe {info.recipe}) and has no analysis that would draw results from them; "
        f"see them: penstockctl jobs {info.id}, penstockctl table {info.id}; "
        f"as a file: penstockctl export {info.id} --to csv"
    )
