"""Where a cluster's commands run and its files lie: the port, and the shell of this very host."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Final, Protocol

import anyio
import anyio.abc
import msgspec

from penstock.domain.errors import ClusterError, NotFoundError
from penstock.files.threads import in_thread

_LASTING: Final = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


class Completed(msgspec.Struct, frozen=True):
    """A command that has ended; `exit_code` is minus the signal's number where a signal ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Way(msgspec.Struct, frozen=True):
    """How the way to a host is, for people; times in seconds since the epoch."""

    is_up: bool = True
    reason: str = ""
    down_since: float | None = None
    next_try_at: float | None = None
    connects: int = 0
    sessions: int = 0
    sessions_max: int = 0


class Shell(Protocol):
    """A way to a cluster's host. Arguments reach the program as they are; no command line is ever interpreted.

    Directories and paths are absolute. Everything raises ClusterError when the way there or the host itself fails.
    """

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """Runs a program to its end. After `timeout_s` it is killed: a transient ClusterError."""

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        """Writes files (relative path → content) below `directory`, as one stream; missing directories are made.

        A path that ends with a slash is a directory, whatever its content. Either all are there when it returns or it
        raises; after an error some may be.
        """

    async def get(self, path: str) -> bytes:
        """A file's content. NotFoundError when there is none."""

    async def list(self, directory: str) -> list[str]:
        """The names in `directory`, sorted. NotFoundError when there is none."""

    async def fetch(self, directory: str, names: Sequence[str], into: Path) -> None:
        """Copies files (paths relative to `directory`) to the same places below `into`, as one stream.

        Names that do not exist there are passed over; what is no regular file is not fetched. Memory stays flat however
        large the files are.
        """

    @property
    def way(self) -> Way:
        """How the way there is."""

    async def close(self) -> None:
        """Gives back what the shell holds (a connection, its sockets). It is not to be used afterwards."""


class LocalShell:
    """The same host, this account."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """See `Shell`. On timeout or cancellation the whole process group is killed."""
        with cluster_errors(argv[0]), anyio.CancelScope(shield=True):  # once it exists, it is ours to end
            process = await anyio.open_process(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
        try:
            with anyio.fail_after(timeout_s):
                return await _communicate(process, stdin)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise ClusterError(f"{argv[0]} did not end within {timeout_s:g} s", transient=True) from error
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await process.aclose()

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        """See `Shell`."""
        check_names(files)
        await in_thread(directory, _write_all, Path(directory), files)

    async def get(self, path: str) -> bytes:
        """See `Shell`."""
        with cluster_errors(path):
            return await in_thread(path, Path(path).read_bytes)

    async def list(self, directory: str) -> list[str]:
        """See `Shell`."""
        with cluster_errors(directory):
            return sorted(await in_thread(directory, os.listdir, directory))

    async def fetch(self, directory: str, names: Sequence[str], into: Path) -> None:
        """See `Shell`. A file that already is the same one stays as it is."""
        check_names(names)
        await in_thread(directory, _copy_all, Path(directory), names, into)

    @property
    def way(self) -> Way:
        """There is none to go."""
        return Way()

    async def close(self) -> None:
        """Nothing is held."""


def check_names(names: Iterable[str]) -> None:
    """ValueError for what is no plain relative path: absolute, `..`, an empty part but the last, NUL, a line feed."""
    for name in names:
        if not {"", ".", ".."}.isdisjoint(name.removesuffix("/").split("/")) or "\0" in name or "\n" in name:
            raise ValueError(f"{name!r} is no relative path of a file")


async def _communicate(process: anyio.abc.Process, stdin: bytes) -> Completed:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = bytearray(), bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(_drain, process.stdout, stdout)
        group.start_soon(_drain, process.stderr, stderr)
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.send(stdin)
        await process.stdin.aclose()
        await process.wait()
    return Completed(await process.wait(), bytes(stdout), bytes(stderr))


async def _drain(stream: anyio.abc.ByteReceiveStream, into: bytearray) -> None:
    async for block in stream:
        into += block


def _write_all(directory: Path, files: Mapping[str, bytes]) -> None:
    with cluster_errors(str(directory)):
        directory.mkdir(parents=True, exist_ok=True)
    made = {directory}
    for name, content in files.items():
        path = directory / name
        folder = path if name.endswith("/") else path.parent
        with cluster_errors(str(path)):
            _make(folder, directory, made)
            if folder == path:
                continue
            path.unlink(missing_ok=True)  # as tar does: what a link points to is not written to
            path.write_bytes(content)


def _make(folder: Path, directory: Path, made: set[Path]) -> None:
    """Makes a folder below `directory` that is not among those `made`, and all on the way to it."""
    if folder in made:
        return
    _make(folder.parent, directory, made)
    folder.mkdir(exist_ok=True)
    if folder.is_symlink() and not folder.resolve().is_relative_to(directory.resolve()):
        raise ClusterError(f"{folder} leads out of {directory} by a symbolic link", transient=False)
    made.add(folder)


def _copy_all(directory: Path, names: Sequence[str], into: Path) -> None:
    for name in names:
        source, target = directory / name, into / name
        with cluster_errors(str(source)):
            if not _is_regular(source) or (target.exists() and target.samefile(source)):
                continue
        with cluster_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as partial:
                shutil.copyfile(source, partial)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it takes the place of `path` at the end, or goes away after an error."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def cluster_errors(what: str) -> Iterator[None]:
    """What goes wrong with a file or a program of this host, as the errors that shells raise."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} does not exist on this host") from error
    except OSError as error:
        raise ClusterError(f"{what}: {error.strerror or error}", transient=not isinstance(error, _LASTING)) from error
