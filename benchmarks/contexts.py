"""Opening 100 contexts of workflows that exist, beside opening their databases with plain sqlite3 and one SELECT."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from benchmarks.report import Figure, Options, Report, compare
from penstock.context import list_contexts, open_context
from penstock.domain.context import DATABASE_NAME, WORK_FOLDER


def run(options: Options) -> Report:
    """Both in turns; then what making, listing and writing cost."""
    contexts, pairs = (10, 3) if options.quick else (100, 15)
    root, names = options.scratch, [f"w{n}" for n in range(contexts)]
    began = time.monotonic()
    for name in names:
        with open_context(name, work_root=root):
            pass
    making = (time.monotonic() - began) / contexts
    for name in names:
        with open_context(name, work_root=root) as context:
            context.materials.add("h", "H 0 0 0")
    ours, plain, listing = [], [], []
    for _ in range(pairs):
        ours.append(_open_contexts(root, names) * 1e3)
        plain.append(_open_plainly(root, names) * 1e3)
        began = time.monotonic()
        found = list_contexts(root)
        listing.append((time.monotonic() - began) * 1e3)
    with open_context(names[0], work_root=root) as context:
        began = time.monotonic()
        for n in range(contexts):
            context.materials.add(f"h{n}", f"H 0 0 {n}")
        writing = (time.monotonic() - began) / contexts
    figures = [
        compare(f"opening {contexts} contexts, beside sqlite3 and a SELECT", "ms", ours, plain),
        Figure(f"listing {contexts} contexts", "ms", min(listing)),
        Figure("making one", "ms", making * 1e3),
        Figure("adding a material, committed", "ms", writing * 1e3),
    ]
    faults = [] if len(found) == contexts else [f"{len(found)} contexts listed, of {contexts}"]
    return Report("contexts", f"{contexts} contexts", {"contexts": contexts}, figures, faults)


def _open_contexts(root: Path, names: list[str]) -> float:
    began = time.monotonic()
    for name in names:
        with open_context(name, work_root=root):
            pass
    return time.monotonic() - began


def _open_plainly(root: Path, names: list[str]) -> float:
    began = time.monotonic()
    for name in names:
        database = root / WORK_FOLDER / name / DATABASE_NAME
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
            db.execute("SELECT state FROM workflow").fetchall()
    return time.monotonic() - began
