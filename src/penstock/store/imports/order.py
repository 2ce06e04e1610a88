"""One import from beginning to end: sources opened, read by the reader of their kind, written, counted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.states import ENDED, JobState, WorkflowState
from penstock.domain.views import ImportRemark
from penstock.store.events import Event, counted
from penstock.store.imports.architector import read_campaign
from penstock.store.imports.crystal_materials import read_materials
from penstock.store.imports.kinds import ImportKind, detect_kind
from penstock.store.imports.places import Places
from penstock.store.imports.protocol import read_history
from penstock.store.imports.remarks import Remarks
from penstock.store.imports.rows import ImportedFile
from penstock.store.imports.source import Source, opened
from penstock.store.imports.writing import Writer
from penstock.store.rows import NewStep, WorkflowRow
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare, store_errors

RUNNING: Final = {"hold": JobState.HELD, "ready": JobState.READY}
"""What becomes of calculations that the other tool says are running."""
_BLOCK: Final = 1 << 20


class ImportOrder(msgspec.Struct, frozen=True):
    """What to import. `sources` are absolute; `moved` says where the directories are that rows name."""

    sources: tuple[str, ...]
    kind: str | None = None
    running: str = "hold"
    moved: str | None = None
    chain: tuple[NewStep, ...] = ()  # of a spec for chains


class ImportResult(msgspec.Struct, frozen=True):
    """What an import came to.

    `counts` by what was made (jobs, materials, properties, files, executions, ...), `left_out` rows by table,
    `statuses` what became of which status, `states` the jobs by state, `remarks` by reason, and the first of them.
    """

    kind: str
    counts: dict[str, int]
    left_out: dict[str, int]
    statuses: dict[str, int]
    states: dict[str, int]
    remarks: dict[str, int]
    shown: tuple[ImportRemark, ...]

    @property
    def rejected(self) -> int:
        """Rows that would have been jobs."""
        return sum(self.left_out.get(table, 0) for table in ("structures", "jobs", "calculations"))


def find_kind(order: ImportOrder) -> ImportKind:
    """The kind of the sources; SpecError where they are of none, or do not belong together."""
    with tempfile.TemporaryDirectory() as scratch, _all_opened(order, Path(scratch)) as (kind, _):
        return kind


def try_import(order: ImportOrder) -> ImportResult:
    """What an import would come to; nothing is kept."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(sqlite3.connect("")) as db:
        for script in load_migrations(WORKFLOW_MIGRATIONS):
            db.executescript(script)
        with _all_opened(order, Path(scratch)) as (kind, sources):
            return _read(order, kind, sources, Writer(db, "dry-run", "dry-run"))


def write_import(order: ImportOrder, database: Path, row: WorkflowRow) -> ImportResult:
    """Writes the sources' content as the workflow `row` into `database`, which must not exist.

    SpecError for sources that cannot be read, StoreError where the database cannot be written.
    """
    with (
        store_errors(database),
        tempfile.TemporaryDirectory(dir=database.parent, prefix=".import-") as scratch,
        _all_opened(order, Path(scratch)) as (kind, sources),
    ):
        prepare(database, load_migrations(WORKFLOW_MIGRATIONS), create=True)
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA synchronous = OFF")  # nobody is told of it before it is whole, and on disk
            fields = msgspec.structs.asdict(row)
            names = ", ".join(fields)
            db.execute(
                f"INSERT INTO workflow ({names}) VALUES ({', '.join('?' * len(fields))})", tuple(fields.values())
            )
            writer = Writer(db, row.workflow_id, row.namespace)
            for source in sources:
                writer.add_file(None, _source_file(source.path))
            result = _read(order, kind, sources, writer)
            _conclude(writer, row, order, result)
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _sync(database)
    return result


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _all_opened(order: ImportOrder, scratch: Path) -> Iterator[tuple[ImportKind, list[Source]]]:
    with contextlib.ExitStack() as stack:
        sources = []
        kinds = set()
        for index, path in enumerate(order.sources):
            folder = scratch / str(index)
            folder.mkdir()
            source = stack.enter_context(opened(Path(path), folder))
            kinds.add(detect_kind(source.tables, order.kind, path))
            sources.append(source)
        if len(kinds) != 1 or (len(sources) > 1 and kinds != {ImportKind.PROTOCOL}):
            message = "only executions and their queue are imported together; import others one by one"
            raise SpecError(message, key="sources")
        yield kinds.pop(), sources


def _read(order: ImportOrder, kind: ImportKind, sources: Sequence[Source], writer: Writer) -> ImportResult:
    remarks = Remarks()
    places = Places(sources[0].path, order.moved)
    running = RUNNING[order.running]
    match kind:
        case ImportKind.ARCHITECTOR:
            statuses = read_campaign(sources[0], writer, remarks, places, running)
        case ImportKind.CRYSTAL:
            statuses = read_materials(sources[0], writer, remarks, places, running, order.chain)
        case ImportKind.PROTOCOL:
            statuses = read_history(sources, writer, remarks)
    writer.finish()
    states = {str(state): jobs for state, jobs in writer.states.items() if jobs}
    counts = {what: number for what, number in writer.counts.items() if number}
    return ImportResult(
        kind, counts, dict(remarks.left_out), statuses, states, dict(remarks.counts), tuple(remarks.shown)
    )


def _conclude(writer: Writer, row: WorkflowRow, order: ImportOrder, result: ImportResult) -> None:
    """The workflow's state by what its jobs are, and its history's first words."""
    state, reason = standing(row, result)
    writer.db.execute(
        "UPDATE workflow SET state = ?, reason = ? WHERE workflow_id = ?", (state, reason, row.workflow_id)
    )
    data = {
        "kind": result.kind,
        "sources": order.sources,
        "counts": result.counts,
        "left_out": result.left_out,
        "statuses": result.statuses,
        "remarks": result.remarks,
        "shown": [msgspec.to_builtins(remark) for remark in result.shown],
    }
    writer.add_events([Event("workflow_imported", 0, data)])


def standing(row: WorkflowRow, result: ImportResult) -> tuple[WorkflowState, str | None]:
    """Where an imported workflow stands. Nothing of it begins before a person has looked at it."""
    jobs = Counter(result.states)
    left = sum(number for state, number in jobs.items() if JobState(state) not in ENDED)
    if left:
        goes_on = "it is a record, and nothing of it runs" if row.recipe == "record" else "resume it to have them run"
        return WorkflowState.PAUSED, f"imported with {counted(left)} not done; {goes_on}"
    bad = jobs[JobState.FAILED] + jobs[JobState.TIMEOUT]
    if bad:
        return WorkflowState.FAILED, f"{counted(bad)} failed"
    return WorkflowState.COMPLETED, None


def _source_file(path: Path) -> ImportedFile:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
    return ImportedFile("source", str(path), size, digest.hexdigest())
