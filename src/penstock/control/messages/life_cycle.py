"""About workflows as a whole: archived, restored, removed."""

from __future__ import annotations

from penstock.control.messages.base import Message, Request
from penstock.domain.views import ArchiveInfo, RetentionInfo, UsageInfo


class Archived(Message, frozen=True):
    """An archive that was verified after it was written; `deleted`: the workflow was removed afterwards.

    `outside`: how many jobs have their files in other directories, which no archive of this workflow holds.
    """

    archive: ArchiveInfo
    deleted: bool
    outside: int = 0


class Archives(Message, frozen=True):
    """Archives that were written by this daemon, oldest first."""

    archives: tuple[ArchiveInfo, ...]


class Restored(Message, frozen=True):
    """A workflow that came out of an archive. `left_out`: links that lead out of it and were not made."""

    id: str
    directory: str
    state: str
    jobs: int
    files: int
    left_out: tuple[str, ...]


class Usage(Message, frozen=True):
    """What workflows take on the disk. `silent`: those that lie where no answer came, which were not measured."""

    workflows: tuple[UsageInfo, ...]
    silent: tuple[str, ...] = ()


class Cleaned(Message, frozen=True):
    """What was removed because it is no result, or would be."""

    attempts: int
    files: int
    bytes: int
    dry_run: bool


class Retention(Message, frozen=True):
    """What retention will do, soonest first; `done`: what it has done just now."""

    due: tuple[RetentionInfo, ...]
    done: tuple[RetentionInfo, ...] = ()


class Deleted(Message, frozen=True):
    """The workflow and its directory are gone."""

    id: str
    directory: str


class Archive(Request[Archived], frozen=True):
    """Write a workflow at rest to one `.tar.zst`, verify it, record it; with `delete`, remove the workflow then.

    `destination` is an absolute path or a URL of fsspec; a directory gets `ID.tar.zst`.
    """

    id: str
    destination: str
    delete: bool = False
    reply = Archived


class ListArchives(Request[Archives], frozen=True):
    """Archives of one workflow, or all."""

    id: str | None = None
    reply = Archives


class Restore(Request[Restored], frozen=True):
    """Make a workflow of an archive: an absolute path, a URL, or the id of a workflow that was archived here.

    Into `work_root` (default for an id: where it was), under `id` and with `isolation` (default: as it was).
    `outside_links`: symbolic links that lead out of the workflow are made too.
    """

    source: str
    work_root: str | None = None
    id: str | None = None
    isolation: str | None = None
    outside_links: bool = False
    reply = Restored


class Delete(Request[Deleted], frozen=True):
    """Remove a workflow at rest with all it has; archives stay.

    `force`: a faulted one too, whatever may still run, and one whose directory holds files of others' results.
    """

    id: str
    force: bool = False
    reply = Deleted


class MeasureUsage(Request[Usage], frozen=True):
    """How much of the disk a workflow takes, or each of all."""

    id: str | None = None
    reply = Usage


class Clean(Request[Cleaned], frozen=True):
    """Remove what is no result from a workflow at rest: attempts that a completed job does not need, leftovers.

    `failed`: also all attempts but the newest of jobs that ended badly; `exports`: also what was exported.
    """

    id: str
    failed: bool = False
    exports: bool = False
    dry_run: bool = False
    reply = Cleaned


class ReviewRetention(Request[Retention], frozen=True):
    """What retention will do and when; with `apply`, what is due is done now and not only within the hour."""

    apply: bool = False
    reply = Retention


LifeCycleRequest = Archive | ListArchives | Restore | Delete | MeasureUsage | Clean | ReviewRetention


LifeCycleReply = Archived | Archives | Restored | Deleted | Usage | Cleaned | Retention
