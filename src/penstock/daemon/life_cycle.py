"""A workflow as a whole: archived, restored, deleted. What is begun is recorded first, and ended by who finds it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, Unpack

import anyio
import msgspec
import structlog

from penstock.actors.archive_tasks import (
    Archived,
    CleanFiles,
    MeasureUsage,
    PublishArchive,
    ReadArchiveHead,
    RemoveTree,
    UnpackArchive,
    Unpacked,
    UploadArchive,
    VerifyArchive,
    WriteArchive,
    partial_of,
    scratch_of,
)
from penstock.actors.clock import Clock
from penstock.actors.workers import Workers, run_unless_silent
from penstock.control import messages as m
from penstock.daemon.archive_places import is_folder, path_towards
from penstock.daemon.creation import aside_here, refuse_existing, undo_restoration
from penstock.daemon.workflows import Workflows
from penstock.domain.context import Context, Mode, plan_context, work_root_of
from penstock.domain.errors import ConflictError, NotFoundError, PenstockError, SpecError, StoreError
from penstock.domain.ids import check_workflow_id, new_ulid
from penstock.domain.life_cycle import (
    ARCHIVE_SUFFIX,
    ARCHIVING,
    CLEANING,
    DELETING,
    RESTORING,
    ArchiveHead,
    Operation,
    check_place,
    default_name,
    is_url,
)
from penstock.domain.spec import WorkflowSpec
from penstock.domain.states import ACTIVE, WorkflowState, public_counts
from penstock.domain.views import ArchiveInfo, WorkflowInfo
from penstock.files.threads import SilentError, ask_in_thread, in_thread, refuse_silent, where_is
from penstock.store.catalogue import Catalogue, CatalogueRow
from penstock.store.dependents import count_dependents, describe_dependents
from penstock.store.layout import reveal, sync_directory
from penstock.store.lock_table import LOCKS_NAME
from penstock.store.removal import give_back_locks, remove_empty, remove_workflow
from penstock.store.transfer import is_at_rest
from penstock.store.usage import Cleaned, Cleaning, cleaning_of

OperationRequest = m.Archive | m.Restore | m.Delete | m.Clean | m.ListArchives | m.MeasureUsage
"""What people ask of workflows as a whole: operations, and what these have left. The review of retention is none."""
T = TypeVar("T")
P = TypeVarTuple("P")
_TRASH: Final = ".deleted-"
_BEGUN: Final = (ARCHIVING, DELETING, CLEANING)


class LifeCycle:
    """Carries operations out, one at a time for each workflow. `workers` are its own: archives may take hours."""

    def __init__(self, workflows: Workflows, catalogue: Catalogue, workers: Workers, clock: Clock) -> None:
        self._workflows = workflows
        self._catalogue = catalogue
        self._workers = workers
        self._clock = clock
        self._carried_out: set[str] = set()
        self._log = structlog.get_logger()

    async def answer(self, request: OperationRequest) -> m.AnyReply:
        """The reply to a request that is about a workflow as a whole."""
        match request:
            case m.Archive():
                return await self.archive(request)
            case m.Restore():
                return await self.restore(request)
            case m.Delete():
                return await self.delete(request)
            case m.Clean():
                return await self.clean(request)
            case m.MeasureUsage(id=id_):
                return await self.usage(id_)
            case m.ListArchives(id=id_):
                return m.Archives(tuple(await self._catalogue.archives(id_)))

    # ---- after a restart --------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """Ends what a daemon before was about to do, each workflow apart from the others.

        Those that are held for their file systems alone are not among them: what is to be done there, if anything, is
        known when these answer.
        """
        async with anyio.create_task_group() as tasks:
            for workflow_id, operation in list(self._workflows.operations.items()):
                if operation.what in _BEGUN:
                    tasks.start_soon(self.resume_one, workflow_id, operation)

    async def resume_one(self, workflow_id: str, operation: Operation) -> None:
        """Ends what was begun with one workflow."""
        self._log.info("goes on", workflow=workflow_id, operation=operation.what, location=operation.location)
        try:
            match operation.what:
                case "archiving":
                    await self._archive(workflow_id, operation)
                case "deleting":
                    await self._delete(workflow_id, operation)
                case "cleaning":
                    await self._clean(workflow_id, operation)
        except PenstockError as error:
            self._log.error("cannot be ended", workflow=workflow_id, operation=operation.what, error=str(error))

    # ---- archive ----------------------------------------------------------------------------------------------------

    async def archive(self, request: m.Archive) -> m.Archived:
        """Writes, verifies and records an archive; then, and only then, deletes the workflow where that is wished."""
        info = await self._reached(request.id, request.destination)
        operation = self._planned(info, ARCHIVING)
        location = await self._in_thread(info.directory, _location, request.destination, info)
        operation = msgspec.structs.replace(operation, location=location, then_delete=request.delete)
        if request.delete:
            hint = f"archive it without --delete, and then remove it with 'penstockctl delete {info.id} --force'"
            await self._refuse_dependents(info, hint)
        await self._begin(info, operation)
        return await self._archive(request.id, operation)

    def _planned(self, info: WorkflowInfo, what: str) -> Operation:
        return Operation(
            what=what,
            token=new_ulid(self._clock.time()),
            began_at=self._clock.time(),
            directory=info.directory,
            database=info.database,
            shares_database=info.mode != Mode.ISOLATED,
        )

    async def _archive(self, workflow_id: str, operation: Operation) -> m.Archived:
        try:
            async with self._carrying_out(workflow_id):
                written = await self._write(workflow_id, operation)
        except PenstockError:
            await self._clear_partial(operation)
            await self._workflows.let_go(workflow_id)
            raise
        archive = _archive_info(workflow_id, operation, written)
        if operation.then_delete and (found := await self._dependents(self._workflows.info(workflow_id))):
            await self._catalogue.keep_archive(archive, None)  # they were taken over while it was written
            await self._workflows.let_go(workflow_id)
            why = f"{describe_dependents(workflow_id, found)}; {_remove_hint(workflow_id)}"
            raise ConflictError(f"archived in {archive.location}, but not removed: {why}")
        then = msgspec.structs.replace(operation, what=DELETING, then_delete=False) if operation.then_delete else None
        await self._catalogue.keep_archive(archive, then)
        if then is None:
            await self._workflows.let_go(workflow_id)
        else:
            self._workflows.hold(workflow_id, then)
            await self._delete(workflow_id, then)
        self._log.info("archived", workflow=workflow_id, location=archive.location, bytes=archive.bytes)
        return m.Archived(archive, deleted=operation.then_delete, outside=written.head.outside)

    async def _write(self, workflow_id: str, operation: Operation) -> Archived:
        """The verified archive in its place. One that this operation has put there already is only verified."""
        head = await self._head(operation.location, missing_ok=True)
        if head is not None and head.token == operation.token:
            found: Archived = await self._workers.run(VerifyArchive(operation.location))
            await self._clear_partial(operation)
            return found
        directory = Path(operation.directory)
        partial = partial_of(operation.location, directory, operation.token)
        writing = WriteArchive(
            workflow_id,
            operation.directory,
            operation.database,
            operation.shares_database,
            str(partial),
            operation.token,
            self._clock.time(),
        )
        written: Archived = await self._workers.run(writing)
        if is_url(operation.location):
            size, sha256 = written.digest.bytes, written.digest.sha256
            await self._workers.run(UploadArchive(str(partial), operation.location, operation.token, size, sha256))
        else:
            await self._workers.run(PublishArchive(str(partial), operation.location))
        await self._clear_partial(operation)
        return written

    async def _head(self, place: str, *, missing_ok: bool) -> ArchiveHead | None:
        try:
            head: ArchiveHead | None = await self._workers.run(ReadArchiveHead(place, missing_ok))
        except StoreError:
            if not missing_ok:
                raise
            message = f"{place} exists and is no archive of Penstock; choose another destination"
            raise SpecError(message, key="destination") from None
        return head

    async def _clear_partial(self, operation: Operation) -> None:
        """Nothing is left of the writing but the archive itself."""
        directory = Path(operation.directory)
        with anyio.CancelScope(shield=True):
            await self._in_thread(
                directory, _remove_quietly, partial_of(operation.location, directory, operation.token)
            )
            await self._in_thread(directory, _remove_quietly, scratch_of(directory, operation.token))

    async def archives_of(self, workflow_id: str) -> list[ArchiveInfo]:
        """Archives of a workflow, oldest first."""
        return await self._catalogue.archives(workflow_id)

    # ---- delete -----------------------------------------------------------------------------------------------------

    async def delete(self, request: m.Delete) -> m.Deleted:
        """Removes a workflow with everything it has here; its archives stay."""
        info = self._workflows.info(request.id)
        held = self._workflows.operations.get(request.id)
        if held is not None and held.what == DELETING and request.id not in self._carried_out:
            operation = held  # what could not be ended before is tried again
            await self._refuse_silent(operation.directory)
        else:
            info = await self._reached(request.id)
            operation = self._planned(info, DELETING)
            if not request.force:
                await self._refuse_dependents(info, _remove_hint(info.id))
            await self._begin(info, operation, force=request.force)
        await self._delete(request.id, operation)
        return m.Deleted(request.id, operation.directory)

    async def _delete(self, workflow_id: str, operation: Operation) -> None:
        """Each step does nothing when it is done already."""
        directory = Path(operation.directory)
        trash = directory.with_name(f"{_TRASH}{workflow_id}-{operation.token}")
        async with self._carrying_out(workflow_id):
            await self._in_thread(directory, _put_aside, directory, trash)
            await self._in_thread(directory, _remove_rows, operation, workflow_id)
            names = Path(plan_context(Mode.SHARED, str(work_root_of(directory)), workflow_id).locks)
            tables = [place / LOCKS_NAME for place in (self._catalogue.state_dir / "locks", names)]
            await self._in_thread(directory, give_back_locks, tables, workflow_id)
            self._workflows.detach(workflow_id)
            await self._workers.run(RemoveTree(str(trash)))
            await self._workflows.forget(workflow_id)
        self._log.info("deleted", workflow=workflow_id, directory=operation.directory)

    # ---- clean ------------------------------------------------------------------------------------------------------

    async def clean(self, request: m.Clean) -> m.Cleaned:
        """Removes what is no result; a dry run only looks, and needs no rest."""
        info = self._workflows.info(request.id)
        cleaning = Cleaning(request.failed, request.exports)
        if request.dry_run:
            task = CleanFiles(info.id, info.directory, info.database, cleaning, dry_run=True)
            found = await run_unless_silent(self._workers, task)
        else:
            info = await self._reached(request.id)
            operation = self._planned(info, CLEANING)
            operation = msgspec.structs.replace(operation, options=msgspec.to_builtins(cleaning))
            await self._begin(info, operation)
            found = await self._clean(info.id, operation)
        return m.Cleaned(found.attempts, found.files, found.bytes, request.dry_run)

    async def _clean(self, workflow_id: str, operation: Operation) -> Cleaned:
        cleaning = cleaning_of(operation.options)
        try:
            async with self._carrying_out(workflow_id):
                cleaned: Cleaned = await self._workers.run(
                    CleanFiles(workflow_id, operation.directory, operation.database, cleaning, dry_run=False)
                )
        except PenstockError:
            await self._workflows.let_go(workflow_id)
            raise
        await self._workflows.let_go(workflow_id)
        self._log.info("cleaned", workflow=workflow_id, files=cleaned.files, bytes=cleaned.bytes)
        return cleaned

    # ---- restore ----------------------------------------------------------------------------------------------------

    async def restore(self, request: m.Restore) -> m.Restored:
        """Unpacks an archive aside, verifies all of it, and lets the workflow appear at once."""
        place, root = await self._source(request)
        await self._refuse_silent(path_towards(place, root))
        head = await self._head(place, missing_ok=False)
        assert head is not None
        workflow_id = check_workflow_id(request.id or head.workflow)
        self._workflows.refuse_taken(workflow_id)
        mode = Mode(request.isolation or head.mode)
        context = await self._workflows.placed(plan_context(mode, root, workflow_id))
        operation = Operation(
            what=RESTORING,
            token=new_ulid(self._clock.time()),
            began_at=self._clock.time(),
            location=place,
            directory=context.directory,
            database=context.database,
            shares_database=context.shares_database,
        )
        await self._catalogue.add(workflow_id, context.directory, operation)
        try:
            unpacked = await self._unpack(context, operation, outside_links=request.outside_links)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await undo_restoration(self._catalogue, workflow_id, operation)
            raise
        info = _restored_info(context, unpacked)
        await self._catalogue.update(info)
        await self._catalogue.set_operation(workflow_id, None)
        await self._workflows.take_in(CatalogueRow(workflow_id, context.directory, info.state, info))
        self._log.info("restored", workflow=workflow_id, archive=place)
        state, files = self._workflows.info(workflow_id).state, unpacked.digest.end.files
        return m.Restored(workflow_id, context.directory, state, info.jobs, files, tuple(unpacked.left_out))

    async def _unpack(self, context: Context, operation: Operation, *, outside_links: bool) -> Unpacked:
        directory = Path(context.directory)
        await refuse_existing(directory)
        aside = aside_here(directory, self._catalogue)
        await self._workers.run(RemoveTree(str(aside)))
        try:
            claim = self._workflows.claim
            unpacked: Unpacked = await self._workers.run(
                UnpackArchive(operation.location, str(aside), context, operation.token, outside_links, claim)
            )
            await self._in_thread(directory, reveal, aside, directory)
        except OSError as error:
            raise SpecError(f"cannot create {directory}: {error}; it must be writable and have room") from error
        return unpacked

    async def _source(self, request: m.Restore) -> tuple[str, str]:
        """The archive, and the work root that the workflow goes to."""
        place, root = request.source, request.work_root
        if not is_url(place) and "/" not in place:
            known = await self._catalogue.archives(place)
            if not known:
                raise NotFoundError(f"no archive of {place!r} is known here; give its path or URL")
            place, root = known[-1].location, root or known[-1].work_root
        place = check_place(place, "source")
        if not root or not Path(root).is_absolute() or not await ask_in_thread(root, Path(root).is_dir):
            raise SpecError(f"the work directory {root or '(none)'} is not a directory; say --work-root DIR")
        return place, root

    # ---- looking ----------------------------------------------------------------------------------------------------

    async def usage(self, workflow_id: str | None) -> m.Usage:
        """What a workflow takes on the disk, or each of all that are where somebody answers."""
        if workflow_id is not None:
            info = self._workflows.info(workflow_id)
            return m.Usage((await run_unless_silent(self._workers, _measuring(info)),))
        tasks = [_measuring(self._workflows.info(one)) for one in self._workflows.ids()]
        silent = await self._silent_among({where_is(path): path for task in tasks for path in task.paths()})
        asked = [(task, silent.isdisjoint(map(where_is, task.paths()))) for task in tasks]
        found = [await self._workers.run(task) for task, answers in asked if answers]
        return m.Usage(tuple(found), tuple(task.workflow_id for task, answers in asked if not answers))

    async def _silent_among(self, examples: dict[str, str]) -> set[str]:
        """Which file systems do not answer, of some with a path in each; all are asked at once."""
        silent = set()

        async def ask(place: str, path: str) -> None:
            try:
                await self._refuse_silent(path)
            except SilentError:
                silent.add(place)

        async with anyio.create_task_group() as tasks:
            for place, path in examples.items():
                tasks.start_soon(ask, place, path)
        return silent

    # ---- beginning and ending ---------------------------------------------------------------------------------------

    async def _reached(self, workflow_id: str, *places: str) -> WorkflowInfo:
        """A workflow with which something may begin, as it is once its file system has answered, and that of `places`.

        ConflictError while it is held, of which the disk knows nothing; SilentError.
        """
        info = self._workflows.info(workflow_id)
        self._workflows.refuse_held(workflow_id)
        for place in (info.directory, info.database, *places):
            await self._refuse_silent(path_towards(place, info.directory))
        return self._workflows.info(workflow_id)

    async def _refuse_silent(self, place: str) -> None:
        with self._clock.busy():
            await refuse_silent(place)

    async def _begin(self, info: WorkflowInfo, operation: Operation, *, force: bool = False) -> None:
        """Nothing wakes the workflow from here on, and the catalogue knows why. ConflictError unless it is at rest."""
        self._workflows.refuse_held(info.id)
        _refuse_live(info, force=force)
        self._workflows.hold(info.id, operation)
        try:
            await self._workflows.supervisor.stop_child(info.id)
            if info.state != WorkflowState.FAULTED:
                await self._in_thread(info.directory, _refuse_unrest, info)
            await self._catalogue.set_operation(info.id, operation)
        except BaseException:
            await self._workflows.let_go(info.id)
            raise

    async def _refuse_dependents(self, info: WorkflowInfo, hint: str) -> None:
        """ConflictError when results of others would lose their files."""
        if found := await self._dependents(info):
            raise ConflictError(f"{describe_dependents(info.id, found)}; they would keep their values only; {hint}")

    async def _dependents(self, info: WorkflowInfo) -> dict[str, int]:
        """By workflow, how many results have their files here. Of merges into another place nobody knows."""
        directory = Path(info.directory)
        around = await self._workflows.placed(plan_context(Mode.SHARED, str(work_root_of(directory)), info.id))
        databases = [Path(around.database), *([Path(info.database)] if info.mode != Mode.ISOLATED else [])]
        return await self._in_thread(directory, count_dependents, info.id, directory, databases)

    async def _in_thread(self, place: str | Path, function: Callable[[Unpack[P]], T], *arguments: *P) -> T:
        with self._clock.busy():
            return await in_thread(place, function, *arguments)

    @contextlib.asynccontextmanager
    async def _carrying_out(self, workflow_id: str) -> AsyncIterator[None]:
        self._carried_out.add(workflow_id)
        try:
            yield
        finally:
            self._carried_out.discard(workflow_id)


def _measuring(info: WorkflowInfo) -> MeasureUsage:
    return MeasureUsage(info.id, info.directory, info.database)


def _remove_hint(workflow_id: str) -> str:
    return f"remove it all the same with 'penstockctl delete {workflow_id} --force'"


def _refuse_live(info: WorkflowInfo, *, force: bool) -> None:
    """ConflictError for what must come to rest first, as far as the board knows."""
    active = sum(info.states.get(state, 0) for state in ACTIVE)
    if info.state == WorkflowState.FAULTED:
        if not force:
            hint = f"mend that, or {_remove_hint(info.id)}"
            raise ConflictError(f"workflow {info.id} is faulted: {info.reason}; {hint}")
    elif active:
        end = f"wait for them, or end them with 'penstockctl cancel {info.id}'"
        jobs = "1 job of workflow {} is" if active == 1 else f"{active} jobs of workflow {{}} are"
        raise ConflictError(f"{jobs.format(info.id)} active; {end}")
    elif info.state == WorkflowState.RUNNING:
        raise ConflictError(f"workflow {info.id} is running; 'penstockctl pause {info.id}' or cancel it first")


def _refuse_unrest(info: WorkflowInfo) -> None:
    if what := is_at_rest(Path(info.database), info.id):
        raise ConflictError(f"workflow {info.id} is not at rest: {what}; wait for that, and try again")


def _location(destination: str, info: WorkflowInfo) -> str:
    """Where exactly the archive goes. SpecError or ConflictError where it cannot go."""
    place = check_place(destination, "destination")
    if is_url(place):
        return place if place.endswith(ARCHIVE_SUFFIX) else f"{place.rstrip('/')}/{default_name(info.id)}"
    path = Path(place)
    if is_folder(place):
        path /= default_name(info.id)
    if path.resolve().is_relative_to(Path(info.directory).resolve()):
        raise SpecError(f"{path} is in the workflow's own directory; choose another", key="destination")
    if not path.parent.is_dir():
        raise SpecError(f"{path.parent} is not a directory; create it, or choose another", key="destination")
    if path.exists():
        raise ConflictError(f"{path} exists; choose another destination")
    return str(path)


def _archive_info(workflow_id: str, operation: Operation, written: Archived) -> ArchiveInfo:
    head, digest = written.head, written.digest
    return ArchiveInfo(
        location=operation.location,
        workflow_id=workflow_id,
        work_root=str(work_root_of(Path(operation.directory))),
        bytes=digest.bytes,
        sha256=digest.sha256,
        files=digest.end.files,
        state=head.state,
        jobs=sum(head.jobs.values()),
        changed_at=head.updated_at,
        archived_at=head.archived_at,
    )


def _restored_info(context: Context, unpacked: Unpacked) -> WorkflowInfo:
    """What is known before its actor, if it needs one, says the rest."""
    facts = unpacked.facts
    spec = msgspec.convert(facts.spec, WorkflowSpec)
    return WorkflowInfo(
        id=context.workflow_id,
        recipe=facts.recipe,
        state=facts.state,
        directory=context.directory,
        mode=str(context.mode),
        cluster=spec.cluster,
        engine=spec.engine_name,
        slots=spec.slots,
        priority=spec.priority,
        jobs=sum(facts.jobs.values()),
        statuses=public_counts(facts.jobs),
        states=facts.jobs,
        rejected=0,
        ingesting=False,
        reason=None,
        created_at=facts.created_at,
        updated_at=facts.updated_at,
        database=context.database,
    )


def _remove_rows(operation: Operation, workflow_id: str) -> None:
    """What is in a database elsewhere than in the directory."""
    database = Path(operation.database)
    if operation.database and not database.is_relative_to(operation.directory):
        remove_workflow(database, workflow_id)
        if not operation.shares_database:
            remove_empty(database)


def _put_aside(directory: Path, trash: Path) -> None:
    """Takes the directory's name away, at once and for good; nothing when that is done."""
    try:
        directory.rename(trash)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SpecError(f"{directory} cannot be removed: {error.strerror}; make {directory.parent} writable") from error
    sync_directory(directory.parent)


def _remove_quietly(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
