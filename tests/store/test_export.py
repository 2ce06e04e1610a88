"""Results written for other programs, read back as those programs read them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest

from penstock.domain.calculation import Outcome, Structure, StructureChunk, pack_chunk
from penstock.domain.context import DATABASE_NAME
from penstock.domain.errors import SpecError, StoreError
from penstock.domain.geometry import format_geometry
from penstock.domain.states import AttemptState, JobState
from penstock.domain.views import Filter, Selection
from penstock.store import export
from penstock.store.export import FORMATS, default_path, export_jobs
from penstock.store.rows import AttemptResult

from .filled import BAD, EXIT, create, result, submit

HARTREE_EV = 27.211386024367243
WATER = "3\n\nO 0.0 0.0 0.119262\nH 0.0 0.763239 -0.477047\nH 0.0 -0.763239 -0.477047\n"
RELAXED = WATER.replace("0.119262", "0.125")
CELL = [[0.0, 1.805, 1.805], [1.805, 0.0, 1.805], [1.805, 1.805, 0.1]]
COPPER = format_geometry(["Cu"], [(0.1, 0.2, 0.3)], CELL, (True, True, True))
SLAB = format_geometry(
    ["Cu", "H"], [(0.0, 0.0, 0.0), (0.0, 0.0, 1.5)], np.diag([2.5, 2.5, 12.0]).tolist(), (True, True, False)
)
ODD_NAMES = [
    'a "quoted" name',
    "commas, and; more",
    "two\nlines",
    "carriage\rreturn",
    "Größe Δ 水",
    "back\\slash",
    "x=1",
]
TYPED_NAMES = ["T", "False", "12", "1 2 3", "1e5", "", " ", "_JSON", "[1]", "'", "None"]
GEOMETRIES = [WATER, COPPER, SLAB]
NAMES = ["water", "copper", "slab", *ODD_NAMES, *TYPED_NAMES]
ENERGY = -76.02676123456789
ALL = Selection()


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A workflow: job 1 relaxed, 2 and 3 periodic, 4 failed, the rest waiting."""
    store, step = await create(tmp_path)
    structures = [
        Structure(n, n + 2, name, "O;H", 3, n % 3 - 1, 1, GEOMETRIES[n] if n < 3 else WATER)
        for n, name in enumerate(NAMES)
    ]
    await store.add_chunk(step, "w", pack_chunk(StructureChunk(structures, [], "end", done=True)))
    ulid, attempts = await submit(store, 4)
    outcome = Outcome(None, None, ENERGY, 0.125, 7, RELAXED, {"dipole": [0.0, 0.0, 0.73], "gap_ev": 12.5, "ok": True})
    ends = [
        AttemptResult(ulid, attempts[0], AttemptState.COMPLETED, JobState.COMPLETED, EXIT, outcome),
        result(ulid, attempts[1]),
        result(ulid, attempts[2]),
        result(ulid, attempts[3], good=False),
    ]
    await store.record_results(ends, {"submitting": 4}, [ulid])
    await store.close()
    return tmp_path


def write(directory: Path, file_format: str, path: Path | None = None, *, again: bool = False) -> Path:
    path = path or default_path(directory, "w", file_format)
    export_jobs(directory / DATABASE_NAME, "w", file_format, path, ALL, overwrite=again)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def read_ase(path: Path) -> list[Any]:
    with ase.db.connect(path, type="db") as database:
        return list(database.select(sort="id"))


def ids(file_format: str, path: Path) -> list[int]:
    """The jobs in an export."""
    match file_format:
        case "csv":
            return [int(row["id"]) for row in read_csv(path)]
        case "json":
            return [job["id"] for job in read_json(path)["jobs"]]
        case "extxyz":
            return [atoms.info["job"] for atoms in ase.io.iread(path, ":", "extxyz")] if path.stat().st_size else []
    return [row.job for row in read_ase(path)]


async def test_csv(directory: Path) -> None:
    rows = read_csv(write(directory, "csv"))
    assert [row["name"] for row in rows] == NAMES
    first, failed, waiting = rows[0], rows[3], rows[4]
    assert float(first["final_energy"]) == ENERGY
    assert (first["geometry"], first["final_geometry"]) == (WATER, RELAXED)
    assert json.loads(first["properties"]) == {"dipole": [0.0, 0.0, 0.73], "gap_ev": 12.5, "ok": True}
    assert (failed["status"], failed["final_energy"], failed["failure"]) == ("failed", "", "exit_code")
    assert failed["error_message"] == BAD.message
    assert (waiting["status"], waiting["properties"], waiting["never_rerun"]) == ("ready", "", "False")


async def test_json(directory: Path) -> None:
    found = read_json(write(directory, "json"))
    assert found["workflow"] == "w"
    assert found["units"]["final_energy"] == "Eh"
    assert [job["name"] for job in found["jobs"]] == NAMES
    first, failed = found["jobs"][0], found["jobs"][3]
    assert (first["final_energy"], first["max_forces"], first["scf_steps"]) == (ENERGY, 0.125, 7)
    assert first["properties"] == {"dipole": [0.0, 0.0, 0.73], "gap_ev": 12.5, "ok": True}
    assert (failed["final_energy"], failed["final_geometry"], failed["properties"]) == (None, None, {})
    assert first["never_rerun"] is False


async def test_extxyz(directory: Path) -> None:
    frames = list(ase.io.iread(write(directory, "extxyz"), ":", "extxyz"))
    assert len(frames) == len(NAMES)
    water, copper, slab, failed = frames[:4]
    assert water.get_potential_energy() == pytest.approx(ENERGY * HARTREE_EV, rel=1e-15)
    assert water.info["final_energy_hartree"] == ENERGY
    assert water.positions[0, 2] == 0.125
    assert not water.pbc.any()
    assert copper.pbc.tolist() == [True, True, True]
    assert slab.pbc.tolist() == [True, True, False]
    assert np.array_equal(copper.cell.array, CELL)
    assert np.array_equal(copper.positions, [[0.1, 0.2, 0.3]])
    assert slab.get_chemical_symbols() == ["Cu", "H"]
    assert failed.calc is None
    assert "final_energy_hartree" not in failed.info
    keys = ("workflow", "job", "status", "charge", "multiplicity")
    assert [water.info[key] for key in keys] == ["w", 1, "completed", -1, 1]
    assert failed.info["status"] == "failed"


@pytest.mark.parametrize("name", [*ODD_NAMES, "T", "False"])
async def test_a_name_in_extxyz_is_the_name(directory: Path, name: str) -> None:
    path = write(directory, "extxyz")
    [found] = ase.io.iread(path, NAMES.index(name), "extxyz")
    assert found.info["name"] == name.replace("\n", " ").replace("\r", " ")


async def test_every_name_leaves_extxyz_readable(directory: Path) -> None:
    frames = list(ase.io.iread(write(directory, "extxyz"), ":", "extxyz"))
    assert [frame.info["job"] for frame in frames] == [n + 1 for n in range(len(NAMES))]


async def test_ase_database(directory: Path) -> None:
    path = write(directory, "ase")
    rows = read_ase(path)
    assert [row.label for row in rows] == [f"n:{name}" for name in NAMES]
    water, copper, slab, failed = rows[:4]
    assert water.energy == pytest.approx(ENERGY * HARTREE_EV, rel=1e-15)
    assert (water.final_energy, water.max_forces, water.scf_steps) == (ENERGY, 0.125, 7)
    assert water.toatoms().positions[0, 2] == 0.125
    assert water.data["properties"] == {"dipole": [0.0, 0.0, 0.73], "gap_ev": 12.5, "ok": True}
    assert np.array_equal(copper.cell, CELL)
    assert (copper.pbc.tolist(), slab.pbc.tolist()) == ([True, True, True], [True, True, False])
    assert (failed.status, failed.get("energy"), failed.data["error"]) == ("failed", None, BAD.message)
    assert (water.workflow, water.total_charge, water.multiplicity) == ("w:w", -1, 1)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # and no lock beside it


async def test_a_lock_left_by_a_killed_worker_is_not_waited_for(directory: Path) -> None:
    path = directory / "exports" / "x"
    path.parent.mkdir()
    (path.parent / f".x.partial-{os.getpid()}.lock").touch()
    assert len(read_ase(write(directory, "ase", path))) == len(NAMES)


async def test_an_energy_that_is_no_number_is_left_out_of_an_ase_database(directory: Path) -> None:
    with contextlib.closing(sqlite3.connect(directory / "workflow.db")) as db, db:
        db.execute("UPDATE job SET final_energy = 9e999 WHERE id = 1")
    assert read_ase(write(directory, "ase"))[0].get("energy") is None


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_selection(directory: Path, file_format: str) -> None:
    for selection, expected in (
        (Selection(statuses=("completed",)), [1, 2, 3]),
        (Selection(jobs=(4, 2)), [2, 4]),
        (Selection(filters=(Filter("final_energy", "<", "-10"),)), [1]),
        (Selection(jobs=(999,)), []),
    ):
        path = directory / "selected"
        assert export_jobs(directory / DATABASE_NAME, "w", file_format, path, selection, overwrite=True) == len(
            expected
        )
        assert ids(file_format, path) == expected


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_existing_file_is_only_replaced_when_that_is_wanted(directory: Path, file_format: str) -> None:
    path = directory / "exports" / "mine"
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(SpecError, match="mine exists; choose another path, or overwrite it with --overwrite"):
        write(directory, file_format, path)
    assert path.read_text() == "precious"
    write(directory, file_format, path, again=True)
    write(directory, file_format, path, again=True)
    assert len(ids(file_format, path)) == len(NAMES)


class BrokenError(Exception):
    """The export breaks in the middle."""


@pytest.mark.parametrize("file_format", FORMATS)
async def test_what_breaks_in_the_middle_leaves_the_old_file_and_nothing_else(
    directory: Path, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    path = directory / "exports" / "mine"
    path.parent.mkdir()
    path.write_text("old")
    records = export._records

    def breaking(*args: Any) -> Iterator[Any]:
        for number, record in enumerate(records(*args)):
            if number == 2:
                raise BrokenError
            yield record

    monkeypatch.setattr(export, "_records", breaking)
    with pytest.raises(BrokenError):
        write(directory, file_format, path, again=True)
    assert {entry.name: entry.read_text() for entry in path.parent.iterdir()} == {"mine": "old"}


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_folder_that_is_missing_is_made(directory: Path, file_format: str) -> None:
    path = write(directory, file_format, directory / "a" / "b" / "c.x")
    assert len(ids(file_format, path)) == len(NAMES)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("place", ["workflow.db/below/x", "workflow.db/x", "/proc/x", f"{'n' * 300}/x", "n" * 255])
async def test_a_place_that_cannot_be_written_is_named(directory: Path, file_format: str, place: str) -> None:
    path = directory / place
    with pytest.raises(SpecError) as caught:
        write(directory, file_format, path)
    assert caught.value.key == "path"
    assert caught.value.message.startswith(f"{path} cannot be written: ")


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_full_disk_is_said_of_the_file_and_not_of_the_database(directory: Path, file_format: str) -> None:
    path = directory / "exports" / "x"
    path.parent.mkdir()
    (path.parent / f".x.partial-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(SpecError) as caught:
        write(directory, file_format, path)
    assert caught.value.message.startswith(f"{path} cannot be written: ")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_database_that_cannot_be_read_is_named(directory: Path, file_format: str) -> None:
    database = directory / "workflow.db"
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (database.stat().st_size - 8192))
    path = directory / "exports" / "x"
    with pytest.raises(StoreError, match=r"workflow\.db: .*malformed"):
        write(directory, file_format, path)
    assert list(path.parent.iterdir()) == []
    database.unlink()
    with pytest.raises(StoreError, match="is missing"):
        write(directory, file_format, path)


@pytest.mark.parametrize("overwrite", [False, True])
async def test_what_is_no_regular_file_is_never_replaced(directory: Path, overwrite: bool) -> None:
    (directory / "folder").mkdir()
    (directory / "link").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    for path in (directory / "folder", directory / "link", directory / "pipe", Path("/dev/null"), Path("/")):
        with pytest.raises(SpecError, match="exists and is not a regular file; choose another path") as caught:
            export_jobs(directory / DATABASE_NAME, "w", "csv", path, ALL, overwrite=overwrite)
        assert caught.value.key == "path"
    assert (directory / "pipe").is_fifo()
    assert (directory / "link").is_symlink()


async def test_a_path_that_no_system_knows_is_refused(directory: Path) -> None:
    with pytest.raises(SpecError, match="cannot be a path"):
        write(directory, "csv", directory / "a\0b")


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_folder_in_which_no_file_can_be_made_is_said_of_the_file(directory: Path, file_format: str) -> None:
    with pytest.raises(SpecError, match=r"^path: /proc/x\.csv cannot be written: ") as caught:
        write(directory, file_format, Path("/proc/x.csv"))
    assert caught.value.key == "path"


async def test_an_unknown_format_is_refused_before_anything_is_touched(directory: Path) -> None:
    with pytest.raises(SpecError, match="unknown format 'xlsx'; use one of csv, json, extxyz, ase") as caught:
        export_jobs(directory / DATABASE_NAME, "w", "xlsx", directory / "new" / "x", ALL, overwrite=False)
    assert caught.value.key == "format"
    assert not (directory / "new").exists()
    assert default_path(directory, "w", "ase") == directory / "exports" / "w.db"
