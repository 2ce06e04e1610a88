"""Where metrics are served, and who may read them there."""

from __future__ import annotations

import hmac
import ipaddress
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from penstock.domain.errors import SpecError

_UNIX: Final = "unix:"
_PORT_MAX: Final = 65535
_LOCALHOST: Final = "localhost"
_OPEN: Final = stat.S_IWGRP | stat.S_IRWXO
_TOKEN_LEAST: Final = 16
_TOKEN_MOST: Final = 4096


class MetricsAddress(msgspec.Struct, frozen=True):
    """A UNIX socket (`path`), or host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As in the configuration."""
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether nobody from another machine can get there."""
        if self.path or self.host == _LOCALHOST:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name may mean anything
            return False


def parse_address(text: str) -> MetricsAddress:
    """`127.0.0.1:9464`, `[::1]:9464` or `unix:/path`. SpecError without a key."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/"):
            raise SpecError(f"{text!r} is not an absolute path; write it like 'unix:/run/penstock/metrics.sock'")
        return MetricsAddress(path=path)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host) or not (port.isascii() and port.isdigit()) or int(port) > _PORT_MAX:
        message = f"{text!r} is not an address; write it like '127.0.0.1:9464', '[::1]:9464' or 'unix:/path'"
        raise SpecError(message)
    return MetricsAddress(bare, int(port))


def check_privacy(address: MetricsAddress, *, has_token: bool) -> None:
    """SpecError where everybody on the network could read them."""
    if not address.is_private and not has_token:
        raise SpecError(
            f"{address} can be reached from other machines, and everybody there could read what runs here; serve "
            "metrics on 127.0.0.1, [::1] or unix:/path, or set daemon.metrics_token_file"
        )


class Token:
    """The word that a scrape has to know. It is never shown."""

    def __init__(self, text: str) -> None:
        self._expected = f"Bearer {text}".encode()

    def fits(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries it; the time this takes tells nothing."""
        return hmac.compare_digest((authorization or "").encode("latin-1", "replace"), self._expected)


def read_token(path: Path) -> Token:
    """The token in a file. SpecError, which never shows any of it, where the file or the token cannot be used."""
    advice = f"make one: (umask 077; openssl rand -hex 32 > {path})"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would be waited for
        try:
            found = os.fstat(descriptor)
            text = os.read(descriptor, _TOKEN_MOST + 2) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(descriptor)
    except PermissionError as error:
        uid = os.geteuid()
        message = f"the token's file {path} cannot be read by the daemon's account (uid {uid}); chown {uid} {path}"
        raise SpecError(message) from error
    except OSError as error:
        raise SpecError(f"the token's file {path} cannot be read: {error.strerror}; {advice}") from error
    if not stat.S_ISREG(found.st_mode):
        raise SpecError(f"the token's file {path} is no file; {advice}")
    if found.st_mode & _OPEN:
        mode = stat.S_IMODE(found.st_mode)
        raise SpecError(f"the token's file {path} is open to others (mode {mode:04o}); chmod 600 {path}")
    token = text.strip()
    if not _TOKEN_LEAST <= len(token) <= _TOKEN_MOST or not all(33 <= byte <= 126 for byte in token):
        message = f"the token in {path} is none: one line, at least {_TOKEN_LEAST} letters, digits and signs"
        raise SpecError(f"{message}; {advice}")
    return Token(token.decode())
