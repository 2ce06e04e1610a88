"""The frames of an XYZ or ext-XYZ file, one after another, with damaged ones told and stepped over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from penstock.domain.geometry import is_atom_line, parse_comment
from penstock.recipes.structures.frame import Frame, Place

ATOMS_MAX: Final = 1_000_000
LINE_MAX: Final = 1024 * 1024
BARE_MAX: Final = 16 * 1024 * 1024
_COUNT: Final = re.compile(rb"\s*[0-9]{1,9}\s*")


def read_xyz_frames(path: Path, place: Place) -> Iterator[Frame]:
    """The frames of `path` from `place` on. A file of nothing but `El x y z` lines is one frame."""
    with path.open("rb") as file:
        if place.frame == 0:
            bare = _read_bare(file)
            if bare is not None:
                yield bare
                return
        lines = _LineFile(file, place)
        while lines.skip_blank():
            yield _read_frame(lines)


class _LineFile:
    """Reads lines and knows where it is; can step back over the last one."""

    def __init__(self, file: BinaryIO, place: Place) -> None:
        self.frame = place.frame
        self.line = place.line
        self._offset = place.offset
        self._last_size = 0
        self._file = file
        file.seek(place.offset)

    @property
    def place(self) -> Place:
        return Place(self.frame, self._offset, self.line)

    def next(self) -> bytes:
        """The next line, empty at the end; of a line beyond LINE_MAX only the beginning."""
        text = self._file.readline(LINE_MAX)
        size = len(text)
        piece = text
        while piece and not piece.endswith(b"\n"):
            piece = self._file.readline(LINE_MAX)
            size += len(piece)
        self._offset += size
        self._last_size = size
        self.line += bool(text)
        return text

    def back(self, text: bytes) -> None:
        """Unread `text`, the line just read."""
        if text:
            self._offset -= self._last_size
            self.line -= 1
            self._file.seek(self._offset)

    def skip_blank(self) -> bool:
        """Step over blank lines; whether anything is left."""
        while text := self.next():
            if not text.isspace():
                self.back(text)
                return True
        return False

    def is_before_atom(self) -> bool:
        """Step over blank lines; whether an atom line comes then."""
        if not self.skip_blank():
            return False
        text = self.next()
        self.back(text)
        return is_atom_line(text.decode("utf-8", "replace"))

    def skip_to_count(self) -> None:
        """Step to the next line that holds a count and nothing else, or to the end."""
        while text := self.next():
            if _COUNT.fullmatch(text):
                self.back(text)
                return


def _read_bare(file: BinaryIO) -> Frame | None:
    head = file.read(LINE_MAX).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not is_atom_line(head.split(b"\n", 1)[0].decode("utf-8", "replace")):
        return None
    file.seek(0)
    data = file.read(BARE_MAX + 1)
    end = Place(1, file.seek(0, os.SEEK_END))
    if len(data) > BARE_MAX:
        return _bad(1, f"no atom count, and longer than {BARE_MAX // 1024**2} MB", end)
    return _decoded(1, data, end)


def _read_frame(lines: _LineFile) -> Frame:
    start = lines.line + 1
    lines.frame += 1
    head = lines.next().removeprefix(b"\xef\xbb\xbf") if start == 1 else lines.next()
    natoms = int(head) if _COUNT.fullmatch(head) else 0
    if not 0 < natoms <= ATOMS_MAX:
        lines.skip_to_count()
        found = repr(head.strip()[:40].decode("utf-8", "replace"))
        return _bad(start, f"expected a count of atoms from 1 to {ATOMS_MAX}, found {found}", lines.place)
    comment = lines.next()
    atoms: list[bytes] = []
    while len(atoms) < natoms:
        text = lines.next()
        if not text or _COUNT.fullmatch(text):
            lines.back(text)
            break
        atoms.append(text)
    if len(atoms) == natoms and lines.is_before_atom():
        lines.skip_to_count()
        return _bad(start, f"promises {natoms} atoms, but more follow", lines.place)
    return _assembled(start, natoms, comment, atoms, lines.place)


def _assembled(start: int, natoms: int, comment: bytes, atoms: list[bytes], then: Place) -> Frame:
    if len(atoms) == natoms:
        return _decoded(start, b"".join([b"%d\n" % natoms, comment, *atoms]), then)
    if len(atoms) == natoms - 1 and is_atom_line(comment.decode("utf-8", "replace")):  # the comment line is missing
        return _decoded(start, b"".join([b"%d\n\n" % natoms, comment, *atoms]), then)
    return _bad(start, f"promises {natoms} atoms, but {len(atoms)} lines follow the comment line", then)


def _decoded(line: int, data: bytes, then: Place) -> Frame:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _bad(line, "is not UTF-8 text", then)
    head = text.split("\n", 2)
    return Frame(line, text, parse_comment(head[1]) if len(head) > 1 else {}, None, then)


def _bad(line: int, error: str, then: Place) -> Frame:
    return Frame(line, "", {}, error, then)
