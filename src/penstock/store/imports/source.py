"""Another tool's database, opened so that nothing of it is changed: no byte, no file beside it, no name.

SQLite writes beside a database even when it only reads: a WAL needs its index, a journal that a crash left is played
back. Where there is something of the kind, a private copy is read instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from penstock.domain.errors import SpecError
from penstock.store.schema import APPLICATION_ID

_WAL_FORMAT: Final = 2
_COPY_TRIES: Final = 5
_WAITS_S: Final = 10.0  # for a lock of somebody who is writing
_SIDES: Final = ("-wal", "-journal")
_HEADER: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
Print = tuple[tuple[int, int, int] | None, ...]


class Source:
    """A database that is open: `tables` are the columns of each of its tables by name."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self.tables: dict[str, list[str]] = {}
        names = self._all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (name,) in names:
            self.tables[name] = [row[1] for row in self._all(f"PRAGMA table_info({quoted(name)})")]

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise SpecError(f"cannot be read as a database: {error}", file=str(self.path)) from error

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self._all(f"SELECT count(*) FROM {quoted(table)}")[0][0])

    def repeats(self, table: str, column: str) -> set[Any]:
        """The values of a column that more than one row has; none of a damaged table, whose rows say where that is."""
        name = quoted(column)
        sql = f"SELECT {name} FROM {quoted(table)} WHERE {name} IS NOT NULL GROUP BY {name} HAVING count(*) > 1"
        try:
            return {row[0] for row in self._db.execute(sql)}
        except sqlite3.Error:
            return set()

    def rows(self, table: str, columns: Sequence[str], order: str = "rowid") -> Iterator[dict[str, Any]]:
        """The rows of a table by column, `rowid` among them; a column that the table does not have is None.

        SpecError where the database is damaged, saying after which row.
        """
        there = [column for column in columns if column in self.tables[table]]
        names = ", ".join(map(quoted, there))
        nothing = dict.fromkeys(columns)
        last: Any = None
        try:
            cursor = self._db.execute(f"SELECT rowid, {names} FROM {quoted(table)} ORDER BY {order}")
            for row in cursor:
                last = row[0]
                yield nothing | dict(zip(("rowid", *there), row, strict=True))
        except sqlite3.Error as error:
            where = "its first row" if last is None else f"the row behind row {last}"
            message = (
                f"table {table}: {where} cannot be read: {error}; mend the file (sqlite3 FILE .recover) and try again"
            )
            raise SpecError(message, file=str(self.path)) from error


def quoted(name: str) -> str:
    """A table's or column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


@contextlib.contextmanager
def opened(path: Path, scratch: Path) -> Iterator[Source]:
    """The database at `path`; `scratch` is a directory for a copy of it.

    SpecError for what is missing, no database, one of ours, or changed by somebody while it was read.
    """
    _check(path)
    before = _fingerprint(path)
    with contextlib.closing(_connect(path, scratch)) as db:
        db.text_factory = _text
        try:
            application = int(db.execute("PRAGMA application_id").fetchone()[0])
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                message = "is locked by another program; stop the tool that writes to it, and import it then"
                raise SpecError(message, file=str(path)) from error
            raise SpecError(f"is no SQLite database that can be read: {error}", file=str(path)) from error
        if application == APPLICATION_ID:
            raise SpecError("is a database of Penstock already; there is nothing to import", file=str(path))
        yield Source(path, db)
    if _fingerprint(path) != before:
        message = "was changed while it was read; stop the tool that writes to it, and import it then"
        raise SpecError(message, file=str(path))


def _check(path: Path) -> None:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SpecError("is not a regular file", file=str(path))
        with path.open("rb") as file:
            head = file.read(_HEADER)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
    if not head:
        raise SpecError("is empty: no database was ever written to it", file=str(path))
    if not head.startswith(_MAGIC):
        raise SpecError("is no SQLite database", file=str(path))


def _fingerprint(path: Path) -> Print:
    """What changes when anybody writes."""
    return tuple(_print_of(Path(f"{path}{side}")) for side in ("", *_SIDES))


def _print_of(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of change; an empty file beside a database says as little as none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from error
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None


def _connect(path: Path, scratch: Path) -> sqlite3.Connection:
    _, *sides = _fingerprint(path)
    if any(sides):
        return sqlite3.connect(_copied(path, scratch))
    with path.open("rb") as file:
        in_wal_mode = _WAL_FORMAT in file.read(_HEADER)[18:20]
    # In WAL mode even a reader makes files; without a WAL nobody has it open, so it can be taken for unchanging.
    mode = "mode=ro&immutable=1" if in_wal_mode else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_WAITS_S)


def _copied(path: Path, scratch: Path) -> Path:
    """A copy with what lies beside it, of one moment."""
    target = scratch / "copy.db"
    for _ in range(_COPY_TRIES):
        before = _fingerprint(path)
        for side in ("", *_SIDES):
            copy = Path(f"{target}{side}")
            copy.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _copy(Path(f"{path}{side}"), copy)
        if _fingerprint(path) == before:
            return target
    raise SpecError("is being written to; stop the tool that does, and import it then", file=str(path))


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(path, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpecError(f"cannot be copied: {error.strerror}", file=os.fspath(path)) from error


def _text(data: bytes) -> str:
    """Texts may be older than UTF-8; a letter must not cost the row."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
