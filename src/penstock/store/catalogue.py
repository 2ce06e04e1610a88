"""Which workflows exist, and where: one small database in the daemon's state directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import ConflictError
from penstock.domain.sweep import Point
from penstock.domain.views import WorkflowInfo
from penstock.store.database import BusyGuard, Database
from penstock.store.schema import CATALOGUE_MIGRATIONS, load_migrations

CREATING: Final = "creating"
"""The state of a workflow whose directory is not in its place yet; after a crash it never was accepted."""


class CatalogueRow(msgspec.Struct, frozen=True):
    """A workflow as the catalogue knows it; `snapshot` is the last known state for people."""

    id: str
    directory: str
    state: str
    snapshot: WorkflowInfo | None


class SweepRow(msgspec.Struct, frozen=True):
    """A sweep: its points, and whether all of their workflows have been made; `digest` tells its specs apart."""

    name: str
    digest: str
    points: tuple[Point, ...]
    complete: bool
    created_at: float


class Catalogue:
    """The catalogue database."""

    def __init__(self, path: Path, busy: BusyGuard) -> None:
        self._db = Database(path, load_migrations(CATALOGUE_MIGRATIONS), busy)

    @property
    def state_dir(self) -> Path:
        """The daemon's state directory."""
        return self._db.path.parent

    async def open(self) -> None:
        """Creates it when needed and checks that this program may use it."""
        await self._db.create()

    async def close(self) -> None:
        """Closes the connection."""
        await self._db.close()

    async def add(self, workflow_id: str, directory: str) -> None:
        """Records a workflow that is being created; ConflictError when the id or the directory is taken."""
        async with self._db.transaction() as db:
            taken = list(
                await db.execute_fetchall(
                    "SELECT id, directory FROM workflow WHERE id = ? OR directory = ?", (workflow_id, directory)
                )
            )
            if taken:
                raise ConflictError(
                    f"workflow {taken[0][0]!r} exists already in {taken[0][1]}; choose another id, "
                    f"or look at it with 'penstockctl status {taken[0][0]}'"
                )
            await db.execute(
                "INSERT INTO workflow VALUES (?, ?, ?, ?, ?)",
                (workflow_id, directory, CREATING, None, time.time()),
            )

    async def remove(self, workflow_id: str) -> None:
        """Forgets a workflow."""
        async with self._db.transaction() as db:
            await db.execute("DELETE FROM workflow WHERE id = ?", (workflow_id,))

    async def update(self, snapshot: WorkflowInfo) -> None:
        """Keeps a workflow's last known state."""
        async with self._db.transaction() as db:
            await db.execute(
                "UPDATE workflow SET state = ?, snapshot = ? WHERE id = ?",
                (snapshot.state, _encode(snapshot), snapshot.id),
            )

    async def put_sweep(self, row: SweepRow) -> None:
        """Records a sweep before its workflows are made, or once they are, in the place of what was there."""
        async with self._db.transaction() as db:
            await db.execute(
                "INSERT OR REPLACE INTO sweep VALUES (?, ?, ?, ?, ?)",
                (row.name, row.digest, msgspec.json.encode(row.points).decode(), row.complete, row.created_at),
            )

    async def remove_sweep(self, name: str) -> None:
        """Forgets a sweep."""
        async with self._db.transaction() as db:
            await db.execute("DELETE FROM sweep WHERE name = ?", (name,))

    async def sweeps(self) -> list[SweepRow]:
        """All sweeps, oldest first."""
        found = await self._db.fetch(
            "SELECT name, digest, points, complete, created_at FROM sweep ORDER BY created_at, name"
        )
        return [
            SweepRow(name, digest, msgspec.json.decode(points, type=tuple[Point, ...]), bool(complete), created_at)
            for name, digest, points, complete, created_at in found
        ]

    async def rows(self) -> list[CatalogueRow]:
        """All workflows, oldest first."""
        found = await self._db.fetch("SELECT id, directory, state, snapshot FROM workflow ORDER BY created_at, id")
        return [
            CatalogueRow(id_, directory, state, msgspec.json.decode(snapshot, type=WorkflowInfo) if snapshot else None)
            for id_, directory, state, snapshot in found
        ]


def _encode(snapshot: WorkflowInfo) -> str:
    return msgspec.json.encode(snapshot).decode()
