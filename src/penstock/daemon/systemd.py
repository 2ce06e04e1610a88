"""The service manager's side: what systemd is told, and what it hands over.

Three interfaces, each a few environment variables, and none of them needed: without the variables nothing happens.

- `NOTIFY_SOCKET`: datagrams of `NAME=value` lines (sd_notify(3)).
- `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`: sockets that are open already, from descriptor 3 on (sd_listen_fds(3)).
- `WATCHDOG_USEC`, `WATCHDOG_PID`: how often it wants to hear that all is well (sd_watchdog_enabled(3)).

All of them are meant for one process. They are taken out of the environment, lest a runner or a program speak in the
daemon's name.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final, Self

import msgspec
import structlog

from penstock.domain.errors import SpecError

_FIRST_FD: Final = 3
_FDS_MAX: Final = 64
_CONTROL: Final = "control"
_SEND_S: Final = 1.0
_VARIABLES: Final = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")
_log = structlog.get_logger(__name__)


class ServiceManager(msgspec.Struct, frozen=True):
    """What a service manager has said about this process. The default is that there is none."""

    notify_address: str = ""
    watchdog_s: float | None = None  # it wants to hear from us at least this often
    sockets: tuple[tuple[int, str], ...] = ()  # descriptors and their names

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Reads what `environ` says to process `pid`, and removes it there. The sockets become this process's alone."""
        given = {name: environ.pop(name) for name in _VARIABLES if name in environ}
        sockets = read_sockets(given, pid)
        for fd, _ in sockets:
            with contextlib.suppress(OSError):  # `listener` says what is wrong with it
                os.set_inheritable(fd, False)  # noqa: FBT003 - the system call takes it so
        return cls(given.get("NOTIFY_SOCKET", ""), read_watchdog(given, pid), sockets)

    # ---- telling ----------------------------------------------------------------------------------------------------

    def ready(self, status: str) -> None:
        """It has started, or has read its configuration again."""
        self._tell(READY=1, STATUS=status)

    def reloading(self) -> None:
        """It reads its configuration; `ready` follows."""
        self._tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def stopping(self, within_s: float, status: str) -> None:
        """It ends itself within `within_s`, be that longer than the unit's own time for it."""
        self._tell(STOPPING=1, STATUS=status, EXTEND_TIMEOUT_USEC=int(within_s * 1e6))

    def feed_watchdog(self, status: str) -> None:
        """All is well."""
        fed = {} if self.watchdog_s is None else {"WATCHDOG": 1}
        self._tell(**fed, STATUS=status)

    def say(self, status: str) -> None:
        """A line for people, in `systemctl status`."""
        self._tell(STATUS=status)

    def _tell(self, **values: object) -> None:
        if not self.notify_address:
            return
        text = "".join(f"{name}={' '.join(str(value).split())}\n" for name, value in values.items())
        address = self.notify_address
        if address.startswith("@"):  # in the abstract name space, which is written so
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(_SEND_S)
                channel.sendto(text.encode(), address)
        except OSError as error:  # a manager that does not listen is no reason to stop working
            _log.warning("the service manager does not listen", said=text.partition("=")[0], error=str(error))

    # ---- taking over ------------------------------------------------------------------------------------------------

    def listener(self) -> tuple[socket.socket, Path] | None:
        """The control socket that it has opened, with its path; None where it has opened none.

        SpecError for anything else than one listening UNIX stream socket at a path.
        """
        if not self.sockets:
            return None
        named = [fd for fd, name in self.sockets if name == _CONTROL]
        chosen = named or [fd for fd, _ in self.sockets]
        others = [fd for fd, _ in self.sockets if fd not in chosen]
        if len(chosen) != 1 or others:
            names = ", ".join(name or "unnamed" for _, name in self.sockets)
            raise SpecError(
                f"the service manager hands over {len(self.sockets)} sockets ({names}), and penstockd takes one, its "
                "control socket; leave one ListenStream= in penstockd.socket"
            )
        return _checked_listener(chosen[0])


def read_watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """How often, in seconds, process `pid` is to be heard of; None where nobody waits for it."""
    given = environ.get("WATCHDOG_USEC", "")
    if not (given.isdecimal() and int(given)) or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(given) / 1e6


def read_sockets(environ: Mapping[str, str], pid: int) -> tuple[tuple[int, str], ...]:
    """The descriptors that are handed to process `pid`, with their names."""
    given = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not given.isdecimal() or not 0 < int(given) <= _FDS_MAX:
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * int(given)
    return tuple((_FIRST_FD + number, names[number]) for number in range(int(given)))


def _checked_listener(fd: int) -> tuple[socket.socket, Path]:
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise SpecError(f"descriptor {fd} of the service manager is no socket ({error.strerror})") from error
    try:
        address = _address_of(listener)
    except SpecError:
        listener.close()
        raise
    return listener, Path(address)


def _address_of(listener: socket.socket) -> str:
    """The path that the socket listens at."""
    ours = listener.family == socket.AF_UNIX and listener.type == socket.SOCK_STREAM
    if not ours or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise SpecError(
            "the service manager hands over a socket that is no listening UNIX stream socket; write "
            "ListenStream=/a/path in penstockd.socket"
        )
    address = listener.getsockname()
    if not isinstance(address, str) or not address.startswith("/"):
        raise SpecError(
            f"the service manager's socket {address!r} has no absolute path by which clients find it; write "
            "ListenStream=/a/path in penstockd.socket"
        )
    return address
