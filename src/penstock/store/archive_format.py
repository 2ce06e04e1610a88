"""Archives: a workflow's directory and rows as one `.tar.zst`, written and read in one pass with flat memory.

Members, in this order: `penstock-archive.json` (an `ArchiveHead`), `workflow.db` (this workflow's rows only), the
directory in order of its names, `CHECKSUMS` (as sha256sum writes and checks them), `penstock-end.json` (an
`ArchiveEnd`). Behind the compressed data stands a frame that other readers of zstd pass over: the SHA-256 of all bytes
before it. So no byte of an archive can change unseen.
"""

from __future__ import annotations

import struct
from typing import IO, Any, Final

FORMAT: Final = 1
HEAD_NAME: Final = b"penstock-archive.json"
DATABASE_MEMBER: Final = b"workflow.db"
CHECKSUMS_NAME: Final = b"CHECKSUMS"
END_NAME: Final = b"penstock-end.json"
SCRATCH: Final = ".archive-"
"""How the names of what an operation keeps for itself in a workflow's directory begin."""
PIECE: Final = 1 << 20
"""Bytes that are handled at a time; smaller files are read at once."""
SPOOLED_MAX: Final = 16 << 20
_BACKSLASH, _NEWLINE, _RETURN = b"\\\n\r"
_LINES: Final = 1000
TRAILER_MAGIC: Final = struct.pack("<II", 0x184D2A5E, 40) + b"PENSTOCK"
TRAILER_BYTES: Final = len(TRAILER_MAGIC) + 32


def checksum_line(name: bytes, hexdigest: str) -> bytes:
    """A line as sha256sum writes it, which marks names with a line end in them by a backslash."""
    if _BACKSLASH in name or _NEWLINE in name or _RETURN in name:
        escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        return b"\\%s  %s\n" % (hexdigest.encode(), escaped)
    return hexdigest.encode() + b"  " + name + b"\n"


class ChecksumList:
    """The lines of `CHECKSUMS` so far, in a file that takes many at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lines: list[bytes] = []

    def add(self, name: bytes, digest: Any) -> None:
        """The line of one more member, from its hash."""
        self._lines.append(checksum_line(name, digest.hexdigest()))
        if len(self._lines) >= _LINES:
            self.flush()

    def flush(self) -> None:
        """All lines are in the file."""
        self._file.write(b"".join(self._lines))
        self._lines.clear()
