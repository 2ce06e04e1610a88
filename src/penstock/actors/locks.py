"""What a workflow's attempts need beside slots: shared resources of the daemon, locks of the workflow's namespace.

Leases are taken before a submission's intent is committed, and given back after the ends of its attempts are. Killed in
between, the workflow finds at its next start what it holds without an open submission, and gives that back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import msgspec

from penstock.actors.clock import Clock
from penstock.actors.histogram import Histogram
from penstock.domain.ids import ulid_time_s
from penstock.domain.locks import NO_TOKENS, Lease, Standing, Tokens, Wish
from penstock.domain.spec import LockNeeds
from penstock.files.threads import in_thread, look_in_thread
from penstock.store.lock_table import LOCKS_NAME, LockTable

T = TypeVar("T")

ASK_AGAIN_S: Final = 5.0
"""How often one who waits asks by itself; it is also told when its turn has come."""
_CLOSING_S: Final = 1.0
_WAITS_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
HELD_BY: Final = "/"  # between the workflow and the submission in a holder's name


class Grant(msgspec.Struct, frozen=True):
    """How many tasks may be side by side, and under which tokens."""

    tasks: int
    tokens: Tokens = NO_TOKENS


class Locks:
    """The lock tables that a daemon uses, and which of its workflows wait at them."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self.resources = LockTable(state_dir / "locks" / LOCKS_NAME, otherwise=0, now=clock.time)
        self._clock = clock
        self._capacities: Mapping[str, int] | None = None  # configured, and not yet in the file
        self._tables: dict[Path, LockTable] = {}
        self._waiting: dict[str, Callable[[], None]] = {}
        self.waits_s = Histogram(_WAITS_S)  # from the first time that leases were asked for until they were had
        self.capacities: Mapping[str, int] = {}  # as configured
        self.standing: Standing | None = None  # of the resources, after our newest change of it

    def names_in(self, directory: str) -> LockTable:
        """The locks of a namespace."""
        path = Path(directory, LOCKS_NAME)
        return self._tables.setdefault(path, LockTable(path, now=self._clock.time))

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.time()

    async def run(self, table: LockTable, work: Callable[[], T]) -> T:
        """Works on a table in a thread."""
        with self._clock.busy():
            return await in_thread(table.path, work)

    async def change(self, table: LockTable, work: Callable[[], T]) -> T:
        """Works on a table in a thread, and takes down how it then stands, where it is that of the resources."""

        def work_and_look() -> tuple[T, Standing | None]:
            done = work()
            return done, table.standing() if table is self.resources and table.path.exists() else None

        answer, standing = await self.run(table, work_and_look)
        self.standing = standing or self.standing
        return answer

    def configure(self, capacities: Mapping[str, int]) -> None:
        """How much there is of each resource from now on. It is written down before anything more is given."""
        self._capacities = self.capacities = capacities
        self.tell(list(self._waiting))

    async def take_resources(self, wish: Wish) -> tuple[Lease, ...]:
        """What can be had of the daemon's resources, as they are configured now."""
        capacities = self._capacities
        if capacities is not None:
            await self.run(self.resources, partial(self.resources.set_capacities, capacities))
            if self._capacities is capacities:
                self._capacities = None
        return await self.change(self.resources, partial(self.resources.take, wish))

    def waits(self, workflow_id: str, wake: Callable[[], None]) -> None:
        """`wake` is called when the workflow's turn may have come."""
        self._waiting[workflow_id] = wake

    def waits_no_more(self, workflow_id: str) -> None:
        """The workflow wants nothing, or has it."""
        self._waiting.pop(workflow_id, None)

    def tell(self, names: Iterable[str]) -> None:
        """Wakes those of these workflows that wait here."""
        for name in names:
            if (wake := self._waiting.get(name)) is not None:
                wake()

    def look(self, table: LockTable) -> Standing | None:
        """What a table says; None where there is none yet. Reads a file: for threads. That of a namespace is let go."""
        if not table.path.exists():
            return None
        try:
            return table.standing()
        finally:
            if table is not self.resources:
                table.close()

    async def let_go(self, table: LockTable) -> None:
        """Closes a table's file until its next use. One that does not answer is left to a thread.

        A thread may be in it, and in a file system that hangs; so even to ask for its turn is to wait.
        """
        with self._clock.busy(), anyio.move_on_after(_CLOSING_S):
            await look_in_thread(table.path, table.close)

    async def close(self) -> None:
        """Closes all files."""
        async with anyio.create_task_group() as tasks:
            for table in (self.resources, *self._tables.values()):
                tasks.start_soon(self.let_go, table)


class WorkflowLocks:
    """The leases of one workflow's submissions. With nothing in `[locks]` no file is ever touched."""

    def __init__(self, workflow_id: str, locks: Locks, wake: Callable[[], None]) -> None:
        self.workflow_id = workflow_id
        self._locks = locks
        self._wake = wake
        self._needs = LockNeeds()
        self._names: LockTable | None = None
        self._waits = False
        self._asked_at = 0.0
        self._waits_since: float | None = None  # seconds since the epoch

    @property
    def needed(self) -> bool:
        """Whether its attempts need any."""
        return bool(self._needs.resources or self._needs.names)

    def next_ask_at(self) -> float:
        """When it is of use to ask again."""
        return self._asked_at + ASK_AGAIN_S if self._waits else 0.0

    async def find_again(self, needs: LockNeeds, directory: str, opened: Mapping[str, tuple[int, Tokens]]) -> None:
        """After a start: exactly what the open submissions need is held.

        `directory` is that of its context's locks; `opened`: by ulid, how many tasks have attempts whose end is not
        recorded, and the tokens that were. A place in the line that it may have had is its own still.
        """
        self._needs = needs
        if not self.needed and not any(tokens.any for _, tokens in opened.values()):
            return
        self._names = self._locks.names_in(directory)
        resources, names = [], []
        for ulid, (tasks, tokens) in opened.items():
            held = tokens.leases(self._holder(ulid), tasks, ulid_time_s(ulid)) if tasks else ([], [])
            resources += held[0]
            names += held[1]
        await self._settle(self._locks.resources, resources)
        await self._settle(self._names, names)
        if self.needed:
            self._stand()

    async def need(self, needs: LockNeeds, directory: str) -> None:
        """What submissions need from now on: with no attempt under way, a workflow may be resumed with other locks."""
        if needs == self._needs:
            return
        await self.withdraw()
        self._needs = needs
        if self.needed:
            self._names = self._locks.names_in(directory)

    async def _settle(self, table: LockTable, wanted: list[Lease]) -> None:
        def settle() -> None:
            if wanted or table.path.exists():
                table.settle(self.workflow_id, wanted)

        await self._change(table, settle)

    async def take(self, ulid: str, most: int, priority: int) -> Grant | None:
        """Leases for a submission of up to `most` tasks; None, and a place in the line, when there is not one.

        A lock of the namespace is held by one task at a time, and so is everything else then.
        """
        self._asked_at = now = self._locks.now()
        self._waits_since = now if self._waits_since is None else self._waits_since
        names: tuple[Lease, ...] = ()
        if self._names is not None and self._needs.names:
            most = 1
            wish = self._wish(ulid, dict.fromkeys(self._needs.names, 1), most, priority)
            names = await self._locks.run(self._names, partial(self._names.take, wish))
            if not names:
                self._stand()
                return None
        resources: tuple[Lease, ...] = ()
        if self._needs.resources:
            resources = await self._locks.take_resources(self._wish(ulid, self._needs.resources, most, priority))
            if not resources:
                await self.keep(ulid, Tokens(names=_by_name(names)), 0)
                self._stand()
                return None
            most = resources[0].count // self._needs.resources[resources[0].resource]
        self._locks.waits_s.observe(now - self._waits_since)
        self._leave()
        return Grant(most, Tokens(_by_name(resources), _by_name(names), self._needs.resources))

    async def keep(self, ulid: str, tokens: Tokens, tasks: int) -> None:
        """Gives back what a submission does not need any more, now that only so many of its tasks can run."""
        holder = self._holder(ulid)
        if tokens.resources:
            table = self._locks.resources
            await self._change(table, partial(table.keep, holder, tokens.needs, tasks))
        if tokens.names and not tasks and (names := self._names) is not None:
            await self._change(names, partial(names.keep, holder, tokens.names, 0))

    async def withdraw(self) -> None:
        """Leaves the line: nothing is wanted now."""
        if not self._waits:
            return
        for table in self._tables():
            await self._change(table, partial(table.withdraw, self.workflow_id))
        self._leave()

    async def rest(self) -> None:
        """Lets go of the namespace's file until the next use."""
        if self._names is not None:
            await self._locks.let_go(self._names)

    async def close(self) -> None:
        """Its actor has ended; what it holds it holds on."""
        self._locks.waits_no_more(self.workflow_id)
        await self.rest()

    def _tables(self) -> list[LockTable]:
        found = [self._locks.resources] if self._needs.resources else []
        return [*found, self._names] if self._names is not None and self._needs.names else found

    def _wish(self, ulid: str, needs: dict[str, int], most: int, priority: int) -> Wish:
        return Wish(self.workflow_id, self._holder(ulid), needs, most, priority)

    def _holder(self, ulid: str) -> str:
        return f"{self.workflow_id}{HELD_BY}{ulid}"

    async def _change(self, table: LockTable, change: Callable[[], Any]) -> None:
        """Changes what is held or waited for, and wakes those whose turn that makes it."""

        def work() -> list[str]:
            change()
            return table.next_names() if table.path.exists() else []

        self._locks.tell(await self._locks.change(table, work))

    def _stand(self) -> None:
        self._waits = True
        self._locks.waits(self.workflow_id, self._woken)

    def _leave(self) -> None:
        self._waits, self._waits_since = False, None
        self._locks.waits_no_more(self.workflow_id)

    def _woken(self) -> None:
        self._asked_at = 0.0
        self._wake()


def _by_name(leases: tuple[Lease, ...]) -> dict[str, int]:
    return {lease.resource: lease.token for lease in leases}
