"""Reading archives: every member is given to somebody, every checksum compared, and the whole proven at the end."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final, Protocol, cast

import msgspec
import zstandard

from penstock.domain.errors import StoreError
from penstock.domain.life_cycle import ArchiveDigest, ArchiveEnd, ArchiveHead
from penstock.store.archive_format import (
    CHECKSUMS_NAME,
    END_NAME,
    FORMAT,
    HEAD_NAME,
    PIECE,
    SPOOLED_MAX,
    TRAILER_BYTES,
    TRAILER_MAGIC,
    ChecksumList,
)
from penstock.store.tar_codec import BLOCK, DIRECTORY, FILE, LINK, Member, decode, is_extension, pax_records

_END_BLOCK: Final = b"\0" * BLOCK
_HEAD_MAX: Final = 16 << 20
_END_MAX: Final = 64 << 20


class Source(Protocol):
    """Whatever an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Taker(Protocol):
    """Whoever gets an archive's members while it is read, before anything of it is proven."""

    def begin(self, head: ArchiveHead) -> None:
        """The first member."""

    def directory(self, member: Member) -> None:
        """A directory; its members follow."""

    def link(self, member: Member) -> None:
        """A symbolic link."""

    def file(self, member: Member, data: bytes) -> None:
        """A file that is small."""

    def large_file(self, member: Member, pieces: Iterator[bytes]) -> None:
        """Any other; `pieces` must be read to their end."""


class Nobody:
    """Takes nothing: the archive is only verified."""

    def begin(self, head: ArchiveHead) -> None:
        """Nothing."""

    def directory(self, member: Member) -> None:
        """Nothing."""

    def link(self, member: Member) -> None:
        """Nothing."""

    def file(self, member: Member, data: bytes) -> None:
        """Nothing."""

    def large_file(self, member: Member, pieces: Iterator[bytes]) -> None:  # noqa: ARG002
        """Reads it."""
        for _ in pieces:
            pass


def read_head(source: Source, name: str) -> ArchiveHead:
    """What the archive `name` says of itself, from its first bytes. StoreError where it is none."""
    with _reading(name):
        return _Reader(source, name).head()


def read_archive(source: Source, name: str, taker: Taker) -> ArchiveDigest:
    """Reads all of the archive `name`, giving its members to `taker`, and verifies every checksum on the way.

    StoreError, at the latest after the last member, when anything of it is not as it was written.
    """
    with _reading(name):
        return _Reader(source, name).read(taker)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreError(
            f"{name} is not whole: {error}; nothing of it was used, look for another copy", healable=False
        ) from error
    except (zstandard.ZstdError, msgspec.DecodeError, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise StoreError(
            f"{name} is not whole: {reason}; nothing of it was used, look for another copy", healable=False
        ) from error


class _Body:
    """The compressed data: all but the trailer, hashed as it is read."""

    def __init__(self, source: Source) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()
        self.last = b""
        self._source = source

    def read(self, size: int) -> bytes:
        while data := self._source.read(max(size, BLOCK)):
            held = self.last + data
            given, self.last = held[:-TRAILER_BYTES], held[-TRAILER_BYTES:]
            if given:
                self.bytes += len(given)
                self.digest.update(given)
                return given
        return b""

    def close(self) -> tuple[int, str]:
        """The size and SHA-256 of the whole. StoreError unless the trailer says what was read."""
        while self.read(PIECE):
            pass
        if self.last != TRAILER_MAGIC + self.digest.digest():
            raise StoreError("its bytes are not those that were written", healable=False)
        self.digest.update(self.last)
        return self.bytes + len(self.last), self.digest.hexdigest()


class _Reader:
    def __init__(self, source: Source, name: str) -> None:
        self._name = name
        self._body = _Body(source)
        self._tar = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", self._body), read_size=PIECE)
        self._extended: dict[bytes, bytes] = {}
        self._files = self._directories = self._links = self._bytes = 0
        self._checksums: IO[bytes] = io.BytesIO()
        self._listed = ChecksumList(self._checksums)

    def head(self) -> ArchiveHead:
        member = self._next()
        if member is None or member.name != HEAD_NAME or member.size > _HEAD_MAX:
            raise StoreError("it does not begin as an archive of Penstock does", healable=False)
        data = self._exactly(member.size)
        version = msgspec.json.decode(data, type=dict).get("format")
        if version != FORMAT:
            message = f"{self._name} has format {version}, this program knows {FORMAT}; upgrade Penstock"
            raise StoreError(message, healable=False)
        self._exactly(-member.size % BLOCK)
        self._note(member, hashlib.sha256(data))
        return msgspec.json.decode(data, type=ArchiveHead)

    def read(self, taker: Taker) -> ArchiveDigest:
        with tempfile.SpooledTemporaryFile(SPOOLED_MAX) as self._checksums:
            self._listed = ChecksumList(self._checksums)
            taker.begin(self.head())
            while (member := self._next()) is not None and member.name != CHECKSUMS_NAME:
                self._take(member, taker)
            if member is None:
                raise StoreError("its checksums are missing", healable=False)
            listed = self._compare_checksums(member)
            end = self._end()
            if end.checksums_sha256 != listed:
                raise StoreError("its list of checksums was changed", healable=False)
            counted = (self._files, self._directories, self._links, self._bytes)
            if counted != (end.files, end.directories, end.links, end.bytes):
                raise StoreError("it does not hold as many files as were written", healable=False)
            return ArchiveDigest(*self._body.close(), end)

    def _take(self, member: Member, taker: Taker) -> None:
        if member.kind == FILE and member.size <= PIECE:
            data = self._exactly(member.size + -member.size % BLOCK)[: member.size]
            self._note(member, hashlib.sha256(data))
            taker.file(member, data)
        elif member.kind == FILE:
            digest = hashlib.sha256()
            taker.large_file(member, self._pieces(member, digest))
            self._exactly(-member.size % BLOCK)
            self._note(member, digest)
        elif member.kind == DIRECTORY:
            self._directories += 1
            taker.directory(member)
        elif member.kind == LINK:
            self._links += 1
            taker.link(member)
        else:
            raise StoreError(f"{os.fsdecode(member.name)} is of a kind that archives do not have", healable=False)

    def _pieces(self, member: Member, digest: Any) -> Iterator[bytes]:
        left = member.size
        while left:
            data = self._exactly(min(left, PIECE))
            digest.update(data)
            left -= len(data)
            yield data

    def _compare_checksums(self, member: Member) -> str:
        """The SHA-256 of the list. StoreError names the first file that is not as listed."""
        self._listed.flush()
        self._checksums.seek(0)
        digest = hashlib.sha256()
        for piece in self._pieces(member, digest):
            if self._checksums.read(len(piece)) != piece:
                raise StoreError(f"{self._first_difference(piece)} is damaged", healable=False)
        if self._checksums.read(1):
            raise StoreError("its list of checksums is too short", healable=False)
        self._exactly(-member.size % BLOCK)
        return digest.hexdigest()

    def _first_difference(self, piece: bytes) -> str:
        self._checksums.seek(max(0, self._checksums.tell() - len(piece)))
        found = self._checksums.read(len(piece))
        at = next((n for n, (a, b) in enumerate(zip(found, piece, strict=False)) if a != b), 0)
        begin = found.rfind(b"\n", 0, at) + 1
        return os.fsdecode(found[begin:].split(b"\n", 1)[0][66:]) or "a file"

    def _end(self) -> ArchiveEnd:
        member = self._next()
        if member is None or member.name != END_NAME or member.size > _END_MAX:
            raise StoreError("its end is missing", healable=False)
        data = self._exactly(member.size)
        self._exactly(-member.size % BLOCK)
        if self._next() is not None:
            raise StoreError("something stands behind its end", healable=False)
        return msgspec.json.decode(data, type=ArchiveEnd)

    def _next(self) -> Member | None:
        header = self._exactly(BLOCK)
        if header == _END_BLOCK:
            return None
        self._extended = {}
        while (size := is_extension(header)) is not None:
            self._extended |= pax_records(self._exactly(size))
            self._exactly(-size % BLOCK)
            header = self._exactly(BLOCK)
        return decode(header, self._extended)

    def _exactly(self, size: int) -> bytes:
        if not size:
            return b""
        data: bytes = self._tar.read(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data

    def _note(self, member: Member, digest: Any) -> None:
        self._files += 1
        self._bytes += member.size
        self._listed.add(member.name, digest)
