"""Merging 100,000 results into a shared database, beside a plain `INSERT ... SELECT` of the same rows."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.report import Figure, Options, Report, at_most, compare
from penstock.context import open_context
from penstock.domain.views import MergeReport
from penstock.store.connection import open_writer, transaction
from penstock.store.merging import MergeOrder, merge
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare

_TABLES: Final = ("material", "job", "property", "file")
_SEED: Final = 20240229


def run(options: Options) -> Report:
    """Ours and the copy in turns; then what a second merge costs that has nothing to do."""
    results, pairs = (2_000, 1) if options.quick else (100_000, 3)
    order = _source(options.scratch, results)
    ours, plain, again, dry = [], [], [], []
    faults = []
    for turn in range(pairs):
        turned = msgspec.structs.replace(order, target=str(options.scratch / f"merged-{turn}.db"))
        dry.append(_timed(msgspec.structs.replace(turned, dry_run=True))[0])
        seconds, report = _timed(turned)
        ours.append(seconds)
        plain.append(_copy(Path(order.source), options.scratch / f"copied-{turn}.db"))
        seconds, second = _timed(turned)
        again.append(seconds)
        if (report.new, second.unchanged) != (results, results):
            faults.append(f"{report.new} results merged and {second.unchanged} found again, of {results}")
    figures = [
        compare(f"merge of {results} results, beside a plain copy of their rows", "s", ours, plain, at_most(10.0)),
        Figure("a second merge, which changes nothing", "s", min(again)),
        Figure("a dry run", "s", min(dry)),
    ]
    return Report("merge", f"merge of {results} results", {"results": results}, figures, faults)


def _timed(order: MergeOrder) -> tuple[float, MergeReport]:
    began = time.monotonic()
    report = merge(order)
    return time.monotonic() - began, report


def _source(scratch: Path, results: int) -> MergeOrder:
    """An isolated workflow with results of molecules of three atoms, two properties and two files each."""
    rng = random.Random(_SEED)
    with open_context("source", work_root=scratch, mode="isolated") as context:
        water = context.materials.add("water", "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477")
        context.calculations.add(water, "mine").fail("a template for the rows")
        database = context.database
        order = MergeOrder(str(database), context.id, str(context.directory), "", beside=False)
    with open_writer(database) as connection, transaction(connection, database) as db:
        template = db.execute("SELECT workflow_id, step_id FROM job").fetchone()
        for table in (*_TABLES, "tally"):
            db.execute(f"DELETE FROM {table}")
        for n in range(1, results + 1):
            name = f"water-{n}"
            atoms = "".join(f"{s} {rng.uniform(-2, 2):.6f} {rng.uniform(-2, 2):.6f} 0.0\n" for s in ("O", "H", "H"))
            db.execute(
                "INSERT INTO material (id, workflow_id, namespace, name, step_id, source_index) "
                "VALUES (?1, ?2, ?2, ?3, ?4, ?1)",
                (n, template[0], name, template[1]),
            )
            db.execute(
                "INSERT INTO job (id, orig_index, elements, natoms, status, charge, spin, geometry, job_dir, "
                "max_forces, scf_steps, final_energy, created_at, updated_at, workflow_id, step_id, material_id, name, "
                "source_line, state, attempts, wall_time_s, final_geometry) "
                "VALUES (?1, ?1, 'O;H', 3, 'completed', 0, 1, ?2, "
                "'jobs/0000/' || ?1 || '/1', 0.01, 9, ?3, '', '', ?4, ?5, ?1, ?6, ?1, 'completed', 1, 2.5, ?2)",
                (n, f"3\n\n{atoms}", -5.0 - rng.random(), *template, name),
            )
            for key, value in (("dipole", "[0.0,0.0,1.5]"), ("gap_ev", "7.25")):
                db.execute(
                    "INSERT INTO property (job_id, name, workflow_id, attempt, value) VALUES (?, ?, ?, 1, ?)",
                    (n, key, template[0], value),
                )
            for file in ("stdout", "result.json"):
                db.execute(
                    "INSERT INTO file (workflow_id, job_id, attempt, role, path) VALUES (?1, ?2, 1, 'output', "
                    "'jobs/0000/' || ?2 || '/1/' || ?3)",
                    (template[0], n, file),
                )
        db.execute("INSERT INTO tally VALUES (?, 'completed', ?)", (template[0], results))
    return order


def _copy(source: Path, target: Path) -> float:
    """Seconds for the same rows into an empty database of the same schema, with nothing asked."""
    prepare(target, load_migrations(WORKFLOW_MIGRATIONS), create=True)
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("ATTACH DATABASE ? AS source", (str(source),))
        began = time.monotonic()
        db.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            db.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}")
        db.execute("COMMIT")
        return time.monotonic() - began
