"""Where a cluster's commands run and its files lie: the port, and the shell of this very host."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Final, Protocol

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from penstock.domain.errors import ClusterError, NotFoundError

_LASTING: Final = (PermissionError, NotADirectoryError, IsADirectoryError)


class Completed(msgspec.Struct, frozen=True):
    """A command that has ended; `exit_code` is minus the signal's number where a signal ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Shell(Protocol):
    """A way to a cluster's host. Arguments reach the program as they are; no command line is ever interpreted.

    Directories and paths are absolute. Everything raises ClusterError when the way there or the host itself fails.
    """

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """Runs a program to its end. After `timeout_s` it is killed: a transient ClusterError."""

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        """Writes files (name → content) into `directory`, which is made where it is missing; each appears whole."""

    async def get(self, path: str) -> bytes:
        """A file's content. NotFoundError when there is none."""

    async def list(self, directory: str) -> list[str]:
        """The names in `directory`, sorted. NotFoundError when there is none."""


class LocalShell:
    """The same host, this account."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """See `Shell`. On timeout or cancellation the whole process group is killed."""
        with _cluster_errors(argv[0]), anyio.CancelScope(shield=True):  # once it exists, it is ours to end
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
        await anyio.to_thread.run_sync(_write_all, Path(directory), files)

    async def get(self, path: str) -> bytes:
        """See `Shell`."""
        with _cluster_errors(path):
            return await anyio.Path(path).read_bytes()

    async def list(self, directory: str) -> list[str]:
        """See `Shell`."""
        with _cluster_errors(directory):
            return sorted(await anyio.to_thread.run_sync(os.listdir, directory))


def check_names(names: Iterable[str]) -> None:
    """ValueError for what is no plain file name."""
    for name in names:
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is no file name")


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
    with _cluster_errors(str(directory)):
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = directory / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(directory / name)


@contextlib.contextmanager
def _cluster_errors(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} does not exist on this host") from error
    except OSError as error:
        raise ClusterError(f"{what}: {error.strerror or error}", transient=not isinstance(error, _LASTING)) from error
