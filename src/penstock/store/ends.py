"""When a workflow ended, and when anything of it has changed last."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import StoreError
from penstock.store.connection import reading

# Whoever brings a workflow back wants it for as long again. What is done to it at its end, its archiving among it, and
# its return from an archive are no changes of it.
_END: Final = """
    SELECT w.spec, w.updated_at,
        (SELECT coalesce(max(at), 0.0) FROM event e WHERE e.workflow_id = w.workflow_id AND e.kind NOT IN
            ('workflow_restored', 'workflow_action_done', 'workflow_action_failed', 'workflow_action_held')),
        (SELECT coalesce(max(at), w.updated_at) FROM event e WHERE e.workflow_id = w.workflow_id
            AND e.kind IN ('workflow_state', 'workflow_restored'))
    FROM workflow w WHERE w.workflow_id = ?
"""


class End(msgspec.Struct, frozen=True):
    """When its row was changed, and when the newest change of anything in it was told. Seconds since the epoch."""

    spec: str
    updated_at: float
    told_at: float
    ended_at: float


def load_end(database: Path, workflow_id: str) -> End:
    """The end of a workflow. StoreError when the database cannot say it."""
    with reading(database) as db:
        row = db.execute(_END, (workflow_id,)).fetchone()
    if row is None:
        raise StoreError(f"{database} holds no workflow {workflow_id!r}", healable=False)
    return End(*row)
