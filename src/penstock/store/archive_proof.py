"""Proving archives while they are written: another process reads what is in the file already, and verifies it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Final, Self

from penstock.domain.errors import StoreError
from penstock.store.archive_format import PIECE
from penstock.store.archive_reader import Nobody, Source, read_archive

_FROM_BYTES: Final = 16 << 20
"""Of a tar; what is smaller is verified before a process has started."""


class Proof:
    """Reads the archive `target` back from its file, as `read_archive` does: all but its tail while it is written."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:  # it was broken off
            self._process.kill()
            self._process.communicate()

    def grown(self, size: int) -> None:
        """The file holds more than before, of a tar of `size` bytes until now."""
        if self._process is None and size >= _FROM_BYTES:
            command = [sys.executable, "-m", "penstock.store.archive_proof", str(self._target)]
            self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has found something, which `finish` says
                self._process.stdin.write(b"\n")

    def finish(self) -> tuple[int, str]:
        """The size and SHA-256 of the whole as it was read. StoreError when anything is not as it was written."""
        if self._process is None:
            with self._target.open("rb") as source:
                digest = read_archive(source, str(self._target), Nobody())
            return digest.bytes, digest.sha256
        answer, _ = self._process.communicate()
        if self._process.returncode != 0:
            reason = os.fsdecode(answer) or f"{self._target} was not read back: the process for it died; try again"
            raise StoreError(reason, healable=False)
        size, sha256 = answer.decode().split()
        return int(size), sha256


class _Growing:
    """A file that ends only when nobody tells of more any longer."""

    def __init__(self, file: Source, growth: IO[bytes]) -> None:
        self._file = file
        self._growth = growth

    def read(self, size: int, /) -> bytes:
        while not (data := self._file.read(size)):
            if not self._growth.read(PIECE):
                return self._file.read(size)  # what came after the last look
        return data


def main() -> int:
    """Reads the archive of the first argument while standard input tells that it grows; its size and SHA-256."""
    target = Path(sys.argv[1])
    try:
        with target.open("rb", buffering=0) as file, open(0, "rb", buffering=0) as growth:
            digest = read_archive(_Growing(file, growth), str(target), Nobody())
        answer = b"%d %s" % (digest.bytes, digest.sha256.encode())
    except StoreError as error:
        answer, digest = os.fsencode(str(error)), None
    with contextlib.suppress(BrokenPipeError):  # whoever wrote it is gone
        os.write(1, answer)
    return digest is None


if __name__ == "__main__":
    sys.exit(main())
