"""A workflow's results merged into a database that others share: nothing twice, conflicts listed, all or nothing.

The source is read from one moment and never changed. In the target they belong to a workflow `ID@merged`, a name that
no other can have; its jobs say in `origin` where they come from. `merged` remembers which job of the source is which
one there, and a digest of its content: a second merge finds nothing to do, a later one only what has changed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.context import DATABASE_NAME, SHARED, WORK_FOLDER, Context, Mode, plan_context, work_root_of
from penstock.domain.errors import ConflictError, NotFoundError, SpecError, StoreError
from penstock.domain.states import ENDED, JobState
from penstock.domain.views import MergeConflict, MergeReport, OnConflict
from penstock.store import merge_sql as sql
from penstock.store.connection import open_writer, transaction
from penstock.store.events import Event
from penstock.store.library import MATERIAL_INDEX, append_events
from penstock.store.merge_keys import name_results
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, store_errors
from penstock.store.sharing import SHARED_INDEXES

SHOWN_MAX: Final = 1000
ENERGY_TOLERANCE_HARTREE: Final = 1e-6
FORCE_TOLERANCE_HARTREE_PER_BOHR: Final = 1e-4
_MERGED: Final = "@merged"
_MAIN: Final = "main"
_SOURCE: Final = "source"


class MergeOrder(msgspec.Struct, frozen=True):
    """What to merge: absolute paths. `directory` is the source workflow's own.

    `beside`: the workflows of the target lie beside the source's directory, and find its files from there.
    """

    source: str
    workflow_id: str
    directory: str
    target: str
    beside: bool
    on_conflict: OnConflict | None = None
    dry_run: bool = False

    @property
    def into(self) -> str:
        """The workflow in the target that the results belong to."""
        return self.workflow_id + _MERGED

    @property
    def prefix(self) -> str:
        """What goes before a path that begins at the source workflow's directory."""
        return f"../{self.workflow_id}/" if self.beside else f"{self.directory}/"


def plan_merge(
    source: Context, usual: str, into: str | None, on_conflict: OnConflict | None, *, dry_run: bool
) -> MergeOrder:
    """What to merge where. `usual` is the database of shared workflows of the same work root.

    `into` is another work root, or a database (absolute paths). SpecError for one that is neither.
    """
    directory = Path(source.directory)
    root = work_root_of(directory)
    if into is None or Path(into) in (root, Path(usual)):
        target = usual
    elif Path(into).is_dir():
        target = plan_context(Mode.SHARED, into, source.workflow_id).database
    elif Path(into).is_file() or Path(into).suffix == ".db":
        target = into
    else:
        raise SpecError(f"{into} is neither a work directory nor a database (a file that ends with .db)", key="into")
    beside = target == usual and directory.parent == root / WORK_FOLDER
    return MergeOrder(
        source.database, source.workflow_id, source.directory, target, beside, on_conflict, dry_run=dry_run
    )


def merge(order: MergeOrder) -> MergeReport:
    """Merges, or with `dry_run` says what would be done. With conflicts and no choice, nothing is done either.

    StoreError for a database that cannot be read or is of another schema, ConflictError for one that cannot be merged.
    """
    source = Path(order.source)
    if not source.is_file():
        raise StoreError(f"{source} is missing; restore it from a backup", healable=False)
    with _target(order) as target, open_writer(target, create=True) as db:
        schema = _attach(db, source, target)
        try:
            with transaction(db, target):
                return _applied(_merge(db, order, schema))
        except _UndoneError as undone:
            return undone.report


class _UndoneError(Exception):
    """Rolls back what was only tried; `report` says what it would have been."""

    def __init__(self, report: MergeReport) -> None:
        super().__init__()
        self.report = report


@contextlib.contextmanager
def _target(order: MergeOrder) -> Iterator[Path]:
    """The target; for a dry run into one that does not exist, another that goes away again."""
    target = Path(order.target)
    if target.exists() or not order.dry_run:
        if not target.exists():
            _refuse_unwritable(target)
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="penstock-merge-") as folder:
        yield Path(folder, DATABASE_NAME)


def _refuse_unwritable(target: Path) -> None:
    """SpecError where a new database cannot be."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        message = f"{target} cannot be made: {error.strerror}; make {target.parent} writable, or choose another place"
        raise SpecError(message, key="into") from error


def _attach(db: sqlite3.Connection, source: Path, target: Path) -> str:
    """Makes the source readable beside the target; the name of its schema there."""
    if target.exists() and source.samefile(target):
        return _MAIN
    with store_errors(source):
        db.execute(f"ATTACH DATABASE ? AS {_SOURCE}", (f"{source.as_uri()}?mode=ro",))
        (version,) = db.execute(f"PRAGMA {_SOURCE}.user_version").fetchone()
    newest = len(load_migrations(WORKFLOW_MIGRATIONS))
    if version != newest:
        raise StoreError(
            f"{source} has schema {version}, this program merges schema {newest} only and changes no source; "
            "look at the workflow with this release first (penstockctl status), which brings it up to date",
            healable=False,
        )
    return _SOURCE


def _applied(report: MergeReport) -> MergeReport:
    if not report.applied:
        raise _UndoneError(report)
    return report


def _merge(db: sqlite3.Connection, order: MergeOrder, schema: str) -> MergeReport:
    """Inside the transaction."""
    gone = Event("job_superseded", 0, {"workflow": order.workflow_id})
    values: dict[str, Any] = {
        "superseded": gone.kind,
        "by": msgspec.json.encode(gone.data).decode(),
        "id": order.workflow_id,
        "into": order.into,
        "prefix": order.prefix,
        "namespace": SHARED,
        "now": time.time(),
        "energy": ENERGY_TOLERANCE_HARTREE,
        "force": FORCE_TOLERANCE_HARTREE_PER_BOHR,
    }
    _check_source(db, order, schema)
    for index in (*SHARED_INDEXES, MATERIAL_INDEX):
        db.execute(index)
    for statement in sql.PREPARE:
        db.execute(statement)
    left, pointless = _left(db, order, schema)
    name_results(db, order.workflow_id, schema, sql.WANTED)
    for statement in sql.CLASSIFY:
        db.execute(statement.format(source=schema), values)
    counts = dict(db.execute("SELECT what, count(*) FROM temp.incoming GROUP BY what").fetchall())
    conflicts = [MergeConflict(*row) for row in db.execute(sql.CONFLICTS.format(source=schema), {"most": SHOWN_MAX})]
    clashes = counts.get("conflict", 0) + counts.get("named", 0)
    choice = order.on_conflict
    applied = not order.dry_run and (not clashes or choice is not None)
    if choice is not None:
        for statement in sql.DECIDE[choice]:
            db.execute(statement, values)
    new, changed = (
        db.execute("SELECT count(*) FROM temp.incoming WHERE what = ?", (what,)).fetchone()[0]
        for what in ("new", "changed")
    )
    materials = 0
    if new or changed:
        materials = _write(db, order, schema, values)
    return MergeReport(
        source=order.workflow_id,
        target=order.target,
        applied=applied,
        new=new,
        changed=changed,
        unchanged=counts.get("unchanged", 0),
        present=counts.get("present", 0),
        materials=materials,
        conflicts=clashes,
        shown=tuple(conflicts),
        left=left,
        pointless=pointless,
    )


def _check_source(db: sqlite3.Connection, order: MergeOrder, schema: str) -> None:
    found = db.execute(
        f"SELECT mode, created_at FROM {schema}.workflow WHERE workflow_id = ?", (order.workflow_id,)
    ).fetchone()
    if found is None:
        raise NotFoundError(f"{order.source} holds no workflow {order.workflow_id!r}")
    alone = db.execute("SELECT workflow_id FROM workflow WHERE mode = ?", (Mode.ISOLATED,)).fetchone()
    if alone is not None:
        raise ConflictError(
            f"{order.target} is the database of the isolated workflow {alone[0]!r}; merge into one of shared workflows"
        )
    if found[0] == Mode.SHARED:
        raise ConflictError(f"workflow {order.workflow_id!r} is shared already: others find its results")
    before = db.execute("SELECT created_at FROM workflow WHERE workflow_id = ?", (order.into,)).fetchone()
    if before is not None and before[0] != found[1]:
        raise ConflictError(
            f"{order.target} has results of another workflow of the name {order.workflow_id!r}, made at another time; "
            "merge this one under another id, or into another database"
        )


def _left(db: sqlite3.Connection, order: MergeOrder, schema: str) -> tuple[int, int]:
    """How many jobs have not ended, and how many have ended with nothing to tell (cancelled, skipped)."""
    rows = dict(
        db.execute(f"SELECT state, jobs FROM {schema}.tally WHERE workflow_id = ?", (order.workflow_id,)).fetchall()
    )
    ended = {str(state) for state in ENDED}
    without = (JobState.CANCELLED, JobState.SKIPPED)
    return sum(jobs for state, jobs in rows.items() if state not in ended), sum(rows.get(s, 0) for s in without)


def _write(db: sqlite3.Connection, order: MergeOrder, schema: str, values: dict[str, Any]) -> int:
    """The rows of what is new or changed; how many materials are new."""
    for statement in sql.FRAME:
        db.execute(statement.format(source=schema), values)
    for statement in sql.NUMBER:
        db.execute(statement.format(source=schema), values)
    materials = db.execute(sql.MATERIALS.format(source=schema), values).rowcount
    for statement in sql.RESULTS:
        db.execute(statement.format(source=schema), values)
    jobs = db.execute("SELECT count(*) FROM temp.incoming WHERE what IN ('new', 'changed')").fetchone()[0]
    append_events(db, order.into, [Event("workflow_merged", 0, {"workflow": order.workflow_id, "jobs": jobs})])
    return materials
