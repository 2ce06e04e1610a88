"""A campaign in virtual time: a real workflow actor and database, a simulated cluster, scripted workers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import anyio
import msgspec

from penstock.actors.board import Board
from penstock.actors.locks import Locks
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Policy, Supervisor
from penstock.actors.workflow import Surroundings, WorkflowActor
from penstock.domain.budget import Queueing
from penstock.domain.context import CONTEXT_NAME, Mode, plan_context, render_context
from penstock.domain.errors import PenstockError, StoreError
from penstock.domain.spec import RetryTable, StructureSource, WorkflowSpec
from penstock.domain.views import Selection, WorkflowInfo
from penstock.files.room import Room
from penstock.store.rows import WorkflowRow
from penstock.store.workflow_store import WorkflowStore
from penstock.testing.scripted_workers import ScriptedWorkers, hydrogen_atoms
from penstock.testing.simulated_cluster import SimulatedCluster
from penstock.testing.simulated_world import Behaviour, SimulatedWorld
from penstock.testing.virtual_clock import VirtualClock

ALL = Selection()
DAY_S = 86_400.0
OFTEN = Policy(restarts=1_000_000, period_s=1.0)


class BreakingStore:
    """A store that breaks its actor, before or after a commit, whenever `breaks` says so."""

    def __init__(self, store: WorkflowStore, breaks: Callable[[], bool]) -> None:
        self._store = store
        self._breaks = breaks

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in {"close", "add_steps", "load"} or not callable(found):
            return found

        async def called(*args: Any, **kwargs: Any) -> Any:
            if self._breaks():
                raise BrokenError(f"before {name}")
            result = await found(*args, **kwargs)
            if self._breaks():
                raise BrokenError(f"after {name}")
            return result

        return called


class WatchedBoard(Board):
    """A board that remembers the most jobs that were ever shown as running."""

    def __init__(self) -> None:
        super().__init__()
        self.running_most = 0

    def pin(self, info: WorkflowInfo) -> None:
        super().pin(info)
        running = info.states.get("running", 0) + info.states.get("collecting", 0)
        self.running_most = max(self.running_most, running)


class BrokenError(RuntimeError):
    """The workflow actor was made to break."""


class Campaign:
    """One workflow with its cluster; enter it with `async with`."""

    def __init__(  # noqa: PLR0913 - all that a test may want otherwise
        self,
        root: Path,
        jobs: int,
        *,
        behaviour: Behaviour | None = None,
        seed: int = 0,
        slots: int = 2,
        retry: RetryTable | None = None,
        workflow_id: str = "w",
        breaks: Callable[[], bool] = lambda: False,
        queueing: Queueing | None = None,
        recipe: str = "campaign",
        engine: dict[str, Any] | None = None,
        parameters: str = '{"argv": ["true"]}',
        mode: Mode = Mode.ISOLATED,
        **spec: Any,
    ) -> None:
        self.id = workflow_id
        self.clock = VirtualClock()
        behaviour = msgspec.structs.replace(behaviour or Behaviour(), queueing=queueing is not None)
        self.world = SimulatedWorld(self.clock, behaviour, seed)
        self.workers = ScriptedWorkers(self.clock, hydrogen_atoms(jobs))
        self.board = WatchedBoard()
        if queueing is not None:
            self.board.queueing["local"] = queueing
        self.given_up: dict[str, BaseException] = {}
        self.context = plan_context(mode, str(root), workflow_id)
        self.directory = Path(self.context.directory)
        self.owners: dict[str, Ref[Any]] = {}
        self.locks = Locks(root / "state", self.clock)
        self._breaks = breaks
        self._parameters = parameters
        self._spec = WorkflowSpec(
            recipe,
            StructureSource("molecules.csv"),
            engine or {"name": "command", "command": ["true"]},
            slots=slots,
            retry=retry or RetryTable(max_attempts=3),
            **spec,
        )

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        await self.create()
        async with (
            self.world,
            Supervisor("clusters", self.clock, OFTEN, self._give_up) as clusters,
            Supervisor("workflows", self.clock, OFTEN, self._give_up, hopeless=_hopeless) as self.supervisor,
        ):
            self.cluster = clusters.start_child(
                "simulated", lambda me: SimulatedCluster(me, "simulated", self.world, self.owners)
            )
            self.clusters = clusters
            self.start()
            yield
        await self.locks.close()

    async def create(self) -> None:
        """The database, as a submission leaves it."""
        self.directory.mkdir(parents=True)
        Path(self.context.database).parent.mkdir(exist_ok=True)
        (self.directory / CONTEXT_NAME).write_text(render_context(self.context))
        fields: dict[str, Any] = {
            "workflow_id": self.id,
            "recipe": self._spec.recipe,
            "recipe_version": 1,
            "spec": msgspec.json.encode(self._spec).decode(),
            "parameters": self._parameters,
            "mode": self.context.mode,
            "namespace": self.context.namespace,
            "state": "running",
            "reason": None,
            "slots": self._spec.slots,
            "slots_origin": "spec",
            "priority": 0,
            "created_at": self.clock.time(),
            "updated_at": self.clock.time(),
        }
        store = WorkflowStore(Path(self.context.database), self.id, self.clock.busy)
        await store.create(WorkflowRow(**fields), [])
        await store.close()

    def start(self) -> None:
        """Starts the workflow's actor."""
        around = Surroundings(
            clock=self.clock,
            workers=self.workers,
            board=self.board,
            cluster=self.cluster,
            loading=Room(4),
            database=self.clock.busy,
            locks=self.locks,
        )

        def make(me: Ref[Any]) -> WorkflowActor:
            actor = WorkflowActor(me, self.context, around)
            store = cast("WorkflowStore", BreakingStore(actor._store, self._breaks))
            actor._store = actor._ledger.store = store
            self.actor = actor
            return actor

        self.workflow = self.supervisor.start_child(self.id, make)

    async def _give_up(self, name: str, error: BaseException) -> None:
        self.given_up[name] = error

    # ---- looking ----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> WorkflowInfo:
        """The workflow as pinned up."""
        return self.board.workflows[self.id]

    def states(self) -> Counter[str]:
        """The jobs by state, as pinned up."""
        pinned = self.board.workflows.get(self.id)
        return Counter(pinned.states if pinned else {})

    async def until(self, predicate: Callable[[], bool], limit_s: float = DAY_S) -> None:
        """Moves time on until `predicate` holds."""
        await self.clock.run_until(predicate, limit_s)

    async def until_ended(self) -> str:
        """Moves time on until the actor has ended; returns the workflow's state."""
        await self.until(lambda: self.id in self.given_up or not self.supervisor_runs())
        return self.info.state

    def supervisor_runs(self) -> bool:
        """Whether the workflow's actor is kept running."""
        return self.supervisor.has_child(self.id)

    async def ask(self, message: Any) -> Any:
        """Asks the workflow, moving time on until it has answered."""
        answers: list[Any] = []

        async def ask() -> None:
            try:
                answers.append(await self.workflow.ask(message, 60.0))
            except PenstockError as error:
                answers.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await self.until(lambda: bool(answers), 60.0)
        if isinstance(answers[0], PenstockError):
            raise answers[0]
        return answers[0]

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database really says."""
        with contextlib.closing(sqlite3.connect(self.context.database)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def check_books(self) -> None:
        """The database agrees with itself and with the world."""
        assert self.world.violations == []
        counted = dict(self.query("SELECT state, count(*) FROM job GROUP BY state"))
        assert dict(self.query("SELECT state, jobs FROM tally WHERE jobs")) == counted
        winners = self.query("SELECT job_id, count(*) FROM attempt WHERE state = 'completed' GROUP BY job_id")
        assert all(count == 1 for _, count in winners)
        assert len(winners) == counted.get("completed", 0)
        if not self.query("SELECT 1 FROM submission WHERE state = 'open'"):
            open_attempts = "('intent', 'queued', 'running', 'collecting', 'in_doubt')"
            assert self.query(f"SELECT * FROM attempt WHERE state IN {open_attempts}") == []


def _hopeless(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not error.healable
