"""The workflows of a daemon: created, started, found again after a restart, healed after a fault."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from penstock import engines
from penstock.actors.board import Board
from penstock.actors.cluster_port import Detach
from penstock.actors.mailbox import Ref, StoppedError
from penstock.actors.supervisor import Policy, Supervisor
from penstock.actors.worker_tasks import CheckWork, KeepSource, PlanSource, SourcePlan
from penstock.actors.workflow import Surroundings, WorkflowActor
from penstock.actors.workflow_messages import Message
from penstock.domain.errors import ConflictError, NotFoundError, SpecError, StoreError
from penstock.domain.ids import check_workflow_id, generate_workflow_id, new_ulid
from penstock.domain.resources import Resources
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import WorkflowState
from penstock.domain.views import ClusterInfo, WorkflowInfo
from penstock.recipes.registry import get_recipe
from penstock.store.catalogue import CREATING, Catalogue, CatalogueRow
from penstock.store.rows import WorkflowRow
from penstock.store.workflow_store import WorkflowStore

WORK_FOLDER: Final = ".penstock"
_POLICY: Final = Policy(restarts=5, period_s=30.0, backoff_s=0.1, backoff_max_s=2.0)
_LIVE: Final = frozenset({WorkflowState.RUNNING, WorkflowState.PAUSED, WorkflowState.FAULTED})
_HEAL_FIRST_S: Final = 2.0
_HEAL_MAX_S: Final = 60.0
_TEMPLATE_MAX: Final = 1 << 20


class Request(msgspec.Struct, frozen=True):
    """A checked wish for a workflow."""

    spec: WorkflowSpec
    parameters: bytes  # the engine's, JSON
    source: Path
    work_root: Path
    slots_origin: str
    file: str


class Workflows:
    """Owns the supervisor of all workflow actors and the catalogue."""

    def __init__(
        self, catalogue: Catalogue, around: Callable[[str], Surroundings | None], board: Board, clock: Any
    ) -> None:
        self._catalogue = catalogue
        self._around = around
        self._board = board
        self._clock = clock
        self._refs: dict[str, Ref[Message]] = {}
        self._faults: dict[str, tuple[float, float]] = {}  # when it last broke, and how long was waited then
        self._creating = anyio.Lock()
        self._log = structlog.get_logger()
        self.supervisor = Supervisor("workflows", clock, _POLICY, self._given_up, hopeless=_is_hopeless)

    # ---- creating ---------------------------------------------------------------------------------------------------

    async def create(self, request: Request, clusters: dict[str, ClusterInfo]) -> tuple[str, Path]:
        """Records a workflow so that it will run, whatever happens next; returns its id and directory."""
        spec = request.spec
        workflow_id = check_workflow_id(spec.id) if spec.id else generate_workflow_id(spec.recipe)
        check_fits(spec.needs(), clusters.get(spec.cluster), spec.cluster)
        self._refuse_taken(workflow_id)
        workers = self._surroundings(spec.cluster).workers
        await workers.run(CheckWork(spec.structures, str(request.source), spec.engine_name))
        directory = request.work_root / WORK_FOLDER / workflow_id
        async with self._creating:
            self._refuse_taken(workflow_id)
            await self._build(request, workflow_id, directory)
        self.start(workflow_id, directory, spec.cluster)
        return workflow_id, directory

    async def plan(self, request: Request, clusters: dict[str, ClusterInfo]) -> SourcePlan:
        """What `create` would make; nothing is written."""
        spec = request.spec
        if spec.id:
            self._refuse_taken(check_workflow_id(spec.id))
        needs = spec.needs()
        check_fits(needs, clusters.get(spec.cluster), spec.cluster)
        source = str(request.source)
        workers = self._surroundings(spec.cluster).workers
        await workers.run(CheckWork(spec.structures, source, spec.engine_name))
        return await workers.run(
            PlanSource(spec.structures, source, spec.engine_name, request.parameters, needs.cores, needs.memory_mb)
        )

    def _surroundings(self, cluster: str) -> Surroundings:
        around = self._around(cluster)
        if around is None:
            raise ConflictError(f"cluster {cluster!r} is not configured any more; add it to the daemon's configuration")
        return around

    def _refuse_taken(self, workflow_id: str) -> None:
        taken = self._board.workflows.get(workflow_id)
        if taken is not None:
            raise ConflictError(
                f"workflow {workflow_id!r} exists already in {taken.directory}; choose another id, or look at it with "
                f"'penstockctl status {workflow_id}'"
            )

    async def _build(self, request: Request, workflow_id: str, directory: Path) -> None:
        """Builds the directory aside, then lets it appear at once; the catalogue knows of it before and after."""
        if await anyio.Path(directory).exists():
            raise ConflictError(
                f"{directory} exists, but this daemon does not know it; choose another id, or move it away"
            )
        aside = directory.with_name(f".new-{new_ulid()}")
        spec = request.spec
        try:
            await anyio.to_thread.run_sync(_lay_out, aside)
            workers = self._surroundings(spec.cluster).workers
            kept = await workers.run(KeepSource(spec.structures, str(request.source), str(aside)))
            spec = msgspec.structs.replace(
                spec, id=workflow_id, structures=msgspec.structs.replace(spec.structures, source=kept.path)
            )
            now = time.time()
            row = WorkflowRow(
                workflow_id=workflow_id,
                recipe=spec.recipe,
                recipe_version=get_recipe(spec.recipe).version,
                spec=msgspec.json.encode(spec).decode(),
                parameters=request.parameters.decode(),
                mode=spec.isolation,
                namespace=workflow_id,
                state=WorkflowState.RUNNING,
                reason=None,
                slots=spec.slots,
                slots_origin=request.slots_origin,
                priority=spec.priority,
                created_at=now,
                updated_at=now,
            )
            store = WorkflowStore(aside, workflow_id, self._clock.busy)
            try:
                await store.create(row, [(file.path, file.bytes, file.sha256) for file in kept.files])
            finally:
                await store.close()
            await anyio.to_thread.run_sync(_describe_context, aside, directory, row)
            await self._catalogue.add(workflow_id, str(directory))
            aside.rename(directory)
        except (OSError, StoreError) as error:
            raise SpecError(f"cannot create {directory}: {error}; it must be writable and have room") from error
        finally:
            if aside.exists():
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(aside, ignore_errors=True))
        info = _new_info(row, spec, directory)
        await self._catalogue.update(info)
        self._board.pin(info)

    # ---- starting and finding again ---------------------------------------------------------------------------------

    def start(self, workflow_id: str, directory: Path, cluster: str) -> Ref[Message]:
        """Starts a workflow's actor."""
        around = self._surroundings(cluster)
        self._refs[workflow_id] = self.supervisor.start_child(
            workflow_id, lambda me: WorkflowActor(me, workflow_id, directory, around)
        )
        return self._refs[workflow_id]

    async def find_again(self) -> None:
        """After a start: every workflow of the catalogue goes on, or at least is known."""
        for row in await self._catalogue.rows():
            if row.state == CREATING and not await anyio.Path(row.directory).exists():
                await self._catalogue.remove(row.id)  # it was never accepted
                continue
            info = row.snapshot or _unknown_info(row)
            self._board.pin(info)
            around = self._around(info.cluster)
            if around is None:
                reason = f"cluster {info.cluster!r} is not configured any more"
                self._board.pin(msgspec.structs.replace(info, state=WorkflowState.FAULTED, reason=reason))
            elif row.state == CREATING or WorkflowState(info.state) in _LIVE:
                self.start(row.id, Path(row.directory), info.cluster)
            else:
                around.cluster.post(("detach", row.id), Detach(row.id))

    async def ask(self, workflow_id: str, message: Message, deadline_s: float) -> object:
        """Asks a workflow's actor, starting it when the workflow is at rest."""
        info = self.info(workflow_id)
        for _ in range(3):
            if not self.supervisor.has_child(workflow_id):
                self.start(workflow_id, Path(info.directory), info.cluster)
            try:
                return await self._refs[workflow_id].ask(message, deadline_s)
            except StoppedError:
                if self.info(workflow_id).state == WorkflowState.FAULTED:
                    break
        raise ConflictError(
            f"workflow {workflow_id} is {self.info(workflow_id).state}: {self.info(workflow_id).reason}"
        )

    def info(self, workflow_id: str) -> WorkflowInfo:
        """A workflow's newest state; NotFoundError when there is none."""
        try:
            return self._board.workflows[workflow_id]
        except KeyError:
            raise NotFoundError(f"there is no workflow {workflow_id!r}; see 'penstockctl list'") from None

    def running(self) -> dict[str, Ref[Message]]:
        """The actors that run now."""
        return {name: ref for name, ref in self._refs.items() if self.supervisor.has_child(name)}

    # ---- faults -----------------------------------------------------------------------------------------------------

    async def _given_up(self, workflow_id: str, error: BaseException) -> None:
        """The workflow is faulted, its siblings are not. What waiting can heal is tried again, ever less often."""
        info = self._board.workflows[workflow_id]
        healable = not _is_hopeless(error)
        wait = self._next_wait(workflow_id)
        advice = "" if healable else f" (then: penstockctl resume {workflow_id})"
        self._board.pin(
            msgspec.structs.replace(
                info, state=WorkflowState.FAULTED, reason=f"{error}{advice}", updated_at=time.time()
            )
        )
        if healable:
            await self._clock.sleep(wait)
            if not self.supervisor.has_child(workflow_id):
                self.start(workflow_id, Path(info.directory), info.cluster)

    def _next_wait(self, workflow_id: str) -> float:
        """Twice the last wait, unless the workflow has worked for long since."""
        now = self._clock.monotonic()
        then, waited = self._faults.get(workflow_id, (now, 0.0))
        again_soon = waited and now - then < waited + 2 * _POLICY.period_s
        wait = min(2 * waited, _HEAL_MAX_S) if again_soon else _HEAL_FIRST_S
        self._faults[workflow_id] = (now, wait)
        return wait

    async def keep_catalogue(self) -> None:
        """Writes changed states to the catalogue now and then.

        What is lost by a crash is found again in the workflows.
        """
        while True:
            await self._clock.sleep(1.0)
            await self.flush()

    async def flush(self) -> None:
        """Writes changed states to the catalogue."""
        changed, self._board.changed = self._board.changed, set()
        for workflow_id in changed:
            try:
                await self._catalogue.update(self._board.workflows[workflow_id])
            except StoreError as error:
                self._board.changed.add(workflow_id)
                self._log.warning("catalogue cannot be written, trying again", error=str(error))
                return


def check_request(
    spec: WorkflowSpec, work_root: str, file: str, slots_origin: str, clusters: dict[str, ClusterInfo]
) -> Request:
    """Everything about a spec that can be checked without reading its structures. Raises SpecError."""
    get_recipe(spec.recipe)
    if spec.cluster not in clusters:
        raise SpecError(f"unknown cluster {spec.cluster!r}; known: {', '.join(sorted(clusters))}", key="cluster")
    base = Path(file).parent
    table = {key: value for key, value in spec.engine.items() if key != "name"}
    parameters = engines.get(spec.engine_name).parameters(table, lambda name: _read_template(base / name, name))
    root = Path(work_root)
    if not root.is_absolute() or not root.is_dir():
        raise SpecError(f"the work directory {work_root} is not a directory")
    return Request(
        spec=spec,
        parameters=msgspec.json.encode(parameters),
        source=base / Path(spec.structures.source).expanduser(),
        work_root=root,
        slots_origin=slots_origin,
        file=file,
    )


def check_fits(needs: Resources, cluster: ClusterInfo | None, name: str) -> None:
    """SpecError when one job asks for more than the whole cluster has."""
    if cluster is None:
        raise SpecError(f"unknown cluster {name!r}", key="cluster")
    if needs.cores > cluster.cores:
        raise SpecError(f"{needs.cores} cores asked for, cluster {name} has {cluster.cores}", key="resources.cores")
    if needs.memory_mb > cluster.memory_mb:
        message = f"{needs.memory_mb} MB asked for, cluster {name} has {cluster.memory_mb} MB"
        raise SpecError(message, key="resources.memory")


def _read_template(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > _TEMPLATE_MAX:
            raise SpecError(f"the template {name} is larger than {_TEMPLATE_MAX} bytes", key="engine.templates")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"the template {name} cannot be read: {error.strerror}", key="engine.templates") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"the template {name} is not UTF-8 text", key="engine.templates") from error


def _lay_out(directory: Path) -> None:
    directory.parent.mkdir(mode=0o755, exist_ok=True)
    directory.mkdir(mode=0o755)
    for name in ("jobs", "storage", "locks", "exports"):
        (directory / name).mkdir()


def _describe_context(aside: Path, directory: Path, row: WorkflowRow) -> None:
    """`context.toml`: where everything of this workflow is, for people and for programs without a daemon."""
    quoted = {
        "workflow_id": row.workflow_id,
        "mode": row.mode,
        "namespace": row.namespace,
        "database": str(directory / "workflow.db"),
        "storage": str(directory / "storage"),
        "locks": str(directory / "locks"),
    }
    lines = [f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in quoted.items()]
    (aside / "context.toml").write_text("".join(lines), encoding="utf-8")
    for name in (aside, aside.parent):  # the directory's entries must be on disk before the catalogue counts on them
        with contextlib.closing(_OpenDirectory(name)) as opened:
            os.fsync(opened.fd)


class _OpenDirectory:
    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.fd)


def _is_hopeless(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not error.healable


def _new_info(row: WorkflowRow, spec: WorkflowSpec, directory: Path) -> WorkflowInfo:
    return WorkflowInfo(
        id=row.workflow_id,
        recipe=row.recipe,
        state=row.state,
        directory=str(directory),
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
    )


def _unknown_info(row: CatalogueRow) -> WorkflowInfo:
    """A workflow that was recorded but never described; its own database knows the rest."""
    return WorkflowInfo(
        id=row.id,
        recipe="",
        state=WorkflowState.RUNNING,
        directory=row.directory,
        mode="isolated",
        cluster="local",
        engine="",
        slots=1,
        priority=0,
        jobs=0,
        statuses={},
        states={},
        rejected=0,
        ingesting=True,
        reason=None,
        created_at=0.0,
        updated_at=0.0,
    )
