"""What is done to a workflow as a whole (archive, restore, delete, clean), as it is recorded before it is begun."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from penstock.domain.errors import SpecError

ARCHIVING: Final = "archiving"
RESTORING: Final = "restoring"
DELETING: Final = "deleting"
CLEANING: Final = "cleaning"

ARCHIVE_SUFFIX: Final = ".tar.zst"
_FLEETING: Final = frozenset({"memory"})
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is under way with a workflow, durable before its first step; a daemon that finds it ends or undoes it.

    `token` is a ulid: what was written by this very operation carries it, so that it is never taken for another's.
    """

    what: str
    token: str
    began_at: float
    location: str = ""  # of the archive that is written or read
    then_delete: bool = False
    directory: str = ""  # the workflow's
    database: str = ""  # the file that holds its rows
    shares_database: bool = False
    options: dict[str, Any] = {}


class ArchiveHead(msgspec.Struct, frozen=True):
    """The first member of an archive: what it is, and of which workflow; readable without reading the rest."""

    format: int
    penstock: str  # version that wrote it
    schema: int  # of workflow.db
    workflow: str
    mode: str
    namespace: str
    recipe: str
    state: str
    jobs: dict[str, int]  # by state
    created_at: float  # the workflow
    updated_at: float  # the workflow
    archived_at: float
    token: str
    host: str
    spec: dict[str, Any]
    outside: int = 0  # jobs whose files are in other directories, and not in it


class ArchiveEnd(msgspec.Struct, frozen=True):
    """The last member: what the archive holds in all, and what was left out; without it an archive is not whole."""

    files: int
    directories: int
    links: int
    bytes: int  # of the files, unpacked
    checksums_sha256: str  # of the member before it
    left_out: list[str] = []  # sockets, FIFOs, devices


class ArchiveDigest(msgspec.Struct, frozen=True):
    """An archive as a file: its size, its SHA-256 and what its last member says."""

    bytes: int
    sha256: str
    end: ArchiveEnd


def is_url(place: str) -> bool:
    """Whether a place is a URL and not a path."""
    return _URL.match(place) is not None


def check_place(place: str, key: str) -> str:
    """A path (absolute) or URL that may be written down; `file://` URLs become paths.

    SpecError for a relative path, and for a URL that carries what must stay secret.
    """
    if "\0" in place:
        raise SpecError(f"{place!r} cannot be a path", key=key)
    if not is_url(place):
        if not place.startswith("/"):
            raise SpecError(f"{place} is not an absolute path", key=key)
        return place
    try:
        parts = urlsplit(place)
        has_secret = parts.password is not None or parts.query or parts.fragment
    except ValueError as error:
        raise SpecError(f"the URL cannot be read: {error}", key=key) from None
    if has_secret:
        message = (
            f"a URL with a password or parameters would be written down: give {parts.scheme}://{parts.hostname or ''}"
            f"{parts.path} alone, and credentials through the daemon's environment or fsspec's configuration files"
        )
        raise SpecError(message, key=key)
    if parts.scheme.lower() in _FLEETING:
        message = f"what is put at {parts.scheme}:// is gone with the process that put it there; give a path, or s3://"
        raise SpecError(message, key=key)
    return parts.path if parts.scheme == "file" and not parts.netloc else place


def default_name(workflow_id: str) -> str:
    """The name of a workflow's archive in a directory."""
    return f"{workflow_id}{ARCHIVE_SUFFIX}"
