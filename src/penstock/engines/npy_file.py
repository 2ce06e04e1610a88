"""NumPy's .npy files that grow by rows while others read them: a header of fixed length, its count set last.

The format is NumPy's own, version 1.0 (`numpy.lib.format`), of little-endian 64-bit floats in C order.
"""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.engines.engine import open_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC: Final = b"\x93NUMPY\x01\x00"
_HEADER_BYTES: Final = 128
_ITEM_BYTES: Final = 8
_HEADER: Final = re.compile(rb"\{'descr': '<f8', 'fortran_order': False, 'shape': (\([0-9, ]*\)), \} *\n")


class NpyHeaderError(Exception):
    """A file is not one that `NpyFile` writes, or is shorter than it says."""


class NpyFile:
    """A file of rows of one shape, open for appending.

    An existing file is cut to its first `rows` rows; NpyHeaderError where it has fewer or other ones. With no rows a
    new file is begun.
    """

    def __init__(self, path: Path, row_shape: Sequence[int], rows: int = 0) -> None:
        self.rows = rows
        self._row_shape = tuple(row_shape)
        self._row_bytes = _ITEM_BYTES * math.prod(row_shape)
        if rows:
            found = read_shape(path)
            if found[0] < rows or found[1:] != self._row_shape:
                message = f"{path.name} has the shape {found}, and not {rows} rows of {self._row_shape}"
                raise NpyHeaderError(message)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if rows else os.O_TRUNC)
        self._descriptor = os.open(path, flags, 0o666)
        self._write_header()
        os.ftruncate(self._descriptor, _HEADER_BYTES + rows * self._row_bytes)

    def append(self, rows: NDArray[np.float64]) -> None:
        """Write rows behind those there are, to the disk, and only then count them."""
        if not len(rows):
            return
        data = memoryview(rows.astype("<f8", order="C", copy=False).tobytes())
        offset = _HEADER_BYTES + self.rows * self._row_bytes
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            offset, data = offset + written, data[written:]
        os.fsync(self._descriptor)
        self.rows += len(rows)
        self._write_header()

    def close(self) -> None:
        """Nothing is appended any more."""
        os.close(self._descriptor)

    def _write_header(self) -> None:
        shape = (self.rows, *self._row_shape)
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
        length = _HEADER_BYTES - len(_MAGIC) - 2
        os.pwrite(self._descriptor, _MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n", 0)


def read_shape(path: Path) -> tuple[int, ...]:
    """The shape in a file's header; OSError, or NpyHeaderError where it is none of ours or says more than is there."""
    descriptor = open_output(path)
    try:
        head, size = os.pread(descriptor, _HEADER_BYTES, 0), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    match = _HEADER.fullmatch(head[len(_MAGIC) + 2 :])
    if not head.startswith(_MAGIC) or match is None:
        raise NpyHeaderError(f"{path.name} is no array of 64-bit floats as it was written")
    shape: Any = ast.literal_eval(match[1].decode())
    if not isinstance(shape, tuple) or not shape:
        raise NpyHeaderError(f"{path.name} has no rows and columns")
    if size < _HEADER_BYTES + _ITEM_BYTES * math.prod(shape):
        raise NpyHeaderError(f"{path.name} is cut short: {size} bytes for the shape {shape}")
    return shape
