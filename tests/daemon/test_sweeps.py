"""The workflows of a sweep: all or none, and killed while they are made, the rest when it is submitted again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.daemon.house import House, KeepingWorkers, Life

from penstock.daemon import creation
from penstock.daemon.sweeps import describe_sweep, find_sweep, list_sweeps
from penstock.domain.context import Mode, plan_context
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.sweep import read_points
from penstock.store.catalogue import Catalogue, SweepRow
from penstock.store.workflow_store import WorkflowStore

POINTS = read_points("s", {"slots": [1, 2, 3]})
IDS = [point.id for point in POINTS]
ROW = SweepRow("s", "digest", POINTS, complete=False, created_at=0.0)
STEPS = {
    "add": (Catalogue, "add"),
    "lay_out": (creation, "lay_out"),
    "keep": (KeepingWorkers, "run"),
    "store": (WorkflowStore, "create"),
    "reveal": (creation, "reveal"),
    "update": (Catalogue, "update"),
    "record": (Catalogue, "put_sweep"),
}


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


def wishes(house: House) -> list[Any]:
    request = house.request()
    return [
        msgspec.structs.replace(
            request,
            context=plan_context(Mode.ISOLATED, str(house.work.parent), id),
            spec=msgspec.structs.replace(request.spec, id=id),
        )
        for id in IDS
    ]


def at_call(number: int, owner: Any, name: str, error: BaseException, patched: pytest.MonkeyPatch) -> None:
    """The call of that number (from 0) raises `error` once it is through."""
    real, calls = getattr(owner, name), 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        if calls == number + 1:
            raise error

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        result = await real(*args, **kwargs)
        counted()
        return result

    def called(*args: Any) -> None:
        real(*args)
        counted()

    patched.setattr(owner, name, called if owner is creation else awaited)


async def all_ended(life: Life) -> dict[str, str]:
    return {id: (await life.until_ended(id))[0] for id in IDS}


async def test_all_points_become_workflows_and_are_told(house: House) -> None:
    async with house.life() as life:
        await life.workflows.create_sweep(ROW, wishes(house))
        with pytest.raises(ConflictError, match="sweep 's' exists already"):
            await life.workflows.create_sweep(ROW, wishes(house))
        assert set((await all_ended(life)).values()) == {"completed"}
        (told,) = (await list_sweeps(life.workflows)).sweeps
        assert (told.name, told.keys, told.points, told.states) == ("s", ("slots",), 3, {"completed": 3})
        assert told.complete
        found = await find_sweep("s", life.workflows)
        assert [(p.number, p.id, p.values, p.state) for p in found.points][1] == (2, "s-002", {"slots": 2}, "completed")
        with pytest.raises(NotFoundError, match="there is no sweep 't'"):
            await find_sweep("t", life.workflows)
        del life.board.workflows["s-002"]
        assert describe_sweep(ROW, life.workflows).sweep.states == {"completed": 2, "missing": 1}


@pytest.mark.parametrize("step", ["lay_out", "keep", "store", "reveal"])
async def test_where_one_cannot_be_made_there_are_none(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            at_call(2, *STEPS[step], OSError(28, "No space left"), patched)
            with pytest.raises(SpecError, match=r"s-003: .*No space left"):
                await life.workflows.create_sweep(ROW, wishes(house))
        left = [name for name in house.leftovers() if name != "s-003" or step != "reveal"]
        assert (left, await life.catalogue.rows(), await life.workflows.sweeps()) == ([], [], [])


async def test_a_name_that_is_taken_by_a_workflow_is_refused_before_anything_is_made(house: House) -> None:
    async with house.life() as life:
        await life.create(wishes(house)[1])
        with pytest.raises(ConflictError, match="workflow 's-002' exists already"):
            await life.workflows.create_sweep(ROW, wishes(house))
        assert house.leftovers() == ["s-002"]
        assert await life.workflows.sweeps() == []


@pytest.mark.parametrize("call", range(3))
@pytest.mark.parametrize("step", list(STEPS))
async def test_a_sweep_that_was_killed_is_completed_and_never_doubled(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    async def nothing(*_: Any) -> None:
        """A killed process cleans nothing up."""

    rename = Path.rename

    def only_forward(path: Path, target: Path) -> Path:
        return path if Path(target).name.startswith(".new-") else rename(path, target)

    if (step, call) == ("record", 2):
        return  # it is recorded twice
    async with house.life() as life:
        with monkeypatch.context() as patched:
            patched.setattr(creation, "discard", nothing)
            patched.setattr(Catalogue, "remove_sweep", nothing)
            patched.setattr(Path, "rename", only_forward)
            at_call(call, *STEPS[step], KilledError(), patched)
            with pytest.raises(KilledError):
                await life.workflows.create_sweep(ROW, wishes(house))
    async with house.life() as life:
        await life.find_again()
        (row,) = await life.workflows.sweeps()
        if row.complete:
            with pytest.raises(ConflictError, match="exists already"):
                await life.workflows.create_sweep(ROW, wishes(house))
        else:
            other = msgspec.structs.replace(ROW, digest="other")
            if life.board.workflows:
                with pytest.raises(ConflictError, match="was begun with another spec"):
                    await life.workflows.create_sweep(other, wishes(house))
            await life.workflows.create_sweep(ROW, wishes(house))
        assert set((await all_ended(life)).values()) == {"completed"}
        assert sorted(life.board.workflows) == house.leftovers() == IDS
        assert [row.complete for row in await life.workflows.sweeps()] == [True]
