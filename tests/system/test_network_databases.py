"""The real daemon where work or state directory count as network file systems."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.imports.older import make_campaign
from tests.store.test_journal import journal_mode
from tests.system.conftest import Penstockd, eventually

from penstock.domain.context import read_context
from penstock.files.kinds import file_system_of

MEMORY = Path("/dev/shm")


@pytest.fixture
def far(home: Path) -> Iterator[Path]:
    """A directory on another kind of file system than the daemon's state."""
    if not os.access(MEMORY, os.W_OK) or file_system_of(MEMORY) == file_system_of(home):
        pytest.skip("needs two kinds of file systems")
    path = Path(tempfile.mkdtemp(prefix="ps-", dir=MEMORY))
    yield path
    shutil.rmtree(path)


def configure(daemon: Penstockd, **keys: object) -> None:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in keys.items()]
    daemon.config.write_text("[daemon]\n" + "".join(lines), encoding="utf-8")


def status(daemon: Penstockd, id: str) -> str:
    return " ".join(daemon.ctl("status", id).stdout.split())


def test_databases_of_a_far_work_directory_are_in_the_state_directory(stopped_daemon: Penstockd, far: Path) -> None:
    daemon, kind = stopped_daemon, file_system_of(far)
    near, daemon.work = daemon.work, far
    configure(daemon, network_file_systems=[kind])
    daemon.start()
    for id, mode in (("alone", "isolated"), ("one", "shared"), ("two", "hybrid")):
        daemon.submit_command(id, "true", isolation=mode)
    for id in ("alone", "one", "two"):
        assert daemon.wait(id).workflow.statuses == {"completed": 1}
    contexts = {id: read_context(far / ".penstock" / id) for id in ("alone", "one", "two")}
    for id, context in contexts.items():
        database = Path(context.database)
        assert database.is_file()
        assert database.parent.parent == daemon.state / "databases"
        told = daemon.client.status(id).database
        assert told is not None
        assert (told.path, told.journal) == (str(database), "wal")
        assert told.why.startswith(f"{far}/.penstock/{'alone' if id == 'alone' else 'shared'} is on a network")
        assert told.why.endswith("; only workflows of this daemon share it") == (id != "alone")
    assert contexts["one"].database == contexts["two"].database != contexts["alone"].database
    assert not list(far.glob(".penstock/**/workflow.db*"))
    assert f"database {contexts['alone'].database} ({far}" in status(daemon, "alone")
    eventually(lambda: daemon.logged("database not as usual") == 3, "the log says so")
    daemon.kill()
    daemon.start()
    assert daemon.client.jobs("alone").total == 1
    daemon.work = near
    daemon.submit_command("near", "true")
    assert daemon.wait("near").workflow.state == "completed"
    assert (near / ".penstock" / "near" / "workflow.db").is_file()
    near_database = daemon.client.status("near").database
    assert near_database is not None
    assert near_database.why == ""


def test_an_import_into_a_far_work_directory_has_its_database_in_the_state_directory(
    stopped_daemon: Penstockd, far: Path
) -> None:
    daemon, kind = stopped_daemon, file_system_of(far)
    configure(daemon, network_file_systems=[kind])
    daemon.start()
    source = make_campaign(far / "old.db", [{"status": "completed"}])
    daemon.client.import_databases((str(source),), str(far), id="old")
    assert daemon.wait("old").workflow.statuses == {"completed": 1}
    database = Path(read_context(far / ".penstock/old").database)
    assert database.parent.parent == daemon.state / "databases"
    assert {path.name for path in database.parent.iterdir()} <= {"workflow.db", "workflow.db-wal", "workflow.db-shm"}
    assert daemon.client.jobs("old").total == 1


def test_kept_in_place_there_is_no_wal_and_a_far_state_directory_is_refused(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    kind = file_system_of(daemon.home)
    configure(daemon, network_file_systems=[kind], network_databases="in_place")
    refused = daemon.launch()
    assert refused.wait(60) == 2
    assert f"is on a network file system ({kind})" in daemon.log.read_text()
    assert not daemon.state.exists()
    configure(daemon, network_file_systems=[kind], network_databases="in_place", force_network_state=True)
    daemon.start()
    directory = daemon.submit_command("w", "true", jobs=3)
    assert daemon.wait("w").workflow.statuses == {"completed": 3}
    assert f"in place, on a network file system ({kind}); journal mode truncate" in status(daemon, "w")
    assert daemon.client.jobs("w").total == 3
    backup = daemon.client.backup("w")
    assert (backup.workflows, backup.jobs) == (("w",), 3)
    assert Path(backup.path).parent == directory / "exports"
    daemon.stop()
    assert journal_mode(directory / "workflow.db") == "delete"
    assert journal_mode(daemon.state / "catalogue.db") == "delete"
    assert "never start a second daemon" in daemon.log.read_text()
