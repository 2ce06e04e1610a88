"""Which tool a database is of, by its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from penstock.domain.errors import SpecError
from penstock.domain.spec import nearest


class ImportKind(StrEnum):
    """A tool whose databases can be imported."""

    ARCHITECTOR = "architector"  # a campaign of ORCA calculations: one table with a row a structure
    CRYSTAL = "crystal"  # materials, calculations, properties, files
    PROTOCOL = "protocol"  # executions with their steps; a queue


_CAMPAIGN_TABLES: Final = ("structures", "jobs")
_CAMPAIGN_COLUMNS: Final = frozenset({"status", "geometry"})
_NEEDED: Final[dict[ImportKind, str]] = {
    ImportKind.ARCHITECTOR: "a table structures or jobs with the columns status and geometry",
    ImportKind.CRYSTAL: "the tables materials and calculations",
    ImportKind.PROTOCOL: "the tables executions and execution_steps, or queued_jobs",
}
Tables = Mapping[str, Sequence[str]]


def campaign_table(tables: Tables) -> str | None:
    """The table with a row a structure."""
    for name in _CAMPAIGN_TABLES:
        if tables.get(name) and set(tables[name]) >= _CAMPAIGN_COLUMNS:
            return name
    return None


def _fits(kind: ImportKind, tables: Tables) -> bool:
    match kind:
        case ImportKind.ARCHITECTOR:
            return campaign_table(tables) is not None
        case ImportKind.CRYSTAL:
            return _has(tables, "materials", "material_id") and _has(tables, "calculations", "calc_id")
        case ImportKind.PROTOCOL:
            return _has(tables, "executions", "execution_id") or _has(tables, "queued_jobs", "job_id")


def _has(tables: Tables, table: str, column: str) -> bool:
    return column in tables.get(table, ())


def detect_kind(tables: Tables, given: str | None, file: str) -> ImportKind:
    """The kind of a database with these tables, or `given` where it can be that; SpecError otherwise."""
    known = [str(kind) for kind in ImportKind]
    if given is not None:
        if given not in known:
            hint = nearest(given, known) or f"known: {', '.join(known)}"
            raise SpecError(f"{given!r} is no kind of import; {hint}", key="kind")
        if not _fits(ImportKind(given), tables):
            message = f"is no {given} database: that has {_NEEDED[ImportKind(given)]}; {_listed(tables)}"
            raise SpecError(message, file=file)
        return ImportKind(given)
    found = [kind for kind in ImportKind if _fits(kind, tables)]
    if len(found) > 1:
        message = f"could be of several kinds ({', '.join(found)}); say which with --kind"
        raise SpecError(message, file=file)
    if not found:
        hint = (
            "; an ASE database is a source of structures: name it in [structures] of a spec"
            if "systems" in tables
            else ""
        )
        raise SpecError(f"is a database of no tool that is known here; {_listed(tables)}{hint}", file=file)
    return found[0]


def _listed(tables: Tables) -> str:
    return f"it has the tables {', '.join(sorted(tables))}" if tables else "it has no tables"
