"""Structures from files of frames: one file, or many in order of name. The cursor says which file and where in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from penstock.domain.calculation import StructureChunk
from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures.ase_frames import read_cif_frames, read_vasp_frames
from penstock.recipes.structures.d12_decks import read_d12_frames
from penstock.recipes.structures.frame import Frame, Place
from penstock.recipes.structures.record import ChunkBuilder, find_column, value_columns
from penstock.recipes.structures.xyz_frames import read_xyz_frames

SUFFIXES: Final[Mapping[str, str]] = {
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".exyz": "xyz",
    ".cif": "cif",
    ".d12": "d12",
    ".vasp": "vasp",
    ".poscar": "vasp",
}
VASP_NAMES: Final = frozenset({"POSCAR", "CONTCAR"})
"""Files that are known by their whole names, where they are the source themselves."""
_READERS: Final[Mapping[str, Callable[[Path, Place], Iterator[Frame]]]] = {
    "xyz": read_xyz_frames,
    "cif": read_cif_frames,
    "d12": read_d12_frames,
    "vasp": read_vasp_frames,
}
_WITHOUT_VALUES: Final = {"cif": "a CIF file", "d12": "a CRYSTAL deck", "vasp": "a POSCAR file"}
_LOOKED_AT: Final = 100
"""So many frames are searched at submission for the comment keys that the spec names."""


class FrameFiles:
    """XYZ, ext-XYZ, CIF, POSCAR files and CRYSTAL decks.

    `names` are how people know them; empty for a source of one file.
    """

    def __init__(self, source: StructureSource, paths: list[Path], names: list[str], file_format: str | None) -> None:
        self._source = source
        self._paths = paths
        self._names = names
        self._format = file_format

    def check(self) -> None:
        """SpecError unless there is a frame and the keys the spec names occur in the comments."""
        columns = value_columns(self._source)
        readers = {self._format or SUFFIXES[path.suffix.lower()] for path in self._paths}
        if "xyz" not in readers:
            if columns:
                key, column = next(iter(columns.items()))
                what = " or ".join(_WITHOUT_VALUES[reader] for reader in sorted(readers))
                raise SpecError(f"{what} has no value {column!r} to take", key=f"structures.{key}")
            return
        frames = list(islice(self._xyz_frames(), _LOOKED_AT))
        if not frames and readers == {"xyz"}:
            raise SpecError(f"{self._paths[0]} holds no structure", key="structures.source")
        known = list(dict.fromkeys(key for frame in frames for key in frame.values))
        for key, column in columns.items():
            find_column(column, known, f"structures.{key}", f"the comment line of {self._paths[0]}")

    def read(self, cursor: str, limit: int) -> StructureChunk:
        """At most `limit` frames from `cursor` on."""
        chunk = ChunkBuilder(self._source, limit)
        number, row, *place = map(int, cursor.split(":")) if cursor else (0, 0, 0, 0, 0)
        start = Place(*place)
        while number < len(self._paths):
            for frame in self._frames(number, start):
                if chunk.full:
                    return chunk.finish(f"{number}:{row}:{start.frame}:{start.offset}:{start.line}", done=False)
                self._add(chunk, number, row, frame)
                row, start = row + 1, frame.then
            number, start = number + 1, Place()
            if chunk.full:
                break
        return chunk.finish(f"{number}:{row}:0:0:0", done=number == len(self._paths))

    def _frames(self, number: int, start: Place) -> Iterator[Frame]:
        path = self._paths[number]
        reader = _READERS[self._format or SUFFIXES[path.suffix.lower()]]
        empty = start.frame == 0
        try:
            for frame in reader(path, start):
                empty = False
                yield frame
        except OSError as error:
            yield Frame(1, "", {}, f"cannot be read: {error.strerror}", Place(1))
            return
        if empty:
            yield Frame(1, "", {}, "holds no structure", Place(1))

    def _xyz_frames(self) -> Iterator[Frame]:
        for path in self._paths:
            if (self._format or SUFFIXES[path.suffix.lower()]) == "xyz":
                yield from read_xyz_frames(path, Place())

    def _add(self, chunk: ChunkBuilder, number: int, row: int, frame: Frame) -> None:
        where = f"{self._names[number]}: " if self._names else ""
        if frame.error is not None:
            chunk.reject(row, frame.line, f"{where}{frame.error}")
            return
        source, values = self._source, frame.values
        spin_key = source.unpaired_column or source.multiplicity_column
        charge = values.get(source.charge_column, "") if source.charge_column else ""
        spin = values.get(spin_key, "") if spin_key else ""
        if chunk.add(row, frame.line, self._name(number, frame), frame.text, charge, spin, where) and frame.deck:
            chunk.give_deck(frame.deck)

    def _name(self, number: int, frame: Frame) -> str:
        """The key the spec names, else the file's name (`#2` and so on for its later frames), else nothing.

        What has no comments to be named in goes by its file's name even where it is the only one.
        """
        path = self._paths[number]
        has_values = (self._format or SUFFIXES[path.suffix.lower()]) not in _WITHOUT_VALUES
        if self._source.name_column and has_values:
            return frame.values.get(self._source.name_column, "")
        if has_values and not self._names:
            return ""
        stem = self._names[number].rpartition(".")[0] if self._names else path.stem
        return stem if frame.then.frame == 1 else f"{stem}#{frame.then.frame}"
