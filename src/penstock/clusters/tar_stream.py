"""Many small files as one tar stream, out and back; flat memory, nothing but regular files, nothing out of the tree."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from penstock.clusters.shell import whole_file
from penstock.domain.errors import ClusterError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK: Final = 512
_CHUNK: Final = 256 * 1024
_FOLDER_MODE: Final = 0o755
_MODE: Final = 0o644  # root's tar would take any mode as it is, everybody else's takes the umask off


class Readable(Protocol):
    """Where a stream comes from; b"" is its end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


def pack(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """The tar archive of `files` (relative path → content) in chunks of some 256 KiB.

    A directory (its path ends with a slash) needs an entry only where nothing is in it: every tar makes what is
    missing.
    """
    now_s = int(time.time())
    chunk = bytearray()
    for name, content in files.items():
        chunk += _header(name, len(content), now_s)
        if name.endswith("/"):
            continue
        for start in range(0, len(content), _CHUNK):
            chunk += content[start : start + _CHUNK]
            if len(chunk) >= _CHUNK:
                yield bytes(chunk)
                chunk.clear()
        chunk += b"\0" * (-len(content) % _BLOCK)
    yield bytes(chunk) + b"\0" * (2 * _BLOCK)


def unpack(stream: Readable, wanted: Collection[str], into: Path) -> None:
    """Writes the regular files of a tar stream below `into`, each by rename, and reads the stream to its end.

    Links and the like are passed over. ClusterError for a name that is not among `wanted`, tarfile.TarError for a
    stream that is broken off or no tar at all, OSError when a file cannot be written. An empty stream is no file.
    """
    counted = _Counted(stream)
    source = io.BufferedReader(counted, _CHUNK)
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK, encoding="utf-8") as archive:
            while (member := archive.next()) is not None:
                _extract(archive, member, wanted, into)
                archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all
    except tarfile.ReadError:
        if counted.size:
            raise
    while source.read(_CHUNK):
        pass


class _Counted(io.RawIOBase):
    """A stream as Python's own readers want it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        block = self._stream.read(len(view))
        view[: len(block)] = block
        self.size += len(block)
        return len(block)


def _header(name: str, size: int, time_s: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, time_s, _MODE
    if name.endswith("/"):
        info.size, info.type, info.mode = 0, tarfile.DIRTYPE, _FOLDER_MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: Collection[str], into: Path) -> None:
    name = _wanted(member.name, wanted)
    if not (member.isreg() or member.islnk()):
        return
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        if member.islnk():  # to a file that came before: a tar that cannot be told to send it twice
            shutil.copyfile(into / _wanted(member.linkname, wanted), partial)
            return
        content = archive.extractfile(member)
        assert content is not None  # it is a regular file
        with partial.open("wb") as file:
            shutil.copyfileobj(content, file, _CHUNK)


def _wanted(name: str, wanted: Collection[str]) -> str:
    if (plain := name.removeprefix("./")) not in wanted:
        raise ClusterError(f"the cluster sent {name!r}, which nobody asked for", transient=False)
    return plain
