"""One pass over a program's output, however long: every place where one of many markers stands, in bounded memory.

An output of hundreds of megabytes holds a few thousand lines that matter. All markers are searched for at once by an
Aho-Corasick automaton; only around a hit does any Python run. Up to 64 markers take an automaton that uses vector
instructions, five times as fast as one of more; so of up to 128 markers each half is searched for by itself.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import operator
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import ahocorasick_rs

from penstock.engines.engine import open_output

_BLOCK: Final = 2 << 20
_AHEAD: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_LINE_MAX: Final = 4096
_FAST_MAX: Final = 64

_Place = tuple[int, int, int]  # marker, start, end
_START: Final = operator.itemgetter(1)


class Hit(NamedTuple):
    """Marker number `marker` stands at `data[start]`; `data[0]` is byte `base` of the text.

    At least a megabyte of what follows the marker is in `data`, or all there is.
    """

    marker: int
    data: bytes
    start: int
    base: int

    @property
    def offset(self) -> int:
        """Where the marker stands in the text, in bytes."""
        return self.base + self.start

    def line(self) -> str:
        """The whole line that the marker stands on, without its end."""
        begin = max(self.data.rfind(b"\n", max(0, self.start - _LINE_MAX), self.start) + 1, self.start - _LINE_MAX, 0)
        end = self.data.find(b"\n", self.start, self.start + _LINE_MAX)
        return self.data[begin : end if end >= 0 else self.start + _LINE_MAX].decode("utf-8", "replace").rstrip("\r")

    def lines_after(self, bytes_max: int = _AHEAD) -> Iterator[str]:
        """The lines that follow the marker's, as far as they are whole and within `bytes_max`."""
        position = self.data.find(b"\n", self.start) + 1
        stop = min(len(self.data), self.start + bytes_max)
        while 0 < position < stop:
            end = self.data.find(b"\n", position)
            if end < 0:
                return
            yield self.data[position:end].decode("utf-8", "replace").rstrip("\r")
            position = end + 1


class MarkerScan:
    """A set of markers, compiled. Where two markers begin at the same place, the longer one is found."""

    def __init__(self, markers: Iterable[bytes]) -> None:
        self.markers = tuple(markers)
        self._half = (len(self.markers) + 1) // 2
        self._whole: ahocorasick_rs.BytesAhoCorasick | None = None
        if _FAST_MAX < len(self.markers) <= 2 * _FAST_MAX:
            self._find_first = _automaton(self.markers[: self._half]).find_matches_as_indexes
            self._find_second = _automaton(self.markers[self._half :]).find_matches_as_indexes
            self.find = self._find_by_halves
        else:
            self.find = self._find_all

    def hits(self, path: Path) -> Iterator[Hit]:
        """Every hit in the text of `path`, gzipped or not, in order.

        OSError where it cannot be read or is no regular file. A gzip stream that is cut short or damaged is read as far
        as it goes.
        """
        find = self.find
        base, rest = 0, b""
        for block, is_last in _blocks(path):
            data = rest + block if rest else block
            stop = len(data) if is_last else data.rfind(b"\n", 0, max(0, len(data) - _AHEAD)) + 1
            if not stop and not is_last:
                stop = len(data) - _AHEAD if len(data) > _AHEAD else 0  # a line longer than a block
            for marker, start, _ in find(data[:stop] if stop < len(data) else data):
                yield Hit(marker, data, start, base)
            rest = data[stop:]
            base += stop

    def _find_all(self, data: bytes) -> list[_Place]:
        """Every place of a marker, by one automaton."""
        if self._whole is None:
            self._whole = _automaton(self.markers)
        return self._whole.find_matches_as_indexes(data)

    def _find_by_halves(self, data: bytes) -> list[_Place]:
        """The same by two automata. Where what they find overlaps, only the one knows which of it counts."""
        places = self._find_first(data)
        others = self._find_second(data)
        if not others:
            return places
        places.extend((marker + self._half, start, end) for marker, start, end in others)
        places.sort(key=_START)
        if any(place[2] > following[1] for place, following in itertools.pairwise(places)):
            return self._find_all(data)
        return places


def _automaton(markers: Sequence[bytes]) -> ahocorasick_rs.BytesAhoCorasick:
    return ahocorasick_rs.BytesAhoCorasick(
        markers,
        matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
        implementation=ahocorasick_rs.Implementation.DFA,
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The text of a regular file, unpacked where it is gzipped; OSError."""
    with os.fdopen(open_output(path), "rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield unpacked


def read_head(path: Path, size: int = 65536) -> bytes:
    """The first bytes of a text, unpacked; empty where it cannot be read."""
    try:
        with opened(path) as file:
            return _read(file, size)
    except OSError:
        return b""


def is_cut_short(path: Path) -> bool:
    """Whether a gzipped text breaks off before its end; False for a plain one, whose end nothing marks."""
    if not _is_packed(path):
        return False
    with opened(path) as file:
        try:
            while file.read(_BLOCK):
                pass
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return True
    return False


def _is_packed(path: Path) -> bool:
    descriptor = open_output(path)
    try:
        return os.read(descriptor, 2) == _GZIP
    finally:
        os.close(descriptor)


def line_number(path: Path, offset: int) -> int:
    """The 1-based line on which byte `offset` of the text stands."""
    lines, left = 1, offset
    for block, _ in _blocks(path):
        lines += block.count(b"\n", 0, left)
        left -= len(block)
        if left <= 0:
            break
    return lines


def _blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The text in blocks, and whether it is the last; there is always a last one, if only an empty one."""
    whole = _read_short(path)
    if whole is not None:
        yield whole, True
        return
    with opened(path) as file:
        block = _read(file, _BLOCK)
        while len(block) == _BLOCK:
            following = _read(file, _BLOCK)
            yield block, not following
            if not following:
                return
            block = following
        yield block, True


def _read_short(path: Path) -> bytes | None:
    """The whole of a text that is neither long nor gzipped, which most are, by one call; else None. OSError."""
    descriptor = open_output(path)
    try:
        size = os.fstat(descriptor).st_size
        if size >= _BLOCK:
            return None
        data = os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
    return data if len(data) == size and not data.startswith(_GZIP) else None


def _read(file: io.BufferedIOBase, size: int) -> bytes:
    """`size` bytes, unless the text ends (or cannot be unpacked any further) before."""
    parts: list[bytes] = []
    left = size
    try:
        while left and (part := file.read1(left)):  # read() would lose what it has when the stream then breaks off
            parts.append(part)
            left -= len(part)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        pass
    return b"".join(parts)
