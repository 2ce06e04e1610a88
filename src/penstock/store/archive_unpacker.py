"""What an archive holds, made anew in a directory that did not exist before."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from penstock.domain.errors import StoreError
from penstock.domain.life_cycle import ArchiveHead
from penstock.store.tar_codec import Member


class Unpacker:
    """Makes what an archive holds in a new directory; `head` is there once the first member was read.

    Names that lead out are refused. Links that lead out are kept only with `outside_links`, else listed in `left_out`.
    Nothing is ever written through a link: a member's directory must be one that was made just before.
    """

    head: ArchiveHead

    def __init__(self, target: Path, *, outside_links: bool = False) -> None:
        self.left_out: list[str] = []
        self._target = os.fsencode(target)
        self._outside_links = outside_links
        self._above = [b""]

    def begin(self, head: ArchiveHead) -> None:
        """Makes the directory."""
        self.head = head
        os.mkdir(self._target, 0o755)  # noqa: PTH102 - bytes, as all names here

    def directory(self, member: Member) -> None:
        """A new directory, which its owner can use."""
        path = self._place(member.name)
        os.mkdir(path, member.mode | 0o700)  # noqa: PTH102
        self._above.append(member.name)

    def link(self, member: Member) -> None:
        """A link with the target it had."""
        path = self._place(member.name)
        if leads_out(member.name, member.target) and not self._outside_links:
            self.left_out.append(os.fsdecode(member.name))
        else:
            os.symlink(member.target, path)  # noqa: PTH211

    def file(self, member: Member, data: bytes) -> None:
        """A new file."""
        self.large_file(member, iter((data,)))

    def large_file(self, member: Member, pieces: Iterator[bytes]) -> None:
        """A new file, piece by piece."""
        path = self._place(member.name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            for piece in pieces:
                _write_all(fd, piece)
            os.fchmod(fd, member.mode | 0o400)
            os.utime(fd, ns=(member.mtime * 10**9, member.mtime * 10**9))
        finally:
            os.close(fd)

    def _place(self, name: bytes) -> bytes:
        """Where a member goes. StoreError unless its directory is one of those that it stands in now."""
        above, _, last = name.rpartition(b"/")
        if last in (b"", b".", b"..") or b"\0" in name or name.startswith(b"/"):
            raise StoreError(f"{os.fsdecode(name)!r} leads out of it", healable=False)
        while self._above and self._above[-1] != above:
            self._above.pop()
        if not self._above:
            raise StoreError(f"{os.fsdecode(name)!r} stands where it cannot", healable=False)
        return self._target + b"/" + name


def leads_out(name: bytes, target: bytes) -> bool:
    """Whether a link's target is not in the tree that the link is in."""
    if target.startswith(b"/"):
        return True
    reached = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return reached == b".." or reached.startswith(b"../")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_file_system(directory: Path) -> None:
    """Waits until everything on the file system of `directory` is on its disk."""
    import ctypes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number or errno.EIO, os.strerror(number or errno.EIO), str(directory))
    finally:
        os.close(fd)
