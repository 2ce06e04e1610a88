"""Which file system a path is on, by texts of mountinfo that kernels write, and which journal follows from it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from penstock.store.connection import open_writer, reading, transaction
from penstock.store.database import Database
from penstock.store.file_system import (
    ENVIRONMENT,
    NETWORK_FILE_SYSTEMS,
    UNKNOWN,
    Mount,
    file_system_of,
    kind_of,
    network_types,
    parse_mountinfo,
)
from penstock.store.journal import ROLLBACK, WAL, choose_journal, journal_of
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare

MOUNTS = r"""22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
30 22 0:25 / /home rw,relatime shared:5 master:1 - nfs4 server:/export/home rw,vers=4.2
31 22 0:26 / /scratch\040of\011all rw - lustre 10.0.0.1@o2ib:/scratch rw
32 30 8:3 / /home/me/local rw - xfs /dev/sdb1 rw
33 22 0:26 /mine /mnt/mine rw - lustre 10.0.0.1@o2ib:/scratch rw
34 22 0:40 / /net rw - autofs systemd-1 rw,fd=30
35 34 0:41 / /net rw - nfs other:/net rw
36 22 0:50 / /data rw - btrfs /dev/sdc rw,subvol=/
37 22 0:60 / /remote rw - fuse.sshfs me@there:/ rw
38 22 0:70 / /back\134slash rw - gpfs gpfs0 rw
no mount at all
39 22 0:71 / - ext4
"""


def test_places_are_read_as_the_kernel_writes_them() -> None:
    mounts = parse_mountinfo(MOUNTS)
    assert mounts[0] == Mount("8:2", "/", "ext4")
    assert mounts[2].point == "/scratch of\tall"
    assert mounts[9] == Mount("0:70", "/back\\slash", "gpfs")
    assert len(mounts) == 10


@pytest.mark.parametrize(
    ("device", "path", "kind"),
    [
        ("8:2", "/var/lib", "ext4"),
        ("0:25", "/home/me", "nfs4"),
        ("?", "/home/me", "nfs4"),
        ("?", "/home/me/local/work", "xfs"),
        ("?", "/homework", "ext4"),
        ("0:26", "/some/bind/mount/of/it", "lustre"),  # in a container, where its place has another name
        ("?", "/mnt/mine", "lustre"),
        ("?", "/scratch of\tall/x", "lustre"),
        ("0:41", "/net/x", "nfs"),
        ("?", "/net/x", "nfs"),  # the later mount covers the earlier
        ("0:57", "/data/subvolume", "btrfs"),  # every subvolume has a device of its own
        ("?", "/remote/x", "fuse.sshfs"),
    ],
)
def test_a_file_system_is_known_by_its_device_or_else_its_place(device: str, path: str, kind: str) -> None:
    assert kind_of(parse_mountinfo(MOUNTS), device, path) == kind


def test_nothing_mounted_is_unknown() -> None:
    assert kind_of([], "8:1", "/x") == UNKNOWN


def test_a_directory_that_is_to_be_made_is_where_its_parents_are(tmp_path: Path) -> None:
    assert file_system_of(tmp_path / "a" / "b") == file_system_of(tmp_path) != UNKNOWN
    (tmp_path / "link").symlink_to("/proc")
    assert file_system_of(tmp_path / "link") == "proc"


def test_the_usual_types_and_those_of_the_environment() -> None:
    assert network_types({}) is NETWORK_FILE_SYSTEMS
    assert network_types({ENVIRONMENT: " nfs, ext4 ,"}) == {"nfs", "ext4"}
    assert network_types({ENVIRONMENT: ""}) == set()
    assert {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "fuse.sshfs", "9p"} <= NETWORK_FILE_SYSTEMS
    assert not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs"} & NETWORK_FILE_SYSTEMS


def test_the_journal_follows_from_the_file_system() -> None:
    assert choose_journal("ext4", NETWORK_FILE_SYSTEMS).mode == WAL
    assert choose_journal(UNKNOWN, NETWORK_FILE_SYSTEMS).mode == WAL
    assert choose_journal("nfs4", NETWORK_FILE_SYSTEMS).mode == ROLLBACK
    assert choose_journal("nfs4", {"lustre"}).mode == WAL


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is below `tmp_path` counts as a network file system."""
    monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))


def journal_mode(path: Path) -> str:
    """What a program without an opinion finds; a file not in WAL mode is `delete`."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


async def test_on_a_network_file_system_there_is_no_wal(tmp_path: Path, network: None) -> None:
    path = tmp_path / "some.db"
    database = Database(path, ["CREATE TABLE t (x);"], contextlib.nullcontext)
    await database.create()
    async with database.transaction() as db:
        await db.execute("INSERT INTO t VALUES (1)")
        assert os.listdir(tmp_path) in (["some.db", "some.db-journal"], ["some.db-journal", "some.db"])  # noqa: PTH208
    assert await database.fetch("PRAGMA journal_mode") == [(ROLLBACK,)]
    assert await database.fetch("PRAGMA synchronous") == [(2,)]
    assert await database.fetch("PRAGMA locking_mode") == [("normal",)]
    await database.close()
    assert journal_mode(path) == "delete"


def test_a_file_with_a_wal_that_was_moved_there_loses_nothing_but_the_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "workflow.db", tmp_path / "moved" / "workflow.db"
    with open_writer(path, create=True) as db:
        with transaction(db, path):
            db.execute("INSERT INTO tally VALUES ('w', 'ready', 7)")
        moved.parent.mkdir()
        for name in ("workflow.db", "workflow.db-wal"):  # as after a power cut: the newest rows are in the WAL only
            moved.with_name(name).write_bytes(path.with_name(name).read_bytes())
    monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))
    with reading(moved) as db:
        assert db.execute("SELECT jobs FROM tally").fetchone() == (7,)
    assert journal_mode(moved) == "delete"
    assert sorted(file.name for file in moved.parent.iterdir()) == ["workflow.db", "workflow.db-journal"]
    assert not moved.with_name("workflow.db-journal").stat().st_size
    monkeypatch.delenv(ENVIRONMENT)
    with open_writer(moved):  # back on a local disk
        assert journal_of(moved).mode == WAL
    assert journal_mode(moved) == WAL


def test_readers_and_writers_meet_where_there_is_no_wal(tmp_path: Path, network: None) -> None:
    path = tmp_path / "workflow.db"
    with open_writer(path, create=True) as first, open_writer(path) as second, reading(path) as reader:
        with transaction(first, path):
            first.execute("INSERT INTO tally VALUES ('a', 'ready', 1)")
            assert reader.execute("SELECT count(*) FROM tally").fetchone() == (0,)
            reader.execute("ROLLBACK")  # who reads keeps a writer from its end
        with transaction(second, path):
            second.execute("INSERT INTO tally VALUES ('b', 'ready', 1)")
        prepare(path, ["SELECT 1;"] * len(load_migrations(WORKFLOW_MIGRATIONS)), create=False)
    with reading(path) as db:
        assert db.execute("SELECT count(*) FROM tally").fetchone() == (2,)
