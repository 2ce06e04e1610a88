"""A workflow whose database is not in its directory: both appear, or neither stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.house import House
from tests.daemon.test_creation import ENDED, KilledError

from penstock.daemon import creation
from penstock.domain.context import read_context
from penstock.domain.errors import ConflictError, SpecError
from penstock.files.kinds import ENVIRONMENT, file_system_of
from penstock.store.queries import load_state
from penstock.store.workflow_store import WorkflowStore


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setenv(ENVIRONMENT, file_system_of(tmp_path))
    async with House(tmp_path) as house:
        yield house


def breaks(patched: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """`error` comes before the database is there, right after, or when the directory would get its name."""

    def fails(*_: Any) -> None:
        raise error

    create = WorkflowStore.create

    async def creates_and_fails(*args: Any, **options: Any) -> None:
        await create(*args, **options)
        raise error

    if step == "store":
        patched.setattr(WorkflowStore, "create", creates_and_fails)
    else:
        patched.setattr(creation, {"keep": "WorkflowRow", "reveal": "reveal"}[step], lambda *_, **__: fails())


def databases(house: House) -> list[str]:
    return sorted(path.name for path in (house.root / "state").rglob("*") if path.is_file())


async def test_the_database_is_in_the_state_directory_and_found_again(house: House) -> None:
    async with house.life() as life:
        await life.create(house.request())
        assert await life.until_ended() == ENDED
    context = read_context(house.directory)
    assert context == house.placement.place(house.request().context)
    assert databases(house) == ["workflow.db", "workflow.db-journal"]
    assert not list(house.directory.glob("workflow.db*"))
    async with house.life() as life:
        await life.find_again()
        told = await life.workflows.database("w")
        assert told is not None
        assert told.path == context.database
        assert life.board.workflows["w"].database == context.database


@pytest.mark.parametrize("step", ["keep", "store", "reveal"])
@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_breaks_leaves_nothing_in_the_state_directory(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, is_killed: bool
) -> None:
    async def no_time(*_: Any) -> None:
        """A killed process cleans nothing up."""

    async with house.life() as life:
        with monkeypatch.context() as patched:
            if is_killed:
                patched.setattr(creation, "discard", no_time)
            breaks(patched, step, KilledError() if is_killed else OSError(28, "No space left"))
            with pytest.raises(KilledError if is_killed else SpecError):
                await life.create(house.request())
        assert bool(databases(house)) == (is_killed and step != "keep")
    async with house.life() as life:
        await life.find_again()
        assert databases(house) == []
        assert list((house.root / "state" / "databases").iterdir()) == []
        await life.create(house.request())
        assert await life.until_ended() == ENDED


async def test_results_of_a_workflow_whose_directory_was_moved_away_are_not_written_over(house: House) -> None:
    async with house.life() as life:
        await life.create(house.request())
        assert await life.until_ended() == ENDED
    moved = house.work.parent / "moved"
    house.directory.rename(moved)
    async with house.life() as life:
        await life.catalogue.remove("w")  # as when a daemon finds that its directory is gone
        with pytest.raises(ConflictError, match="holds results of a workflow 'w' already; choose another id"):
            await life.create(house.request())
    assert house.leftovers() == []
    assert load_state(Path(read_context(moved).database), "w") == ENDED
