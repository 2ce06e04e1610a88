"""What worker processes can do, as messages; run as a module it is a worker process.

A worker reads length-framed msgpack tasks from its standard input (a socket) and answers each there: `=` and the
result, or `!` and a `Failed`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import io
import math
import os
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from penstock import __version__, engines
from penstock.actors.archive_tasks import (
    CleanFiles,
    MeasureUsage,
    PublishArchive,
    ReadArchiveHead,
    RemoveTree,
    UnpackArchive,
    UploadArchive,
    VerifyArchive,
    WriteArchive,
)
from penstock.actors.derive_tasks import Conclude, Unfold
from penstock.actors.directories import look_through
from penstock.actors.report_tasks import ExportResults, WriteReport
from penstock.actors.task import Task
from penstock.clusters.program import find_program, is_of_attempt
from penstock.domain.build_table import BUILT, BuildTable
from penstock.domain.calculation import (
    Calculation,
    Exit,
    FailureClass,
    Outcome,
    PackedChunk,
    Rendered,
    Structure,
    StructureChunk,
    pack_chunk,
)
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, PenstockError, SpecError, StoreError
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.submission import Entry, Manifest
from penstock.domain.views import MergeReport, Selection
from penstock.recipes import structures
from penstock.recipes.foresight import Foresight
from penstock.store import backup, execution_export, export
from penstock.store.export_folder import FOLDER, export_folder
from penstock.store.imports.order import ImportOrder, ImportResult, find_kind, try_import, write_import
from penstock.store.merging import MergeOrder, merge
from penstock.store.reviews import Look, ReviewKind, Seen
from penstock.store.rows import WorkflowRow

_READ_LIMIT_S: Final = 30.0  # for one attempt's outputs; a pattern that takes longer never ends
_PR_SET_PDEATHSIG: Final = 1
LENGTH: Final = struct.Struct("!I")
_COPY_BYTES: Final = 1 << 20
_SOURCE_FOLDER: Final = "source"
UPGRADED: Final = "Penstock was upgraded while the daemon ran; restart penstockd"
REJECTED_SHOWN: Final = 1000
_FORESEEN: Final = 200
"""Structures of which the jobs are counted that others unfold into."""


class Failed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task that raised."""

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    healable: bool = False


FAILURES: Final[dict[str, Callable[[Failed], PenstockError]]] = {
    "spec": lambda f: SpecError(f.message, file=f.file, line=f.line, key=f.key),
    "store": lambda f: StoreError(f.message, healable=f.healable),
    "conflict": lambda f: ConflictError(f.message),
    "not_found": lambda f: NotFoundError(f.message),
    "internal": lambda f: BusyError(f"a worker process failed: {f.message}"),
}


class SourceFile(msgspec.Struct, frozen=True, array_like=True):
    """A source file as kept in the workflow's directory: its path there, size and checksum."""

    path: str
    bytes: int
    sha256: str


class KeptSource(msgspec.Struct, frozen=True, array_like=True):
    """The kept files of a source, and the path (relative to the workflow's directory) that reads them all."""

    path: str
    files: list[SourceFile]


class StepInputs(msgspec.Struct, frozen=True, array_like=True):
    """What a step is rendered with, beside a structure; `parameters` are JSON."""

    key: str
    parameters: bytes
    cores: int
    memory_mb: int
    tasks: int
    given: tuple[str, ...] = ()  # files of the step before

    def render(self, engine: engines.Engine[Any], s: Structure) -> Rendered | None:
        """The step's inputs for a structure of the source; None where they hang on what the step before finds.

        SpecError for a structure that it cannot be done for.
        """
        try:
            return self._render(engine, s)
        except SpecError:
            if self.given:
                return None
            raise

    def programs(self, engine: engines.Engine[Any]) -> Mapping[str, str]:
        """The programs that its attempts call, by the keys that name them."""
        return engine.programs(msgspec.json.decode(self.parameters, type=engine.parameters_type))

    def _render(self, engine: engines.Engine[Any], s: Structure) -> Rendered:
        parameters = msgspec.json.decode(self.parameters, type=engine.parameters_type)
        calculation = Calculation(
            s.name, s.geometry, s.charge, s.multiplicity, self.cores, self.memory_mb, self.tasks, s.deck, self.given
        )
        return engine.render(calculation, parameters)


class CheckWork(Task[None], frozen=True):
    """Refuses a source that cannot be read at all, an engine that is not installed, and steps that it cannot do."""

    source: StructureSource
    path: str
    engine: str
    steps: tuple[StepInputs, ...]
    runs_here: bool = True  # what attempts need elsewhere is not to be seen from here
    result = None

    def paths(self) -> tuple[str, ...]:
        """The source's; none where it is to be built."""
        return (self.path,) if self.path else ()

    def run(self) -> None:
        """Raises SpecError."""
        structures.check_source(self.source, structures.place_of(self.path))
        engine = engines.get(self.engine)
        if engine.kind == "python":
            self._check_parameters(engine)
            if self.runs_here:
                self._load(engine)
        if self.runs_here:
            self._check_programs(engine)

    def _load(self, engine: engines.Engine[Any]) -> None:
        try:
            engine.load()
        except ImportError as error:
            raise SpecError(f"{self.engine} is not installed beside penstockd: {error}", key="engine.name") from error

    def _check_parameters(self, engine: engines.Engine[Any]) -> None:
        """What a step puts over checked parameters may not go together with them: rendering tells."""
        structure = structures.first_structure(self.source, structures.place_of(self.path))
        for step in self.steps:
            try:
                step.render(engine, structure)
            except SpecError as error:
                raise SpecError(error.message, key=f"steps.{step.key}.{error.key or 'engine'}") from error

    def _check_programs(self, engine: engines.Engine[Any]) -> None:
        """Looks for the programs of steps that the first structure can be rendered for; others may never be run."""
        structure = structures.first_structure(self.source, structures.place_of(self.path))
        for step in self.steps:
            if step.render(engine, structure) is not None:
                for key, program in step.programs(engine).items():
                    complaint = find_program(program).complaint(program, "the daemon")
                    if complaint is not None and not is_of_attempt(program):
                        raise SpecError(complaint, key=key)


class KeepSource(Task[KeptSource], frozen=True):
    """Copies a source's files to `directory`/source, or writes what is built there; each by rename, with checksums."""

    source: StructureSource
    path: str
    directory: str
    is_long = True
    result = KeptSource

    def paths(self) -> tuple[str, ...]:
        """The source's, where it is not built, and the workflow's."""
        return (self.path, self.directory) if self.path else (self.directory,)

    def run(self) -> KeptSource:
        """The kept files; running it again gives the same."""
        if self.source.build is not None:
            return self._keep_built(self.source.build)
        path = Path(self.path)
        files = []
        for found in structures.source_files(self.source, path):
            name = f"{_SOURCE_FOLDER}/{found.name}"
            try:
                files.append(SourceFile(name, *copy_with_checksum(found.path, Path(self.directory, name))))
            except OSError as error:
                reason = f"{error.strerror or error}; the work directory must be writable and have room"
                raise SpecError(f"{found.path} cannot be copied: {reason}") from error
        return KeptSource(files[0].path if path.is_file() else _SOURCE_FOLDER, files)

    def _keep_built(self, table: BuildTable) -> KeptSource:
        text = structures.render_built(structures.build_structures(table)).encode()
        try:
            file = SourceFile(BUILT, *_write_with_checksum(io.BytesIO(text), Path(self.directory, BUILT)))
        except OSError as error:
            reason = f"{error.strerror or error}; the work directory must be writable and have room"
            raise SpecError(f"{BUILT} cannot be written: {reason}") from error
        return KeptSource(BUILT, [file])


class ReadChunk(Task[PackedChunk], frozen=True):
    """Reads the next structures of a source."""

    source: StructureSource
    path: str
    cursor: str
    limit: int
    with_keys: bool = False  # of the materials, for those who share results
    by_name: bool = False  # whether what is called differently is calculated differently
    result = PackedChunk

    def paths(self) -> tuple[str, ...]:
        """The source's."""
        return (self.path,)

    def run(self) -> PackedChunk:
        """At most `limit` records from `cursor` on."""
        chunk = structures.read_chunk(self.source, self.path, self.cursor, self.limit)
        return pack_chunk(chunk, with_keys=self.with_keys, by_name=self.by_name)


class RenderItem(msgspec.Struct, frozen=True, array_like=True):
    """An attempt to render."""

    position: int
    directory: str
    job_id: int
    calculation: Calculation
    carry_from: str | None = None
    parameters: bytes | None = None  # JSON; None: those of the task
    is_own: bool = False  # whether `carry_from` is an attempt of the same job, and not of the step before


class RenderedManifest(msgspec.Struct, frozen=True, array_like=True):
    """An encoded manifest, and the attempts that could not be rendered with the reason."""

    manifest: bytes
    errors: list[tuple[int, str]]


class Render(Task[RenderedManifest], frozen=True):
    """Renders the inputs of a whole submission into its manifest; `manifest` comes with no entries."""

    manifest: Manifest
    parameters: bytes
    items: list[RenderItem]
    carry: tuple[str, ...] = ()  # names of files that are carried from a job's own attempts, whatever the engine says
    result = RenderedManifest

    def run(self) -> RenderedManifest:
        """The encoded manifest."""
        engine = engines.get(self.manifest.engine)
        shared = _Parameters(engine, self.parameters)
        entries, errors = [], []
        for item in self.items:
            try:
                rendered = engine.render(item.calculation, shared.of(item.parameters))
                if item.is_own and self.carry:
                    carry = dict.fromkeys(self.carry)
                    rendered = msgspec.structs.replace(rendered, carry={n: n for n in carry} | rendered.carry)
            except Exception as error:  # noqa: BLE001 - one poisonous structure must not stop its workflow
                errors.append((item.position, str(error)))
            else:
                entries.append(Entry(item.position, item.directory, item.job_id, rendered, item.carry_from))
        manifest = msgspec.structs.replace(self.manifest, entries=entries)
        return RenderedManifest(msgspec.msgpack.encode(manifest), errors)


class CollectItem(msgspec.Struct, frozen=True, array_like=True):
    """An ended attempt whose outputs are to be read; `directory` is absolute."""

    position: int
    directory: str
    exit: Exit
    parameters: bytes | None = None  # JSON; None: those of the task


class _Parameters:
    """An engine's parameters, decoded once for all attempts that share them."""

    def __init__(self, engine: engines.Engine[Any], encoded: bytes) -> None:
        self._type = engine.parameters_type
        self._shared = msgspec.json.decode(encoded, type=self._type)

    def of(self, own: bytes | None) -> Any:
        return self._shared if own is None else msgspec.json.decode(own, type=self._type)


class Collect(Task[list[tuple[int, Outcome]]], frozen=True):
    """Reads the outputs of ended attempts."""

    engine: str
    parameters: bytes
    items: list[CollectItem]
    result = list[tuple[int, Outcome]]

    def paths(self) -> tuple[str, ...]:
        """One attempt's: all are of one workflow."""
        return tuple(item.directory for item in self.items[:1])

    def run(self) -> list[tuple[int, Outcome]]:
        """An outcome for every item."""
        engine = engines.get(self.engine)
        shared = _Parameters(engine, self.parameters)
        return [(item.position, _read_outputs(engine, item, shared)) for item in self.items]

    def limit_s(self) -> float:
        """More for more attempts."""
        return _READ_LIMIT_S + len(self.items)


def _read_outputs(engine: engines.Engine[Any], item: CollectItem, parameters: _Parameters) -> Outcome:
    """What the attempt came to. Engines do not raise over outputs; should one do, that is this attempt's failure."""
    try:
        return engine.read(Path(item.directory), item.exit, parameters.of(item.parameters))
    except Exception as error:  # noqa: BLE001 - one poisonous attempt must not stop its workflow
        return Outcome(FailureClass.OUTPUT_INVALID, f"its outputs cannot be read: {type(error).__name__}: {error}")


class LookAtJobs(Task[list[Seen]], frozen=True):
    """Looks through the directories of jobs, for as long as a worker may be taken from others."""

    kind: ReviewKind
    engine: str
    parameters: bytes
    directory: str
    items: list[Look]
    result = list[Seen]

    def paths(self) -> tuple[str, ...]:
        """The workflow's."""
        return (self.directory,)

    def run(self) -> list[Seen]:
        """What was found of the first items, at least of one."""
        engine = engines.get(self.engine)
        return look_through(self.kind, engine, self.parameters, Path(self.directory), self.items)

    def limit_s(self) -> float:
        """Of one job more than it could ever take."""
        return 2 * _READ_LIMIT_S


class SourcePlan(msgspec.Struct, frozen=True, array_like=True):
    """What a source would give: counts, the first rejected records, and the first job's inputs.

    `by_step` are the jobs of a plan that unfolds; `untold` says of which steps they cannot be counted yet, and why.
    """

    structures: int
    rejected: int
    rejected_shown: list[tuple[int, int, str]]
    examples: dict[str, Rendered]  # by step
    by_step: dict[str, int] = {}
    untold: dict[str, str] = {}

    def jobs_of(self, step: str) -> int:
        """How many jobs a step with jobs will have."""
        return self.by_step.get(step, 0) if self.by_step else self.structures


class PlanSource(Task[SourcePlan], frozen=True):
    """Reads a whole source and renders the first job of each step; writes nothing.

    Jobs that others unfold into are counted on the first structures; of many, the rest are taken to be like those.
    """

    spec: WorkflowSpec
    path: str
    steps: tuple[StepInputs, ...]
    is_long = True
    result = SourcePlan

    def paths(self) -> tuple[str, ...]:
        """The source's; none where it is to be built."""
        return (self.path,) if self.path else ()

    def run(self) -> SourcePlan:
        """The plan."""
        source = self.spec.structures
        structures.check_source(source, structures.place_of(self.path))
        engine = engines.get(self.spec.engine_name)
        foresight = Foresight(self.spec, {step.key: step.parameters for step in self.steps})
        count = rejected = 0
        shown: list[tuple[int, int, str]] = []
        examples: dict[str, Rendered] = {}
        chunk = StructureChunk([], [], "", done=False)
        while not chunk.done:
            chunk = structures.read_chunk(source, self.path, chunk.cursor, 5000)
            if chunk.structures and not examples:
                first = chunk.structures[0]
                examples = {
                    step.key: rendered for step in self.steps if (rendered := step.render(engine, first)) is not None
                }
            if foresight.unfolds:
                for structure in chunk.structures[: max(0, _FORESEEN - count)]:
                    foresight.see(structure)
            count += len(chunk.structures)
            rejected += len(chunk.rejected)
            room = REJECTED_SHOWN - len(shown)
            shown.extend((r.orig_index, r.line, r.reason) for r in chunk.rejected[:room])
        share = max(count, 1) / max(min(count, _FORESEEN), 1)
        by_step = {key: math.ceil(jobs * share) for key, jobs in foresight.jobs.items()}
        return SourcePlan(count, rejected, shown, examples, by_step, foresight.untold)


class ExportJobs(Task[int], frozen=True):
    """Writes the selected jobs of a workflow's database to a file."""

    database: str
    workflow_id: str
    format: str
    path: str
    selection: Selection
    overwrite: bool
    is_long = True
    result = int

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (self.database, self.path)

    def run(self) -> int:
        """How many jobs were written; of a history of protocols, how many executions."""
        if self.format == FOLDER:
            path, overwrite = Path(self.path), self.overwrite
            return export_folder(Path(self.database), self.workflow_id, path, self.selection, overwrite=overwrite)
        if execution_export.holds_executions(Path(self.database), self.workflow_id):
            write = execution_export.export_executions
        else:
            write = export.export_jobs
        return write(
            Path(self.database),
            self.workflow_id,
            self.format,
            Path(self.path),
            self.selection,
            overwrite=self.overwrite,
        )


class BackUp(Task[backup.BackedUp], frozen=True):
    """Copies a workflow's database while it is in use."""

    database: str
    workflow_id: str
    path: str
    overwrite: bool
    is_long = True
    result = backup.BackedUp

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (self.database, self.path)

    def run(self) -> backup.BackedUp:
        """What the copy holds."""
        return backup.back_up(Path(self.database), self.workflow_id, Path(self.path), overwrite=self.overwrite)


class FindImportKind(Task[str], frozen=True):
    """Looks which tool's databases these are."""

    order: ImportOrder
    result = str

    def paths(self) -> tuple[str, ...]:
        """The sources'."""
        return self.order.sources

    def run(self) -> str:
        """The kind; SpecError where nobody knows it."""
        return find_kind(self.order)


class TryImport(Task[ImportResult], frozen=True):
    """Reads databases of another tool; writes nothing."""

    order: ImportOrder
    is_long = True
    result = ImportResult

    def paths(self) -> tuple[str, ...]:
        """The sources', and where the files are that they name."""
        return (*self.order.sources, *filter(None, [self.order.moved]))

    def run(self) -> ImportResult:
        """What an import would come to."""
        return try_import(self.order)


class WriteImport(Task[ImportResult], frozen=True):
    """Writes databases of another tool as a workflow into a new database of ours."""

    order: ImportOrder
    database: str
    row: WorkflowRow
    engine: str
    is_long = True
    result = ImportResult

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (*self.order.sources, *filter(None, [self.order.moved]), self.database)

    def run(self) -> ImportResult:
        """What the import came to; SpecError for an engine that is not installed."""
        engine = engines.get(self.engine)
        try:
            engine.load()
        except ImportError as error:
            raise SpecError(f"{self.engine} is not installed beside penstockd: {error}", key="engine.name") from error
        return write_import(self.order, Path(self.database), self.row)


class MergeResults(Task[MergeReport], frozen=True):
    """Merges results of one workflow into the database of others."""

    order: MergeOrder
    is_long = True
    result = MergeReport

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (self.order.source, self.order.directory, self.order.target)

    def run(self) -> MergeReport:
        """What was done; all of it or nothing."""
        return merge(self.order)


AnyTask = (
    CheckWork
    | KeepSource
    | ReadChunk
    | Render
    | Collect
    | LookAtJobs
    | PlanSource
    | ExportJobs
    | FindImportKind
    | TryImport
    | WriteImport
    | BackUp
    | MergeResults
    | WriteArchive
    | VerifyArchive
    | PublishArchive
    | UploadArchive
    | ReadArchiveHead
    | UnpackArchive
    | RemoveTree
    | MeasureUsage
    | CleanFiles
    | Unfold
    | Conclude
    | ExportResults
    | WriteReport
)


def copy_with_checksum(source: Path, target: Path) -> tuple[int, str]:
    """Copies a file, with its times, by way of a temporary name; returns its size and SHA-256."""
    with source.open("rb") as reader:
        return _write_with_checksum(reader, target, source)


def _write_with_checksum(reader: BinaryIO, target: Path, like: Path | None = None) -> tuple[int, str]:
    """Writes what `reader` has by way of a temporary name, with the times and mode of `like`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    digest, size = hashlib.sha256(), 0
    with partial.open("wb") as writer:
        while block := reader.read(_COPY_BYTES):
            digest.update(block)
            writer.write(block)
            size += len(block)
        writer.flush()
        os.fsync(writer.fileno())
    if like is not None:
        shutil.copystat(like, partial)
    partial.replace(target)
    return size, digest.hexdigest()


def answer(decoder: msgspec.msgpack.Decoder[AnyTask], payload: bytes) -> bytes:
    """The answer to one encoded task."""
    try:
        return b"=" + msgspec.msgpack.encode(decoder.decode(payload).run())
    except SpecError as error:
        failed = Failed("spec", error.message, error.file, error.line, error.key)
    except StoreError as error:
        failed = Failed(error.code, str(error), healable=error.healable)
    except (ConflictError, NotFoundError) as error:
        failed = Failed(error.code, str(error))
    except OSError as error:
        failed = Failed("spec", f"{error.filename or 'a file'}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - a worker outlives whatever a task raises
        failed = Failed("internal", f"{type(error).__name__}: {error}")
    return b"!" + msgspec.msgpack.encode(failed)


def frame(payload: bytes) -> bytes:
    """`payload` behind its length."""
    return LENGTH.pack(len(payload)) + payload


def refuse(_payload: bytes) -> bytes:
    """The answer of a worker that is not of the daemon's version."""
    return b"!" + msgspec.msgpack.encode(Failed("internal", UPGRADED))


def _end_with_the_daemon() -> None:
    """A worker that outlived a killed daemon could still write where the next one does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(daemon_version: str) -> None:
    """Serves tasks until the daemon closes the socket. What libraries print goes to standard error."""
    _end_with_the_daemon()
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    decoder = msgspec.msgpack.Decoder(AnyTask)
    respond = functools.partial(answer, decoder) if daemon_version == __version__ else refuse
    with (
        contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt),
        channel.makefile("rb") as stream,
    ):
        while len(header := stream.read(LENGTH.size)) == LENGTH.size:
            payload = respond(stream.read(LENGTH.unpack(header)[0]))
            channel.sendall(frame(payload))


if __name__ == "__main__":
    main(sys.argv[1])
