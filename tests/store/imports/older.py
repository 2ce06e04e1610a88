"""Databases of older tools, built to their public schemas, with every status and odd rows."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

WATER = "3\n\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.469\nH 0.0 -0.757 -0.469\n"
_CAMPAIGN = """
    CREATE TABLE {table} (
        id INTEGER PRIMARY KEY AUTOINCREMENT, orig_index INTEGER, elements TEXT, natoms INTEGER, status TEXT,
        charge INTEGER, spin INTEGER, geometry TEXT, job_dir TEXT, max_forces REAL, scf_steps INTEGER,
        final_energy REAL, error_message TEXT, fail_count INTEGER DEFAULT 0, wall_time REAL, n_cores INTEGER,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
    );
    CREATE INDEX idx_status ON {table}(status);
    CREATE INDEX idx_orig_index ON {table}(orig_index);
"""
_MATERIALS = """
    CREATE TABLE materials (
        material_id TEXT PRIMARY KEY, formula TEXT NOT NULL, space_group INTEGER, dimensionality TEXT,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, source_type TEXT, source_file TEXT,
        status TEXT DEFAULT 'active', metadata_json TEXT, notes TEXT
    );
    CREATE TABLE calculations (
        calc_id TEXT PRIMARY KEY, material_id TEXT NOT NULL, calc_type TEXT NOT NULL, calc_subtype TEXT,
        status TEXT DEFAULT 'pending', priority INTEGER DEFAULT 0, slurm_job_id TEXT UNIQUE, slurm_state TEXT,
        created_at TEXT NOT NULL, submitted_at TEXT, started_at TEXT, completed_at TEXT, input_file TEXT,
        output_file TEXT, job_script TEXT, work_dir TEXT, settings_json TEXT, exit_code INTEGER, error_type TEXT,
        error_message TEXT, recovery_attempts INTEGER DEFAULT 0, completion_type TEXT, prerequisite_calc_id TEXT
    );
    CREATE TABLE properties (
        property_id INTEGER PRIMARY KEY AUTOINCREMENT, material_id TEXT NOT NULL, calc_id TEXT,
        property_category TEXT NOT NULL, property_name TEXT NOT NULL, property_value REAL, property_value_text TEXT,
        property_unit TEXT, confidence REAL, extracted_at TEXT NOT NULL, extractor_script TEXT
    );
    CREATE TABLE files (
        file_id INTEGER PRIMARY KEY AUTOINCREMENT, calc_id TEXT NOT NULL, file_type TEXT NOT NULL,
        file_name TEXT NOT NULL, file_path TEXT NOT NULL, file_size INTEGER, created_at TEXT NOT NULL, checksum TEXT
    );
    CREATE TABLE workflow_instances (instance_id TEXT PRIMARY KEY, material_id TEXT NOT NULL, status TEXT);
"""
_PROTOCOL = """
    CREATE TABLE executions (
        execution_id TEXT PRIMARY KEY, workflow_name TEXT NOT NULL, cell_line TEXT NOT NULL, vessel_id TEXT NOT NULL,
        operation_type TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT,
        completed_at TEXT, error_message TEXT, metadata TEXT, current_step_index INTEGER DEFAULT 0
    );
    CREATE TABLE execution_steps (
        step_id TEXT PRIMARY KEY, execution_id TEXT NOT NULL, step_index INTEGER NOT NULL, name TEXT NOT NULL,
        operation_type TEXT NOT NULL, parameters TEXT NOT NULL, status TEXT NOT NULL, start_time TEXT, end_time TEXT,
        error_message TEXT, result TEXT
    );
"""
_QUEUE = """
    CREATE TABLE queued_jobs (
        job_id TEXT PRIMARY KEY, execution_id TEXT NOT NULL, priority INTEGER NOT NULL, status TEXT NOT NULL,
        scheduled_time TEXT, created_at TEXT NOT NULL, started_at TEXT, completed_at TEXT, error_message TEXT,
        metadata TEXT
    );
"""
Row = Mapping[str, Any]


def make_campaign(path: Path, rows: Iterable[Row], *, table: str = "structures", more: str = "") -> Path:
    """A campaign; what a row does not say is that of a structure that can run."""
    usual = {"status": "to_run", "charge": 0, "spin": 1, "geometry": WATER, "natoms": 3, "elements": "O;H;H"}
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(_CAMPAIGN.format(table=table) + more)
        for index, row in enumerate(rows):
            insert(db, table, {"orig_index": index, **usual, **row})
        db.commit()
    return path


def make_materials(path: Path, **tables: Sequence[Row]) -> Path:
    """A database of materials; each table is a list of rows."""
    usual: dict[str, Row] = {
        "materials": {"formula": "NaCl", "created_at": "2025-06-18T14:58:37", "updated_at": "2025-06-18T14:58:37"},
        "calculations": {"calc_type": "OPT", "created_at": "2025-06-18T15:00:00.125"},
        "properties": {"material_id": "salt", "property_category": "electronic", "extracted_at": "2025-06-19"},
        "files": {"file_type": "output", "file_name": "out", "created_at": "2025-06-19"},
        "workflow_instances": {"material_id": "salt"},
    }
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(_MATERIALS)
        for table, rows in tables.items():
            for row in rows:
                insert(db, table, {**usual[table], **row})
        db.commit()
    return path


def make_executions(path: Path, executions: Iterable[Row], steps: Iterable[Row], queued: Iterable[Row] = ()) -> Path:
    """Executions with their steps, and the queue where there is one."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(_PROTOCOL + _QUEUE)
        shared = {"operation_type": "seed", "status": "completed"}
        execution = {
            "workflow_name": "viability",
            "cell_line": "A549",
            "vessel_id": "p1",
            "created_at": "2025-11-28T14:56:16",
        }
        for row in executions:
            insert(db, "executions", {**shared, **execution, **row})
        for index, row in enumerate(steps):
            insert(db, "execution_steps", {**shared, "step_index": index, "name": "s", "parameters": "{}", **row})
        for row in queued:
            insert(db, "queued_jobs", {"priority": 1, "status": "completed", "created_at": "2025-11-28", **row})
        db.commit()
    return path


def insert(db: sqlite3.Connection, table: str, row: Row) -> None:
    """One row."""
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def prints(folder: Path, *, apart: str = "no file") -> dict[str, str]:
    """What every file in and below a folder holds, by its name: equal prints mean that nothing was changed."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not str(path.relative_to(folder)).startswith(apart)
    }
