"""A write from outside a workflow's actor: one transaction on a connection of its own."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare, store_errors

_PATIENCE_S: Final = 120.0


@contextlib.contextmanager
def writing(database: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """A write transaction on a database of the newest schema: committed on leaving, rolled back on any error.

    With `create` the file is made where there is none. Others who write are waited for. Raises StoreError.
    """
    prepare(database, load_migrations(WORKFLOW_MIGRATIONS), create=create)
    with (
        store_errors(database),
        contextlib.closing(sqlite3.connect(database, timeout=_PATIENCE_S, isolation_level=None)) as db,
    ):
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
