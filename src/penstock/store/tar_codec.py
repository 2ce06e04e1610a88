"""Tar members as bytes and back, for trees of very many small files: the usual ones without an object for each.

What is unusual (long or foreign names, huge files) goes through `tarfile`, as pax headers that every tar reads.
"""

from __future__ import annotations

import functools
import os
import struct
import tarfile
import zlib
from typing import Final, NamedTuple

from penstock.domain.errors import StoreError

BLOCK: Final = 512
FILE: Final = b"0"
LINK: Final = b"2"
DIRECTORY: Final = b"5"
_PAX: Final = (b"x", b"g")
_NAME_MAX: Final = 100
_SIZE_MAX: Final = 8 << 30
_TIME_MAX: Final = 8 << 30
_PAX_MAX: Final = 1 << 20
_FIELDS: Final = struct.Struct("100s 48s 8s c 100s 255s")
"""A header: name, numbers, checksum, kind, target, and what is always the same."""
_READ: Final = struct.Struct("100s 8s 16x 12s 12s 8s c 100s 255s")
_ENDING: Final = b"ustar\x0000"
_USUAL_ENDING: Final = _ENDING.ljust(255, b"\0")
_REST: Final = sum(_ENDING) + 8 * ord(" ")
"""What the constant parts of a header add to its checksum, its own field counted as blanks."""
_NOBODY: Final = b"0000000\x00" * 2
_TYPES: Final = {FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE, DIRECTORY: tarfile.DIRTYPE}


class Member(NamedTuple):
    """A file, directory or symbolic link. `name` and `target` are bytes, as the file system has them."""

    kind: bytes
    name: bytes
    mode: int = 0o644
    mtime: int = 0  # s
    size: int = 0
    target: bytes = b""


def encode(member: Member) -> bytes:
    """The header of a member. Owners are left out: whoever restores it owns it."""
    return header_of(*member)


def header_of(kind: bytes, name: bytes, mode: int, mtime: int, size: int = 0, target: bytes = b"") -> bytes:
    """The header of a member with these fields."""
    if len(name) > _NAME_MAX or len(target) > _NAME_MAX or not 0 <= mtime < _TIME_MAX or size >= _SIZE_MAX:
        return _encode_unusual(Member(kind, name, mode, mtime, size, target))
    if not (name.isascii() and target.isascii()):
        return _encode_unusual(Member(kind, name, mode, mtime, size, target))
    numbers = _octal(mode)[4:] + _NOBODY + _octal(size) + _octal(mtime)
    checksum = _short_sum(name + numbers + target) + kind[0] + _REST
    # what fills a field is zero, and adds nothing
    return _FIELDS.pack(name, numbers, b"%06o\x00 " % checksum, kind, target, _ENDING)


@functools.lru_cache(4096)  # most of them are those of the member before
def _octal(value: int) -> bytes:
    return b"%011o\x00" % value


def _short_sum(data: bytes) -> int:
    """The sum of the bytes where it is below 65521: Adler-32 holds it, and is much faster than `sum`.

    That is so for 256 bytes of any kind, and for a header with the usual ending.
    """
    return (zlib.adler32(data) & 0xFFFF) - 1


def _encode_unusual(member: Member) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(member.name))
    info.type, info.mode, info.mtime, info.size = _TYPES[member.kind], member.mode, member.mtime, member.size
    info.linkname = os.fsdecode(member.target)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What fills a member's last block."""
    return b"\0" * (-size % BLOCK)


def decode(header: bytes, extended: dict[bytes, bytes]) -> Member:
    """The member of a header of 512 bytes, with what pax headers before it said. StoreError for what is no header."""
    name, mode, size_field, mtime_field, own, kind, target, ending = _READ.unpack(header)
    is_usual = ending == _USUAL_ENDING
    found = _short_sum(header) if is_usual else sum(header)
    if number(own) != found - sum(own) + 8 * ord(" "):
        raise StoreError("a header is damaged", healable=False)
    name, target = name.split(b"\0", 1)[0], target.split(b"\0", 1)[0]
    if not is_usual and (prefix := header[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    size, mtime = number(size_field), number(mtime_field)
    if extended:
        name, target = extended.get(b"path", name), extended.get(b"linkpath", target)
        size = int(extended.get(b"size", size))
        mtime = int(float(extended.get(b"mtime", mtime)))
    if kind == DIRECTORY:
        name = name.rstrip(b"/")
    return Member(kind, name, number(mode) & 0o777, mtime, size if kind == FILE else 0, target)


def is_extension(header: bytes) -> int | None:
    """The size of the pax records behind this header, or None where it is the header of a member."""
    if header[156:157] not in _PAX:
        return None
    size = number(header[124:136])
    if size > _PAX_MAX:
        raise StoreError("a header is damaged", healable=False)
    return size


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax header; StoreError for what is none."""
    records = {}
    try:
        while data:
            length = int(data.split(b" ", 1)[0])
            key, value = data[:length].split(b" ", 1)[1].rstrip(b"\n").split(b"=", 1)
            records[key] = value
            data = data[length:] if length > 0 else b"?"
    except (ValueError, IndexError) as error:
        raise StoreError("a header is damaged", healable=False) from error
    return records


@functools.lru_cache(4096)
def number(field: bytes) -> int:
    """An octal field; StoreError for what is none."""
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise StoreError("a header is damaged", healable=False) from error
