"""Where a context's workflow stands, at a glance."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.domain.context import Context, DaemonPlace, Mode
from penstock.domain.states import public_counts
from penstock.store.connection import reading
from penstock.store.library import count_materials
from penstock.store.queries import load_state


class ContextStatus(msgspec.Struct, frozen=True):
    """`statuses` counts jobs by public status, `states` by exact state; `bytes` is the size of its database files."""

    id: str
    mode: Mode
    namespace: str
    directory: str
    database: str
    state: str
    jobs: int
    statuses: dict[str, int]
    states: dict[str, int]
    materials: int  # of the namespace
    bytes: int
    read_only_because: str | None
    daemon: DaemonPlace | None

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written."""
        return self.read_only_because is not None


def status_of(context: Context, read_only_because: str | None, daemon: DaemonPlace | None) -> ContextStatus:
    """The status, read now. Raises StoreError."""
    database = Path(context.database)
    state, states = load_state(database, context.workflow_id)
    with reading(database) as db:
        materials = count_materials(db, context.namespace)
    return ContextStatus(
        id=context.workflow_id,
        mode=context.mode,
        namespace=context.namespace,
        directory=context.directory,
        database=context.database,
        state=state,
        jobs=sum(states.values()),
        statuses=public_counts(states),
        states=states,
        materials=materials,
        bytes=sum(_size(database.with_name(database.name + suffix)) for suffix in ("", "-wal")),
        read_only_because=read_only_because,
        daemon=daemon,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
