"""Databases of older tools become workflows, and what such workflows hold beyond jobs is asked for."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import msgspec

from penstock.actors.ledger import new_step
from penstock.actors.worker_tasks import FindImportKind, TryImport, WriteImport
from penstock.actors.workers import Workers, run_unless_silent
from penstock.control import messages as m
from penstock.daemon.cluster_tables import LOCAL
from penstock.daemon.creation import Request, new_info
from penstock.daemon.workflows import Workflows
from penstock.domain.context import DATABASE_NAME, Context, Mode, plan_context
from penstock.domain.errors import SpecError
from penstock.domain.ids import check_workflow_id
from penstock.domain.spec import IMPORTED, StructureSource, WorkflowSpec, nearest
from penstock.domain.states import public_counts
from penstock.domain.views import WorkflowInfo
from penstock.files.threads import ask_in_thread, in_thread
from penstock.recipes.record import RECORD
from penstock.recipes.registry import get_recipe
from penstock.store.executions import list_executions, load_execution
from penstock.store.imports.kinds import ImportKind
from penstock.store.imports.order import RUNNING, ImportOrder, ImportResult, standing
from penstock.store.layout import lay_out
from penstock.store.rows import NewStep, WorkflowRow

_RECIPES: Final = {ImportKind.ARCHITECTOR: "campaign", ImportKind.CRYSTAL: "crystal"}
_ID_MAX: Final = 64


class _Plan(msgspec.Struct, frozen=True):
    """The workflow that an import makes."""

    context: Context
    spec: WorkflowSpec
    parameters: str  # the engine's, JSON
    slots_origin: str
    order: ImportOrder


def structures_of(request: m.Import) -> dict[str, str]:
    """What stands for `[structures]` in the spec of an import."""
    return {"source": request.sources[0], "format": IMPORTED}


async def import_databases(
    request: m.Import, wish: Request | None, workflows: Workflows, workers: Workers
) -> m.Imported:
    """Makes the workflow, or says what it would be. `wish` is the checked spec, if one was given."""
    order = _order(request)
    kind = ImportKind(await run_unless_silent(workers, FindImportKind(order)))
    plan = await ask_in_thread(request.work_root, _plan, request, wish, order, kind)
    if request.dry_run:
        return _answer(plan, await run_unless_silent(workers, TryImport(plan.order)), None)
    made: list[ImportResult] = []

    async def build(context: Context, aside: Path) -> WorkflowInfo:
        await in_thread(aside, lay_out, aside, context)
        row = _row(plan, time.time(), workflows.claim)
        is_inside = Path(context.database).is_relative_to(context.directory)
        partial = (aside if is_inside else Path(context.database).parent) / f".new-{DATABASE_NAME}"
        await in_thread(partial, _make_room, partial)
        writing = WriteImport(plan.order, str(partial), row, plan.spec.engine_name)
        result = await run_unless_silent(workers, writing)
        made.append(result)
        await in_thread(partial, partial.rename, partial.with_name(DATABASE_NAME))
        return _describe(plan, context, row, result)

    info = await workflows.create_by(plan.context, plan.spec.cluster, build)
    return _answer(plan, made[0], info)


def _make_room(partial: Path) -> None:
    """For a database that is not there yet; of an import that was killed something may be."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    for name in (partial.name, f"{partial.name}-wal", f"{partial.name}-shm", f"{partial.name}-journal"):
        partial.with_name(name).unlink(missing_ok=True)


def _order(request: m.Import) -> ImportOrder:
    if not request.sources:
        raise SpecError("name a database", key="sources")
    for path in (*request.sources, *filter(None, [request.moved])):
        if not Path(path).is_absolute() or "\0" in path:
            raise SpecError(f"{path!r} is not an absolute path", key="sources")
    if request.running not in RUNNING:
        hint = nearest(request.running, RUNNING) or f"it can be {' or '.join(RUNNING)}"
        raise SpecError(f"{request.running!r} cannot be done with running calculations; {hint}", key="running")
    return ImportOrder(request.sources, request.kind, request.running, request.moved)


def _plan(request: m.Import, wish: Request | None, order: ImportOrder, kind: ImportKind) -> _Plan:
    root = Path(request.work_root)
    if not root.is_absolute() or not root.is_dir():
        raise SpecError(f"the work directory {request.work_root} is not a directory")
    if wish is None:
        structures = StructureSource(source=request.sources[0], format=IMPORTED)
        spec = WorkflowSpec(recipe=RECORD, structures=structures, engine={"name": "none"}, cluster=LOCAL)
        parameters, slots_origin = "{}", "import"
    else:
        _check_recipe(kind, wish.spec)
        spec, parameters, slots_origin = wish.spec, wish.parameters.decode(), wish.slots_origin
        if kind is ImportKind.CRYSTAL:
            order = msgspec.structs.replace(order, chain=tuple(_chain(wish)))
    workflow_id = check_workflow_id(request.id or spec.id or _id_from(request.sources[0]))
    context = plan_context(Mode.ISOLATED, str(root), workflow_id)
    spec = msgspec.structs.replace(spec, id=workflow_id, isolation=str(context.mode))
    return _Plan(context, spec, parameters, slots_origin, order)


def _check_recipe(kind: ImportKind, spec: WorkflowSpec) -> None:
    recipe = _RECIPES.get(kind)
    if recipe is None:
        raise SpecError("executions of protocols are kept to be looked at, and nothing runs them; leave the spec out")
    if spec.recipe != recipe:
        raise SpecError(f'a {kind} database goes on with recipe = "{recipe}", not {spec.recipe!r}', key="recipe")


def _chain(wish: Request) -> list[NewStep]:
    """The steps of a spec for chains, as rows."""
    shared = wish.parameters.decode()
    return [new_step(step, shared) for step in wish.steps]


def _id_from(source: str) -> str:
    """A workflow's id from the name of a file."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).lstrip("._-").rstrip(".")
    return name[:_ID_MAX].rstrip(".") or "import"


def _row(plan: _Plan, now: float, claim: str) -> WorkflowRow:
    spec = plan.spec
    return WorkflowRow(
        workflow_id=plan.context.workflow_id,
        recipe=spec.recipe,
        recipe_version=get_recipe(spec.recipe).version,
        spec=msgspec.json.encode(spec).decode(),
        parameters=plan.parameters,
        mode=plan.context.mode,
        namespace=plan.context.namespace,
        state="",  # known when everything is read
        reason=None,
        slots=spec.slots,
        slots_origin=plan.slots_origin,
        priority=spec.priority,
        created_at=now,
        updated_at=now,
        daemon=claim,
    )


def _describe(plan: _Plan, context: Context, row: WorkflowRow, result: ImportResult) -> WorkflowInfo:
    state, reason = standing(row, result)
    return msgspec.structs.replace(
        new_info(row, plan.spec, context),
        state=state,
        reason=reason,
        jobs=sum(result.states.values()),
        statuses=public_counts(result.states),
        states=result.states,
        rejected=result.rejected,
        ingesting=False,
    )


def _answer(plan: _Plan, result: ImportResult, info: WorkflowInfo | None) -> m.Imported:
    return m.Imported(
        id=plan.context.workflow_id,
        directory=info.directory if info else None,
        kind=result.kind,
        counts=result.counts,
        left_out=result.left_out,
        statuses=result.statuses,
        states=result.states,
        remarks=result.remarks,
        shown=result.shown,
        workflow=info,
    )


async def executions_of(workflows: Workflows, request: m.ListExecutions | m.GetExecution) -> m.AnyReply:
    """A page of a workflow's executions, or one of them with its steps."""
    database = Path(workflows.info(request.id).database)
    if isinstance(request, m.GetExecution):
        found = await ask_in_thread(database, load_execution, database, request.id, request.execution)
        return m.ExecutionDetail(found.execution, found.steps, found.queued)
    page, total = await ask_in_thread(
        database,
        lambda: list_executions(
            database, request.id, request.statuses, request.search, limit=request.limit, offset=request.offset
        ),
    )
    return m.Executions(tuple(page), total)
