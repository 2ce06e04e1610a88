"""A cluster's shell behind SSH. This module imports asyncssh: only daemons that have such a cluster import it.

A command reaches the other side as one word of letters and octal numbers, which means the same to every login shell;
what the login shell's own files print comes before a random mark and is dropped.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import tarfile
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread
import asyncssh

from penstock.clusters.shell import Completed, Way, check_names, cluster_errors
from penstock.clusters.ssh_dial import SshTarget
from penstock.clusters.ssh_link import SSH_ERRORS, LinkState, Process, SshLink, Timing
from penstock.clusters.tar_stream import pack, unpack
from penstock.domain.errors import ClusterError, NotFoundError
from penstock.files.threads import in_thread

_Reader: TypeAlias = asyncssh.SSHReader[bytes]
_Sink: TypeAlias = Callable[["_Framed"], Awaitable[bytes]]

_CHUNK: Final = 256 * 1024
_FILES_TIMEOUT_S: Final = 1800.0
_LONGEST_COMMAND: Final = 120_000  # Linux takes 128 KiB for one argument, and the login shell gets ours as one
_LONGEST_COMPLAINT: Final = 500

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ./_-=:,+@")
# sh, whatever the login shell is: no character inside the quotes means anything to bash, dash, zsh, fish or csh
_COMMAND: Final = """exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '{}'"""
_FRAME: Final = """\
set -- {argv}
s=missing
case $1 in
*/*) if [ -f "$1" ] && [ -x "$1" ]; then s=ready; elif [ -e "$1" ]; then s=forbidden; fi;;
*) command -v "$1" >/dev/null 2>&1 && s=ready;;
esac
echo "{mark} $s"; echo "{mark} $s" >&2
[ $s = ready ] || exit 127
exec "$@"
:"""

_PUT: Final = 'LC_ALL=C; export LC_ALL; mkdir -p "$1" && cd "$1" && exec tar -xf -'
_GET: Final = 'LC_ALL=C; export LC_ALL; exec cat "$1"'
_LIST: Final = """\
LC_ALL=C; export LC_ALL
cd "$1" 2>/dev/null || { ls -A "$1/."; exit 1; }
exec find . -mindepth 1 -maxdepth 1 -print0"""
# GNU tar reads escapes in a list of names and stores a second link as a link unless told; busybox's may take no list
_FETCH: Final = """\
LC_ALL=C; export LC_ALL
cd "$1" 2>/dev/null || { ls -A "$1/."; exit 1; }
fits() { [ -f "./$f" ] && ! [ -L "./$f" ]; }
o='--no-unquote --hard-dereference'
if tar $o --version >/dev/null 2>&1; then
  while IFS= read -r f; do fits && printf '%s\\n' "./$f"; done | tar $o -cf - -T -
else
  set --
  while IFS= read -r f; do fits && set -- "$@" "./$f"; done
  [ $# = 0 ] || exec tar -cf - "$@"
fi"""
_HARMLESS: Final = re.compile(
    r"No such file or directory|file removed before we read it|file changed as we read it"
    r"|Exiting with failure status due to previous errors|error exit delayed from previous errors"
)
_LASTING: Final = re.compile(
    r"Permission denied|Not a directory|Is a directory|File exists|Read-only file system|not permitted"
)


class SshShell:
    """A `Shell` over one shared SSH connection; see `SshLink` for how that comes and goes. For one event loop."""

    def __init__(self, target: SshTarget, clock: Timing, jitter: Callable[[], float] = random.random) -> None:
        asyncssh.set_log_level("WARNING")  # it would log every command
        self._link = SshLink(target, clock, jitter)
        self._host = target.host

    @property
    def way(self) -> Way:
        """How the connection is."""
        return self._link.way()

    @property
    def state(self) -> LinkState:
        """The connection's state, for people."""
        return self._link.state

    @property
    def connects(self) -> int:
        """How often a connection was made."""
        return self._link.connects

    @property
    def sessions_in_use(self) -> int:
        """Operations that run now."""
        return self._link.sessions_in_use

    async def close(self) -> None:
        """See `Shell`."""
        await self._link.close()

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        """See `Shell`. On timeout or cancellation the remote process is killed where the server does as it is told."""
        return await self._converse(argv, iter([stdin]), _everything, timeout_s)

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        """See `Shell`."""
        check_names(files)
        done = await self._script(_PUT, directory, pack(files), _everything)
        if done.exit_code:
            raise self._complaint(directory, done)

    async def get(self, path: str) -> bytes:
        """See `Shell`."""
        done = await self._script(_GET, path, iter(()), _everything)
        if done.exit_code:
            raise self._missing(path, done)
        return done.stdout

    async def list(self, directory: str) -> list[str]:
        """See `Shell`."""
        done = await self._script(_LIST, directory, iter(()), _everything)
        if done.exit_code:
            raise self._missing(directory, done)
        return sorted(os.fsdecode(name.removeprefix(b"./")) for name in done.stdout.split(b"\0") if name)

    async def fetch(self, directory: str, names: Sequence[str], into: Path) -> None:
        """See `Shell`."""
        check_names(names)
        wanted = dict.fromkeys(names)  # each once
        broken: list[Exception] = []

        async def sink(stdout: _Framed) -> bytes:
            try:
                with cluster_errors(str(into)):
                    await in_thread(into, unpack, _Blocking(stdout), wanted.keys(), into)
            except tarfile.TarError as error:
                broken.append(error)  # why it broke off is for the other side to say
            return b""

        done = await self._script(_FETCH, directory, iter([b"".join(os.fsencode(f"{n}\n") for n in wanted)]), sink)
        lines = done.stderr.decode(errors="replace").splitlines()
        if done.exit_code and not (lines and all(map(_HARMLESS.search, lines))):
            raise self._complaint(directory, done)
        if broken:
            raise ClusterError(
                f"{directory} on {self._host}: the stream of files broke off: {broken[0]}", transient=True
            )

    async def _script(self, script: str, argument: str, stdin: Iterator[bytes], sink: _Sink) -> Completed:
        argv = ("/bin/sh", "-c", script, "sh", argument)
        return await self._converse(argv, stdin, sink, _FILES_TIMEOUT_S, called=argument)

    async def _converse(
        self, argv: Sequence[str], stdin: Iterator[bytes], sink: _Sink, timeout_s: float, called: str = ""
    ) -> Completed:
        called = called or argv[0]
        mark = uuid.uuid4().hex
        command = _command(argv, mark)
        async with self._link.process(command) as process:
            stdout, stderr = _Framed(process.stdout, mark), _Framed(process.stderr, mark)
            try:
                with anyio.fail_after(timeout_s):
                    output, complaint = await _exchange(process, stdin, stdout, stderr, sink)
                    await process.wait_closed()
            except TimeoutError as error:
                raise ClusterError(f"{called} did not end within {timeout_s:g} s", transient=True) from error
            code = process.returncode
        if code is None:
            reason = self.state.reason if self.state.name == "down" else "its session ended without a word"
            raise ClusterError(f"{called} on {self._host}: the connection was lost meanwhile: {reason}", transient=True)
        if stdout.verdict == b"missing":
            raise NotFoundError(f"{called} does not exist on {self._host}")
        if stdout.verdict == b"forbidden":
            raise ClusterError(f"{called} on {self._host} may not be executed", transient=False)
        if stdout.verdict != b"ready":
            raise ClusterError(
                f"{called} was not started on {self._host}: the account's login shell ended with exit code {code}"
                f" instead of running /bin/sh: {_shown(stdout.noise + stderr.noise + complaint)}",
                transient=True,
            )
        return Completed(code, output, complaint)

    def _complaint(self, what: str, done: Completed) -> ClusterError:
        lasting = _LASTING.search(done.stderr.decode(errors="replace"))
        text = _shown(done.stderr) or f"exit code {done.exit_code}"
        return ClusterError(f"{what} on {self._host}: {text}", transient=not lasting)

    def _missing(self, what: str, done: Completed) -> ClusterError | NotFoundError:
        if b"No such file or directory" in done.stderr:
            return NotFoundError(f"{what} does not exist on {self._host}")
        return self._complaint(what, done)


class _Framed:
    """A process's stream from the mark on; a lost connection is its end."""

    def __init__(self, reader: _Reader, mark: str) -> None:
        self.verdict = b""
        self.noise = b""
        self._reader = reader
        self._mark = mark.encode() + b" "
        self._rest: bytes | None = None

    async def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" is the end."""
        if self._rest is None:
            self._rest = await self._skip()
        if self._rest:
            block, self._rest = self._rest[:size], self._rest[size:]
            return block
        return await self._receive(size)

    async def _skip(self) -> bytes:
        seen = b""
        while block := await self._receive(_CHUNK):
            noise, mark, rest = (seen + block).partition(self._mark)
            if mark and b"\n" in rest:
                self.verdict, _, rest = rest.partition(b"\n")
                return rest
            self.noise = noise[-_LONGEST_COMPLAINT:]
            seen = (seen + block)[-2 * _LONGEST_COMPLAINT :]
        return b""

    async def _receive(self, size: int) -> bytes:
        try:
            return await self._reader.read(size)
        except SSH_ERRORS:
            return b""


class _Blocking:
    """A stream for a worker thread."""

    def __init__(self, stream: _Framed) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        anyio.from_thread.check_cancelled()  # a read that need not wait would never notice
        return anyio.from_thread.run(self._stream.read, size)


async def _exchange(
    process: Process, stdin: Iterator[bytes], stdout: _Framed, stderr: _Framed, sink: _Sink
) -> tuple[bytes, bytes]:
    """Feeds the process while its output is taken; what `sink` made of stdout, and all of stderr."""
    results: dict[str, bytes] = {}
    failures: list[Exception] = []

    async def take(name: str, stream: _Framed, into: _Sink) -> None:
        try:
            results[name] = await into(stream)
        except Exception as error:  # noqa: BLE001  raised below, as itself and not as part of a group
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(take, "stdout", stdout, sink)
        group.start_soon(take, "stderr", stderr, _everything)
        group.start_soon(_feed, process, stdin)
    if failures:
        raise failures[0]
    return results["stdout"], results["stderr"]


async def _feed(process: Process, stdin: Iterator[bytes]) -> None:
    with contextlib.suppress(*SSH_ERRORS):  # a program may end before it has read everything
        while (chunk := await anyio.to_thread.run_sync(next, stdin, None)) is not None:
            for start in range(0, len(chunk), _CHUNK):
                process.stdin.write(chunk[start : start + _CHUNK])
                await process.stdin.drain()
        process.stdin.write_eof()


async def _everything(stream: _Framed) -> bytes:
    content = bytearray()
    while block := await stream.read(_CHUNK):
        content += block
    return bytes(content)


def _command(argv: Sequence[str], mark: str) -> str:
    if any("\0" in argument for argument in argv):
        raise ValueError(f"an argument of {argv[0]!r} holds a NUL character, which no program can be given")
    script = os.fsencode(_FRAME.format(argv=shlex.join(argv), mark=mark))
    command = _COMMAND.format("".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in script))
    if len(command) > _LONGEST_COMMAND:
        raise ClusterError(
            f"{argv[0]}: its arguments are too long for one command; send them as input", transient=False
        )
    return command


def _shown(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-_LONGEST_COMPLAINT:]
