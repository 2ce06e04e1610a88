"""Output files that a person names or that lie below a directory: found, told apart, read, by several processes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from penstock import engines
from penstock.domain.report import Report
from penstock.engines.engine import OutputEngine
from penstock.engines.marker_scan import opened, read_head

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

UNKNOWN: Final = "not an output of ORCA, CRYSTAL or Quantum ESPRESSO"
_ALONE_MOST: Final = 50
"""As many files are read in this process; starting others would take longer."""
_MESSAGE_MAX: Final = 300
_ATOMIC: Final = re.compile(r"_atom\d+\.out(\.gz)?$")


class Found(NamedTuple):
    """A path to read; `is_named` when it was given by name, so that its not being an output is worth a word."""

    path: str
    is_named: bool
    problem: str | None = None


class Reading(msgspec.Struct, frozen=True):
    """What came of a path: a report, or what was wrong; neither where a file in a directory is no output."""

    path: str
    report: Report | None = None
    problem: str | None = None


def find_outputs(paths: Iterable[str]) -> Iterator[Found]:
    """Files as they are named, and those below directories whose names some engine would give an output.

    No symbolic link to a directory is followed, and one to a file only if the file lies in the tree under a name that
    would not be found.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a directory above may not be entered
            yield from _walk(path)
        else:
            yield Found(path, is_named=True)


def read_all(found: Sequence[Found]) -> Iterator[Reading]:
    """A reading of each, in order; leaving the iterator ends the processes that do it."""
    processes = len(os.sched_getaffinity(0))
    if len(found) <= _ALONE_MOST or processes < 2:
        yield from map(read_one, found)
    else:
        yield from _read_in_processes(found, min(processes, len(found)))


def read_one(found: Found) -> Reading:
    """What the file is and says; every error becomes a `problem`, so that one file costs no other."""
    if found.problem is not None:
        return Reading(found.path, problem=found.problem)
    path = Path(found.path)
    try:
        with opened(path):  # what cannot be read at all is not "no output"
            engine = _engine_of(read_head(path))
        if engine is None:
            return Reading(found.path, problem=UNKNOWN if found.is_named else None)
        report = engine.report(path)
    except OSError as error:
        return Reading(found.path, problem=error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - a defect that one file brings to light
        said = f"{type(error).__name__}: {error}"[:_MESSAGE_MAX]
        return Reading(found.path, problem=f"cannot be read, which is a defect: {said}")
    return Reading(found.path, msgspec.structs.replace(report, geometry=None, properties={}))


def _engine_of(head: bytes) -> OutputEngine[Any] | None:
    return next((engine for engine in engines.output_engines() if engine.recognises(head)), None)


def _walk(top: str) -> Iterator[Found]:
    root = Path(top).resolve()
    refused: list[OSError] = []
    for directory, below, names in os.walk(top, onerror=refused.append):
        below.sort()
        for error in refused:
            yield Found(os.fsdecode(error.filename), is_named=False, problem=error.strerror)
        refused.clear()
        for name in sorted(_main_outputs(names)):
            path = os.path.join(directory, name)  # noqa: PTH118 - as the person wrote it, "./" and all
            if not Path(path).is_symlink() or _is_hidden_in(root, path):
                yield Found(path, is_named=False)
    for error in refused:
        yield Found(os.fsdecode(error.filename), is_named=False, problem=error.strerror)


def _main_outputs(names: Sequence[str]) -> set[str]:
    accepted = {name for engine in engines.output_engines() for name in engine.main_output(names)}
    return {name for name in accepted if not _ATOMIC.search(name)}


def _is_hidden_in(root: Path, link: str) -> bool:
    """Whether a link leads to a file in the tree that the walk would not find by the file's own name."""
    try:
        target = Path(link).resolve(strict=True)
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle
        return False
    return target.is_relative_to(root) and target.is_file() and not _main_outputs([target.name])


def _read_in_processes(found: Sequence[Found], processes: int) -> Iterator[Reading]:
    """Each of the processes takes every so-manieth file; a full pipe holds back the one that is ahead."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    readers: list[Connection] = []
    workers = []
    # An interrupt is for us alone: those born while it is blocked never see one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for first in range(processes):
            reader, writer = context.Pipe(duplex=False)
            readers.append(reader)
            worker = context.Process(target=_work, args=(found[first::processes], writer, readers), daemon=True)
            worker.start()
            workers.append(worker)
            writer.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        for index, one in enumerate(found):
            yield _receive(readers[index % processes], one)
    finally:
        for worker in workers:
            worker.terminate()
        for worker, reader in zip(workers, readers, strict=True):
            worker.join()
            worker.close()
            reader.close()


def _work(found: Sequence[Found], writer: Connection, readers: Iterable[Connection]) -> None:
    for reader in readers:
        reader.close()  # so that a write fails, and ends us, once the one who asked has gone
    try:
        for one in found:
            writer.send_bytes(msgspec.msgpack.encode(read_one(one)))
    except BrokenPipeError:
        return


def _receive(reader: Connection, one: Found) -> Reading:
    """The next reading; this process does itself what one that died (killed, out of memory) has left undone."""
    try:
        return msgspec.msgpack.decode(reader.recv_bytes(), type=Reading)
    except EOFError:
        return read_one(one)
