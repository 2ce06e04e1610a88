"""What a workflow's analyses have found: shown, written to files, reported."""

from __future__ import annotations

from pathlib import Path

from penstock.actors.derive_tasks import Place
from penstock.actors.errands import REPORT_NAME
from penstock.actors.report_tasks import ExportResults, Reported, WriteReport
from penstock.actors.workers import Workers, run_unless_silent
from penstock.control import messages as m
from penstock.daemon.workflows import Workflows
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.states import ENDED
from penstock.domain.views import WorkflowInfo
from penstock.files.threads import ask_in_thread
from penstock.recipes.registry import draws_conclusions
from penstock.store.result_export import check_suffix
from penstock.store.result_pages import ResultPage, Wanted, list_results


async def answer_about_results(
    workflows: Workflows, workers: Workers, request: m.ListResults | m.WriteResults | m.WriteReport
) -> m.AnyReply:
    """The reply. ConflictError where results are asked for of a workflow that never comes to any."""
    info = workflows.info(request.id)
    match request:
        case m.ListResults():
            return await _list(info, request)
        case m.WriteResults():
            workflows.refuse_held(request.id)
            return await _export(info, workers, request)
        case m.WriteReport():
            workflows.refuse_held(request.id)
            return await _report(info, workers, request)


async def _list(info: WorkflowInfo, request: m.ListResults) -> m.Results:
    page = await _page(info, request)
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


async def _page(info: WorkflowInfo, request: m.ListResults) -> ResultPage:
    wanted = Wanted(request.names, request.subject, request.order)
    page: ResultPage = await ask_in_thread(
        info.database,
        lambda: list_results(
            Path(info.database),
            info.id,
            wanted,
            limit=request.limit,
            offset=request.offset,
            conclusions_offset=request.conclusions_offset,
        ),
    )
    if not page.analyses and not draws_conclusions(info.recipe):
        raise ConflictError(
            f"workflow {info.id} runs jobs (recipe {info.recipe}) and has no analysis that would draw results from "
            f"them; see them: penstockctl jobs {info.id}, penstockctl table {info.id}; as a file: "
            f"penstockctl export {info.id} --to csv"
        )
    return page


async def _export(info: WorkflowInfo, workers: Workers, request: m.WriteResults) -> m.Exported:
    path = _absolute(request.path, "path")
    check_suffix(path)
    await _page(info, m.ListResults(info.id, limit=0))
    wanted = Wanted(request.names, request.subject)
    task = ExportResults(info.database, info.id, str(path), wanted, request.overwrite)
    written = await run_unless_silent(workers, task)
    return m.Exported(str(path), written, "properties")


async def _report(info: WorkflowInfo, workers: Workers, request: m.WriteReport) -> m.ReportWritten:
    """Without a path it is the one in the workflow's own directory, which is made anew."""
    path = Path(info.directory, REPORT_NAME) if request.path is None else _absolute(request.path, "path")
    figures = None if request.figures is None else str(_absolute(request.figures, "figures"))
    place = Place(info.database, info.id, info.directory)
    overwrite = request.overwrite or request.path is None
    task = WriteReport(place, str(path), overwrite, figures, request.overwrite)
    reported: Reported = await run_unless_silent(workers, task)
    return m.ReportWritten(str(path), reported.figures, tuple(reported.files), tuple(reported.troubles))


def _absolute(text: str, key: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise SpecError(f"{path} is not an absolute path", key=key)
    return path
