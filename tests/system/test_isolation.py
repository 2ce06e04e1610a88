"""Two workflows in one directory: neither sees anything of the other, nor suffers from its misfortunes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import Gate, Penstockd, eventually, query, toml

COUNT = "SELECT count(*) FROM jobs WHERE status = ?"
LATTICES = {"alpha": 3.612345, "beta": 3.754321}


def diamond(a: float) -> str:
    """A primitive fcc cell of copper, Å."""
    h = a / 2
    return f'1\nLattice="0 {h} {h} {h} 0 {h} {h} {h} 0" pbc="T T T"\nCu 0 0 0'


def submit_diamond(daemon: Penstockd, id: str) -> Path:
    """A campaign of one material `diamond`; everything that is its own carries `id`."""
    daemon.write_table(f"{id}.csv", [("diamond", diamond(LATTICES[id]))])
    tables: dict[str, Any] = {
        "id": id,
        "recipe": "campaign",
        "structures": {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"},
        "engine": {"name": "emt", "task": "gradient"},
        "metadata": {"project": f"{id} project"},
    }
    return Path(daemon.submit(toml(tables)).directory)


def test_nothing_of_one_is_seen_in_the_other(daemon: Penstockd) -> None:
    from ase import Atoms
    from ase.calculators.emt import EMT
    from ase.units import Hartree

    directories = {id: submit_diamond(daemon, id) for id in LATTICES}
    for id, other in (("alpha", "beta"), ("beta", "alpha")):
        assert daemon.wait(id).workflow.statuses == {"completed": 1}
        for format_ in ("csv", "json", "extxyz", "ase"):
            assert daemon.client.export(id, format_).jobs == 1
        (job,) = daemon.client.jobs(id).jobs
        h = LATTICES[id] / 2
        atoms = Atoms("Cu", cell=[[0, h, h], [h, 0, h], [h, h, 0]], pbc=True, calculator=EMT())
        assert job.name == "diamond"
        assert job.final_energy == pytest.approx(atoms.get_potential_energy() / Hartree, abs=1e-10)
        assert {event.workflow for event in daemon.client.job(id, 1).events} == {id}
        assert query(directories[id], "SELECT DISTINCT workflow_id, namespace FROM material") == [(id, id)]
        assert str(LATTICES[other] / 2) not in daemon.client.job(id, 1).geometry

    daemon.stop()  # what is still in memory or in a write-ahead log is in the files then
    assert directories["alpha"].parent == directories["beta"].parent
    energies = {id: query(directory, "SELECT final_energy FROM job")[0][0] for id, directory in directories.items()}
    for id, other in (("alpha", "beta"), ("beta", "alpha")):
        files = [path for path in directories[id].rglob("*") if path.is_file()]
        everything = b"\n".join(path.read_bytes() for path in files)
        assert {"workflow.db", "workflow.log", "context.toml", f"{id}.csv", "result.json", f"{id}.db"} <= {
            path.name for path in files
        }
        assert id.encode() in everything
        assert repr(energies[id]).encode() in everything
        for trace in (other, repr(LATTICES[other] / 2), repr(energies[other])):
            assert trace.encode() not in everything
            assert not [path for path in files if trace in str(path.relative_to(directories[id]))]


def test_slots_are_respected_at_every_moment(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[clusters.local]\ncores = 8\n")
    daemon.start()
    slots = {"narrow": 1, "wide": 3}
    directories = {
        id: daemon.submit_command(id, gate.script, *gate.paths, jobs=12, slots=count) for id, count in slots.items()
    }
    for _ in range(4):
        gate.next_started()
    assert alive(daemon, directories) == slots
    for done in range(1, 25):
        gate.release()
        eventually(partial(sample, daemon, directories, slots, done), f"{done} jobs are done")


def sample(daemon: Penstockd, directories: dict[str, Path], slots: dict[str, int], done: int) -> bool:
    """Whether `done` jobs are done; no workflow has more at work, by its database or in truth, than it has slots."""
    running = {id: query(directory, COUNT, "running")[0][0] for id, directory in directories.items()}
    living = alive(daemon, directories)
    for id, count in slots.items():
        assert running[id] <= count
        assert living[id] <= count
    completed = sum(int(query(directory, COUNT, "completed")[0][0]) for directory in directories.values())
    return completed == done


def alive(daemon: Penstockd, directories: dict[str, Path]) -> dict[str, int]:
    """How many jobs of each workflow have a process."""
    found = dict.fromkeys(directories, 0)
    for pid in daemon.descendants():
        with contextlib.suppress(OSError):
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(entry.startswith(b"PENSTOCK_JOB_ID=") for entry in entries):
                found[next(id for id in directories if f"PENSTOCK_WORKFLOW_ID={id}".encode() in entries)] += 1
    return found


def test_cores_are_shared_among_workflows(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[clusters.local]\ncores = 3\n")
    daemon.start()
    for id in ("one", "two"):
        daemon.submit_command(id, gate.script, *gate.paths, jobs=4, slots=4, resources={"cores": 2, "memory": "1MB"})
    gate.next_started()
    for _ in range(7):
        (local,) = daemon.client.clusters().clusters
        assert local.cores_used == 2
        assert not gate.starts_pending()
        gate.release()
        gate.next_started()
    gate.release()
    for id in ("one", "two"):
        assert daemon.wait(id).workflow.statuses == {"completed": 4}


def remove(database: Path) -> None:
    database.unlink()


def empty(database: Path) -> None:
    os.truncate(database, 0)


def truncate(database: Path) -> None:
    os.truncate(database, 5000)


def corrupt(database: Path) -> None:
    with database.open("r+b") as file:
        file.write(b"\xa5" * database.stat().st_size)


def replace(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database.with_name("other.db"))) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    database.with_name("other.db").replace(database)


def back_up(database: Path, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def restore(database: Path, copy: Path) -> None:
    for path in database.parent.glob("workflow.db*"):
        path.unlink()
    shutil.copyfile(copy, database)


@pytest.mark.parametrize("damage", [remove, empty, replace])
def test_a_database_damaged_in_use(damage: Callable[[Path], None], daemon: Penstockd, gate: Gate, home: Path) -> None:
    check_damage(daemon, gate, home, damage, away=False)


@pytest.mark.parametrize("damage", [remove, empty, truncate, corrupt, replace])
def test_a_database_damaged_at_rest(damage: Callable[[Path], None], daemon: Penstockd, gate: Gate, home: Path) -> None:
    check_damage(daemon, gate, home, damage, away=True)


def check_damage(daemon: Penstockd, gate: Gate, home: Path, damage: Callable[[Path], None], *, away: bool) -> None:
    """The damaged workflow is faulted with a reason, the other goes on; restored, it goes on too."""
    script = f'{gate.script}; echo "$PENSTOCK_WORKFLOW_ID $PENSTOCK_JOB_ID" >> "$2"'
    paths = (*gate.paths, home / "out")
    directories = {id: daemon.submit_command(id, script, *paths, jobs=4) for id in ("ill", "well")}
    for _ in directories:
        gate.next_started()
    database = directories["ill"] / "workflow.db"
    one_running = "SELECT count(*) FROM job WHERE state = 'running'"
    eventually(lambda: query(directories["ill"], one_running) == [(1,)], "the first job is known to run")
    back_up(database, home / "copy.db")
    if away:
        daemon.stop()
    damage(database)
    if away:
        daemon.start()
    gate.release(8)
    status = daemon.wait("ill")
    assert status.workflow.state == "faulted"
    assert status.workflow.reason is not None
    assert str(database) in status.workflow.reason
    assert "penstockctl resume ill" in status.workflow.reason
    assert daemon.wait("well").workflow.statuses == {"completed": 4}
    refused = daemon.ctl("resume", "ill")
    assert refused.returncode == 2
    assert str(database) in refused.stderr
    assert "ill is faulted" in daemon.ctl("list").stdout + refused.stderr

    restore(database, home / "copy.db")
    resumed = daemon.ctl("resume", "ill")
    assert resumed.returncode == 0, resumed.stderr
    assert daemon.wait("ill").workflow.statuses == {"completed": 4}
    executed = (home / "out").read_text().splitlines()
    assert sorted(executed) == sorted(f"{id} {job}" for id in directories for job in range(1, 5))
