"""Claims: whoever holds the claim may run; there is one holder, for ever.

A claim is a symbolic link whose target is the holder's token. Making one is atomic and carries its content with it, so
there is no moment at which a claim exists but nobody's name is on it; making it again fails. After a failure the claim
is read again, since over NFS a winner may be told that it lost.
"""

from __future__ import annotations

from pathlib import Path

TOMBSTONE = "tombstone"
"""The token with which the daemon takes a claim so that nobody else ever can."""


def take_claim(path: str | Path, token: str) -> bool:
    """Takes the claim at `path` for `token`; True when `token` holds it, now or already."""
    try:
        Path(path).symlink_to(token)
    except FileExistsError:
        return read_claim(path) == token
    return True


def read_claim(path: str | Path) -> str | None:
    """The holder's token, None while nobody holds the claim."""
    try:
        return str(Path(path).readlink())
    except FileNotFoundError:
        return None
