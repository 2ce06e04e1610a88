"""One folder that explains itself: a workflow's results in every format, its spec, and where they came from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock import __version__
from penstock.domain.errors import SpecError, StoreError
from penstock.domain.views import Selection
from penstock.store.connection import reading
from penstock.store.export import export_jobs
from penstock.store.figures import write_figures
from penstock.store.result_export import export_results
from penstock.store.result_pages import Wanted

FOLDER: Final = "folder"
_FILES: Final = {"csv": "results.csv", "json": "results.json", "extxyz": "structures.extxyz", "ase": "structures.db"}
_ABOUT: Final = "workflow.json"
_ANALYSED: Final = """\
properties.csv      what analyses found: a row a property, with unit and uncertainty (one standard error)
properties.json     the same, with notes, failures and the data of the figures
figures/            the figures of the analyses
"""
_README: Final = """Results of the workflow {id}
{line}

{jobs} jobs, exported by Penstock {version}. The same results give the same files, byte for byte.

results.csv         one row a job; properties as JSON in the last column
results.json        the same, with the geometries and every property
structures.extxyz   the structures (the final ones where there are any), energies in eV
structures.db       the same as an ASE database: ase db structures.db
{analysed}workflow.json       what was asked for (the whole spec), how it was done, and how it ended

Units: energies in hartree (Eh) unless a name says otherwise, forces in hartree per bohr, geometries in angstrom.
A job's own files are in the workflow's directory, in the folder that its job_dir names.
"""


def export_folder(database: Path, workflow_id: str, path: Path, selection: Selection, *, overwrite: bool) -> int:
    """Writes the folder, whole or not at all; returns how many jobs it holds.

    SpecError for a path that cannot be; what is no such folder is never overwritten.
    """
    _refuse(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for file_format, name in _FILES.items():
            jobs = export_jobs(database, workflow_id, file_format, partial / name, selection, overwrite=False)
        analysed = _write_analysed(database, workflow_id, partial)
        about = msgspec.json.format(msgspec.json.encode(_about(database, workflow_id)))
        (partial / _ABOUT).write_bytes(about + b"\n")
        line = "=" * (len(workflow_id) + 24)
        text = _README.format(id=workflow_id, line=line, jobs=jobs, version=__version__, analysed=analysed)
        (partial / "README.txt").write_text(text, encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}; choose another path", key="path") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return jobs


def _write_analysed(database: Path, workflow_id: str, folder: Path) -> str:
    """Writes what analyses found, if anything; returns what the README says of it."""
    with reading(database) as db:
        if not db.execute("SELECT 1 FROM conclusion WHERE workflow_id = ?", (workflow_id,)).fetchone():
            return ""
    for suffix in ("csv", "json"):
        export_results(database, workflow_id, folder / f"properties.{suffix}", Wanted(), overwrite=False)
    _, troubles = write_figures(database, workflow_id, folder / "figures")
    return _ANALYSED + "".join(f"not drawn: {trouble}\n" for trouble in troubles)


def _refuse(path: Path, *, overwrite: bool) -> None:
    if "\0" in str(path):
        raise SpecError(f"{str(path)!r} cannot be a path", key="path")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise SpecError(f"{path} exists; choose another path, or overwrite it with --overwrite", key="path")
    if path.is_symlink() or not (path / _ABOUT).is_file():
        raise SpecError(f"{path} exists and is not a folder of an export; choose another path", key="path")


def _about(database: Path, workflow_id: str) -> dict[str, Any]:
    columns = ("recipe", "recipe_version", "mode", "state", "reason", "created_at", "spec", "parameters")
    with reading(database) as db:
        row = db.execute(f"SELECT {', '.join(columns)} FROM workflow WHERE workflow_id = ?", (workflow_id,)).fetchone()
        if row is None:
            raise StoreError(f"{database} holds no workflow {workflow_id!r}", healable=False)
        found = dict(zip(columns, row, strict=True))
        tally = "SELECT state, jobs FROM tally WHERE workflow_id = ? AND jobs ORDER BY state"
        steps = "SELECT key, kind, after FROM step WHERE workflow_id = ? ORDER BY id"
        sources = "SELECT path, bytes, sha256 FROM file WHERE workflow_id = ? AND role = 'source' ORDER BY path"
        return {
            "workflow": workflow_id,
            "penstock": __version__,
            **found,
            "spec": msgspec.json.decode(found["spec"]),
            "parameters": msgspec.json.decode(found["parameters"]),
            "jobs": dict(db.execute(tally, (workflow_id,)).fetchall()),
            "steps": [dict(zip(("key", "kind", "after"), s, strict=True)) for s in db.execute(steps, (workflow_id,))],
            "source": [
                dict(zip(("path", "bytes", "sha256"), f, strict=True)) for f in db.execute(sources, (workflow_id,))
            ],
        }
