"""What cannot be imported is refused before anything is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.daemon.house import House
from tests.daemon.test_creation import KilledError
from tests.daemon.test_creation import _broken as broken
from tests.daemon.test_creation import _no_time as no_time
from tests.services.file_server import RealFileServer
from tests.store.imports.older import make_campaign, make_executions

from penstock.actors import worker_tasks
from penstock.control import messages as m
from penstock.daemon import creation, imports
from penstock.daemon.creation import Request, check_request
from penstock.daemon.imports import import_databases
from penstock.domain.errors import SpecError
from penstock.domain.spec import decode_spec
from penstock.domain.views import ClusterInfo
from penstock.files import threads
from penstock.files.threads import SilentError
from penstock.store.catalogue import Catalogue

CLUSTERS = {"local": cast("ClusterInfo", None)}


class Here:
    """Does tasks at once."""

    async def run(self, task: Any) -> Any:
        """The answer to a task."""
        return task.run()


async def tried(request: m.Import, wish: Request | None = None) -> m.Imported:
    """A dry run."""
    dry = msgspec.structs.replace(request, dry_run=True)
    return await import_databases(dry, wish, cast("Any", None), cast("Any", Here()))


def wished(tmp_path: Path, **changes: Any) -> Request:
    """A checked spec."""
    tables: dict[str, Any] = {
        "recipe": "campaign",
        "structures": {"source": "/x"},
        "engine": {"name": "command", "command": ["true"]},
        "isolation": "shared",
    }
    spec = decode_spec(tables | changes, "", "/f")
    return check_request(spec, str(tmp_path), "/f", "spec", CLUSTERS)


async def test_the_name_is_the_files_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    source = make_campaign(tmp_path / "my acids (2).db", [{}])
    request = m.Import((str(source),), str(tmp_path))
    assert (await tried(request)).id == "my-acids-2-"
    assert (await tried(request, wished(tmp_path, id="spec"))).id == "spec"
    assert (await tried(msgspec.structs.replace(request, id="mine"), wished(tmp_path, id="spec"))).id == "mine"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Catalogue, "add"),
        (imports, "lay_out"),
        (imports, "_make_room"),
        (worker_tasks, "write_import"),
        (imports, "_describe"),
        (creation, "reveal"),
        (Catalogue, "update"),
    ],
)
async def test_an_import_that_is_killed_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    source = make_campaign(tmp_path / "old.db", [{"status": "completed"}, {"status": "failed"}])
    before = source.read_bytes()
    request = m.Import((str(source),), str(tmp_path / "work"), id="w")
    async with House(tmp_path) as house:
        async with house.life() as life:
            with monkeypatch.context() as patched:
                patched.setattr(creation, "discard", no_time)
                patched.setattr(owner, name, broken(getattr(owner, name), when, KilledError()))
                with pytest.raises(KilledError):
                    await import_databases(request, None, life.workflows, cast("Any", Here()))
        async with house.life() as life:
            await life.find_again()
            is_revealed = (owner, when) == (Catalogue, "after") and name == "update"
            is_revealed |= (name, when) in {("reveal", "after"), ("update", "before")}
            assert house.leftovers() == (["w"] if is_revealed else [])
            if not is_revealed:
                made = await import_databases(request, None, life.workflows, cast("Any", Here()))
                assert made.counts["jobs"] == 2
            assert await life.until_ended() == ("failed", {"completed": 1, "failed": 1})
        with closing(sqlite3.connect(house.directory / "workflow.db")) as db:
            assert db.execute("SELECT daemon FROM workflow").fetchall() == [(life.workflows.claim,)]
    assert source.read_bytes() == before


async def test_a_silent_work_directory_is_told_and_stops_no_event_loop(
    tmp_path: Path, real_file_server: RealFileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(threads, "_ANSWERS_S", 0.5)
    source = make_campaign(tmp_path / "acids.db", [{}])
    real_file_server.freeze()
    try:
        with pytest.raises(SilentError, match=f"the file system of {real_file_server.mount} does not answer"):
            await tried(m.Import((str(source),), str(real_file_server.mount)))
    finally:
        real_file_server.thaw()


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    campaign = make_campaign(tmp_path / "a.db", [{}])
    history = make_executions(tmp_path / "b.db", [], [])
    good = m.Import((str(campaign),), str(tmp_path))
    for changes, said in (
        ({"sources": ()}, "name a database"),
        ({"sources": ("a.db",)}, "not an absolute path"),
        ({"moved": "here"}, "not an absolute path"),
        ({"running": "reddy"}, "did you mean 'ready'"),
        ({"kind": "crystal"}, "no crystal database"),
        ({"work_root": str(tmp_path / "gone")}, "is not a directory"),
        ({"id": "../x"}, "cannot name a workflow"),
        ({"id": "shared"}, "reserved"),
    ):
        with pytest.raises(SpecError, match=said):
            await tried(msgspec.structs.replace(good, **cast("Any", changes)))
    with pytest.raises(SpecError, match="nothing runs them; leave the spec out"):
        await tried(m.Import((str(history),), str(tmp_path)), wished(tmp_path))
    chain = wished(tmp_path, recipe="crystal", engine={"name": "crystal"}, chain={"template": "opt_sp"})
    with pytest.raises(SpecError, match='goes on with recipe = "campaign"'):
        await tried(good, chain)
