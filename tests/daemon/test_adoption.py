"""A directory from elsewhere becomes a workflow here, whatever breaks on the way, and only where it may."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.house import House, Life

from penstock.control import messages as m
from penstock.daemon import adoption
from penstock.daemon.adoption import adopt
from penstock.daemon.offline import check_offline, create_offline
from penstock.daemon.workflows import Workflows
from penstock.domain.context import read_context
from penstock.domain.errors import ConflictError, SpecError
from penstock.domain.settings import Layer
from penstock.domain.views import ClusterInfo
from penstock.store.catalogue import Catalogue

ROOM = {name: ClusterInfo(name, "local", "up", None, 2, 0, 4000, 0, 0, 0) for name in ("local", "other")}
SPEC = """id = "w"
recipe = "campaign"
[structures]
source = "m.csv"
geometry_column = "geometry"
[engine]
name = "emt"
"""


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


@pytest.fixture
async def arrived(house: House) -> Path:
    """A workflow's directory, made offline."""
    file = house.root / "spec.toml"
    file.write_text(SPEC)
    return await create_offline(check_offline(SPEC, str(file), house.root, ()))


async def take(life: Life, request: m.Adopt) -> m.Accepted:
    return await adopt(request, life.workflows, lambda *_: None, ROOM)


def rows(directory: Path, sql: str) -> list[Any]:
    db = sqlite3.connect(directory / "workflow.db")
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


async def test_what_was_made_offline_waits_until_it_is_adopted(house: House, arrived: Path) -> None:
    assert rows(arrived, "SELECT state, daemon FROM workflow") == [("paused", None)]
    assert (arrived / "source" / "m.csv").read_bytes() == house.source.read_bytes()
    async with house.life() as life:
        accepted = await take(life, m.Adopt(str(arrived), "v", "other", 3))
        assert accepted == m.Accepted("v", str(arrived))
        assert await life.until_ended("v") == ("completed", {"completed": 3})
        info = life.board.workflows["v"]
        assert (info.cluster, info.slots) == ("other", 3)
    assert read_context(arrived).workflow_id == "v"
    for table in ("workflow", "job", "material", "step", "event", "attempt", "tally", "file"):
        assert rows(arrived, f"SELECT DISTINCT workflow_id FROM {table}") == [("v",)], table
    assert rows(arrived, "SELECT DISTINCT namespace FROM material") == [("v",)]
    ((told,),) = rows(arrived, "SELECT data FROM event WHERE kind = 'workflow_adopted'")
    assert json.loads(told)["was"] == "w"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(adoption, "take_over"), (adoption, "render_context"), (Catalogue, "add"), (Workflows, "start")],
)
async def test_a_kill_on_the_way_leaves_what_the_same_request_completes(
    house: House, arrived: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    real = getattr(owner, name)

    def broken(*args: Any, **kwargs: Any) -> Any:
        if when == "after" and owner is not Workflows:
            real(*args, **kwargs)
        raise KilledError

    async def awaited(*args: Any) -> Any:
        if when == "after":
            await real(*args)
        raise KilledError

    async with house.life() as life:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, awaited if owner is Catalogue else broken)
            with pytest.raises(KilledError):
                await take(life, m.Adopt(str(arrived), "v"))
    async with house.life() as life:
        await life.find_again()
        if "v" not in life.board.workflows:
            await take(life, m.Adopt(str(arrived), "v"))
        assert await life.until_ended("v") == ("completed", {"completed": 3})
    assert rows(arrived, "SELECT count(*) FROM event WHERE kind = 'workflow_adopted'") == [(1,)]


async def test_what_may_not_be_is_refused_and_left_as_it_is(house: House, arrived: Path) -> None:
    before = rows(arrived, "SELECT * FROM workflow")
    async with house.life() as life:
        for request, error, message in (
            (m.Adopt(str(arrived), cluster="hpc"), SpecError, "unknown cluster 'hpc'"),
            (m.Adopt(str(arrived), slots=0), SpecError, "slots: must be between 1"),
            (m.Adopt(str(arrived), id="a/b"), SpecError, "cannot name a workflow"),
            (m.Adopt(str(house.root)), SpecError, r"there is no workflow\.db in"),
            (m.Adopt("water"), SpecError, "water is not a directory"),
        ):
            with pytest.raises(error, match=message):
                await take(life, request)
        await life.create(house.request())
        with pytest.raises(ConflictError, match="workflow 'w' exists already"):
            await take(life, m.Adopt(str(arrived)))
        with pytest.raises(ConflictError, match="is workflow 'w' of this daemon already"):
            await take(life, m.Adopt(str(house.directory), "v"))
        await life.until_ended()
    assert rows(arrived, "SELECT * FROM workflow") == before
    db = sqlite3.connect(arrived / "workflow.db")
    db.execute("""UPDATE workflow SET daemon = '{"host": "far", "state_dir": "/s"}'""")
    db.commit()
    db.close()
    async with house.life() as life:
        with pytest.raises(ConflictError, match="belongs to the daemon of /s on host far"):
            await take(life, m.Adopt(str(arrived), "v"))
        await take(life, m.Adopt(str(arrived), "v", force=True))
        assert await life.until_ended("v") == ("completed", {"completed": 3})


def test_what_cannot_be_made_offline_is_told_with_its_line(tmp_path: Path) -> None:
    file = str(tmp_path / "spec.toml")
    (tmp_path / "m.csv").write_text("geometry\nH 0 0 0\n")
    for text, message in (
        (SPEC.replace("emt", "emtt"), "spec.toml:7: engine.name"),
        (SPEC.replace("m.csv", "n.csv"), "n.csv"),
        (f'isolation = "shared"\n{SPEC}', "spec.toml:1: isolation: only isolated workflows"),
        (SPEC + "[sweep]\nslots = [1, 2]\n", r"spec.toml:\d+: sweep: makes many workflows"),
    ):
        with pytest.raises(SpecError, match=message):
            check_offline(text, file, tmp_path, ())
    layer = Layer("command line", {"id": "other", "cluster": "anywhere"})
    assert check_offline(SPEC, file, tmp_path, (layer,)).directory == tmp_path / "other"
