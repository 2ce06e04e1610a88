"""Materials with their CRYSTAL calculations, properties and files, as the CRYSTAL workflow manager kept them.

A calculation becomes a job; the step of the chain it belongs to is its type with its number (OPT, OPT2, SP, BAND), its
parent the calculation it went on from. Structures are read from the decks that the rows name: the database has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.calculation import FailureClass
from penstock.domain.states import ENDED, AttemptState, JobState
from penstock.store.imports.chains import complete_chains
from penstock.store.imports.crystal_deck import DeckStructure, elements_of, read_deck
from penstock.store.imports.crystal_results import FILE_COLUMNS, PROPERTY_COLUMNS, Results, decoded, old_calculation
from penstock.store.imports.places import Places
from penstock.store.imports.remarks import Remarks
from penstock.store.imports.rows import (
    ImportedAttempt,
    ImportedJob,
    ImportedProperty,
    Moment,
    integer,
    moment,
    text,
)
from penstock.store.imports.source import Source
from penstock.store.imports.writing import Writer
from penstock.store.rows import NewStep

_MATERIAL: Final = (
    "material_id",
    "formula",
    "space_group",
    "dimensionality",
    "created_at",
    "updated_at",
    "source_type",
    "source_file",
    "status",
    "metadata_json",
    "notes",
)
_CALCULATION: Final = (
    "calc_id",
    "material_id",
    "calc_type",
    "calc_subtype",
    "status",
    "priority",
    "slurm_job_id",
    "slurm_state",
    "created_at",
    "submitted_at",
    "started_at",
    "completed_at",
    "input_file",
    "output_file",
    "job_script",
    "work_dir",
    "settings_json",
    "exit_code",
    "error_type",
    "error_message",
    "recovery_attempts",
    "completion_type",
    "prerequisite_calc_id",
    "input_settings_json",
)
_STATES: Final = {
    "pending": JobState.READY,
    "ready": JobState.READY,
    "submitted": JobState.HELD,
    "queued": JobState.HELD,
    "running": JobState.HELD,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "error": JobState.FAILED,
    "timeout": JobState.TIMEOUT,
    "cancelled": JobState.CANCELLED,
    "skipped": JobState.SKIPPED,
}
_LIVE: Final = frozenset({"submitted", "queued", "running"})
_ATTEMPTS: Final = {
    JobState.COMPLETED: AttemptState.COMPLETED,
    JobState.TIMEOUT: AttemptState.TIMEOUT,
    JobState.CANCELLED: AttemptState.CANCELLED,
}
_KEPT: Final = (
    "calc_subtype",
    "priority",
    "slurm_job_id",
    "slurm_state",
    "submitted_at",
    "job_script",
    "settings_json",
    "input_settings_json",
    "exit_code",
    "completion_type",
)
"""Of a calculation, what is kept as properties under these names."""
_FAILURES_MAX: Final = 10_000
_TYPE: Final = re.compile(r"[A-Z][A-Z0-9+_ -]{0,39}")
WAS_RUNNING: Final = (
    "it was in the queue or ran under the other tool when it was imported; rescan it when that has ended"
)


class _Materials:
    """One database, read into materials, jobs, properties and files."""

    def __init__(
        self,
        source: Source,
        writer: Writer,
        remarks: Remarks,
        places: Places,
        running: JobState,
        chain: Sequence[NewStep],
    ) -> None:
        self._source = source
        self._writer = writer
        self._remarks = remarks
        self._places = places
        self._running = running
        self._chain = {step.key: step for step in chain}
        self._steps: dict[str, int] = {step.key: writer.add_planned(step) for step in chain}
        self.statuses: dict[str, int] = {}
        # What refers to what is kept in tables of this connection alone, so that memory stays flat.
        writer.db.executescript(
            "CREATE TEMP TABLE old_material (old TEXT PRIMARY KEY, id INTEGER, formula TEXT) WITHOUT ROWID;"
            "CREATE TEMP TABLE old_calculation (old TEXT PRIMARY KEY, job INTEGER, material TEXT, state TEXT, "
            "prerequisite TEXT) WITHOUT ROWID;"
            "CREATE TEMP TABLE seen_step (material TEXT, key TEXT, PRIMARY KEY (material, key)) WITHOUT ROWID;"
        )

    def read(self) -> None:
        """Takes over everything, the referred to before what refers."""
        self._name_strangers()
        self._read_materials()
        self._read_calculations()
        self._writer.flush()
        self._link()
        if self._chain:
            complete_chains(self._writer, list(self._chain.values()))
        Results(self._source, self._writer, self._remarks, self._places).read()

    def _name_strangers(self) -> None:
        known = {
            "materials": _MATERIAL,
            "calculations": _CALCULATION,
            "properties": PROPERTY_COLUMNS,
            "files": FILE_COLUMNS,
        }
        for table, columns in self._source.tables.items():
            if table not in known:
                if rows := self._source.count(table):
                    self._remarks.add(table, None, "table not taken over", f"{rows} rows")
                continue
            for name in columns:
                if name not in known[table]:
                    self._remarks.add(table, None, "column not taken over", name)

    # ---- materials --------------------------------------------------------------------------------------------------

    def _read_materials(self) -> None:
        first = self._step("OPT") if not self._source.count("calculations") else None
        for row in self._source.rows("materials", _MATERIAL):
            name = text(row["material_id"])
            if name is None:
                self._remarks.add("materials", row["rowid"], "no material_id", left_out=True)
                continue
            step = first or next(iter(self._steps.values()), None) or self._step(self._first_type())
            if self._old_material(name) is not None:
                self._remarks.add("materials", name, "a material_id that another row has", left_out=True)
                continue
            self._add_material(name, step, row["rowid"], text(row["formula"]) or "")
            status = (text(row["status"]) or "active").lower()
            if status != "active":
                self._remarks.add("materials", name, f"status {status} is not kept")

    def _first_type(self) -> str:
        row = next(self._source.rows("calculations", ("calc_type",)), None)
        return _step_name(row["calc_type"] if row else None) or "CALCULATION"

    def _add_material(self, name: str, step: int, index: int, formula: str) -> int:
        id_ = self._writer.add_material(name, step, index)
        self._writer.db.execute("INSERT INTO old_material VALUES (?, ?, ?)", (name, id_, formula))
        return id_

    def _old_material(self, name: str) -> tuple[Any, ...] | None:
        """A material that has been taken over: its name, id and formula."""
        sql = "SELECT * FROM old_material WHERE old = ?"
        found: tuple[Any, ...] | None = self._writer.db.execute(sql, (name,)).fetchone()
        return found

    # ---- calculations -----------------------------------------------------------------------------------------------

    def _read_calculations(self) -> None:
        material, structure = "", None
        order = "material_id, created_at, rowid" if "created_at" in self._source.tables["calculations"] else "rowid"
        for row in self._source.rows("calculations", _CALCULATION, order):
            calc = text(row["calc_id"])
            where = calc or row["rowid"]
            if calc is None or old_calculation(self._writer, calc) is not None:
                reason = "no calc_id" if calc is None else "a calc_id that another row has"
                self._leave(where, row["rowid"], reason)
                continue
            name = text(row["material_id"])
            if name is None:
                self._leave(where, row["rowid"], "no material_id")
                continue
            if name != material:
                material, structure = name, None
            structure = self._take(row, calc, name, structure)

    def _leave(self, where: object, line: int, reason: str) -> None:
        self._remarks.add("calculations", where, reason, left_out=True)
        step = next(iter(self._steps.values()), None) or self._step("CALCULATION")
        self._writer.reject(step, 0, line, f"calculations, row {where}: {reason}")

    def _take(self, row: dict[str, Any], calc: str, name: str, before: DeckStructure | None) -> DeckStructure | None:
        """Writes one calculation; returns the material's structure as far as it is known then."""
        notes: list[str] = []
        step = self._free_step(row, calc, name, notes)
        known = self._old_material(name)
        if known is None:
            self._note(calc, notes, "its material is not in the table materials, made from its name", name)
            known = (name, self._add_material(name, self._step(step), row["rowid"], ""), "")
        _, material_id, formula = known
        status, state = self._state(row, calc, notes)
        if self._chain and step not in self._chain and state not in ENDED:
            state = JobState.SKIPPED
            self._note(calc, notes, "its step is not in the spec's chain, skipped", step)
        structure = self._structure(row, calc, before, notes)
        kept = structure or DeckStructure(elements_of(formula), 0, 1, "", None)
        created = moment(row["created_at"], None)
        ended = moment(row["completed_at"], None)
        started = moment(row["started_at"], None)
        stamp = created or Moment("1970-01-01 00:00:00", 0.0)
        directory, attempt = self._attempt(row, calc, state, (started, ended), notes)
        failures = min(max(integer(row["recovery_attempts"]) or 0, 0), _FAILURES_MAX)
        is_bad = state in (JobState.FAILED, JobState.TIMEOUT)
        job = ImportedJob(
            orig_index=row["rowid"],
            line=row["rowid"],
            name=name,
            elements=kept.elements,
            natoms=kept.natoms,
            charge=0,
            spin=kept.spin,
            geometry=kept.geometry,
            state=state,
            step_id=self._step(step),
            step=step,
            origin={"table": "calculations", "row": calc, "status": status, "remarks": notes},
            created_at=stamp.text,
            updated_at=(ended or started or stamp).text,
            material_id=material_id,
            job_dir=directory,
            attempt=attempt,
            wall_time_s=ended.at - started.at if ended and started and ended.at >= started.at else None,
            failure=FailureClass.WALLTIME if state is JobState.TIMEOUT else None,
            error_message=WAS_RUNNING if status in _LIVE and state is JobState.HELD else _message(row),
            blamed=failures + 1 if is_bad else failures,
            never_rerun=structure is None,
            deck=kept.deck,
            properties=_settings(row),
        )
        id_ = self._writer.add_job(job)
        self._writer.db.execute(
            "INSERT INTO old_calculation VALUES (?, ?, ?, ?, ?)",
            (calc, id_, name, str(state), text(row["prerequisite_calc_id"])),
        )
        return structure

    def _note(self, where: object, notes: list[str], reason: str, detail: str = "") -> None:
        self._remarks.add("calculations", where, reason, detail)
        notes.append(f"{reason}: {detail}" if detail else reason)

    def _step(self, key: str) -> int:
        if key not in self._steps:
            self._steps[key] = self._writer.add_step(key, "fan", "running")
        return self._steps[key]

    def _free_step(self, row: dict[str, Any], calc: str, material: str, notes: list[str]) -> str:
        """The step's name: the type, with the next free number where the material has one of it already."""
        name = _step_name(row["calc_type"])
        if name is None:
            name = "CALCULATION"
            self._note(calc, notes, "no usable calc_type", repr(row["calc_type"]))
        plain = re.sub(r"[0-9]+$", "", name)
        key, repeat = name, 1
        while not self._writer.db.execute("INSERT OR IGNORE INTO seen_step VALUES (?, ?)", (material, key)).rowcount:
            repeat += 1
            key = f"{plain}{repeat}"
        if key != name:
            self._note(calc, notes, "a repeat of its step, numbered", f"{name} is {key}")
        return key

    def _state(self, row: dict[str, Any], calc: str, notes: list[str]) -> tuple[str, JobState]:
        status = (text(row["status"]) or "").lower()
        state = _STATES.get(status)
        if state is None:
            state = JobState.HELD
            self._note(calc, notes, "unknown status, held", repr(row["status"]))
        elif status in _LIVE:
            state = self._running
            self._note(calc, notes, f"was running, {'held' if state is JobState.HELD else 'made ready'}")
        elif state is JobState.FAILED and (text(row["slurm_state"]) or "").upper() == "TIMEOUT":
            state = JobState.TIMEOUT
        mapping = f"{status or 'none'} -> {state}"
        self.statuses[mapping] = self.statuses.get(mapping, 0) + 1
        return status, state

    def _structure(
        self, row: dict[str, Any], calc: str, before: DeckStructure | None, notes: list[str]
    ) -> DeckStructure | None:
        """From the calculation's own deck, else that of the material's calculation before it."""
        written = text(row["input_file"])
        reason = "the row names no input file"
        if written is not None and written.endswith(".d3"):
            reason = "it has a deck for the properties program, and none came before"
        elif written is not None:
            path, there = self._places.file(written)
            try:
                if there:
                    return read_deck(Path(path))
                reason = f"{path} is missing"
            except (OSError, ValueError) as error:
                reason = f"{path}: {error}"
        if before is None:
            self._note(calc, notes, "no structure, kept as a record that never runs", reason)
        return before

    def _attempt(
        self,
        row: dict[str, Any],
        calc: str,
        state: JobState,
        times: tuple[Moment | None, Moment | None],
        notes: list[str],
    ) -> tuple[str | None, ImportedAttempt | None]:
        """The calculation's directory and output, and what is recorded of the try that was made there."""
        output = text(row["output_file"])
        found, output_there = self._places.file(output) if output else ("", False)
        written = text(row["work_dir"])
        if output_there:
            directory, there = str(Path(found).parent), True
        elif written is not None:
            directory, there = self._places.directory(written)
        else:
            return None, None
        if output and not output_there:
            self._note(calc, notes, "output file is missing", found)
        if not there:
            self._note(calc, notes, "directory is missing", directory)
            return (directory if state is JobState.COMPLETED else None), None
        if state is JobState.READY and not output_there:
            return None, None
        started, ended = times
        attempt = ImportedAttempt(
            directory,
            _ATTEMPTS.get(state, AttemptState.FAILED),
            FailureClass.WALLTIME if state is JobState.TIMEOUT else None,
            None if state is JobState.COMPLETED else _message(row) or "how it ended is not known here",
            started.at if started else None,
            ended.at if ended else None,
            Path(found).name if output else None,
        )
        return directory, attempt

    # ---- chains ----------------------------------------------------------------------------------------------------

    def _link(self) -> None:
        """Parents of jobs, and which step mostly follows which; what goes on from an unfinished one waits."""
        db = self._writer.db
        rows = db.execute(
            "SELECT o.old, o.prerequisite, o.job, o.state, p.job, p.state, o.material = p.material "
            "FROM old_calculation o LEFT JOIN old_calculation p ON p.old = o.prerequisite "
            "WHERE o.prerequisite IS NOT NULL"
        )
        for old, prerequisite, job, state, parent, parent_state, is_same in rows:
            if parent is None or parent == job:
                self._remarks.add("calculations", old, "the calculation it goes on from is not there", prerequisite)
            elif not is_same:
                self._remarks.add("calculations", old, "goes on from another material's, not linked", prerequisite)
            else:
                db.execute("UPDATE job SET parent_id = ? WHERE id = ?", (parent, job))
                if state == JobState.READY and parent_state != JobState.COMPLETED:
                    self._writer.move(job, JobState.READY, JobState.WAITING)
        db.execute(
            "UPDATE step SET after = (SELECT s.key FROM job j JOIN job p ON p.id = j.parent_id JOIN step s ON "
            "s.id = p.step_id WHERE j.step_id = step.id AND s.id < step.id GROUP BY s.id ORDER BY count(*) DESC, s.id "
            "LIMIT 1) WHERE workflow_id = ? AND after IS NULL AND key NOT IN (SELECT value FROM json_each(?))",
            (self._writer.workflow_id, msgspec.json.encode(list(self._chain)).decode()),
        )


def read_materials(
    source: Source,
    writer: Writer,
    remarks: Remarks,
    places: Places,
    running: JobState,
    chain: Sequence[NewStep] = (),
) -> dict[str, int]:
    """Takes over everything; how many calculations of each status became what (`old -> new`).

    `chain`: the steps of a spec, which every material gets jobs for.
    """
    materials = _Materials(source, writer, remarks, places, running, chain)
    materials.read()
    return materials.statuses


def _step_name(written: Any) -> str | None:
    """A step's name as chains have it; None for what cannot be one."""
    name = (text(written) or "").upper()
    return name if _TYPE.fullmatch(name) else None


def _message(row: dict[str, Any]) -> str | None:
    kind, message = text(row["error_type"]), text(row["error_message"])
    return ": ".join(filter(None, [kind, message])) or None


def _settings(row: dict[str, Any]) -> tuple[ImportedProperty, ...]:
    """What a calculation's row says beyond our columns."""
    return tuple(_setting(name, row[name]) for name in _KEPT if isinstance(row[name], int | float | str) and row[name])


def _setting(name: str, value: Any) -> ImportedProperty:
    return ImportedProperty(name.removesuffix("_json"), decoded(value) if name.endswith("_json") else value)
