"""A workflow that comes from elsewhere: what its database says of it, and its change of hands in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.context import DaemonPlace
from penstock.domain.errors import ConflictError
from penstock.domain.states import ACTIVE, WorkflowState
from penstock.store.connection import open_writer, reading, transaction
from penstock.store.events import Event
from penstock.store.library import append_events

OFFLINE: Final = "made offline; it runs once a daemon adopts it"
"""Why a workflow is paused that no daemon has seen yet."""
_OWN_TABLES: Final = (
    "SELECT t.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND c.name = 'workflow_id'"
)


class Arrival(msgspec.Struct, frozen=True):
    """A workflow as its own database has it. `active`: attempts whose end is not recorded."""

    workflow_id: str
    spec: str  # JSON
    parameters: str  # JSON
    state: WorkflowState
    reason: str | None
    slots: int
    slots_origin: str
    daemon: DaemonPlace | None
    active: int
    created_at: float


def load_arrival(database: Path) -> Arrival:
    """What is known of the one workflow in `database`. ConflictError when there are several, or none."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT workflow_id, spec, parameters, state, reason, slots, slots_origin, daemon, created_at FROM workflow"
        ).fetchall()
        if len(rows) != 1:
            raise ConflictError(
                f"{database} holds {len(rows)} workflows; one that is to move has a database of its own"
            )
        workflow_id, spec, parameters, state, reason, slots, origin, daemon, created_at = rows[0]
        tally = dict(db.execute("SELECT state, jobs FROM tally WHERE workflow_id = ?", (workflow_id,)))
    place = msgspec.json.decode(daemon, type=DaemonPlace) if daemon else None
    active = sum(tally.get(str(job_state), 0) for job_state in ACTIVE)
    return Arrival(
        *(workflow_id, spec, parameters, WorkflowState(state), reason, slots, origin, place, active),
        created_at=created_at,
    )


def take_over(
    database: Path, arrival: Arrival, *, workflow_id: str, spec: str, slots: int, claim: str, told: Mapping[str, object]
) -> None:
    """Gives the workflow its new daemon (`claim`, JSON), id, spec and slots; one made offline runs from now on.

    `told` is what its history says of it. Doing it again changes nothing more.
    """
    old, now = arrival.workflow_id, time.time()
    with open_writer(database) as connection, transaction(connection, database) as db:
        db.execute("PRAGMA defer_foreign_keys = ON")
        if workflow_id != old:
            for (table,) in db.execute(_OWN_TABLES).fetchall():
                db.execute(f"UPDATE {table} SET workflow_id = ? WHERE workflow_id = ?", (workflow_id, old))
            for table in ("workflow", "material"):
                db.execute(f"UPDATE {table} SET namespace = ? WHERE namespace = ?", (workflow_id, old))
        waits = arrival.state is WorkflowState.PAUSED and arrival.reason == OFFLINE
        db.execute(
            "UPDATE workflow SET spec = ?, slots = ?, slots_origin = iif(slots = ?, slots_origin, 'set'), daemon = ?, "
            "state = ?, reason = ?, updated_at = ? WHERE workflow_id = ?",
            (
                *(spec, slots, slots, claim, WorkflowState.RUNNING if waits else arrival.state),
                *(None if waits else arrival.reason, now, workflow_id),
            ),
        )
        append_events(db, workflow_id, [Event("workflow_adopted", 0, dict(told))])
