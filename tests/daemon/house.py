"""A daemon without its socket, in virtual time: catalogue and workflows are real, the clusters' world outlives it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from penstock.actors.board import Board
from penstock.actors.locks import Locks
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Policy, Supervisor
from penstock.actors.worker_tasks import CheckWork, KeepSource
from penstock.actors.workflow import Surroundings
from penstock.daemon.creation import Request
from penstock.daemon.workflows import Workflows
from penstock.domain.context import Mode, plan_context
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.views import ClusterInfo
from penstock.files.room import Room
from penstock.recipes.recipe import Step
from penstock.store.catalogue import Catalogue, CatalogueRow
from penstock.store.placement import Placement
from penstock.testing.scripted_workers import ScriptedWorkers, hydrogen_atoms
from penstock.testing.simulated_cluster import SimulatedCluster
from penstock.testing.simulated_world import Behaviour, SimulatedWorld
from penstock.testing.virtual_clock import VirtualClock

DAY_S = 86_400.0
CLUSTERS = ("local", "other")


class KeepingWorkers(ScriptedWorkers):
    """Keeps sources as a worker process does."""

    async def run(self, task: Any) -> Any:
        """The answer to a task."""
        match task:
            case CheckWork():
                return None
            case KeepSource():
                return task.run()
        return await super().run(task)


class Life:
    """A daemon from its start to its end, or to its kill."""

    def __init__(self, house: House, catalogue: Catalogue, clusters: Supervisor) -> None:
        self.catalogue = catalogue
        self.clusters = clusters
        self.board = Board()
        self.owners: dict[str, dict[str, Ref[Any]]] = {name: {} for name in CLUSTERS}
        self._house = house
        self._loading = Room(4)
        self._locks = Locks(house.root / "state", house.clock)
        self._refs = {name: clusters.start_child(name, self._maker(name)) for name in CLUSTERS}
        self.workflows = Workflows(catalogue, self._around, self.board, house.clock, house.placement)

    def _maker(self, name: str) -> Any:
        return lambda me: SimulatedCluster(me, name, self._house.world, self.owners[name])

    def _around(self, cluster: str) -> Surroundings:
        clock = self._house.clock
        return Surroundings(
            clock, self._house.workers, self.board, self._refs[cluster], self._loading, clock.busy, self._locks
        )

    async def find_again(self) -> None:
        """Takes in what an earlier life has left; nothing is done to workflows as a whole."""
        async with anyio.create_task_group() as tasks:
            await self.workflows.find_again(tasks, nothing)

    async def create(self, request: Request) -> None:
        """Submits."""
        room = {name: ClusterInfo(name, "local", "up", None, 2, 0, 4000, 0, 0, 0) for name in CLUSTERS}
        await self.workflows.create(request, room)

    async def row(self, workflow_id: str = "w") -> CatalogueRow | None:
        """What the catalogue knows of a workflow."""
        return next((row for row in await self.catalogue.rows() if row.id == workflow_id), None)

    def state(self, workflow_id: str = "w") -> tuple[str, dict[str, int]]:
        """The workflow's state and its jobs by state."""
        info = self.board.workflows[workflow_id]
        return info.state, info.states

    async def until_ended(self, workflow_id: str = "w") -> tuple[str, dict[str, int]]:
        """Moves time on until the workflow's actor has ended."""
        await self._house.clock.run_until(lambda: not self.workflows.supervisor.has_child(workflow_id), DAY_S)
        return self.state(workflow_id)


class House:
    """What outlives a daemon: files, and what runs on the clusters. Enter it with `async with`."""

    def __init__(self, root: Path, *, jobs: int = 3, behaviour: Behaviour | None = None) -> None:
        self.root = root
        self.clock = VirtualClock()
        self.placement = Placement(str(root / "state"))
        self.world = SimulatedWorld(self.clock, behaviour or Behaviour(), 0)
        self.workers = KeepingWorkers(self.clock, hydrogen_atoms(jobs))
        self.work = root / "work" / ".penstock"
        self.directory = self.work / "w"
        self.work.parent.mkdir()
        self.source = root / "m.csv"
        self.source.write_text("geometry\nH 0 0 0\n")

    async def __aenter__(self) -> Self:
        await self.world.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self.world.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[Life]:
        """A daemon: a new one knows nothing but what is written."""
        catalogue = Catalogue(self.root / "catalogue.db", self.clock.busy)
        await catalogue.open()
        try:
            async with Supervisor("clusters", self.clock, Policy(9, 60.0), _given_up) as clusters:
                life = Life(self, catalogue, clusters)
                async with life.workflows.supervisor:
                    yield life
        finally:
            with anyio.CancelScope(shield=True):
                await catalogue.close()

    def request(self, *, cluster: str = "local", slots: int = 2) -> Request:
        """A wish for the workflow `w`."""
        spec = WorkflowSpec("campaign", StructureSource("m.csv"), {"name": "emt"}, id="w", cluster=cluster, slots=slots)
        context = plan_context(Mode.ISOLATED, str(self.work.parent), "w")
        return Request(context, spec, b"{}", self.source, "spec", (Step("calculate", "fan"),))

    def leftovers(self) -> list[str]:
        """The names in the folder of workflows."""
        return sorted(entry.name for entry in self.work.iterdir()) if self.work.exists() else []


async def _given_up(name: str, error: BaseException) -> None:
    raise error


async def nothing(*_: object) -> None:
    """Does nothing."""
