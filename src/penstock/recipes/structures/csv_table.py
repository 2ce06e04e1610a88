"""Structures from a CSV file: one row a structure, the geometry in a cell that may span lines.

Fast on good rows and patient with bad ones: a damaged record (a stray quote, a cell without end) is rejected with the
lines it covers, and reading goes on at the next line that begins a sound record. The cursor is
`byte offset:row number:lines before`, so a chunk is found again by seeking.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.geometry import normalise
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.record import ChunkBuilder, find_column, value_columns

CELL_MAX: Final = 16 * 1024 * 1024
_BLOCK: Final = 256 * 1024
_PROBE_BLOCK: Final = 8 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_LOOKED_AT: Final = 100
_FOREIGN: Final = {";": "semicolons", "\t": "tabs"}
_SPACED: Final = "a blank stands between a comma and a quote; remove it, or the quote opens no cell"
_SPACED_QUOTE: Final = re.compile(rb'(?:(?:"(?:[^"]|"")*+"|[^",]*+),)*+[ \t]++"')
_NO_COLUMN: Final = -1  # the empty text that is appended to every record


class CsvTable:
    """A CSV file with a header row."""

    def __init__(self, source: StructureSource, path: Path) -> None:
        self._source = source
        self._path = path

    def check(self) -> None:
        """SpecError unless the columns are there and at least one row follows them."""
        chunk = self.read("", 1)
        if chunk.done and not chunk.structures and not chunk.rejected:
            raise SpecError(f"{self._path} has a header but no rows", key="structures.source")
        if chunk.rejected and self._has_spaced_quotes() and not self.read("", _LOOKED_AT).structures:
            raise SpecError(f"{self._path}: {_SPACED}", key="structures.source")

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` records from `cursor` on."""
        csv.field_size_limit(CELL_MAX)
        with self._path.open("rb") as file:
            layout = self._read_layout(file)
            position = _Position(*map(int, cursor.split(":"))) if cursor else layout.first
            return _read_rows(file, self._source, layout, position, limit)

    def columns(self) -> list[str]:
        """The names in the header."""
        with self._path.open("rb") as file:
            return self._read_header(file)[0]

    def first_row(self) -> list[str]:
        """The first row's cells, as far as the row is sound; empty where there is none."""
        with self._path.open("rb") as file:
            first = self._read_header(file)[1]
            try:
                return next(csv.reader(_Lines(file, first.offset, first.line, _PROBE_BLOCK), strict=True), [])
            except csv.Error:
                return []

    def _read_layout(self, file: BinaryIO) -> _Layout:
        return self._layout(*self._read_header(file))

    def _read_header(self, file: BinaryIO) -> tuple[list[str], _Position]:
        offset = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        lines = _Lines(file, offset, 0, _PROBE_BLOCK)
        reader = csv.reader(lines, strict=True)
        try:
            header = next((fields for fields in reader if fields), None)
        except csv.Error as error:
            raise SpecError(f"the header of {self._path} cannot be read: {error}", key="structures.source") from error
        if header is None:
            raise SpecError(f"{self._path} is empty", key="structures.source")
        if not _is_text(header):
            raise SpecError(f"{self._path} is not UTF-8 text", key="structures.source")
        first = _Position(lines.offset(reader.line_num), 0, reader.line_num)
        return [name.strip() for name in header], first

    def _has_spaced_quotes(self) -> bool:
        """Whether near the beginning there is a blank before a quote that should open a cell."""
        with self._path.open("rb") as file:
            layout = self._read_layout(file)
            file.seek(layout.first.offset)
            return _SPACED_QUOTE.match(file.read(_BLOCK)) is not None

    def _layout(self, header: list[str], first: _Position) -> _Layout:
        source = self._source
        if source.geometry_column not in header:
            self._refuse_foreign(header)
        if source.geometry_column is None:
            message = f"name the column of {self._path} that holds the geometries; it has: {', '.join(header)}"
            raise SpecError(message, key="structures.geometry_column")
        wanted = {"geometry_column": source.geometry_column, **value_columns(source)}
        index = {key: find_column(name, header, f"structures.{key}", str(self._path)) for key, name in wanted.items()}
        spin = index.get("unpaired_column", index.get("multiplicity_column"))
        return _Layout(
            width=len(header),
            geometry=index["geometry_column"],
            charge=index.get("charge_column", _NO_COLUMN),
            spin=_NO_COLUMN if spin is None else spin,
            name=index.get("name_column", _NO_COLUMN),
            first=first,
        )

    def _refuse_foreign(self, header: list[str]) -> None:
        """SpecError where the header looks like one of another kind of table."""
        if any(name.startswith('"') for name in header):
            raise SpecError(f"the header of {self._path}: {_SPACED}", key="structures.source")
        for mark, name in _FOREIGN.items():
            if any(mark in field for field in header):
                message = f"is {self._path} separated by {name}? Its header has {name}; separate columns by commas"
                raise SpecError(message, key="structures.source")


class _Position(NamedTuple):
    """Where a record begins: bytes, rows and lines before it."""

    offset: int
    row: int
    line: int

    def __str__(self) -> str:
        return f"{self.offset}:{self.row}:{self.line}"


class _Layout(NamedTuple):
    """Which field is what; `first` is where the rows begin."""

    width: int
    geometry: int
    charge: int
    spin: int
    name: int
    first: _Position


class _Block(NamedTuple):
    line: int
    offset: int
    lines: list[str]


class _Lines:
    """The text lines of a file from a byte offset on; remembers the offsets of those not yet `done_with`.

    Bytes that are not UTF-8 become lone surrogates and set `undecodable`. Of a line longer than any cell may be, only
    a filler is given out that the CSV reader is sure to refuse.
    """

    def __init__(self, file: BinaryIO, offset: int, line: int, block_bytes: int) -> None:
        self.done_with = line
        self.undecodable = False
        self._file = file
        self._block_bytes = block_bytes
        self._blocks: deque[_Block] = deque()
        self._end = offset
        self._line = line
        file.seek(offset)

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self._read())

    def offset(self, line: int) -> int:
        """The byte offset at which the line with `line` lines before it begins."""
        block = next((block for block in reversed(self._blocks) if block.line <= line), None)
        if block is None or line >= self._line:
            return self._end
        before = block.lines[: line - block.line]
        return block.offset + len("".join(before).encode("utf-8", "surrogateescape"))

    def _read(self) -> Iterator[list[str]]:
        while data := self._file.read(self._block_bytes):
            if not data.endswith(b"\n"):
                data += self._file.readline(CELL_MAX)
            if data.endswith(b"\n") or len(data) < CELL_MAX:
                yield self._take(self._decode(data), len(data))
                continue
            end = data.rfind(b"\n") + 1
            if end:
                yield self._take(self._decode(data[:end]), end)
            yield self._take(["x" * (CELL_MAX + 1) + "\n"], len(data) - end + self._skip_line())

    def _take(self, lines: list[str], size: int) -> list[str]:
        while len(self._blocks) > 1 and self._blocks[1].line <= self.done_with:
            self._blocks.popleft()
        self._blocks.append(_Block(self._line, self._end, lines))
        self._line += len(lines)
        self._end += size
        return lines

    def _decode(self, data: bytes) -> list[str]:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.undecodable = True
            text = data.decode("utf-8", "surrogateescape")
        return list(io.StringIO(text, newline=""))

    def _skip_line(self) -> int:
        skipped = 0
        while data := self._file.readline(_BLOCK):
            skipped += len(data)
            if data.endswith(b"\n"):
                break
        return skipped


def _read_rows(
    file: BinaryIO, source: StructureSource, layout: _Layout, position: _Position, limit: int
) -> StructureChunk:
    chunk = ChunkBuilder(source, limit)
    damaged = True
    while damaged and not chunk.full:
        position, damaged = _read_run(file, chunk, layout, position)
    return chunk.finish(str(position), done=not chunk.full)


def _read_run(file: BinaryIO, chunk: ChunkBuilder, layout: _Layout, position: _Position) -> tuple[_Position, bool]:
    """Read rows until the chunk is full, the file ends or a record is damaged; where to go on, and whether one was."""
    lines = _Lines(file, position.offset, position.line, _BLOCK)
    reader = csv.reader(lines, strict=True)
    row, start = position.row, position.line
    end = start
    _, geometry, charge, spin, name, _ = layout
    try:
        for fields in reader:
            end = position.line + reader.line_num
            if len(fields) == layout.width and not lines.undecodable:  # nearly always
                fields.append("")  # what a missing column reads
                chunk.add(row, start + 1, fields[name], fields[geometry], fields[charge], fields[spin])
                row += 1
            else:
                row += _add_odd_row(chunk, layout, fields, row, start, end)
            lines.done_with = start = end
            if chunk.full:
                break
    except csv.Error as error:
        behind = _next_sound(file, layout, lines.offset(start + 1), start + 1)
        chunk.reject(row, start + 1, _damage(str(error), start + 1, behind.line))
        return behind._replace(row=row + 1), True
    return _Position(lines.offset(end), row, end), False


def _add_odd_row(chunk: ChunkBuilder, layout: _Layout, fields: list[str], row: int, start: int, end: int) -> int:
    """Take one record in; how many rows it counts for. csv.Error where it may have swallowed lines of others.

    `start` lines lie before the record, `end` up to its end.
    """
    if len(fields) != layout.width:
        if not fields or (len(fields) == 1 and not fields[0].strip()):
            return 0  # a blank line
        reason = f"has {len(fields)} fields where the header has {layout.width}"
        if end - start > 1:
            raise csv.Error(reason)
        chunk.reject(row, start + 1, reason)
    elif not _is_text(fields):
        chunk.reject(row, start + 1, "is not UTF-8 text")
    else:
        fields.append("")
        texts = (fields[column] for column in (layout.name, layout.geometry, layout.charge, layout.spin))
        chunk.add(row, start + 1, *texts)
    return 1


def _next_sound(file: BinaryIO, layout: _Layout, offset: int, line: int) -> _Position:
    """The first line from `offset` on that begins a record with all its fields and a readable geometry, or the end."""
    file.seek(offset)
    fresh = True
    while text := file.readline(CELL_MAX):
        if fresh and _may_begin_record(text, layout.width) and _is_sound(file, layout, _Position(offset, 0, line)):
            break
        offset += len(text)
        file.seek(offset)
        fresh = text.endswith(b"\n")
        line += fresh + text.count(b"\r") - text.count(b"\r\n")
    return _Position(offset, 0, line)


def _may_begin_record(text: bytes, width: int) -> bool:
    """Whether `text` can be a record's first line: tells the atom lines inside a cell apart without parsing."""
    return text.startswith(b'"') if width == 1 else b"," in text or b'"' in text


def _is_sound(file: BinaryIO, layout: _Layout, position: _Position) -> bool:
    try:
        fields = next(csv.reader(_Lines(file, position.offset, position.line, _PROBE_BLOCK), strict=True), [])
        if len(fields) == layout.width:
            normalise(fields[layout.geometry])
            return True
    except (csv.Error, ValueError):
        pass
    return False


def _is_text(fields: list[str]) -> bool:
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return True


def _damage(error: str, first: int, end: int) -> str:
    """The reason for leaving out lines `first` to `end`, in words a chemist can act on."""
    if "unexpected end" in error:
        cause = "a quoted cell is never closed"
    elif "expected after" in error:
        cause = "a quote is missing or stray"
    elif "field limit" in error:
        cause = f"a cell is longer than {CELL_MAX // 1024**2} MB (is a quote never closed?)"
    else:
        cause = error
    return f"{cause}; left out line {first}" if end <= first else f"{cause}; left out lines {first} to {end}"
