"""How a workflow comes to be: a checked wish, a directory built aside, a row in the catalogue."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from penstock import engines
from penstock.actors.clock import Clock
from penstock.actors.worker_tasks import CheckWork, KeepSource, StepInputs
from penstock.actors.workers import Workers
from penstock.daemon.cluster_tables import LOCAL
from penstock.domain.completion import CompletionAction
from penstock.domain.context import DATABASE_NAME, Context, DaemonPlace, Mode, plan_context, read_context
from penstock.domain.errors import ConflictError, SpecError, StoreError
from penstock.domain.ids import check_workflow_id, generate_workflow_id
from penstock.domain.life_cycle import Operation
from penstock.domain.remedy import Change, Remedy, RemedyTable, Rule, decide_remedy, effective_rules, leads_somewhere
from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec, nearest, readable_error, unknown_key
from penstock.domain.states import WorkflowState
from penstock.domain.views import ClusterInfo, WorkflowInfo
from penstock.files.threads import SilentError, ask_in_thread, in_thread, refuse_silent
from penstock.recipes.recipe import Step, View
from penstock.recipes.registry import get_recipe
from penstock.store.catalogue import Catalogue
from penstock.store.export import FORMATS
from penstock.store.export_folder import FOLDER
from penstock.store.layout import MARK, aside_of, lay_out, reveal
from penstock.store.removal import remove_begun, remove_empty
from penstock.store.rows import WorkflowRow
from penstock.store.transfer import remove_restored
from penstock.store.workflow_store import WorkflowStore

_TEMPLATE_MAX: Final = 1 << 20
_DIGEST_CHARS: Final = 12


class Request(msgspec.Struct, frozen=True):
    """A checked wish for a workflow."""

    context: Context
    spec: WorkflowSpec
    parameters: bytes  # the engine's, JSON
    source: Path | None  # None: its structures are to be built
    slots_origin: str
    steps: tuple[Step, ...]

    @property
    def workflow_id(self) -> str:
        """Its name."""
        return self.context.workflow_id

    @property
    def place(self) -> str:
        """The path of the source as tasks take it: empty where there is none."""
        return str(self.source or "")

    @property
    def directory(self) -> Path:
        """Its own directory."""
        return Path(self.context.directory)

    def needs(self) -> list[Resources]:
        """What the jobs of each step that has any ask for."""
        return [step.resources or self.spec.needs() for step in self._with_jobs()]

    def _with_jobs(self) -> list[Step]:
        return [step for step in self.steps if step.runs_jobs]

    def inputs(self) -> tuple[StepInputs, ...]:
        """What each step is rendered with."""
        shared = self.parameters.decode()
        return tuple(
            StepInputs(
                step.key, step.parameters_over(shared).encode(), needs.cores, needs.memory_mb, needs.tasks, step.given
            )
            for step, needs in zip(self._with_jobs(), self.needs(), strict=True)
        )


def check_request(
    spec: WorkflowSpec, work_root: str, file: str, slots_origin: str, clusters: dict[str, ClusterInfo] | None
) -> Request:
    """Everything about a spec that can be checked without reading its structures. Raises SpecError.

    `clusters`: None where nobody knows them.
    """
    steps = get_recipe(spec.recipe).steps(View(spec, ()))
    if clusters is not None and spec.cluster not in clusters:
        raise SpecError(f"unknown cluster {spec.cluster!r}; known: {', '.join(sorted(clusters))}", key="cluster")
    base = Path(file).parent
    table = {key: value for key, value in spec.engine.items() if key != "name"}
    engine = engines.get(spec.engine_name)
    parameters = engine.parameters(table, lambda name: _read_template(base / name, name))
    for step in steps:
        _check_step(engine, parameters, step)
    _check_remedies(spec.remedies, engine, parameters)
    _check_formats(spec.on_complete)
    root = Path(work_root)
    if not root.is_absolute() or not root.is_dir():
        raise SpecError(f"the work directory {work_root} is not a directory")
    workflow_id = check_workflow_id(spec.id) if spec.id else generate_workflow_id(spec.recipe)
    return Request(
        context=plan_context(Mode(spec.isolation), str(root), workflow_id),
        spec=spec,
        parameters=msgspec.json.encode(parameters),
        source=None if spec.structures.build else base / Path(spec.structures.source).expanduser(),
        slots_origin=slots_origin,
        steps=tuple(steps),
    )


def _check_step(engine: engines.Engine[Any], parameters: msgspec.Struct, step: Step) -> None:
    """SpecError where a step's own parameters are none of the engine's."""
    known = [field.encode_name for field in msgspec.structs.fields(parameters)]
    for given in step.engine:
        if given not in known:
            raise unknown_key(given, known, f"steps.{step.key}.engine")
    try:
        msgspec.convert(msgspec.to_builtins(parameters) | step.engine, engine.parameters_type)
    except msgspec.ValidationError as error:
        message, key = readable_error(str(error))
        raise SpecError(message, key=f"steps.{step.key}.engine.{key}") from error


def _check_remedies(table: RemedyTable, engine: engines.Engine[Any], parameters: msgspec.Struct) -> None:
    """SpecError where a limit is for no rule, or a rule changes what the engine does not have."""
    rules = effective_rules(table, engine.rules)
    names = [rule.name for rule in rules]
    for name in table.limits:
        if name not in names:
            raise unknown_key(name, names, "remedies.limits")
    tables = msgspec.to_builtins(parameters)
    for number, rule in enumerate(table.rules):
        key = f"remedies.rules[{number}]"
        for name, change in rule.change.items():
            if name.partition(".")[0] not in tables:
                hint = nearest(name, tables) or f"it has {', '.join(tables)}"
                message = f"rule {rule.name!r}: engine {engine.name} has no parameter {name!r}; {hint}"
                raise SpecError(message, key=key)
            if not leads_somewhere(tables, name):
                message = f"rule {rule.name!r}: {name}: {name.rpartition('.')[0]} is no table of the parameters"
                raise SpecError(message, key=key)
            _check_change(rule, name, change, tables, engine, key)


def _check_change(
    rule: Rule, name: str, change: Change, tables: dict[str, Any], engine: engines.Engine[Any], key: str
) -> None:
    """SpecError where the engine could not take what a rule makes of its parameters."""
    alone = msgspec.structs.replace(rule, change={name: change}, when="", limit=1, person="")
    remedy = decide_remedy([alone], rule.on, "", tables, {}, total=1, had=Resources())
    try:
        if isinstance(remedy, Remedy):
            msgspec.convert(remedy.parameters, engine.parameters_type)
    except msgspec.ValidationError as error:
        raise SpecError(f"rule {rule.name!r}: {name}: {error}", key=key) from error


def _check_formats(actions: Sequence[CompletionAction]) -> None:
    """SpecError where results cannot be exported so."""
    formats = (*FORMATS, FOLDER)
    for number, action in enumerate(actions):
        if action.action == "export" and action.format not in formats:
            hint = nearest(action.format, formats) or f"use one of {', '.join(formats)}"
            raise SpecError(f"unknown format {action.format!r}; {hint}", key=f"on_complete[{number}].format")


def check_fits(needs: Resources, cluster: ClusterInfo) -> None:
    """SpecError when one job asks for more than the whole local cluster has; a scheduler has limits of its own."""
    if cluster.kind != LOCAL:
        return
    if needs.cores_in_all > cluster.cores:
        message = f"{needs.cores_in_all} cores asked for, cluster {cluster.name} has {cluster.cores}"
        raise SpecError(message, key="resources.cores")
    for what, asked, there in (("nodes", needs.nodes, 1), ("gpus", needs.gpus, 0)):
        if asked > there:
            message = f"{asked} asked for, the local cluster gives {there}; use a cluster with a scheduler"
            raise SpecError(message, key=f"resources.{what}")
    if needs.memory_mb > cluster.memory_mb:
        message = f"{needs.memory_mb} MB asked for, cluster {cluster.name} has {cluster.memory_mb} MB"
        raise SpecError(message, key="resources.memory")


def check_task(request: Request, cluster: ClusterInfo) -> CheckWork:
    """What only a worker process can check: that the source can be read, and that the engine or program is there."""
    spec, here = request.spec, cluster.kind == LOCAL
    return CheckWork(spec.structures, request.place, spec.engine_name, request.inputs(), here)


Build = Callable[[Path], Awaitable[WorkflowInfo]]
"""Fills a workflow's directory under the path that it is given, which is not yet its own."""


async def create_workflow(request: Request, catalogue: Catalogue, workers: Workers, clock: Clock) -> WorkflowInfo:
    """Makes the workflow of a request; see `create_aside`."""
    (info,) = await create_workflows([request], catalogue, workers, clock)
    return info


async def create_workflows(
    requests: Sequence[Request], catalogue: Catalogue, workers: Workers, clock: Clock
) -> list[WorkflowInfo]:
    """Makes the workflows of several requests, or none of them; see `create_all_aside`."""
    claim = claim_of(catalogue.state_dir)

    def build_of(request: Request) -> Build:
        return lambda aside: build_aside(request, aside, workers, clock, daemon=claim)

    return await create_all_aside([(request.context, build_of(request)) for request in requests], catalogue)


async def create_aside(context: Context, catalogue: Catalogue, build: Build) -> WorkflowInfo:
    """Has a workflow's directory built aside, then lets it appear at once.

    The catalogue knows of it before anything is written, so that a crash at any point leaves either a workflow that
    runs or traces that the next start removes. ConflictError when the id or the directory is taken.
    """
    (info,) = await create_all_aside([(context, build)], catalogue)
    return info


async def create_all_aside(builds: Sequence[tuple[Context, Build]], catalogue: Catalogue) -> list[WorkflowInfo]:
    """The same for several, of which none appears before all are built; where one cannot be, there are none.

    A crash while they appear leaves some of them.
    """
    begun: list[Context] = []
    infos = []
    try:
        for context, build in builds:
            directory = Path(context.directory)
            await catalogue.add(context.workflow_id, context.directory)
            begun.append(context)
            await refuse_existing(directory)
            infos.append(await build(aside_here(directory, catalogue)))
        appearing = [(aside_here(path, catalogue), path) for path in (Path(context.directory) for context in begun)]
        await in_thread(begun[0].directory, _reveal_all, appearing)
    except (OSError, StoreError) as error:
        await _discard_all(begun, catalogue)
        if not begun or isinstance(error, SilentError):
            raise
        cause = error.__cause__ or error
        raise SpecError(f"cannot create {begun[-1].directory}: {cause}; it must be writable and have room") from error
    except BaseException:
        await _discard_all(begun, catalogue)
        raise
    for info in infos:
        with contextlib.suppress(StoreError):  # it is complete: its state is written again as soon as there is room
            await catalogue.update(info)
    return infos


async def _discard_all(contexts: Sequence[Context], catalogue: Catalogue) -> None:
    """What lies where nothing answers is removed by the next start, which finds it by its row."""
    for context in contexts:
        directory = Path(context.directory)
        with anyio.CancelScope(shield=True), contextlib.suppress(SilentError):
            await refuse_silent(directory)
            await discard(catalogue, context.workflow_id, directory)


def aside_here(directory: Path, catalogue: Catalogue) -> Path:
    """Where the daemon of that catalogue builds a workflow: it finds it again, and no other builds there."""
    digest = hashlib.sha256(claim_of(catalogue.state_dir).encode()).hexdigest()[:_DIGEST_CHARS]
    return aside_of(directory, f"{MARK}d{digest}")


def claim_of(state_dir: Path) -> str:
    """What a daemon writes into the rows of its workflows, so that others know who works on them."""
    return msgspec.json.encode(DaemonPlace(socket.gethostname(), str(state_dir))).decode()


async def refuse_existing(directory: Path) -> None:
    """ConflictError where something stands already."""
    if await ask_in_thread(directory, directory.exists):
        raise ConflictError(f"{directory} exists, but no workflow of this daemon; choose another id or move it away")


async def discard(catalogue: Catalogue, workflow_id: str, directory: Path) -> None:
    """Removes what is left of a workflow that was never accepted."""
    with anyio.CancelScope(shield=True):
        aside, claim = aside_here(directory, catalogue), claim_of(catalogue.state_dir)
        await in_thread(aside, _clear_away, aside, directory, claim)
        await catalogue.remove(workflow_id)


async def undo_restoration(catalogue: Catalogue, workflow_id: str, operation: Operation) -> None:
    """Removes what is left of a restoration that was never ended; the archive stays."""
    aside = aside_here(Path(operation.directory), catalogue)
    database = Path(operation.database)
    if not database.is_relative_to(operation.directory):
        await in_thread(database, remove_restored, database, workflow_id, operation.token)
        if not operation.shares_database:
            await in_thread(database, remove_empty, database)
    await in_thread(aside, lambda: shutil.rmtree(aside, ignore_errors=True))
    await catalogue.remove(workflow_id)


def _clear_away(aside: Path, directory: Path, claim: str) -> None:
    """Of the workflow that was to be in `directory`: what was built aside, and its rows among those of others.

    Rows of another daemon, which makes one of the same id in the same place, are its own.
    """
    with contextlib.suppress(StoreError):
        context = read_context(aside, directory.name)
        if not Path(context.database).is_relative_to(aside) and not directory.exists():
            begun_by = claim if context.shares_database else None
            remove_begun(Path(context.database), context.workflow_id, begun_by)
            if not context.shares_database:
                remove_empty(Path(context.database))
    shutil.rmtree(aside, ignore_errors=True)


async def build_aside(
    request: Request, aside: Path, workers: Workers, clock: Clock, **columns: str | None
) -> WorkflowInfo:
    """The workflow's directory under another name, its database filled; `columns` of its row are as given.

    Raises SpecError, OSError, StoreError.
    """
    context = request.context
    await in_thread(aside, lay_out, aside, context)
    kept = await workers.run(KeepSource(request.spec.structures, request.place, str(aside)))
    structures = request.spec.structures
    if structures.build is None:  # what is built stays as it was described, and so may be built elsewhere again
        structures = msgspec.structs.replace(structures, source=kept.path)
    spec = msgspec.structs.replace(request.spec, id=request.workflow_id, structures=structures)
    now = clock.time()
    row = WorkflowRow(
        workflow_id=request.workflow_id,
        recipe=spec.recipe,
        recipe_version=get_recipe(spec.recipe).version,
        spec=msgspec.json.encode(spec).decode(),
        parameters=request.parameters.decode(),
        mode=context.mode,
        namespace=context.namespace,
        state=WorkflowState.RUNNING,
        reason=None,
        slots=spec.slots,
        slots_origin=request.slots_origin,
        priority=spec.priority,
        created_at=now,
        updated_at=now,
    )
    row = msgspec.structs.replace(row, **columns)
    is_inside = Path(context.database).is_relative_to(context.directory)
    database = aside / DATABASE_NAME if is_inside else Path(context.database)
    store = WorkflowStore(database, request.workflow_id, clock.busy)
    try:
        files = [(file.path, file.bytes, file.sha256) for file in kept.files]
        await store.create(row, files, among_others=not is_inside)  # a database outside may be of another time
    finally:
        await store.close()
    return new_info(row, spec, context)


def _read_template(path: Path, name: str) -> str:
    """The text of a template: a regular file of sane size, so that nothing named by mistake can block or fill us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise SpecError(f"the template {name} is not a regular file", key="engine.templates")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(_TEMPLATE_MAX + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise SpecError(f"the template {name} cannot be read: {error.strerror}", key="engine.templates") from error
    if len(data) > _TEMPLATE_MAX:
        raise SpecError(f"the template {name} is larger than {_TEMPLATE_MAX} bytes", key="engine.templates")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"the template {name} is not UTF-8 text", key="engine.templates") from error


def _reveal_all(appearing: Sequence[tuple[Path, Path]]) -> None:
    """Gives every directory its name, or none."""
    revealed: list[tuple[Path, Path]] = []
    try:
        for aside, directory in appearing:
            reveal(aside, directory)
            revealed.append((aside, directory))
    except BaseException:
        for aside, directory in revealed:
            directory.rename(aside)
        raise


def new_info(row: WorkflowRow, spec: WorkflowSpec, context: Context) -> WorkflowInfo:
    """What people see of a workflow that has just been recorded."""
    return WorkflowInfo(
        id=row.workflow_id,
        recipe=row.recipe,
        state=row.state,
        directory=context.directory,
        mode=row.mode,
        cluster=spec.cluster,
        engine=spec.engine_name,
        slots=row.slots,
        priority=row.priority,
        jobs=0,
        statuses={},
        states={},
        rejected=0,
        ingesting=True,
        reason=None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        database=context.database,
    )
