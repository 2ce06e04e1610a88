"""A campaign of ORCA calculations as the Architector workflow manager kept it: one table with a row a structure.

Its public columns are ours (`status`, `job_dir`, `max_forces`, `scf_steps`, `final_energy`, ...); its job directories
are taken over where they are.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, Final

from penstock.domain.calculation import FailureClass
from penstock.domain.geometry import Normalised, normalise
from penstock.domain.states import AttemptState, JobState
from penstock.engines.foreign import outputs_in
from penstock.store.imports.kinds import campaign_table
from penstock.store.imports.places import Places
from penstock.store.imports.remarks import Remarks
from penstock.store.imports.rows import (
    ImportedAttempt,
    ImportedJob,
    Moment,
    integer,
    moment,
    number,
    scalars,
    text,
)
from penstock.store.imports.source import Source
from penstock.store.imports.writing import Writer

_PUBLIC: Final = (
    "id",
    "orig_index",
    "elements",
    "natoms",
    "status",
    "charge",
    "spin",
    "geometry",
    "job_dir",
    "max_forces",
    "scf_steps",
    "final_energy",
    "error_message",
    "created_at",
    "updated_at",
)
_MORE: Final = ("fail_count", "wall_time")
_STATES: Final = {
    "to_run": JobState.READY,
    "ready": JobState.READY,
    "running": JobState.HELD,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "timeout": JobState.TIMEOUT,
    "cancelled": JobState.CANCELLED,
    "skipped": JobState.SKIPPED,
}
_ATTEMPTS: Final = {
    JobState.COMPLETED: AttemptState.COMPLETED,
    JobState.TIMEOUT: AttemptState.TIMEOUT,
    JobState.CANCELLED: AttemptState.CANCELLED,
}
_ZONE: Final = dt.UTC  # SQLite's CURRENT_TIMESTAMP
_COUNT_MAX: Final = 10_000
WAS_RUNNING: Final = "it ran under the other tool when it was imported; rescan it when that has ended, or resume it"


class _Rows:
    """One table, read into jobs."""

    def __init__(self, source: Source, writer: Writer, remarks: Remarks, places: Places, step_id: int) -> None:
        table = campaign_table(source.tables)
        assert table is not None
        self.table = table
        self._source = source
        self._writer = writer
        self._remarks = remarks
        self._places = places
        self._step_id = step_id
        self._extra = [name for name in source.tables[table] if name not in (*_PUBLIC, *_MORE)]
        self._repeated: set[Any] = set()
        self._taken: set[Any] = set()
        self._shared: set[str] = set()
        self.statuses: dict[str, int] = {}

    def read(self, running: JobState) -> None:
        """Takes over every row."""
        self._look_for_repeats()
        for name in self._extra:
            self._remarks.add(self.table, None, "column kept as a property", name)
        for missing in sorted(set(_PUBLIC) - {"id"} - set(self._source.tables[self.table])):
            self._remarks.add(self.table, None, "column is not there", missing)
        now = Moment(dt.datetime.now(_ZONE).strftime("%Y-%m-%d %H:%M:%S"), 0.0)
        for row in self._source.rows(self.table, (*_PUBLIC, *_MORE, *self._extra)):
            self._take(row, running, now)

    def _look_for_repeats(self) -> None:
        """Ids and directories that several rows have."""
        columns = self._source.tables[self.table]
        if "id" in columns:
            self._repeated = self._source.repeats(self.table, "id")
        if "job_dir" in columns:
            self._shared = self._source.repeats(self.table, "job_dir")

    def _take(self, row: dict[str, Any], running: JobState, now: Moment) -> None:
        line = row["rowid"]
        where = row["id"] if row["id"] is not None else line
        id_ = integer(row["id"]) if "id" in self._source.tables[self.table] else line
        index = integer(row["orig_index"])
        notes: list[str] = []
        if id_ is None or id_ < 1:
            self._leave(where, index or 0, line, "no usable id", f"{row['id']!r}")
            return
        if row["id"] in self._repeated:
            if id_ in self._taken:
                self._leave(where, index or 0, line, "an id that another row has", f"{id_}")
                return
            self._taken.add(id_)
        try:
            found = normalise(text(row["geometry"]) or "")
        except ValueError as error:
            if text(row["geometry"]) is None:
                self._leave(where, index or 0, line, "no geometry", "")
            else:
                self._leave(where, index or 0, line, "geometry cannot be read", str(error))
            return
        if index is None:
            index = id_
            self._note(where, notes, "no orig_index", f"its id {id_} is taken")
        self._writer.add_job(self._job(row, where, (id_, index, line), found, running, now, notes))

    def _leave(self, where: object, index: int, line: int, reason: str, detail: str) -> None:
        self._remarks.add(self.table, where, reason, detail, left_out=True)
        told = f"{reason}: {detail}" if detail else reason
        self._writer.reject(self._step_id, index, line, f"{self.table}, row {where}: {told}")

    def _note(self, where: object, notes: list[str], reason: str, detail: str) -> None:
        self._remarks.add(self.table, where, reason, detail)
        notes.append(f"{reason}: {detail}" if detail else reason)

    def _job(
        self,
        row: dict[str, Any],
        where: object,
        numbers: tuple[int, int, int],
        found: Normalised,
        running: JobState,
        now: Moment,
        notes: list[str],
    ) -> ImportedJob:
        id_, index, line = numbers
        status, state = self._state(row, where, running, notes)
        charge, spin = self._charge_and_spin(row, where, found, notes)
        natoms = integer(row["natoms"])
        if natoms is not None and natoms != found.natoms:
            self._note(where, notes, "natoms is not that of the geometry", f"{natoms}, not {found.natoms}")
        created = moment(row["created_at"], _ZONE) or now
        updated = moment(row["updated_at"], _ZONE) or created
        failures = min(max(integer(row["fail_count"]) or 0, 0), _COUNT_MAX)
        message = text(row["error_message"])
        directory, attempt = self._attempt(row, where, state, failures, updated, notes)
        return ImportedJob(
            orig_index=index,
            line=line,
            name=str(index),
            elements=found.elements,
            natoms=found.natoms,
            charge=charge,
            spin=spin,
            geometry=found.block,
            state=state,
            step_id=self._step_id,
            origin={"table": self.table, "row": where, "status": status, "remarks": notes},
            created_at=created.text,
            updated_at=updated.text,
            id=id_,
            job_dir=directory,
            attempt=attempt,
            max_forces=number(row["max_forces"]),
            scf_steps=integer(row["scf_steps"]),
            final_energy=number(row["final_energy"]),
            wall_time_s=number(row["wall_time"]),
            failure=FailureClass.WALLTIME if state is JobState.TIMEOUT else None,
            error_message=WAS_RUNNING if status == "running" and state is JobState.HELD else message,
            blamed=max(failures, 1) if state in (JobState.FAILED, JobState.TIMEOUT) else failures,
            properties=scalars(row, self._extra),
        )

    def _state(self, row: dict[str, Any], where: object, running: JobState, notes: list[str]) -> tuple[str, JobState]:
        status = (text(row["status"]) or "").lower()
        state = running if status == "running" else _STATES.get(status)
        if state is None:
            state = JobState.HELD
            self._note(where, notes, "unknown status, held", repr(row["status"]))
        elif status == "running":
            self._note(where, notes, f"was running, {'held' if state is JobState.HELD else 'made ready'}", "")
        mapping = f"{status or 'none'} -> {state}"
        self.statuses[mapping] = self.statuses.get(mapping, 0) + 1
        return status, state

    def _charge_and_spin(
        self, row: dict[str, Any], where: object, found: Normalised, notes: list[str]
    ) -> tuple[int, int]:
        charge, spin = integer(row["charge"]), integer(row["spin"])
        if charge is None or abs(charge) > _COUNT_MAX:
            self._note(where, notes, "no charge, 0 is taken", "" if row["charge"] is None else repr(row["charge"]))
            charge = 0
        electrons = found.protons - charge
        if spin is None or not 1 <= spin <= _COUNT_MAX:
            spin = electrons % 2 + 1
            shown = "" if row["spin"] is None else repr(row["spin"])
            self._note(where, notes, "no multiplicity, the lowest possible is taken", shown)
        elif spin - 1 > electrons or (electrons - spin + 1) % 2:
            self._note(where, notes, "charge and multiplicity exclude each other", f"{charge:+d} and {spin}")
        return charge, spin

    def _attempt(
        self,
        row: dict[str, Any],
        where: object,
        state: JobState,
        failures: int,
        ended: Moment,
        notes: list[str],
    ) -> tuple[str | None, ImportedAttempt | None]:
        """The job's directory and what is recorded of the try that was made there."""
        written = text(row["job_dir"])
        if written is None:
            return None, None
        directory, there = self._places.directory(written)
        if row["job_dir"] in self._shared:
            self._note(where, notes, "shares its directory with other rows, not taken over", directory)
            return None, None
        if not there:
            self._note(where, notes, "directory is missing", directory)
            return (directory if state is JobState.COMPLETED else None), None
        if state is JobState.READY and not failures and not outputs_in(_names(directory)):
            return None, None  # made, and nothing was ever run there
        wall_time = number(row["wall_time"])
        attempt = ImportedAttempt(
            directory,
            _ATTEMPTS.get(state, AttemptState.FAILED),
            FailureClass.WALLTIME if state is JobState.TIMEOUT else None,
            None if state is JobState.COMPLETED else text(row["error_message"]) or _unfinished(state),
            ended.at - wall_time if wall_time and ended.at else None,
            ended.at or None,
        )
        return directory, attempt


def _unfinished(state: JobState) -> str:
    match state:
        case JobState.READY:
            return "the other tool was to run it again"
        case JobState.HELD:
            return "how it ended is not known here"
        case _:
            return "the other tool says nothing more"


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names, without an object each
    except OSError:
        return []


def read_campaign(
    source: Source, writer: Writer, remarks: Remarks, places: Places, running: JobState
) -> dict[str, int]:
    """Takes over all rows; how many of each status became what (`old -> new`)."""
    step_id = writer.add_step("calculate", "fan", "running")
    rows = _Rows(source, writer, remarks, places, step_id)
    rows.read(running)
    for table in source.tables:
        if table != rows.table:
            remarks.add(table, None, "table not taken over", f"{source.count(table)} rows")
    return rows.statuses
