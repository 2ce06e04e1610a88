"""Commands about a workflow as a whole: archive, archives, restore, delete, clean, du, retention."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from penstock.control.messages import Archived, Restored
from penstock.ctl.options import DaemonPath, command, id_argument
from penstock.ctl.output import Ctl
from penstock.ctl.text import local_time, size
from penstock.domain.context import Mode
from penstock.domain.life_cycle import is_url

_NOT_CONFIRMED: Final = 2


@command("archive")
@id_argument()
@click.argument("destination", type=DaemonPath())
@click.option("--delete", is_flag=True, help="Remove the workflow once its archive has been verified.")
def archive(ctl: Ctl, id: str, destination: str, delete: bool) -> None:
    """Write a workflow to one .tar.zst: a path, a directory, or a URL such as s3://bucket/folder/."""
    reply = ctl.client.archive(id, _absolute(destination), delete)
    if ctl.json:
        ctl.emit(reply)
    else:
        _show_archived(ctl, id, reply)


def _show_archived(ctl: Ctl, id: str, reply: Archived) -> None:
    found = reply.archive
    ctl.line(f"{id}: archived in {found.location}")
    ctl.line(f"{found.jobs} jobs, {found.files} files, {size(found.bytes)}, every checksum verified")
    ctl.line(f"sha256 {found.sha256}")
    if reply.outside:
        ctl.note(f"the files of {reply.outside} jobs are not in it: they were imported, or taken over from others")
    if reply.deleted:
        ctl.line(f"{id}: deleted; bring it back with: penstockctl restore {id}")


@command("archives")
@id_argument(required=False)
def archives(ctl: Ctl, id: str | None) -> None:
    """Show the archives that were written here, of one workflow or all."""
    show_archives(ctl, id)


def show_archives(ctl: Ctl, id: str | None) -> None:
    """What was archived here, and where it is."""
    reply = ctl.client.archives(id)
    if ctl.json:
        ctl.emit(reply)
        return
    rows = (
        (a.workflow_id, local_time(a.archived_at), a.state, str(a.jobs), size(a.bytes), a.location)
        for a in reply.archives
    )
    ctl.table(("workflow", "archived", "state", ">jobs", ">size", "location"), rows)


@command("restore")
@click.argument("source", type=DaemonPath())
@click.option("--work-root", type=DaemonPath(), metavar="DIR", help="Where it goes: DIR/.penstock/ID.")
@click.option("--id", "new_id", metavar="ID", help="Another name for it.")
@click.option("--isolation", type=click.Choice([str(mode) for mode in Mode]), help="Another mode for it.")
@click.option("--outside-links", is_flag=True, help="Make symbolic links that lead out of the workflow too.")
def restore(
    ctl: Ctl, source: str, work_root: str | None, new_id: str | None, isolation: str | None, outside_links: bool
) -> None:
    """Bring a workflow back: SOURCE is an archive's path or URL, or the ID of a workflow that was archived here.

    It goes to where it was if an ID is given, else to the working directory, unless --work-root says otherwise.
    """
    is_place = is_url(source) or "/" in source or Path(source).exists()
    root = None if work_root is None else str(Path(work_root).absolute())
    if is_place:
        source, root = _absolute(source), root or str(Path.cwd())
    reply = ctl.client.restore(source, root, new_id, isolation, outside_links)
    if ctl.json:
        ctl.emit(reply)
    else:
        _show_restored(ctl, reply)


def _show_restored(ctl: Ctl, reply: Restored) -> None:
    ctl.line(f"{reply.id}: restored in {reply.directory}")
    ctl.line(f"{reply.state}, {reply.jobs} jobs, {reply.files} files, every checksum verified")
    if reply.left_out:
        ctl.note(f"{len(reply.left_out)} links lead out of it and were left out (--outside-links makes them):")
        for name in reply.left_out[:10]:
            ctl.note(f"  {name}")


@command("delete")
@id_argument()
@click.option("--force", is_flag=True, help="A faulted workflow too, or one that holds files of others' results.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(ctl: Ctl, id: str, force: bool, yes: bool) -> int | None:
    """Remove a workflow with its database, files and results. Its archives stay."""
    if not yes and not ctl.json and sys.stdin.isatty() and sys.stdout.isatty():
        info = ctl.client.status(id).workflow
        known = ctl.client.archives(id).archives
        kept = f"archived in {known[-1].location}" if known else "not archived"
        if not click.confirm(f"Delete {id} ({info.jobs} jobs, {info.directory}; {kept})?"):
            ctl.note("nothing was deleted")
            return _NOT_CONFIRMED
    reply = ctl.client.delete(id, force)
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"{reply.id}: deleted")
    return None


@command("clean")
@id_argument()
@click.option("--failed", is_flag=True, help="Also all attempts but the newest of jobs that ended badly.")
@click.option("--exports", is_flag=True, help="Also what was exported into the workflow's directory.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def clean(ctl: Ctl, id: str, failed: bool, exports: bool, dry_run: bool) -> None:
    """Remove what is no result: attempts that a completed job does not need, and leftovers."""
    reply = ctl.client.clean(id, failed, exports, dry_run)
    if ctl.json:
        ctl.emit(reply)
        return
    done = "would be removed" if dry_run else "removed"
    ctl.line(f"{id}: {reply.attempts} attempts, {reply.files} files, {size(reply.bytes)} {done}")


@command("du")
@id_argument(required=False)
def du(ctl: Ctl, id: str | None) -> None:
    """Show what a workflow takes on the disk, by step, or what each of all takes."""
    reply = ctl.client.usage(id)
    if ctl.json:
        ctl.emit(reply)
        return
    if id is None:
        rows = ((u.id, size(u.bytes), str(u.files)) for u in sorted(reply.workflows, key=lambda u: -u.bytes))
        ctl.table(("workflow", ">size", ">files"), [*rows, *((name, "?", "?") for name in reply.silent)])
        for name in reply.silent:
            ctl.note(f"{name} is on a file system that does not answer")
        return
    found = reply.workflows[0]
    parts = [(f"step {key}", taken) for key, taken in found.steps.items()]
    beside = "" if found.database_is_inside else ", elsewhere and not in the total"
    parts += [(f"database{beside}", found.database), ("source", found.source), ("exports", found.exports)]
    parts += [("storage", found.storage), ("other", found.other), ("in all", found.bytes)]
    ctl.table(("part", ">size"), ((name, size(taken)) for name, taken in parts))


@command("retention")
@click.option("--now", is_flag=True, help="Do what is due now, and not only within the hour.")
@click.option("--dry-run", is_flag=True, help="Only show it; that is what it does without --now, too.")
def retention(ctl: Ctl, now: bool, dry_run: bool) -> None:
    """Show what [retention] will do to workflows that have ended, and when."""
    reply = ctl.client.retention(now and not dry_run)
    if ctl.json:
        ctl.emit(reply)
        return
    for done in reply.done:
        ctl.line(f"{done.id}: {done.action}d")
    rows = ((d.id, d.action, "spared (keep_last)" if d.spared else local_time(d.at)) for d in reply.due)
    ctl.table(("workflow", "action", "when"), rows)


def _absolute(place: str) -> str:
    """A path from the working directory; a directory keeps its last slash, and a URL stays as it is."""
    if is_url(place):
        return place
    return str(Path(place).absolute()) + ("/" if place.endswith("/") else "")


COMMANDS: Final = {
    "archive": archive,
    "archives": archives,
    "restore": restore,
    "delete": delete,
    "clean": clean,
    "du": du,
    "retention": retention,
}
