"""Writing archives: one thread reads files and makes members of them, another compresses, hashes and writes.

A process of its own reads back what is written meanwhile, so an archive is proven when it is written.
"""

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

from penstock.domain.errors import SpecError, StoreError
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
    ChecksumList,
)
from penstock.store.archive_proof import Proof
from penstock.store.tar_codec import BLOCK, DIRECTORY, FILE, LINK, header_of, padding

_OWN_NAMES: Final = (HEAD_NAME, CHECKSUMS_NAME, END_NAME)
_LEFT_ASIDE: Final = (DATABASE_MEMBER, DATABASE_MEMBER + b"-wal", DATABASE_MEMBER + b"-shm")
_BY_NAME: Final = operator.attrgetter("name")
_LEVEL: Final = 3
_PIECES_AHEAD: Final = 8


def write_archive(directory: Path, database: Path, head: ArchiveHead, target: Path) -> ArchiveDigest:
    """Writes the archive of what is in `directory`, with `database` as its rows, to the new file `target`, synced.

    All of it was read back and verified. SpecError when it cannot be written, or when a file changes while it is read;
    StoreError when what is in the file is not what was written.
    """
    checksums = tempfile.SpooledTemporaryFile(SPOOLED_MAX)  # noqa: SIM115 - closed below
    with checksums, Proof(target) as proof, _Packer(target, proof) as packer:
        tree = _TreeWriter(packer, checksums)
        tree.add_bytes(HEAD_NAME, msgspec.json.format(msgspec.json.encode(head)) + b"\n", head.archived_at)
        tree.add_file(DATABASE_MEMBER, os.fsencode(database))
        tree.add_tree(os.fsencode(directory), skip=_LEFT_ASIDE)
        listed = tree.add_checksums(head.archived_at)
        end = ArchiveEnd(tree.files, tree.directories, tree.links, tree.bytes, listed, tree.left_out)
        tree.add_end(end, head.archived_at)
        packed = packer.finish()
        if proof.finish() != packed:
            raise StoreError(f"{target} is not what was written; nothing was removed", healable=False)
    return ArchiveDigest(*packed, end)


class _Packer:
    """Takes a tar stream in pieces, which another thread compresses, hashes and writes meanwhile."""

    def __init__(self, target: Path, proof: Proof) -> None:
        self._target = target
        self._proof = proof
        self._file: IO[bytes] | None = None
        self._pieces: queue.Queue[bytearray | None] = queue.Queue(_PIECES_AHEAD)
        self._gathered = bytearray()
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

    def put(self, data: bytes) -> None:
        """More of the stream."""
        self._gathered += data
        if len(self._gathered) >= PIECE:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._error is not None:
            raise _cannot_write(self._target, self._error)
        self._pieces.put(self._gathered)
        self._gathered = bytearray()

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
        size = 0
        while (piece := self._pieces.get()) is not None:
            size += len(piece)
            if self._error is None:
                try:
                    self._keep(packer.compress(piece))
                    self._proof.grown(size)
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
        self._file.flush()


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
        self._listed = ChecksumList(checksums)

    def add_bytes(self, name: bytes, data: bytes, at: float) -> None:
        """A file from memory."""
        self._packer.put(_own_header(name, len(data), at) + data + padding(len(data)))
        self._note(name, hashlib.sha256(data), len(data))

    def add_tree(self, path: bytes, skip: tuple[bytes, ...]) -> None:
        """All that is below `path` but what it keeps aside, in order of the names, whatever its depth."""
        stack = [(b"", self._entries(path, skip))]
        while stack:
            above, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
            elif entry.is_file(follow_symlinks=False):
                self.add_file(above + entry.name, entry.path)
            elif entry.is_symlink():
                target = os.readlink(entry.path)  # noqa: PTH115 - bytes, as all names here
                self._packer.put(header_of(LINK, above + entry.name, 0o777, 0, 0, target))
                self.links += 1
            elif entry.is_dir():
                inner = above + entry.name + b"/"
                found = entry.stat()
                self._packer.put(header_of(DIRECTORY, inner, found.st_mode & 0o777, int(found.st_mtime)))
                self.directories += 1
                if inner != b"locks/":  # who held one then holds none now
                    stack.append((inner, self._entries(entry.path)))
            else:
                self.left_out.append(os.fsdecode(above + entry.name))

    @staticmethod
    def _entries(path: bytes, skip: tuple[bytes, ...] = ()) -> Iterator[os.DirEntry[bytes]]:
        with os.scandir(path) as found:
            entries = sorted(found, key=_BY_NAME)
        return iter([entry for entry in entries if not _is_aside(entry.name, skip)] if skip else entries)

    def add_file(self, name: bytes, path: bytes) -> None:
        """A regular file as it is now. SpecError when it changes meanwhile."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SpecError(f"{os.fsdecode(path)} cannot be read: {error.strerror}; make it readable") from error
        try:
            found = os.fstat(fd)
            size = found.st_size
            header = header_of(FILE, name, found.st_mode & 0o777, max(0, int(found.st_mtime)), size)
            data = os.read(fd, min(size, PIECE) + 1)
            digest = hashlib.sha256(data)
            if size <= PIECE:
                self._packer.put(header + data + padding(size))
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
        self._listed.add(name, digest)

    def add_checksums(self, at: float) -> str:
        """The member with the checksums of all before it; its own."""
        self._listed.flush()
        size = self._checksums.tell()
        self._checksums.seek(0)
        self._packer.put(_own_header(CHECKSUMS_NAME, size, at))
        digest = hashlib.sha256()
        while data := self._checksums.read(PIECE):
            digest.update(data)
            self._packer.put(data)
        self._packer.put(padding(size))
        return digest.hexdigest()

    def add_end(self, end: ArchiveEnd, at: float) -> None:
        """The last member, and the end of the tar."""
        data = msgspec.json.format(msgspec.json.encode(end)) + b"\n"
        self._packer.put(_own_header(END_NAME, len(data), at) + data + padding(len(data)) + b"\0" * 2 * BLOCK)


def _own_header(name: bytes, size: int, at: float) -> bytes:
    return header_of(FILE, name, 0o644, int(at), size)


def _is_aside(name: bytes, skip: tuple[bytes, ...]) -> bool:
    return name in skip or name in _OWN_NAMES or name.startswith(os.fsencode(SCRATCH))
