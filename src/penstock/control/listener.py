"""The control socket's file and the peers that may use it."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from penstock.domain.errors import SpecError

PATH_MAX: Final = 107
"""Bytes of the longest path that a socket can have: `sun_path` less the one that ends it."""
_BACKLOG: Final = 128


class Peer(NamedTuple):
    """The process at the other end of a connection, as the kernel saw it when it connected."""

    uid: int
    gid: int
    pid: int


def bind_listener(
    path: Path,
    group_gid: int | None = None,
    *,
    what: str = "the control socket",
    advice: str = "set PENSTOCK_SOCKET to another path",
) -> socket.socket:
    """A listening control socket at `path`, replacing one left by a daemon that is gone.

    The caller holds the lock of the state directory, so that a socket found there is known to be stale. The socket is
    open to its owner alone, or also to the group `group_gid`; so is its directory, which is made if it is missing.
    Raises SpecError for a path that cannot hold a socket and OSError as the system gives it. `what` it is, and the
    `advice` where the path cannot be used, are for messages.
    """
    if len(os.fsencode(path)) > PATH_MAX:
        raise SpecError(
            f"the path of {what} has more than {PATH_MAX} bytes, which the system does not allow: {path}; {advice}"
        )
    _prepare_directory(path.parent, group_gid)
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SpecError(f"{path} exists and is no socket; move it away or {advice}")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # never, not even for a moment, open to others
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if group_gid is not None:
            os.chown(path, -1, group_gid)
            path.chmod(0o660)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end of a connected UNIX socket."""
    layout = struct.Struct("iII")
    pid, uid, gid = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    return Peer(uid, gid, pid)


def is_allowed(peer: Peer, owner_uid: int, group_gid: int | None) -> bool:
    """Whether `peer` is the owner, root, or belongs to the group; this may ask the system's user database."""
    if peer.uid in {0, owner_uid}:
        return True
    if group_gid is None:
        return False
    if peer.gid == group_gid:
        return True
    try:
        user = pwd.getpwuid(peer.uid)
    except KeyError:
        return False
    return group_gid in os.getgrouplist(user.pw_name, user.pw_gid)


def _prepare_directory(directory: Path, group_gid: int | None) -> None:
    """Make the directory if it is missing, closed to others; a group gets the way through it and nothing more.

    A directory that exists is not narrowed: it may be somebody's home, and the socket has a mode of its own.
    """
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    else:
        directory.chmod(0o700)
    if (
        group_gid is not None
        and (found := directory.stat()).st_uid == os.geteuid()
        and not found.st_mode & stat.S_IXOTH
    ):
        os.chown(directory, -1, group_gid)
        directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)
