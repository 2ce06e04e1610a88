"""What the daemon answers about locks and shared resources: who holds, who waits, what a person takes away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import anyio

from penstock.actors.board import Board
from penstock.actors.locks import Locks
from penstock.control.messages import ListLocks, LockList, LockReleased, ReleaseLock
from penstock.daemon.config import ResourceLimit
from penstock.daemon.why_locks import explain_line, submission_of
from penstock.domain.context import Context, read_context, work_root_of
from penstock.domain.errors import ConflictError, NotFoundError, SpecError, StoreError
from penstock.domain.locks import Lease, Standing, Waiter
from penstock.domain.spec import LockNeeds, nearest
from penstock.domain.views import LockHolder, LockInfo, LockWaiter, WorkflowInfo
from penstock.files.threads import ask_in_thread
from penstock.store.lock_table import LockTable
from penstock.store.queries import is_submission_open


class LockDesk:
    """Who answers questions about locks. `configured` gives the resources as the configuration has them now."""

    def __init__(self, locks: Locks, board: Board, configured: Callable[[], Mapping[str, ResourceLimit]]) -> None:
        self._locks = locks
        self._board = board
        self._configured = configured

    def refuse_impossible(self, needs: LockNeeds) -> None:
        """SpecError for a resource that is not configured, or of which there is less than one attempt needs."""
        known = self._configured()
        for name, count in needs.resources.items():
            key = f"locks.resources.{name}"
            if name not in known:
                hint = nearest(name, known) or f"known: {', '.join(known) or 'none; add [resources.NAME] there'}"
                raise SpecError(f"the daemon's configuration has no resource {name!r}; {hint}", key=key)
            if count > known[name].count:
                raise SpecError(f"there is only {known[name].count} of it, not {count}", key=key)

    async def answer(self, request: ListLocks | ReleaseLock) -> LockList | LockReleased:
        """Shows how things stand, or changes it."""
        match request:
            case ListLocks(id_):
                return await self._show(id_, self._known(id_))
            case ReleaseLock():
                return await self._take_away(request)

    async def _show(self, only: str | None, workflows: list[WorkflowInfo]) -> LockList:
        standing = await ask_in_thread(self._locks.resources.path, self._standing)
        found = [self._resource(name, standing) for name in self._names(standing)]
        if only is not None:
            named = await ask_in_thread(workflows[0].directory, self._locks_among, workflows)
            held = [lock for lock in found if only in _workflows_at(lock)]
            return LockList((*held, *named))
        by_root: dict[Path, list[WorkflowInfo]] = {}
        for info in workflows:
            by_root.setdefault(work_root_of(Path(info.directory)), []).append(info)
        seen: dict[Path, list[LockInfo]] = {root: [] for root in by_root}

        async def look(root: Path) -> None:
            with contextlib.suppress(OSError):  # it hides no other
                seen[root] = await ask_in_thread(root, partial(self._locks_among, by_root[root], passing_over=True))

        async with anyio.create_task_group() as tasks:
            for root in by_root:
                tasks.start_soon(look, root)
        return LockList((*found, *(lock for locks in seen.values() for lock in locks)))

    def _locks_among(self, workflows: list[WorkflowInfo], *, passing_over: bool = False) -> list[LockInfo]:
        """The named locks of these workflows. `passing_over`: one that is damaged hides no other."""
        found: list[LockInfo] = []
        seen: set[str] = set()
        for info in workflows:
            with contextlib.suppress(*([StoreError] if passing_over else [])):
                context = read_context(Path(info.directory))
                if context.locks not in seen:
                    seen.add(context.locks)
                    found += self._locks_of(context)
        return found

    async def _take_away(self, request: ReleaseLock) -> LockReleased:
        """Takes a lock from a holder. ConflictError for what attempts hold that may still run, unless forced."""
        name, holder = request.name, request.holder
        table = self._locks.resources
        if request.id is not None:
            directory = Path(self._known(request.id)[0].directory)
            context = await ask_in_thread(directory, read_context, directory)
            table = self._locks.names_in(context.locks)
        if not request.force:
            await self._refuse_live(name, holder)
        released = await self._locks.change(table, partial(_release, table, name, holder))
        if not released:
            raise NotFoundError(f"{holder} does not hold {name}; who does: penstockctl locks")
        self._locks.tell(await self._locks.run(table, table.next_names))
        return LockReleased(name, holder, released)

    async def _refuse_live(self, name: str, holder: str) -> None:
        workflow, submission = submission_of(holder)
        info = self._board.workflows.get(workflow or "")
        if info is None or submission is None:
            return
        try:
            database = Path(info.database)
            is_live = await ask_in_thread(database, is_submission_open, database, info.id, submission)
        except StoreError as error:
            raise ConflictError(f"nobody can say whether {holder} is over: {error}; --force releases it") from error
        if is_live:
            raise ConflictError(
                f"{holder} holds {name} for attempts that may still run; it is given back when they have ended. End "
                f"them with 'penstockctl cancel {workflow}', or release it with --force if you know that they do not "
                "run: what still runs would use it beside the next"
            )

    async def explain(self, info: WorkflowInfo, needs: LockNeeds) -> list[str]:
        """Why a ready job of the workflow waits for a lock: which, who holds it, since when. Empty: it does not."""
        if not needs.resources and not needs.names:
            return []
        return await ask_in_thread(info.directory, self._explain, info, needs)

    def _explain(self, info: WorkflowInfo, needs: LockNeeds) -> list[str]:
        reasons: list[str] = []
        if needs.resources and (standing := self._locks.look(self._locks.resources)) is not None:
            reasons += explain_line(standing, info.id, needs.resources, "resource")
        if needs.names:
            names = self._locks.names_in(read_context(Path(info.directory)).locks)
            if (standing := self._locks.look(names)) is not None:
                reasons += explain_line(standing, info.id, dict.fromkeys(needs.names, 1), "lock")
        return reasons

    # ---- tables -----------------------------------------------------------------------------------------------------

    def _known(self, workflow_id: str | None) -> list[WorkflowInfo]:
        if workflow_id is None:
            return list(self._board.workflows.values())
        if workflow_id not in self._board.workflows:
            raise NotFoundError(f"there is no workflow {workflow_id!r}; see 'penstockctl list'")
        return [self._board.workflows[workflow_id]]

    def _standing(self) -> Standing:
        return self._locks.look(self._locks.resources) or Standing({}, otherwise=0)

    def _names(self, standing: Standing) -> Iterable[str]:
        """Configured resources, and those that are not any more and still are held or waited for."""
        others = {lease.resource for lease in standing.leases} | {n for w in standing.waiters for n in w.needs}
        configured = self._configured()
        return [*configured, *sorted(others - configured.keys())]

    def _resource(self, name: str, standing: Standing) -> LockInfo:
        limit = self._configured().get(name, ResourceLimit(0, "not configured any more"))
        return _describe(name, limit.count, standing, None, limit.description)

    def _locks_of(self, context: Context) -> list[LockInfo]:
        table = self._locks.names_in(context.locks)
        if (standing := self._locks.look(table)) is None:
            return []
        names = {lease.resource for lease in standing.leases} | {n for w in standing.waiters for n in w.needs}
        return [_describe(name, standing.capacity(name), standing, context.namespace) for name in sorted(names)]


def _release(table: LockTable, name: str, holder: str) -> int:
    return table.release_holder(name, holder) if table.path.exists() else 0


def _workflows_at(lock: LockInfo) -> set[str | None]:
    return {holder.workflow for holder in lock.holders} | {waiter.workflow for waiter in lock.waiting}


def _describe(name: str, count: int, standing: Standing, namespace: str | None, description: str = "") -> LockInfo:
    return LockInfo(
        name=name,
        count=count,
        used=standing.used()[name],
        holders=tuple(_holder(lease) for lease in standing.leases if lease.resource == name),
        waiting=tuple(_waiter(each, name) for each in sorted(standing.waiters, key=_rank) if name in each.needs),
        namespace=namespace,
        description=description,
    )


def _rank(waiter: Waiter) -> tuple[float, float]:
    return waiter.rank


def _holder(lease: Lease) -> LockHolder:
    workflow, submission = submission_of(lease.holder)
    return LockHolder(lease.holder, lease.count, lease.token, lease.since, lease.expires_at, workflow, submission)


def _waiter(waiter: Waiter, name: str) -> LockWaiter:
    workflow = None if waiter.process else waiter.name
    return LockWaiter(waiter.name, waiter.needs[name], waiter.priority, waiter.since, workflow)
