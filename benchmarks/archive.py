"""A workflow's directory with very many jobs, archived and restored, beside `tar --zstd` of the same tree.

Both sides end with their bytes on the disk. Ours includes a checksum of every file, and reading all back to verify it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.daemon import WrongOutcomeError
from benchmarks.report import Figure, LeftOutError, Options, Report, compare, ratio_at_most
from penstock.actors.archive_tasks import VerifyArchive
from penstock.domain.life_cycle import ArchiveHead
from penstock.store.archive_reader import read_archive
from penstock.store.archive_unpacker import Unpacker, sync_file_system
from penstock.store.archive_writer import write_archive
from penstock.store.rows import job_directory

_ULID: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
_HEAD: Final = ArchiveHead(1, "0", 1, "w", "isolated", "w", "campaign", "completed", {}, 0.0, 0.0, 0.0, _ULID, "", {})


def run(options: Options) -> Report:
    """Both in turns on the same tree, which is in the page cache for both."""
    if shutil.which("zstd") is None or shutil.which("tar") is None:
        raise LeftOutError("it needs tar and zstd on the PATH")
    jobs, turns = (2000, 2) if options.quick else (100_000, 3)
    tree = options.scratch / "w"
    database = options.scratch / "workflow.db"
    _build(tree, database, jobs)
    series: dict[str, list[float]] = {name: [] for name in ("archive", "verify", "tar", "restore", "untar")}
    for _ in range(turns):
        _turn(options.scratch, tree, database, series)
    sizes = [(options.scratch / name).stat().st_size for name in ("ours.tar.zst", "theirs.tar.zst")]
    figures = [
        compare("archive, verified; tar --zstd", "s", series["archive"], series["tar"], ratio_at_most(1.3)),
        compare("verify it again; tar --zstd", "s", series["verify"], series["tar"]),
        compare("restore, verified; tar -x --zstd", "s", series["restore"], series["untar"], ratio_at_most(1.3)),
        Figure("size of the archive", "MB", sizes[0] / 1e6, sizes[1] / 1e6),
    ]
    parameters = {"jobs": jobs, "files": 3 * jobs, "links": jobs, "directories": 2 * jobs, "turns": turns}
    return Report("archive", f"A workflow of {jobs} job directories as one file, and back", parameters, figures)


def _build(tree: Path, database: Path, jobs: int) -> None:
    for job in range(1, jobs + 1):
        place = tree / job_directory(job) / "1"
        place.mkdir(parents=True)
        (place / ".claim").symlink_to(_ULID)
        (place / "input.json").write_text(f'{{"name": "water-{job}", "charge": 0, "x": {job * 0.37:.6f}}}\n')
        forces = ", ".join(f"{n * job % 977 / 977:.6f}" for n in range(9))
        (place / "result.json").write_text(f'{{"energy": {-76 - job * 1e-7:.9f}, "forces": [{forces}]}}\n')
        (place / "stdout").write_text("".join(f"cycle {n} of {job}\n" for n in range(20)))
    db = sqlite3.connect(database)
    db.execute("CREATE TABLE t (a)")
    db.commit()
    db.close()


def _turn(scratch: Path, tree: Path, database: Path, series: dict[str, list[float]]) -> None:
    ours, theirs = scratch / "ours.tar.zst", scratch / "theirs.tar.zst"
    for path in (ours, theirs):
        path.unlink(missing_ok=True)
    os.sync()
    series["tar"].append(_seconds(lambda: _tar("-cf", theirs, scratch, tree.name)))
    series["archive"].append(_seconds(lambda: write_archive(tree, database, _HEAD, ours)))
    series["verify"].append(_seconds(lambda: VerifyArchive(str(ours)).run()))
    made, unpacked = scratch / "made", scratch / "unpacked"
    unpacked.mkdir()
    os.sync()
    series["untar"].append(_seconds(lambda: _tar("-xf", theirs, unpacked)))
    os.sync()
    series["restore"].append(_seconds(lambda: _restore(ours, made)))
    found = subprocess.run(["diff", "-r", "--no-dereference", tree, made], capture_output=True, text=True, check=False)
    if found.stdout.strip() != f"Only in {made}: workflow.db":
        raise WrongOutcomeError(f"what was restored is not what was archived: {found.stdout[:200]}")
    shutil.rmtree(made)
    shutil.rmtree(unpacked)


def _restore(archive: Path, target: Path) -> None:
    with archive.open("rb") as source:
        read_archive(source, str(archive), Unpacker(target))
    sync_file_system(target)


def _tar(way: str, archive: Path, place: Path, *names: str) -> None:
    """Archives or extracts; what it wrote is on the disk, too, when it returns."""
    subprocess.run(["tar", "--zstd", way, archive, "-C", place, *names], check=True)
    sync_file_system(place)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
