"""Results written for other programs: CSV, JSON, ext-XYZ, ASE databases.

Runs in a worker process; streams, whatever the size.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.domain.calculation import HARTREE_EV
from penstock.domain.errors import SpecError
from penstock.domain.geometry import parse_geometry
from penstock.domain.views import Selection
from penstock.store.connection import reading
from penstock.store.schema import store_errors
from penstock.store.selection import COLUMNS, where_selected

Record = dict[str, Any]
_COLUMNS: Final = (*COLUMNS, "geometry", "final_geometry")
_SUFFIXES: Final = {"csv": "csv", "json": "json", "extxyz": "extxyz", "ase": "db"}
_READ_AS_TRUTH: Final = frozenset({"T", "F", "True", "False", "true", "false", "TRUE", "FALSE"})
"""Words that readers of ext-XYZ take for booleans; fluorine is none."""
_LINE_ENDS: Final = re.compile(r"\r\n|\r|\n")
FORMATS: Final = tuple(_SUFFIXES)


def default_path(directory: Path, workflow_id: str, file_format: str) -> Path:
    """Where an export goes when nobody says otherwise; SpecError for an unknown format."""
    _check_format(file_format)
    return directory / "exports" / f"{workflow_id}.{_SUFFIXES[file_format]}"


def _check_format(file_format: str) -> None:
    if file_format not in _SUFFIXES:
        raise SpecError(f"unknown format {file_format!r}; use one of {', '.join(FORMATS)}", key="format")


def export_jobs(
    database: Path, workflow_id: str, file_format: str, path: Path, selection: Selection, *, overwrite: bool
) -> int:
    """Writes the selected jobs to `path`, whole or not at all; returns how many.

    SpecError for a path that cannot be.
    """
    _check_format(file_format)

    def write(db: sqlite3.Connection, partial: Path) -> int:
        return _WRITERS[file_format](partial, _records(db, database, workflow_id, selection), workflow_id)

    return write_whole(database, path, write, overwrite=overwrite)


def write_whole(
    database: Path, path: Path, write: Callable[[sqlite3.Connection, Path], int], *, overwrite: bool
) -> int:
    """Has `write` make a file of what it reads from the database, which gets its name when it is whole.

    Returns what `write` does. SpecError for a path that cannot be.
    """
    if "\0" in str(path):
        raise SpecError(f"{str(path)!r} cannot be a path", key="path")
    with _writing(path):
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise SpecError(f"{path} exists and is not a regular file; choose another path", key="path")
        if path.exists() and not overwrite:
            raise SpecError(f"{path} exists; choose another path, or overwrite it with --overwrite", key="path")
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with reading(database) as db, _writing(path):
                written = write(db, partial)
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
    return written


def read_records(database: Path, workflow_id: str, selection: Selection) -> Iterator[Record]:
    """The selected jobs one after another, from one moment: the public columns, both geometries, and properties."""
    with reading(database) as db:
        yield from _records(db, database, workflow_id, selection)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What goes wrong with the file that is written is said of that file, not of the database that is read."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{path} cannot be written: {reason}; choose another path", key="path") from error


def _records(db: sqlite3.Connection, database: Path, workflow_id: str, selection: Selection) -> Iterator[Record]:
    where = where_selected(workflow_id, selection)
    with store_errors(database):
        rows = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM job WHERE {where.sql} ORDER BY id", where.parameters)
        for row in rows:
            record = dict(zip(_COLUMNS, row, strict=True))
            record["never_rerun"] = bool(record["never_rerun"])
            found = db.execute("SELECT name, value FROM property WHERE job_id = ? ORDER BY name", (record["id"],))
            record["properties"] = {name: json.loads(value) for name, value in found}
            yield record


def _write_csv(path: Path, records: Iterator[Record], _workflow_id: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*_COLUMNS, "properties"))
        for record in records:
            count += 1
            properties = json.dumps(record["properties"], sort_keys=True) if record["properties"] else ""
            writer.writerow((*(record[name] for name in _COLUMNS), properties))
    return count


def _write_json(path: Path, records: Iterator[Record], workflow_id: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        head = {
            "workflow": workflow_id,
            "units": {"final_energy": "Eh", "max_forces": "Eh/bohr", "geometry": "angstrom"},
        }
        file.write(json.dumps(head)[:-1] + ', "jobs": [')
        for count, record in enumerate(records, 1):
            file.write(("\n" if count == 1 else ",\n") + msgspec.json.encode(record).decode())
        file.write("\n]}\n")
    return count


def _write_extxyz(path: Path, records: Iterator[Record], workflow_id: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in _with_atoms(records):
            count += 1
            number, comment, atoms = _geometry(record).split("\n", 2)
            cell = comment if "Lattice=" in comment else ""
            values = _comment_values(record, workflow_id)
            fields = " ".join([cell, "Properties=species:S:1:pos:R:3", *values]).strip()
            file.write(f"{number}\n{fields}\n{atoms.rstrip()}\n")
    return count


def _with_atoms(records: Iterator[Record]) -> Iterator[Record]:
    """Those whose structure is known; of calculations that another tool made it may not be."""
    return (record for record in records if record["natoms"])


def _comment_values(record: Record, workflow_id: str) -> list[str]:
    """`key=value` words of an ext-XYZ comment; energies in eV, as the format's readers expect."""
    values: Record = {
        "workflow": workflow_id,
        "job": record["id"],
        "name": record["name"],
        "status": record["status"],
        "charge": record["charge"],
        "multiplicity": record["spin"],
    }
    if record["final_energy"] is not None:
        values["energy"] = record["final_energy"] * HARTREE_EV
        values["final_energy_hartree"] = record["final_energy"]
    if record["max_forces"] is not None:
        values["max_force_hartree_per_bohr"] = record["max_forces"]
    return [f"{key}={_quoted(value)}" for key, value in values.items()]


def _quoted(value: Any) -> str:
    if not isinstance(value, str):
        return repr(value)
    if value in _READ_AS_TRUTH:
        return f"'_JSON \"{value}\"'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_LINE_ENDS.sub(" ", escaped)}"'


def _write_ase(path: Path, records: Iterator[Record], workflow_id: str) -> int:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    count = 0
    # nobody else writes to this file, and a lock that a killed worker left would be waited for without end
    with connect(str(path), type="db", append=False, use_lock_file=False) as db:
        for record in _with_atoms(records):
            count += 1
            symbols, positions, lattice, pbc = parse_geometry(_geometry(record))
            atoms = Atoms(symbols, positions, cell=lattice, pbc=pbc)
            if record["final_energy"] is not None and math.isfinite(record["final_energy"]):
                atoms.calc = SinglePointCalculator(atoms, energy=record["final_energy"] * HARTREE_EV)
            numbers = {key: record[key] for key in ("max_forces", "scf_steps", "final_energy", "wall_time_s")}
            db.write(
                atoms,
                data={"properties": record["properties"], "error": record["error_message"]},
                workflow=f"w:{workflow_id}",
                job=record["id"],
                label=f"n:{record['name']}",
                status=record["status"],
                total_charge=record["charge"],
                multiplicity=record["spin"],
                **{key: value for key, value in numbers.items() if value is not None},
            )
    return count


def _geometry(record: Record) -> str:
    text: str = record["final_geometry"] or record["geometry"]
    return text


_WRITERS: Final[dict[str, Callable[[Path, Iterator[Record], str], int]]] = {
    "csv": _write_csv,
    "json": _write_json,
    "extxyz": _write_extxyz,
    "ase": _write_ase,
}
