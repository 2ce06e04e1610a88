"""Writing archives: one thread reads files and makes members of them, another compresses, hashes and writes."""

from __future__ import annotations

import hashlib
import operator
import os
import queue
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec
import zstandard

from penstock.domain.errors import SpecError
from penstock.domain.life_cycle import ArchiveDigest, ArchiveEnd, ArchiveHead
from penstock.store.archive_format import (
    CHECKSUMS_NAME,
    DATABASE_MEMBER,
    END_NAME,
    HEAD_NAME,
    PIECE,
    SCRATCH,
    SPOOLED_MAX,
    TRAILER_MAGIC,
    checksum_line,
)
from penstock.store.tar_codec import BLOCK, DIRECTORY, FILE, LINK, Member, encode, padding

_OWN_NAMES: Final = (HEAD_NAME, CHECKSUMS_NAME, END_NAME)
_LEFT_ASIDE: Final = (DATABASE_MEMBER, DATABASE_MEMBER + b"-wal", DATABASE_MEMBER + b"-shm")
_BY_NAME: Final = operator.attrgetter("name")
_LEVEL: Final = 3
_PIECES_AHEAD: Final = 8


def write_archive(directory: Path, database: Path, head: ArchiveHead, target: Path) -> ArchiveDigest:
    """Writes the archive of what is in `directory`, with `database` as its rows, to the new file `target`, synced.

    SpecError when it cannot be written, or when a file changes while it is read.
    """
    checksums = tempfile.SpooledTemporaryFile(SPOOLED_MAX)  # noqa: SIM115 - closed below
    with checksums, _Packer(target) as packer:
        tree = _TreeWriter(packer, checksums)
        tree.add_bytes(HEAD_NAME, msgspec.json.format(msgspec.json.encode(head)) + b"\n", head.archived_at)
        tree.add_file(DATABASE_MEMBER, os.fsencode(database))
        tree.add_tree(os.fsencode(directory), b"", skip=_LEFT_ASIDE)
        listed = tree.add_checksums(head.archived_at)
        end = ArchiveEnd(tree.files, tree.directories, tree.links, tree.bytes, listed, tree.left_out)
        tree.add_end(end, head.archived_at)
        packed = packer.finish()
    return ArchiveDigest(*packed, end)


class _Packer:
    """Takes a tar stream in pieces, which another thread compresses, hashes and writes meanwhile."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._file: IO[bytes] | None = None
        self._pieces: queue.Queue[list[bytes] | None] = queue.Queue(_PIECES_AHEAD)
        self._gathered: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._pack, name="pack")

    def __enter__(self) -> Self:
        try:
            self._file = self._target.open("xb")
        except OSError as error:
            raise _cannot_write(self._target, error) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():  # it was broken off
            self._error = self._error or EOFError()
            self._pieces.put(None)
        self._thread.join()
        assert self._file is not None
        self._file.close()

    def put(self, *data: bytes) -> None:
        """More of the stream."""
        self._gathered += data
        self._size += sum(map(len, data))
        if self._size >= PIECE:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._error is not None:
            raise _cannot_write(self._target, self._error)
        self._pieces.put(self._gathered)
        self._gathered, self._size = [], 0

    def finish(self) -> tuple[int, str]:
        """Writes the rest, with the trailer; the file's size and SHA-256, once it is on the disk."""
        self._hand_over()
        self._pieces.put(None)
        self._thread.join()
        if self._error is not None:
            raise _cannot_write(self._target, self._error)
        assert self._file is not None
        try:
            trailer = TRAILER_MAGIC + self._digest.digest()
            self._digest.update(trailer)
            self._file.write(trailer)
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell(), self._digest.hexdigest()
        except OSError as error:
            raise _cannot_write(self._target, error) from error

    def _pack(self) -> None:
        packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        assert self._file is not None
        while (piece := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    self._keep(packer.compress(b"".join(piece)))
                except OSError as error:
                    self._error = error
        if self._error is None:
            try:
                self._keep(packer.flush())
            except OSError as error:
                self._error = error

    def _keep(self, packed: bytes) -> None:
        assert self._file is not None
        self._digest.update(packed)
        self._file.write(packed)


def _cannot_write(target: Path, error: BaseException) -> SpecError:
    reason = getattr(error, "strerror", None) or error
    return SpecError(f"{target} cannot be written: {reason}; choose another destination", key="destination")


class _TreeWriter:
    """Turns files and directories into members."""

    def __init__(self, packer: _Packer, checksums: IO[bytes]) -> None:
        self.files = self.directories = self.links = self.bytes = 0
        self.left_out: list[str] = []
        self._packer = packer
        self._checksums = checksums

    def add_bytes(self, name: bytes, data: bytes, at: float) -> None:
        """A file from memory."""
        self._packer.put(encode(Member(FILE, name, mtime=int(at), size=len(data))), data, padding(len(data)))
        self._note(name, hashlib.sha256(data), len(data))

    def add_tree(self, path: bytes, name: bytes, skip: tuple[bytes, ...] = ()) -> None:
        """All that is below `path`, in order of the names, whatever its depth."""
        stack = [self._entries(path, name, skip)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            inner = name_below(entry)
            if entry[1].is_symlink():
                target = os.readlink(entry[1].path)  # noqa: PTH115 - bytes, as all names here
                self._packer.put(encode(Member(LINK, inner, 0o777, target=target)))
                self.links += 1
            elif entry[1].is_dir():
                found = entry[1].stat()
                self._packer.put(encode(Member(DIRECTORY, inner + b"/", found.st_mode & 0o777, int(found.st_mtime))))
                self.directories += 1
                emptied = not entry[0] and entry[1].name == b"locks"  # who held one then holds none now
                if not emptied:
                    stack.append(self._entries(entry[1].path, inner, ()))
            elif entry[1].is_file():
                self.add_file(inner, entry[1].path)
            else:
                self.left_out.append(os.fsdecode(inner))

    @staticmethod
    def _entries(path: bytes, name: bytes, skip: tuple[bytes, ...]) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
        with os.scandir(path) as found:
            entries = sorted(found, key=_BY_NAME)
        return iter([(name, e) for e in entries if name or not _is_aside(e.name, skip)])

    def add_file(self, name: bytes, path: bytes) -> None:
        """A regular file as it is now. SpecError when it changes meanwhile."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SpecError(f"{os.fsdecode(path)} cannot be read: {error.strerror}; make it readable") from error
        try:
            found = os.fstat(fd)
            size = found.st_size
            header = encode(Member(FILE, name, found.st_mode & 0o777, max(0, int(found.st_mtime)), size))
            data = os.read(fd, min(size, PIECE) + 1)
            digest = hashlib.sha256(data)
            if size <= PIECE:
                self._packer.put(header, data, padding(size))
                read = len(data)
            else:
                self._packer.put(header)
                read = self._stream(fd, data, size, digest)
            if read != size:
                raise SpecError(f"{os.fsdecode(path)} changed while it was read; try again when nothing writes to it")
        finally:
            os.close(fd)
        self._note(name, digest, size)

    def _stream(self, fd: int, data: bytes, size: int, digest: Any) -> int:
        read = 0
        while data:
            read += len(data)
            if read > size:
                return read
            self._packer.put(data)
            if data := os.read(fd, PIECE):
                digest.update(data)
        self._packer.put(padding(size))
        return read

    def _note(self, name: bytes, digest: Any, size: int) -> None:
        self.files += 1
        self.bytes += size
        self._checksums.write(checksum_line(name, digest.hexdigest()))

    def add_checksums(self, at: float) -> str:
        """The member with the checksums of all before it; its own."""
        size = self._checksums.tell()
        self._checksums.seek(0)
        self._packer.put(encode(Member(FILE, CHECKSUMS_NAME, mtime=int(at), size=size)))
        digest = hashlib.sha256()
        while data := self._checksums.read(PIECE):
            digest.update(data)
            self._packer.put(data)
        self._packer.put(padding(size))
        return digest.hexdigest()

    def add_end(self, end: ArchiveEnd, at: float) -> None:
        """The last member, and the end of the tar."""
        data = msgspec.json.format(msgspec.json.encode(end)) + b"\n"
        self._packer.put(encode(Member(FILE, END_NAME, mtime=int(at), size=len(data))), data, padding(len(data)))
        self._packer.put(b"\0" * 2 * BLOCK)


def name_below(entry: tuple[bytes, os.DirEntry[bytes]]) -> bytes:
    """An entry's name from the top of the tree."""
    folder, found = entry
    return folder + b"/" + found.name if folder else found.name


def _is_aside(name: bytes, skip: tuple[bytes, ...]) -> bool:
    return name in skip or name in _OWN_NAMES or name.startswith(os.fsencode(SCRATCH))
