"""The spool: the directory in which a cluster's submissions and the daemon leave word for each other.

For each submission: `<ulid>.manifest` (what to run), `<ulid>.claim` (who runs it), `<ulid>.journal` (what happened, one
JSON array a line, appended; a torn last line is ignored) and `<ulid>.cancel` (positions to end early). `bell` is a
datagram socket on which runners say that there is news; what is heard there is only ever a hint.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from penstock.domain.calculation import Exit
from penstock.domain.submission import AttemptSeen, Manifest, ManifestHead, Seen

S = TypeVar("S", Manifest, ManifestHead)
BELL: Final = "bell"
ATTEMPT_CLAIM: Final = ".claim"
_SUFFIXES: Final = ("manifest", "claim", "journal", "cancel")


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """An attempt has been claimed and begins."""

    position: int
    at: float


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """An attempt has ended."""

    position: int
    exit: Exit


class Barred(msgspec.Struct, frozen=True, array_like=True, tag="barred"):
    """An attempt's claim was held by somebody else: it was not run here."""

    position: int
    holder: str


class Finish(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """The runner is through with the submission."""


class Host(msgspec.Struct, frozen=True, array_like=True, tag="host"):
    """Where a task of a scheduler's job runs; the first line of its journal."""

    name: str


Line = Start | End | Barred | Finish | Host
_LINE: Final = msgspec.json.Decoder(Line)


def spool_path(spool: Path, ulid: str, suffix: str) -> Path:
    """One of a submission's files."""
    return spool / f"{ulid}.{suffix}"


def bell_address(directory_fd: int) -> str:
    """The bell's address by an open descriptor of the spool: socket addresses are short, paths may not be."""
    return f"/proc/self/fd/{directory_fd}/{BELL}"


def write_manifest(spool: Path, ulid: str, manifest: bytes) -> None:
    """Stages a submission: after this, a runner can be told of it."""
    partial = spool_path(spool, ulid, "manifest.partial")
    partial.write_bytes(manifest)
    partial.replace(spool_path(spool, ulid, "manifest"))


def read_manifest(spool: Path, ulid: str) -> Manifest | None:
    """The staged submission, None when there is none (or only what a power cut or an upgrade left of it)."""
    return _read_staged(spool, ulid, Manifest)


def read_owner(spool: Path, ulid: str) -> str | None:
    """Whose submission it is, None when nobody can say."""
    head = _read_staged(spool, ulid, ManifestHead)
    return head.workflow_id if head else None


def _read_staged(spool: Path, ulid: str, kind: type[S]) -> S | None:
    try:
        return msgspec.msgpack.decode(spool_path(spool, ulid, "manifest").read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def request_cancel(spool: Path, ulid: str, positions: list[int]) -> None:
    """Asks the runner to end these attempts, besides those asked for before."""
    path = spool_path(spool, ulid, "cancel")
    partial = spool_path(spool, ulid, "cancel.partial")
    partial.write_bytes(msgspec.json.encode(sorted(set(positions) | read_cancel(path))))
    partial.replace(path)


def read_cancel(path: str | os.PathLike[str]) -> set[int]:
    """The positions to be ended."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=set[int])
    except FileNotFoundError:
        return set()


def forget(spool: Path, ulid: str) -> None:
    """Removes a submission's files, the claim last, so that it can never be run again in between."""
    for suffix in ("manifest.partial", "cancel.partial", "manifest", "journal", "cancel", "claim"):
        spool_path(spool, ulid, suffix).unlink(missing_ok=True)


def submissions(spool: Path) -> set[str]:
    """The ulids of everything in the spool."""
    names = (entry.name.partition(".") for entry in spool.iterdir())
    return {ulid for ulid, _, suffix in names if suffix in _SUFFIXES}


def encode_line(line: Line) -> bytes:
    """A journal line."""
    return msgspec.json.encode(line) + b"\n"


def parse_lines(data: bytes) -> list[Line]:
    """A journal's whole lines.

    A torn last one does not count, and one that a crash tore and a later writer completed is passed over: its attempt
    is judged by its absence.
    """
    lines: list[Line] = []
    for raw in data[: data.rfind(b"\n") + 1].splitlines():
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            lines.append(_LINE.decode(raw))
    return lines


class JournalReader:
    """Reads a journal from where it last stopped, and remembers what is known of each attempt."""

    def __init__(self, path: Path) -> None:
        self.finished = False
        self.running: dict[int, float] = {}
        self.ended: set[int] = set()
        self._path = path
        self._offset = 0

    def read(self) -> dict[int, AttemptSeen]:
        """What is new since the last call."""
        try:
            with self._path.open("rb") as journal:
                journal.seek(self._offset)
                data = journal.read()
        except FileNotFoundError:
            return {}
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        news: dict[int, AttemptSeen] = {}
        for line in parse_lines(whole):
            self._take(line, news)
        return news

    def _take(self, line: Line, news: dict[int, AttemptSeen]) -> None:
        match line:
            case Start(position, at):
                self.running[position] = at
                news[position] = AttemptSeen(Seen.RUNNING, at)
            case End(position, exit_) if (
                position not in self.ended
            ):  # the first end counts; a second was told in a crash
                self.running.pop(position, None)
                self.ended.add(position)
                news[position] = AttemptSeen(Seen.ENDED, exit_.started_at, exit_)
            case Barred(position, holder):
                self.ended.add(position)
                news[position] = AttemptSeen(Seen.NOT_RUN, reason=f"its claim was held by {holder}")
            case Finish():
                self.finished = True
