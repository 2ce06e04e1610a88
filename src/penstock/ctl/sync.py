"""A copy of a workflow brought up to date with the one that runs elsewhere: its database of one moment, its files."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.context import CONTEXT_NAME, DATABASE_NAME, Mode, alone_in, read_context, render_context
from penstock.domain.errors import ClusterError, ConflictError, SpecError
from penstock.store.adoption import Arrival, load_arrival
from penstock.store.backup import back_up

_WORK: Final = ".sync"
_SNAPSHOT: Final = ".sync-snapshot.db"
_NOT_COPIED: Final = (f"{DATABASE_NAME}*", CONTEXT_NAME, _WORK, _SNAPSHOT, "locks", "*.partial")


class Synchronised(msgspec.Struct, frozen=True):
    """What the copy is now."""

    id: str
    directory: str
    state: str
    jobs: int


def bring_up_to_date(directory: Path, remote: str, penstockctl: str) -> Synchronised:
    """Copies what is at `remote` (`HOST:PATH`, or a path) into `directory`, which is made where it is not there.

    The database is taken first and appears last, so that every file it tells of is here. ConflictError where
    `directory` is another workflow's, or a daemon here runs it.
    """
    host, _, path = remote.rpartition(":")
    work = directory / _WORK
    work.mkdir(parents=True, exist_ok=True)
    snapshot = work / DATABASE_NAME
    jobs = _fetch_snapshot(host, path, snapshot, penstockctl)
    arrival = load_arrival(snapshot)
    _refuse_other(directory, arrival)
    if host:
        _call(rsync_argv(f"{host}:{path.rstrip('/')}/", directory))
    else:
        _copy_newer(Path(path).absolute(), directory)
    _put_in_place(directory, snapshot, arrival)
    return Synchronised(arrival.workflow_id, str(directory), arrival.state, jobs)


def _fetch_snapshot(host: str, path: str, snapshot: Path, penstockctl: str) -> int:
    """The database as of one moment; how many jobs it has."""
    if not host:
        return _local_snapshot(Path(path).absolute(), snapshot)
    answer = _call(ssh_argv(host, f"cd -- {shlex.quote(path)} && pwd && cat {CONTEXT_NAME}"))
    base, _, context = answer.partition("\n")
    work = snapshot.parent / "there"
    work.mkdir(exist_ok=True)
    (work / CONTEXT_NAME).write_text(context, encoding="utf-8")
    told = read_context(work)
    _refuse_shared(told.mode, path)
    target = f"{base}/{_SNAPSHOT}"
    words = [*shlex.split(penstockctl), "backup", told.workflow_id, "-o", target, "--overwrite", "--json"]
    answer = _call(ssh_argv(host, shlex.join(words)))
    _call(rsync_argv(f"{host}:{target}", snapshot))
    _call(ssh_argv(host, f"rm -f -- {shlex.quote(target)}"))
    return int(msgspec.json.decode(answer)["jobs"])


def _local_snapshot(there: Path, snapshot: Path) -> int:
    if not there.is_dir():
        raise SpecError(f"{there} is not a directory; is it HOST:PATH?", key="remote")
    context = read_context(there)
    _refuse_shared(context.mode, str(there))
    return back_up(Path(context.database), context.workflow_id, snapshot, overwrite=True).jobs


def _refuse_shared(mode: str, path: str) -> None:
    if mode != Mode.ISOLATED:
        raise ConflictError(f"{path} is of a workflow in mode {mode}; only isolated ones have a database to copy")


def _refuse_other(directory: Path, arrival: Arrival) -> None:
    """Nothing may be lost by a copy: the one that is here must be an older one of the same, and nobody's here."""
    database = directory / DATABASE_NAME
    if not database.exists():
        others = [entry.name for entry in directory.iterdir() if entry.name != _WORK]
        if others:
            raise ConflictError(f"{directory} holds {others[0]} and is no workflow; choose another directory")
        return
    here = load_arrival(database)
    if here.created_at != arrival.created_at:
        raise ConflictError(f"{directory} is another workflow ({here.workflow_id}); choose another directory")
    if here.daemon is not None and here.daemon != arrival.daemon:
        raise ConflictError(
            f"the workflow in {directory} belongs to the daemon of {here.daemon.state_dir} on host {here.daemon.host}, "
            "and what that did would be lost; choose another directory"
        )


def _put_in_place(directory: Path, snapshot: Path, arrival: Arrival) -> None:
    for ending in ("-wal", "-shm", "-journal"):  # of the older copy, which nobody has written to
        with contextlib.suppress(FileNotFoundError):
            (directory / f"{DATABASE_NAME}{ending}").unlink()
    snapshot.rename(directory / DATABASE_NAME)
    partial = directory / _WORK / CONTEXT_NAME
    partial.write_text(render_context(alone_in(directory, arrival.workflow_id)), encoding="utf-8")
    partial.rename(directory / CONTEXT_NAME)
    shutil.rmtree(directory / _WORK, ignore_errors=True)


def _copy_newer(there: Path, here: Path) -> None:
    """Every file whose size or time of change differs, each by rename; nothing is removed."""
    for source in _files(there):
        target = here / source.relative_to(there)
        with contextlib.suppress(FileNotFoundError):  # an attempt may tidy up meanwhile
            found = source.stat()
            if target.exists() and (target.stat().st_size, target.stat().st_mtime) == (found.st_size, found.st_mtime):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.partial")
            shutil.copy2(source, partial)
            partial.replace(target)


def _files(there: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(there):
        around = Path(folder)
        if around == there:
            names[:] = [name for name in names if name not in _NOT_COPIED]
        for name in files:
            is_ours = around == there and any(Path(name).match(pattern) for pattern in _NOT_COPIED)
            if not is_ours and (around / name).is_file() and not (around / name).is_symlink():
                yield around / name


def ssh_argv(host: str, line: str) -> list[str]:
    """A command line for the shell of another machine."""
    return ["ssh", "-o", "BatchMode=yes", "--", host, line]


def rsync_argv(source: str, target: Path) -> list[str]:
    """Copies what differs; what is cut off goes on where it was."""
    left_out = [f"--exclude=/{pattern}" for pattern in _NOT_COPIED] if target.is_dir() else []
    return ["rsync", "--archive", "--partial", "-e", "ssh -o BatchMode=yes", *left_out, "--", source, str(target)]


def _call(argv: list[str]) -> str:
    """What a command says; ClusterError where it fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SpecError(f"{argv[0]} is not installed here; install it, or give a path that is mounted") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        message = f"{argv[0]} ended with {done.returncode}: {said[-1] if said else 'it said nothing'}"
        raise ClusterError(f"{message}; the same command again goes on from here", transient=True)
    return done.stdout
