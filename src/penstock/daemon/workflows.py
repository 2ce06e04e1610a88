"""The workflows of a daemon: created, started, found again after a restart, healed after a fault."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from penstock.actors.board import Board
from penstock.actors.cluster_port import Detach
from penstock.actors.errands import PROJECTED_MAX, STRUCTURES_NAME
from penstock.actors.mailbox import Ref, StoppedError
from penstock.actors.supervisor import Policy, Supervisor
from penstock.actors.worker_tasks import PlanSource, SourcePlan
from penstock.actors.workers import run_unless_silent
from penstock.actors.workflow import Surroundings, WorkflowActor
from penstock.actors.workflow_messages import Message
from penstock.daemon.creation import (
    Request,
    check_fits,
    check_task,
    claim_of,
    create_aside,
    create_workflow,
    create_workflows,
    discard,
    undo_restoration,
)
from penstock.domain.context import Context, read_context
from penstock.domain.errors import ConflictError, NotFoundError, PenstockError, SpecError, StoreError
from penstock.domain.life_cycle import RESTORING, Operation
from penstock.domain.silence import silent_reason
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import ACTIVE, UNENDED, WorkflowState
from penstock.domain.views import ClusterInfo, DatabaseInfo, WorkflowInfo
from penstock.files.room import Room
from penstock.files.threads import SilentError, ask_in_thread, in_thread, look_in_thread
from penstock.store.catalogue import CREATING, Catalogue, CatalogueRow, SweepRow
from penstock.store.placement import Placement, describe_database
from penstock.store.queries import load_spec, load_state

_POLICY: Final = Policy(restarts=5, period_s=30.0, backoff_s=0.1, backoff_max_s=2.0)
_SOME_CLUSTER: Final = "local"  # there always is one of this name; who cannot read its database is only faulted there
_HEAL_FIRST_S: Final = 2.0
_HEAL_MAX_S: Final = 60.0
_FILE_SYSTEM_ANSWERS_S: Final = 2.0
_START_WAITS_S: Final = 10.0
_FOUND_AT_ONCE: Final = 4  # in each file system; more would be threads that stay for nothing
_WAITED_FOR: Final = "on a file system that does not answer"


class Workflows:
    """Owns the supervisor of all workflow actors and the catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        around: Callable[[str], Surroundings | None],
        board: Board,
        clock: Any,
        placement: Placement,
    ) -> None:
        self._catalogue = catalogue
        self._around = around
        self._board = board
        self._clock = clock
        self._placement = placement
        self._databases: dict[str, DatabaseInfo] = {}
        self.operations: dict[str, Operation] = {}  # what is done to workflows as a whole; nothing wakes these
        self._refs: dict[str, Ref[Message]] = {}
        self._faults: dict[str, tuple[float, float]] = {}  # when it last broke, and how long was waited then
        self._sweeping: set[str] = set()  # names of sweeps that are being made
        self._flushing = anyio.Lock()  # the last flush waits for one that is under way and would be cut off
        self._log = structlog.get_logger()
        self.supervisor = Supervisor(
            "workflows", clock, _POLICY, self._given_up, hopeless=_is_hopeless, child="workflow"
        )

    # ---- creating ---------------------------------------------------------------------------------------------------

    async def create(self, request: Request, clusters: dict[str, ClusterInfo]) -> tuple[str, Path]:
        """Records a workflow so that it will run, whatever happens next; returns its id and directory."""
        workflow_id, cluster = request.workflow_id, request.spec.cluster
        await self._forget_if_gone(workflow_id, request.directory)
        self.refuse_taken(workflow_id)
        await self.check(request, clusters)
        workers = self._surroundings(cluster).workers
        request = msgspec.structs.replace(request, context=await self.placed(request.context))
        info = await create_workflow(request, self._catalogue, workers, self._clock)
        self._board.pin(info)
        self._log.info(
            "workflow accepted",
            workflow=workflow_id,
            cluster=cluster,
            recipe=info.recipe,
            engine=info.engine,
            mode=info.mode,
            directory=info.directory,
        )
        await self._set_going(workflow_id, request.directory, cluster)
        return workflow_id, request.directory

    @property
    def claim(self) -> str:
        """What this daemon writes into the rows of its workflows, JSON."""
        return claim_of(self._catalogue.state_dir)

    def refuse_known(self, workflow_id: str, directory: Path) -> None:
        """ConflictError when there is a workflow of that id, or one in that directory."""
        self.refuse_taken(workflow_id)
        for info in self._board.workflows.values():
            if info.directory == str(directory):
                raise ConflictError(f"{directory} is workflow {info.id!r} of this daemon already")

    async def adopt(self, workflow_id: str, directory: Path, cluster: str) -> None:
        """Takes a workflow's directory, which says that it is ours, into the catalogue, and starts it."""
        await self._catalogue.add(workflow_id, str(directory))
        row = CatalogueRow(workflow_id, str(directory), CREATING, None)
        self._board.pin(await look_in_thread(directory, _known_info, row))
        await self._set_going(workflow_id, directory, cluster)

    async def sweeps(self) -> list[SweepRow]:
        """All sweeps, oldest first."""
        return await self._catalogue.sweeps()

    async def create_sweep(self, row: SweepRow, requests: Sequence[Request]) -> None:
        """Makes and starts the workflows of a sweep, all or none; those that an earlier try has left stay as they are.

        ConflictError when there is another of that name.
        """
        if row.name in self._sweeping:
            raise ConflictError(f"sweep {row.name!r} is being made; see 'penstockctl sweep {row.name}'")
        self._sweeping.add(row.name)
        try:
            present = {point.id for point in row.points if point.id in self._board.workflows}
            known = next((known for known in await self.sweeps() if known.name == row.name), None)
            if known is not None and any(point.id in self._board.workflows for point in known.points):
                _refuse_other_sweep(row, known)
            else:
                for request in requests:
                    await self._forget_if_gone(request.workflow_id, request.directory)
                    self.refuse_taken(request.workflow_id)
                present = set()
            row = msgspec.structs.replace(row, created_at=known.created_at if known else self._clock.time())
            await self._catalogue.put_sweep(row)
            missing = [request for request in requests if request.workflow_id not in present]
            try:
                await self._create_all(missing)
            except BaseException:
                if not present:
                    with anyio.CancelScope(shield=True):
                        await self._catalogue.remove_sweep(row.name)
                raise
            await self._catalogue.put_sweep(msgspec.structs.replace(row, complete=True))
        finally:
            self._sweeping.discard(row.name)

    async def _create_all(self, requests: Sequence[Request]) -> None:
        """All of them are built before any has its name, and all have their names before any starts."""
        if not requests:
            return
        placed = [msgspec.structs.replace(r, context=await self.placed(r.context)) for r in requests]
        workers = self._surroundings(requests[0].spec.cluster).workers
        for request, info in zip(
            placed, await create_workflows(placed, self._catalogue, workers, self._clock), strict=True
        ):
            self._board.pin(info)
            await self._set_going(request.workflow_id, request.directory, request.spec.cluster)

    async def create_by(
        self, context: Context, cluster: str, build: Callable[[Context, Path], Awaitable[WorkflowInfo]]
    ) -> WorkflowInfo:
        """Records a workflow that `build` makes in the directory it is given, aside of where it appears.

        The context that it gets says where its database is to be.
        """
        await self._forget_if_gone(context.workflow_id, Path(context.directory))
        self.refuse_taken(context.workflow_id)
        self._surroundings(cluster)
        placed = await self.placed(context)
        info = await create_aside(placed, self._catalogue, lambda aside: build(placed, aside))
        self._board.pin(info)
        await self._set_going(context.workflow_id, Path(context.directory), cluster)
        return info

    async def placed(self, context: Context) -> Context:
        """The context with its database where this daemon is to have it; what is unusual is logged."""
        try:
            with self._clock.busy():
                placed = await ask_in_thread(context.directory, self._placement.place, context)
                found = await ask_in_thread(
                    context.directory, describe_database, placed.database, placed.directory, placed.mode
                )
        except SilentError:
            raise
        except OSError as error:
            message = f"the file system of {context.directory} does not answer: {error.strerror}"
            raise SpecError(message) from error
        if found.why:
            self._log.info(
                "database not as usual",
                workflow=context.workflow_id,
                database=found.path,
                journal=found.journal,
                why=found.why,
            )
        return placed

    async def database(self, workflow_id: str) -> DatabaseInfo | None:
        """Where a workflow's database is and why; None when that cannot be found out soon."""
        info = self.info(workflow_id)
        known = self._databases.get(workflow_id)
        if known is None or known.path != info.database:
            with anyio.move_on_after(_FILE_SYSTEM_ANSWERS_S), contextlib.suppress(OSError):
                known = self._databases[workflow_id] = await look_in_thread(
                    info.directory, describe_database, info.database, info.directory, info.mode
                )
                return known
            return None
        return known

    async def plan(self, request: Request, clusters: dict[str, ClusterInfo]) -> SourcePlan:
        """What `create` would make; nothing is written."""
        self.refuse_taken(request.workflow_id)
        await self.check(request, clusters)
        spec, workers = request.spec, self._surroundings(request.spec.cluster).workers
        return await run_unless_silent(workers, PlanSource(spec, request.place, request.inputs()))

    async def check(self, request: Request, clusters: dict[str, ClusterInfo]) -> None:
        """SpecError when its cluster has not what one job asks for, or the source or the engine is not there.

        SilentError when the file system of the source does not answer.
        """
        cluster = clusters[request.spec.cluster]
        for needs in request.needs():
            check_fits(needs, cluster)
        workers = self._surroundings(cluster.name).workers
        with self._clock.busy():
            await run_unless_silent(workers, check_task(request, cluster))

    def _surroundings(self, cluster: str) -> Surroundings:
        around = self._around(cluster)
        if around is None:
            raise ConflictError(f"cluster {cluster!r} is not configured any more; add it to the daemon's configuration")
        return around

    async def _forget_if_gone(self, workflow_id: str, directory: Path) -> None:
        """A workflow whose directory somebody removed makes room for a new one in the same place."""
        taken = self._board.workflows.get(workflow_id)
        if taken is None or taken.directory != str(directory):
            return
        if not await ask_in_thread(directory, directory.exists) and not self.supervisor.has_child(workflow_id):
            self._log.warning("forgotten: its directory is gone", workflow=workflow_id, directory=str(directory))
            self._board.unpin(workflow_id)
            await self._catalogue.remove(workflow_id)

    def refuse_taken(self, workflow_id: str) -> None:
        """ConflictError for an id that a workflow has."""
        taken = self._board.workflows.get(workflow_id)
        if taken is not None:
            raise ConflictError(
                f"workflow {workflow_id!r} exists already in {taken.directory}; choose another id, or look at it with "
                f"'penstockctl status {workflow_id}'"
            )

    # ---- starting and finding again ---------------------------------------------------------------------------------

    async def start(self, workflow_id: str, directory: Path, cluster: str) -> None:
        """Starts a workflow's actor, if nobody was quicker.

        StoreError when its `context.toml` is damaged, ConflictError while it is held, SilentError while its file system
        does not answer, NotFoundError when it is gone by then.
        """
        self.refuse_held(workflow_id)
        around = self._surroundings(cluster)
        with self._clock.busy():
            context = await ask_in_thread(directory, read_context, directory, workflow_id)
        if self.info(workflow_id).directory != str(directory):
            raise NotFoundError(f"workflow {workflow_id!r} in {directory} is gone; another has its id now")
        self.refuse_held(workflow_id)
        if not self.supervisor.has_child(workflow_id):
            self._refs[workflow_id] = self.supervisor.start_child(
                workflow_id, lambda me: WorkflowActor(me, context, around)
            )

    async def _set_going(self, workflow_id: str, directory: Path, cluster: str) -> None:
        """Starts what is to run in any case. What stands in its way is healed as a fault is; nobody waits for that."""
        try:
            await self.start(workflow_id, directory, cluster)
        except (PenstockError, SilentError) as error:
            self.supervisor.could_not_start(workflow_id, error)

    async def find_again(self, tasks: TaskGroup, resume: Callable[[str, Operation], Awaitable[None]]) -> None:
        """After a start: every workflow of the catalogue goes on, or at least is known.

        Nobody waits for those on file systems that do not answer. They are held, and `tasks` take them in later;
        `resume` then does what a daemon before was about to do to one of them as a whole.
        """
        missing = {row.id: row for row in await self._catalogue.rows()}
        is_over, room = anyio.Event(), Room(_FOUND_AT_ONCE)

        async def find(row: CatalogueRow) -> None:
            async with room.at(row.directory):
                await self._find(row)
            del missing[row.id]
            if is_over.is_set():
                self._log.info("file system answers again", workflow=row.id, directory=row.directory)
                if (operation := self.operations.get(row.id)) is not None:
                    await resume(row.id, operation)
            elif not missing:
                is_over.set()

        for row in list(missing.values()):
            tasks.start_soon(find, row)
        with anyio.move_on_after(_START_WAITS_S if missing else 0.0):
            await is_over.wait()
        is_over.set()
        for row in missing.values():
            self._board.pin(_unseen_info(row))
            self.hold(row.id, Operation(_WAITED_FOR, "", self._clock.time()))
            self._log.error("file system does not answer", workflow=row.id, directory=row.directory)

    async def _find(self, row: CatalogueRow) -> None:
        directory = Path(row.directory)
        if row.state == CREATING and not await look_in_thread(directory, directory.exists):
            if row.operation is not None:
                await undo_restoration(self._catalogue, row.id, row.operation)
            else:
                await discard(self._catalogue, row.id, directory)  # it was never accepted
            self.operations.pop(row.id, None)
            self._board.unpin(row.id)
        else:
            info = await look_in_thread(directory, _known_info, row)
            self.operations.pop(row.id, None)
            await self._take_in(row, info)

    async def take_in(self, row: CatalogueRow) -> None:
        """A workflow of the catalogue is known, and goes on if it has work; what is done to it as a whole, later."""
        await self._take_in(row, await look_in_thread(row.directory, _known_info, row))

    async def _take_in(self, row: CatalogueRow, info: WorkflowInfo) -> None:
        self._board.pin(info)
        if row.operation is not None and row.operation.what != RESTORING:
            self.hold(row.id, row.operation)
            return
        if row.operation is not None:  # it was revealed, and only the catalogue has not heard of it
            await self._catalogue.set_operation(row.id, None)
        around = self._around(info.cluster)
        if around is None:
            reason = f"cluster {info.cluster!r} is not configured any more"
            self._board.pin(msgspec.structs.replace(info, state=WorkflowState.FAULTED, reason=reason))
        elif info.state == WorkflowState.FAULTED and not info.database:
            return
        elif await look_in_thread(row.directory, lambda: _has_work(info) or _was_woken(info)):
            await self._set_going(row.id, Path(row.directory), info.cluster)
        else:
            around.cluster.post(("detach", row.id), Detach(row.id))

    async def ask(self, workflow_id: str, message: Message, deadline_s: float) -> object:
        """Asks a workflow's actor, starting it when the workflow is at rest. ConflictError while it is held."""
        info = self.info(workflow_id)
        self.refuse_held(workflow_id)
        for _ in range(3):
            if not self.supervisor.has_child(workflow_id):
                await self.start(workflow_id, Path(info.directory), info.cluster)
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

    def ids(self) -> list[str]:
        """All that are known."""
        return list(self._board.workflows)

    def running(self) -> dict[str, Ref[Message]]:
        """The actors that run now."""
        return {name: ref for name, ref in self._refs.copy().items() if self.supervisor.has_child(name)}

    # ---- as a whole -------------------------------------------------------------------------------------------------

    def refuse_held(self, workflow_id: str) -> None:
        """ConflictError while something is done to the workflow as a whole."""
        if (operation := self.operations.get(workflow_id)) is not None:
            raise ConflictError(
                f"workflow {workflow_id} is {operation.what}; wait until that is over ('penstockctl status "
                f"{workflow_id}')"
            )

    def hold(self, workflow_id: str, operation: Operation) -> None:
        """Nothing wakes the workflow from here on."""
        self.operations[workflow_id] = operation
        self._board.pin(msgspec.structs.replace(self.info(workflow_id), operation=operation.what))

    async def let_go(self, workflow_id: str) -> None:
        """The workflow is as it was before it was held, and goes on where it has work."""
        with anyio.CancelScope(shield=True):
            info = msgspec.structs.replace(self.info(workflow_id), operation="")
            with self._clock.busy():
                has_work = await in_thread(info.directory, _has_work, info)
            self.operations.pop(workflow_id, None)
            self._board.pin(info)
            await self._catalogue.set_operation(workflow_id, None)
            if info.state != WorkflowState.FAULTED and has_work and self._around(info.cluster) is not None:
                await self._set_going(workflow_id, Path(info.directory), info.cluster)

    def detach(self, workflow_id: str) -> None:
        """The workflow's cluster sweeps what it still keeps of it."""
        if (around := self._around(self.info(workflow_id).cluster)) is not None:
            around.cluster.post(("detach", workflow_id), Detach(workflow_id))

    async def forget(self, workflow_id: str) -> None:
        """The workflow is gone."""
        await self._catalogue.remove(workflow_id)
        self.operations.pop(workflow_id, None)
        self._refs.pop(workflow_id, None)
        self._faults.pop(workflow_id, None)
        self.supervisor.restarts.pop(workflow_id, None)
        self._board.unpin(workflow_id)

    # ---- faults -----------------------------------------------------------------------------------------------------

    async def _given_up(self, workflow_id: str, error: BaseException) -> None:
        """The workflow is faulted, its siblings are not. What waiting can heal is tried again, ever less often."""
        trouble: BaseException | None = error
        while trouble is not None and workflow_id in self._board.workflows:
            trouble = await self._heal(workflow_id, trouble)

    async def _heal(self, workflow_id: str, error: BaseException) -> BaseException | None:
        """Says what is wrong, and starts the workflow again after a while. What kept it from that, if anything did."""
        info = self._board.workflows[workflow_id]
        healable = not _is_hopeless(error)
        wait = self._next_wait(workflow_id)
        advice = "" if healable else f" (then: penstockctl resume {workflow_id})"
        self._board.pin(
            msgspec.structs.replace(
                info, state=WorkflowState.FAULTED, reason=f"{error}{advice}", updated_at=time.time()
            )
        )
        self._log.error(
            "workflow faulted", workflow=workflow_id, cluster=info.cluster, reason=str(error), heals=healable
        )
        if not healable:
            return None
        await self._clock.sleep(wait)
        is_free = workflow_id in self._board.workflows and workflow_id not in self.operations
        if is_free and not self.supervisor.has_child(workflow_id):
            try:
                await self.start(workflow_id, Path(info.directory), info.cluster)
            except (PenstockError, SilentError) as trouble:
                return trouble
        return None

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
        async with self._flushing:
            changed, self._board.changed = self._board.changed, set()
            for workflow_id in changed & self._board.workflows.keys():
                try:
                    await self._catalogue.update(self._board.workflows[workflow_id])
                except StoreError as error:
                    self._board.changed |= changed
                    self._log.warning("catalogue cannot be written, trying again", error=str(error))
                    return


def _refuse_other_sweep(row: SweepRow, known: SweepRow) -> None:
    """ConflictError where `row` is not what is left to do of the sweep that is `known` by its name."""
    if known.complete:
        message = f"sweep {row.name!r} exists already; choose another id, or see 'penstockctl sweep {row.name}'"
        raise ConflictError(message)
    if known.digest != row.digest:
        message = f"sweep {row.name!r} was begun with another spec and broken off"
        raise ConflictError(f"{message}; submit that spec again for the rest of it, or choose another id")


def _has_work(info: WorkflowInfo) -> bool:
    """Whether something is left to do: jobs, attempts whose end is not recorded, or the view for ASE users."""
    if _is_live(info.state, info.states):
        return True
    return 0 < info.jobs <= PROJECTED_MAX and not Path(info.directory, STRUCTURES_NAME).exists()


def _was_woken(info: WorkflowInfo) -> bool:
    """Whether its database knows of work that the catalogue had not heard of when the daemon was killed."""
    try:
        return _is_live(*load_state(Path(info.database), info.id))
    except StoreError:
        return False  # it was at rest, as far as anybody knows


def _is_live(state: str, jobs: Mapping[str, int]) -> bool:
    return WorkflowState(state) in UNENDED or any(jobs.get(active) for active in ACTIVE)


def _is_hopeless(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not error.healable


def _known_info(row: CatalogueRow) -> WorkflowInfo:
    """What the catalogue knows of a workflow, with its database as `context.toml` has it now."""
    try:
        context = read_context(Path(row.directory), row.id)
    except StoreError as error:
        info = row.snapshot or _unknown_info(row, "", _SOME_CLUSTER)
        return msgspec.structs.replace(info, state=WorkflowState.FAULTED, reason=str(error), database="")
    if row.snapshot is not None:
        return msgspec.structs.replace(row.snapshot, database=context.database, operation="")
    try:
        cluster = msgspec.json.decode(load_spec(Path(context.database), row.id), type=WorkflowSpec).cluster
    except StoreError:
        cluster = _SOME_CLUSTER
    return msgspec.structs.replace(_unknown_info(row, context.database, cluster), mode=context.mode)


def _unseen_info(row: CatalogueRow) -> WorkflowInfo:
    """What is shown of a workflow whose file system has said nothing since the daemon's start."""
    info = row.snapshot or _unknown_info(row, "", _SOME_CLUSTER)
    if WorkflowState(info.state) not in UNENDED:
        return info
    return msgspec.structs.replace(info, state=WorkflowState.FAULTED, reason=silent_reason(row.directory))


def _unknown_info(row: CatalogueRow, database: str, cluster: str) -> WorkflowInfo:
    """A workflow that was recorded but never described: its actor will say the rest."""
    return WorkflowInfo(
        id=row.id,
        recipe="",
        state=WorkflowState.RUNNING,
        directory=row.directory,
        mode="isolated",
        cluster=cluster,
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
        database=database,
    )
