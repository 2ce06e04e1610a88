"""What the daemon says of results, and of workflows that have none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.ctl.conftest import INFO
from tests.store.concluded import COPPER, GOLD, create_metals
from tests.store.filled import create

from penstock.control import messages as m
from penstock.daemon import results
from penstock.daemon.results import results_of
from penstock.domain.errors import ConflictError


def known(database: Path, **changes: Any) -> Any:
    info = msgspec.structs.replace(INFO, id="w", database=str(database), **changes)
    return cast("Any", SimpleNamespace(info=lambda _: info))


async def test_a_page_comes_with_the_state_and_what_is_open(tmp_path: Path) -> None:
    workflows = known(await create_metals(tmp_path), recipe="elastic", states={"ready": 3, "failed": 1, "running": 2})
    reply = await results_of(workflows, m.ListResults("w", limit=2, offset=1))
    assert reply.properties == (COPPER.properties[1], GOLD.properties[0])
    assert (reply.workflow, reply.recipe, reply.state, reply.total) == ("w", "elastic", "running", 3)
    assert (len(reply.conclusions), reply.conclusions_total, reply.open_jobs) == (2, 3, 5)


async def test_a_recipe_without_analyses_says_where_its_results_are(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    workflows = known(tmp_path / "workflow.db")
    with pytest.raises(ConflictError, match="penstockctl jobs w, penstockctl table w; as a file: penstockctl export w"):
        await results_of(workflows, m.ListResults("w"))


async def test_a_recipe_that_has_not_planned_its_analyses_yet_has_no_results_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    monkeypatch.setattr(results, "draws_conclusions", lambda name: name == "campaign")
    reply = await results_of(known(tmp_path / "workflow.db"), m.ListResults("w"))
    assert (reply.properties, reply.total, reply.analyses) == ((), 0, ())
