"""What readers make of the rows of a source: values that are written as they are."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.domain.states import AttemptState, JobState


class ImportedAttempt(msgspec.Struct, frozen=True):
    """The other tool's newest try at a job, in its own directory (absolute)."""

    directory: str
    state: AttemptState
    failure: str | None = None
    message: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    output: str | None = None  # the name of its output, where it is known


class ImportedProperty(msgspec.Struct, frozen=True):
    """A result beyond the columns."""

    name: str
    value: Any
    unit: str | None = None


class ImportedFile(msgspec.Struct, frozen=True):
    """A file of a job (absolute)."""

    role: str
    path: str
    bytes: int | None = None
    sha256: str | None = None


class ImportedJob(msgspec.Struct, frozen=True):
    """A calculation. Energies in Eh, forces in Eh/bohr; `natoms` 0 where nobody knows its structure.

    `id`: the number it had and keeps, None where it gets one. `material_id` and `parent_id` are rows written before.
    `origin` says in its history where it comes from.
    """

    orig_index: int
    line: int
    name: str
    elements: str
    natoms: int
    charge: int
    spin: int
    geometry: str
    state: JobState
    step_id: int
    origin: dict[str, Any]
    created_at: str
    updated_at: str
    id: int | None = None
    material_id: int | None = None
    step: str | None = None
    job_dir: str | None = None
    attempt: ImportedAttempt | None = None
    max_forces: float | None = None
    scf_steps: int | None = None
    final_energy: float | None = None
    wall_time_s: float | None = None
    failure: str | None = None
    error_message: str | None = None
    blamed: int = 0
    never_rerun: bool = False
    deck: str | None = None
    properties: tuple[ImportedProperty, ...] = ()


def number(value: Any) -> float | None:
    """A finite number of a column that may hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def integer(value: Any) -> int | None:
    """A whole number that a database can hold, of a column that may hold anything."""
    found = number(value)
    if found is None or found != int(found) or abs(found) >= 2**63:
        return None
    return value if isinstance(value, int) else int(found)


def text(value: Any) -> str | None:
    """A text of a column that may hold anything; blank counts for nothing."""
    if value is None or isinstance(value, bytes):
        return None
    return str(value).strip() or None


class Moment(msgspec.Struct, frozen=True):
    """A time as the public columns write it (UTC), and in seconds since the epoch."""

    text: str
    at: float


def moment(value: Any, zone: dt.tzinfo | None) -> Moment | None:
    """A time as tools write it; without an offset it is of `zone` (None: this machine's)."""
    written = text(value)
    if written is None:
        return None
    try:
        found = dt.datetime.fromisoformat(written)
        if found.tzinfo is None and zone is not None:
            found = found.replace(tzinfo=zone)
        found = found.astimezone(dt.UTC)
        return Moment(found.strftime("%Y-%m-%d %H:%M:%S"), found.timestamp())
    except (ValueError, OverflowError, OSError):
        return None


def scalars(row: Mapping[str, Any], names: list[str]) -> tuple[ImportedProperty, ...]:
    """The columns of those names that hold something, as properties."""
    return tuple(
        ImportedProperty(name, row[name])
        for name in names
        if isinstance(row[name], int | float | str) and row[name] != ""
    )
