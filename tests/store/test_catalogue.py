"""The catalogue: which workflows exist, and where."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.domain.errors import ConflictError
from penstock.domain.views import WorkflowInfo
from penstock.store.catalogue import Catalogue


def snapshot(workflow_id: str, state: str) -> WorkflowInfo:
    return WorkflowInfo(
        id=workflow_id,
        recipe="campaign",
        state=state,
        directory=f"/data/{workflow_id}",
        mode="isolated",
        cluster="local",
        engine="emt",
        slots=1,
        priority=0,
        jobs=3,
        statuses={"completed": 3},
        states={"completed": 3},
        rejected=0,
        ingesting=False,
        reason=None,
        created_at=1.0,
        updated_at=2.0,
    )


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(tmp_path / "catalogue.db", contextlib.nullcontext)
    await catalogue.open()
    yield catalogue
    await catalogue.close()


async def test_workflows_are_listed_oldest_first_as_last_known(catalogue: Catalogue) -> None:
    assert await catalogue.rows() == []
    await catalogue.add("b", "/data/b")
    await catalogue.add("a", "/data/a")
    await catalogue.update(snapshot("a", "completed"))
    first, second = await catalogue.rows()
    assert (first.id, first.directory, first.snapshot) == ("b", "/data/b", None)
    assert (second.id, second.state, second.snapshot) == ("a", "completed", snapshot("a", "completed"))


async def test_an_id_and_a_directory_are_taken_once(catalogue: Catalogue) -> None:
    await catalogue.add("a", "/data/a")
    with pytest.raises(ConflictError, match="workflow 'a' exists already in /data/a; choose another id"):
        await catalogue.add("a", "/elsewhere")
    with pytest.raises(ConflictError, match="workflow 'a' exists already in /data/a"):
        await catalogue.add("other", "/data/a")
    assert [row.id for row in await catalogue.rows()] == ["a"]
    await catalogue.remove("a")
    await catalogue.add("other", "/data/a")
    assert [row.id for row in await catalogue.rows()] == ["other"]


async def test_it_is_there_again_after_a_restart(catalogue: Catalogue, tmp_path: Path) -> None:
    await catalogue.add("a", "/data/a")
    await catalogue.close()
    again = Catalogue(tmp_path / "catalogue.db", contextlib.nullcontext)
    await again.open()
    assert [row.id for row in await again.rows()] == ["a"]
    await again.close()


async def test_an_update_of_a_workflow_that_was_removed_brings_nothing_back(catalogue: Catalogue) -> None:
    await catalogue.update(snapshot("gone", "running"))
    assert await catalogue.rows() == []
