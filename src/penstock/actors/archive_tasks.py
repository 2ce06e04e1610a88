"""What worker processes do with a workflow as a whole: write, verify and unpack its archive, remove its files."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import __version__
from penstock.actors.task import Task
from penstock.domain.context import CONTEXT_NAME, DATABASE_NAME, Context, render_context
from penstock.domain.errors import SpecError, StoreError
from penstock.domain.life_cycle import ArchiveDigest, ArchiveHead, is_url
from penstock.domain.views import UsageInfo
from penstock.store import archive_reader, remote, transfer, usage
from penstock.store.archive_format import FORMAT, SCRATCH
from penstock.store.archive_unpacker import Unpacker, sync_file_system
from penstock.store.archive_writer import write_archive
from penstock.store.layout import sync_directory

_WEEK_S: Final = 7 * 86_400.0
_VIEWS: Final = ("structures.db", "report.html")
"""What names a workflow and its jobs, and is made anew where these are called otherwise."""


class _Vast(Task[Any], frozen=True):
    """Takes as long as there is data: the daemon has workers of their own for these."""

    def limit_s(self) -> float:
        """A week."""
        return _WEEK_S


class Archived(msgspec.Struct, frozen=True, array_like=True):
    """An archive, and what it says it is."""

    head: ArchiveHead
    digest: ArchiveDigest


class WriteArchive(_Vast, frozen=True):
    """Writes the archive of a workflow at rest to `partial`, over what a try before has left there, and verifies it."""

    workflow_id: str
    directory: str
    database: str
    shares_database: bool
    partial: str
    token: str
    now: float
    result = Archived

    def paths(self) -> tuple[str, ...]:
        """From where, and to where."""
        return (self.directory, self.database, self.partial)

    def run(self) -> Archived:
        """What was written and read back. Rows are checked before: what is damaged is never taken for a good copy."""
        partial, scratch = Path(self.partial), scratch_of(Path(self.directory), self.token)
        scratch.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            partial.unlink()
        copy = scratch / DATABASE_NAME
        for name in (DATABASE_NAME, f"{DATABASE_NAME}-journal", f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm"):
            with suppress(FileNotFoundError):
                (scratch / name).unlink()
        transfer.copy_rows(Path(self.database), self.workflow_id, copy, is_shared=self.shares_database)
        facts = transfer.check_copy(copy, self.workflow_id)
        head = ArchiveHead(
            format=FORMAT,
            penstock=__version__,
            schema=facts.schema,
            workflow=self.workflow_id,
            mode=facts.mode,
            namespace=facts.namespace,
            recipe=facts.recipe,
            state=facts.state,
            jobs=facts.jobs,
            created_at=facts.created_at,
            updated_at=facts.updated_at,
            archived_at=self.now,
            token=self.token,
            host=socket.gethostname(),
            spec=facts.spec,
            outside=facts.outside,
        )
        digest = write_archive(Path(self.directory), copy, head, partial)
        copy.unlink()
        return Archived(head, digest)


def scratch_of(directory: Path, token: str) -> Path:
    """What an operation keeps in the workflow's directory while it is under way; no archive holds it."""
    return directory / f"{SCRATCH}{token}"


class VerifyArchive(_Vast, frozen=True):
    """Reads an archive from the disk and compares every checksum, and the whole with `sha256` where that is known."""

    path: str
    sha256: str | None = None
    result = Archived

    def paths(self) -> tuple[str, ...]:
        """The archive's."""
        return _on_disk(self.path)

    def run(self) -> Archived:
        """What it holds. StoreError when any byte is not as it was written."""
        reader = _HeadKeeper()
        with remote.opened(self.path) as source:
            digest = archive_reader.read_archive(source, self.path, reader)
        if self.sha256 not in (None, digest.sha256):
            raise StoreError(f"{self.path} is not what was written; nothing was removed", healable=False)
        return Archived(reader.head, digest)


class _HeadKeeper(archive_reader.Nobody):
    head: ArchiveHead

    def begin(self, head: ArchiveHead) -> None:
        self.head = head


class PublishArchive(Task[None], frozen=True):
    """Gives a verified archive its name, which nobody else's file has."""

    partial: str
    target: str
    result = None

    def paths(self) -> tuple[str, ...]:
        """The archive's."""
        return (self.target,)

    def run(self) -> None:
        """The name and its directory are on the disk afterwards. SpecError when the name is taken."""
        partial, target = Path(self.partial), Path(self.target)
        try:
            os.link(partial, target)
        except FileExistsError:
            raise SpecError(f"{target} exists; choose another destination", key="destination") from None
        except OSError:  # a file system without hard links
            if target.exists():
                raise SpecError(f"{target} exists; choose another destination", key="destination") from None
            partial.rename(target)
        else:
            partial.unlink()
        sync_directory(target.parent)


class UploadArchive(_Vast, frozen=True):
    """Puts a verified archive at a URL, reads it back from there, and compares."""

    partial: str
    url: str
    token: str
    bytes: int
    sha256: str
    result = None

    def run(self) -> None:
        """Raises SpecError when it cannot be put there, StoreError when what is there is something else."""
        remote.upload(Path(self.partial), self.url, self.token, self.bytes, self.sha256)


class ReadArchiveHead(_Vast, frozen=True):
    """What an archive says of itself; with `missing_ok`, None where there is none."""

    place: str
    missing_ok: bool = False
    result = ArchiveHead | None

    def paths(self) -> tuple[str, ...]:
        """The archive's."""
        return _on_disk(self.place)

    def run(self) -> ArchiveHead | None:
        """Reads no more than its beginning."""
        try:
            with remote.opened(self.place) as source:
                return archive_reader.read_head(source, self.place)
        except FileNotFoundError:
            if self.missing_ok:
                return None
            raise SpecError(
                f"there is no archive {self.place}; give the path or URL that it has now", key="source"
            ) from None


class Unpacked(msgspec.Struct, frozen=True, array_like=True):
    """A workflow that was unpacked and is ready to be revealed; `left_out` are links that lead out of it."""

    facts: transfer.WorkflowFacts
    digest: ArchiveDigest
    left_out: list[str]


class UnpackArchive(_Vast, frozen=True):
    """Unpacks an archive into the new directory `aside`, verifies all of it, and makes it the workflow of `context`.

    With a database that others use, its rows are put there last. All is on the disk when it is done.
    """

    place: str
    aside: str
    context: Context
    token: str
    outside_links: bool
    daemon: str  # JSON, a DaemonPlace: who works on it from now on
    result = Unpacked

    def paths(self) -> tuple[str, ...]:
        """From where, and to where; none when it comes through a network, which may be slow."""
        return (self.place, self.aside, self.context.database) if _on_disk(self.place) else ()

    def run(self) -> Unpacked:
        """Raises StoreError when the archive is not whole, SpecError when it cannot be unpacked here."""
        aside, context = Path(self.aside), self.context
        unpacker = Unpacker(aside, outside_links=self.outside_links)
        aside.parent.mkdir(exist_ok=True)
        try:
            with remote.opened(self.place) as source:
                digest = archive_reader.read_archive(source, self.place, unpacker)
        except FileExistsError as error:
            raise StoreError(f"{self.place} is not whole: a name stands in it twice", healable=False) from error
        head = unpacker.head
        copy = aside / DATABASE_NAME
        facts = transfer.check_copy(copy, head.workflow)
        target = transfer.Target(context.workflow_id, context.mode, context.namespace, self.daemon)
        origin = {"operation": self.token, "archive": self.place, "sha256": digest.sha256}
        transfer.retarget(copy, head.workflow, target, origin)
        facts = transfer.check_copy(copy, context.workflow_id)
        if head.workflow != context.workflow_id:
            _forget_views(aside)
        self._lay_out(aside)
        if not Path(context.database).is_relative_to(context.directory):
            among_others = context.shares_database
            shift = transfer.insert_rows(copy, Path(context.database), context.workflow_id, among_others=among_others)
            transfer.move_job_directories(aside, shift)
            if shift.job:
                _forget_views(aside)
            for ending in ("", "-journal", "-wal", "-shm"):
                copy.with_name(f"{DATABASE_NAME}{ending}").unlink(missing_ok=True)
        sync_file_system(aside)
        return Unpacked(facts, digest, unpacker.left_out)

    def _lay_out(self, aside: Path) -> None:
        context = self.context
        (aside / CONTEXT_NAME).write_text(render_context(context), encoding="utf-8")
        for name in ("jobs", "exports"):
            (aside / name).mkdir(exist_ok=True)
        for place in (context.storage, context.locks):
            own = Path(place).is_relative_to(context.directory)
            (aside / Path(place).name if own else Path(place)).mkdir(parents=True, exist_ok=True)


class MeasureUsage(_Vast, frozen=True):
    """Looks how much of the disk a workflow takes."""

    workflow_id: str
    directory: str
    database: str
    result = UsageInfo

    def paths(self) -> tuple[str, ...]:
        """The workflow's."""
        return (self.directory, self.database)

    def run(self) -> UsageInfo:
        """In bytes, by what it is for."""
        return usage.measure(self.workflow_id, Path(self.directory), Path(self.database))


class CleanFiles(_Vast, frozen=True):
    """Removes what is no result from a workflow's directory, or says what that would be."""

    workflow_id: str
    directory: str
    database: str
    cleaning: usage.Cleaning
    dry_run: bool
    result = usage.Cleaned

    def paths(self) -> tuple[str, ...]:
        """The workflow's."""
        return (self.directory, self.database)

    def run(self) -> usage.Cleaned:
        """How much it is."""
        directory, database = Path(self.directory), Path(self.database)
        return usage.clean(self.workflow_id, directory, database, self.cleaning, dry_run=self.dry_run)


class RemoveTree(_Vast, frozen=True):
    """Removes a directory with all that is in it; harmless when it is gone, or half of it."""

    path: str
    result = None

    def paths(self) -> tuple[str, ...]:
        """Its own."""
        return (self.path,)

    def run(self) -> None:
        """SpecError names what cannot be removed."""
        path = Path(self.path)
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        if path.exists():
            shutil.rmtree(path)


def partial_of(location: str, directory: Path, token: str) -> Path:
    """Where an archive is written before it has its name: beside it, or in the workflow's directory for a URL."""
    if is_url(location):
        return scratch_of(directory, token) / "archive.tar.zst.partial"
    target = Path(location)
    return target.with_name(f"{target.name}.{token}.partial")


def _on_disk(place: str) -> tuple[str, ...]:
    """The path of an archive on a disk; none for a URL, behind which is a network that may be slow."""
    return () if is_url(place) else (place,)


def _forget_views(directory: Path) -> None:
    for name in _VIEWS:
        (directory / name).unlink(missing_ok=True)
