"""A creation that is broken off at any step: the workflow is there and runs, or nothing of it is and its id is free."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.daemon.house import House, KeepingWorkers, Life

from penstock.daemon import creation, workflows
from penstock.domain.context import read_context
from penstock.domain.errors import ConflictError, SpecError, StoreError
from penstock.domain.resources import Resources
from penstock.domain.views import ClusterInfo
from penstock.files.threads import SilentError, ask_in_thread
from penstock.store import layout
from penstock.store.catalogue import CREATING, Catalogue
from penstock.store.workflow_store import WorkflowStore

STEPS = {
    "add": (Catalogue, "add"),
    "lay_out": (creation, "lay_out"),
    "keep": (KeepingWorkers, "run"),
    "store": (WorkflowStore, "create"),
    "reveal": (creation, "reveal"),
    "update": (Catalogue, "update"),
}
MOMENTS = [(step, when) for step in STEPS for when in ("before", "after")]
MOMENTS.remove(("reveal", "after"))  # nothing lies between that and "update, before"
BUILT = [("synced", "before"), ("update", "before"), ("update", "after")]
"""Moments at which the directory has its name."""
ENDED = ("completed", {"completed": 3})


class KilledError(BaseException):
    """The process ends here."""


def breaks(monkeypatch: pytest.MonkeyPatch, step: str, when: str, error: BaseException) -> None:
    """`error` comes right before or after `step`."""
    if step == "synced":
        _breaks_after_rename(monkeypatch, error)
        return
    owner, name = STEPS[step]
    monkeypatch.setattr(owner, name, _broken(getattr(owner, name), when, error))


def _broken(function: Callable[..., Any], when: str, error: BaseException) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            raise error
        function(*args, **kwargs)
        raise error

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            raise error
        await function(*args, **kwargs)
        raise error

    return awaited if inspect.iscoroutinefunction(function) else called


def _breaks_after_rename(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    sync = layout.sync_directory

    def broken(directory: Path) -> None:
        if not directory.name.startswith(".new-"):
            raise error
        sync(directory)

    monkeypatch.setattr(layout, "sync_directory", broken)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


async def is_nowhere(house: House, life: Life) -> bool:
    return house.leftovers() == [] and await life.row() is None and "w" not in life.board.workflows


async def test_a_workflow_is_built_whole_and_runs(house: House) -> None:
    async with house.life() as life:
        await life.create(house.request())
        row = await life.row()
        assert row is not None
        assert row.snapshot is not None
        assert row.snapshot.state == row.state == "running"
        assert house.leftovers() == ["w"]
        assert {entry.name for entry in house.directory.iterdir()} >= {
            *("workflow.db", "context.toml", "source", "jobs", "storage", "locks", "exports")
        }
        assert (house.directory / "source" / "m.csv").read_bytes() == house.source.read_bytes()
        assert 'database = "workflow.db"\n' in (house.directory / "context.toml").read_text()
        assert await life.until_ended() == ENDED


@pytest.mark.parametrize(("step", "when"), [m for m in MOMENTS if m[0] not in {"add", "update"}] + [BUILT[0]])
@pytest.mark.parametrize("error", [KilledError(), OSError(28, "No space left"), ValueError("unforeseen")])
async def test_what_breaks_is_undone(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, when: str, error: BaseException
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            breaks(patched, step, when, error)
            request = house.request()
            said = SpecError if isinstance(error, OSError) else type(error)
            with pytest.raises(said) as caught:
                await creation.create_workflow(request, life.catalogue, house.workers, house.clock)
        if isinstance(error, OSError):
            assert f"cannot create {house.directory}" in str(caught.value)
        assert await is_nowhere(house, life)
        await life.create(request)
        assert await life.until_ended() == ENDED


@pytest.mark.parametrize(("step", "when"), [*MOMENTS, BUILT[0]])
async def test_a_daemon_killed_while_it_creates_leaves_all_or_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            patched.setattr(creation, "discard", _no_time)
            patched.setattr(Path, "rename", _once(Path.rename))
            breaks(patched, step, when, KilledError())
            with pytest.raises(KilledError):
                await creation.create_workflow(house.request(), life.catalogue, house.workers, house.clock)
    async with house.life() as life:
        await life.find_again()
        if (step, when) in BUILT:
            assert house.leftovers() == ["w"]
            with pytest.raises(ConflictError, match="exists already"):
                await life.create(house.request())
        else:
            assert await is_nowhere(house, life)
            await life.create(house.request())
        assert await life.until_ended() == ENDED


async def _no_time(*_: Any) -> None:
    """A killed process cleans nothing up."""


def _once(rename: Callable[..., Any]) -> Callable[..., Any]:
    """A killed process gives no name back either."""
    return lambda path, target: None if path.name == "w" else rename(path, target)


async def test_a_killed_daemon_starts_what_it_had_created_on_the_cluster_it_was_meant_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            breaks(patched, "update", "before", KilledError())
            with pytest.raises(KilledError):
                await life.create(house.request(cluster="other"))
        row = await life.row()
        assert row is not None
        assert (row.state, row.snapshot) == (CREATING, None)
    async with house.life() as life:
        await life.find_again()
        await house.clock.run_until(lambda: any(life.owners.values()), 10.0)
        assert {name: list(owners) for name, owners in life.owners.items()} == {"local": [], "other": ["w"]}
        assert await life.until_ended() == ENDED


async def test_a_catalogue_that_is_full_at_the_last_step_takes_the_workflow_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            breaks(patched, "update", "before", StoreError("full", healable=True))
            await life.create(house.request())
        await life.workflows.flush()
        row = await life.row()
        assert row is not None
        assert row.state == "running"
        assert await life.until_ended() == ENDED


async def test_somebody_elses_directory_is_left_alone(house: House) -> None:
    house.directory.mkdir(parents=True)
    (house.directory / "precious").touch()
    async with house.life() as life:
        with pytest.raises(ConflictError, match="exists, but no workflow of this daemon"):
            await life.create(house.request())
        assert await life.row() is None
    assert [entry.name for entry in house.directory.iterdir()] == ["precious"]


async def test_a_directory_of_another_id_is_refused(house: House) -> None:
    async with house.life() as life:
        await life.catalogue.add("first", str(house.directory))
        with pytest.raises(ConflictError, match="'first' exists already"):
            await life.create(house.request())
        row = await life.row("first")
        assert row is not None
        assert await life.row() is None


async def test_a_catalogue_that_cannot_forget_keeps_the_row_until_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.life() as life:
        with monkeypatch.context() as patched:
            breaks(patched, "keep", "before", OSError(28, "No space left"))
            patched.setattr(Catalogue, "remove", _broken(Catalogue.remove, "before", StoreError("full", healable=True)))
            with pytest.raises(StoreError):
                await creation.create_workflow(house.request(), life.catalogue, house.workers, house.clock)
        assert await life.row() is not None
    async with house.life() as life:
        await life.find_again()
        assert await is_nowhere(house, life)


# ---- templates -------------------------------------------------------------------------------------------------------


def test_a_template_is_read(tmp_path: Path) -> None:
    text = "é" * (creation._TEMPLATE_MAX // 2)
    (tmp_path / "t").write_text(text, encoding="utf-8")
    assert creation._read_template(tmp_path / "t", "t") == text


def _too_large(path: Path) -> None:
    path.write_text("x" + "é" * (creation._TEMPLATE_MAX // 2), encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (Path.mkdir, "not a regular file"),
        (_too_large, "larger than 1048576 bytes"),
        (lambda path: path.write_bytes(b"caf\xe9"), "not UTF-8 text"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
    ],
)
def test_what_cannot_be_a_template_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path / "t")
    handles = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(SpecError, match=message) as caught:
        creation._read_template(tmp_path / "t", "sub/t")
    assert "the template sub/t " in str(caught.value)
    assert caught.value.key == "engine.templates"
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


# ---- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_whose_directory_was_removed_by_hand_is_free(house: House) -> None:
    async with house.life() as life:
        await life.create(house.request())
        assert await life.until_ended() == ENDED
        shutil.rmtree(house.directory)
        await life.create(house.request())
        assert await life.until_ended() == ENDED
        await life.workflows.flush()
    async with house.life() as life:
        await life.find_again()
        assert life.state() == ENDED


async def test_the_id_of_a_workflow_that_lost_its_directory_at_work_is_free(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.life() as life:
        await life.create(house.request())
        shutil.rmtree(house.directory)
        with monkeypatch.context() as patched:  # its actor has not found out yet
            patched.setattr(life.workflows.supervisor, "has_child", lambda _: True)
            with pytest.raises(ConflictError, match="exists already"):
                await life.create(house.request())
        assert (await life.until_ended())[0] == "faulted"
        await life.create(house.request())
        assert await life.until_ended() == ENDED


@pytest.mark.parametrize("faulted", [False, True])
async def test_an_id_whose_directory_is_there_is_taken(house: House, faulted: bool) -> None:
    async with house.life() as life:
        await life.create(house.request())
        await life.until_ended()
        if faulted:
            info = life.board.workflows["w"]
            life.board.pin(msgspec.structs.replace(info, state="faulted"))
        with pytest.raises(ConflictError, match="exists already"):
            await life.create(house.request())
        assert (house.directory / "workflow.db").exists()
        request = house.request()
        moved = msgspec.structs.replace(request.context, directory=str(house.work / "elsewhere"))
        elsewhere = msgspec.structs.replace(request, context=moved)
        shutil.rmtree(house.directory)
        with pytest.raises(ConflictError, match="exists already"):  # not in the same place
            await life.create(elsewhere)


def test_only_the_local_cluster_is_measured_by_its_cores() -> None:
    with pytest.raises(SpecError, match="1 cores asked for, cluster c has 0"):
        creation.check_fits(Resources(), ClusterInfo("c", "local", "up", None, 0, 0, 0, 0, 0, 0))
    creation.check_fits(Resources(), ClusterInfo("c", "slurm", "up", None, 0, 0, 0, 0, 0, 0))


async def test_a_workflow_whose_file_system_is_silent_when_it_is_to_start_starts_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is accepted, faulted for as long, and shown why; nobody else hears of it."""
    ask, silent = ask_in_thread, 2

    async def asked(path: Any, function: Any, *arguments: Any) -> Any:
        nonlocal silent
        if function is read_context and silent:
            silent -= 1
            raise SilentError(f"the file system of {path} does not answer")
        return await ask(path, function, *arguments)

    monkeypatch.setattr(workflows, "ask_in_thread", asked)
    async with house.life() as life:
        await life.create(house.request())
        await house.clock.advance(0.1)
        info = life.board.workflows["w"]
        assert (info.state, info.reason) == ("faulted", f"the file system of {house.directory} does not answer")
        while life.state()[0] == "faulted":
            await house.clock.advance(1.0)
        assert await life.until_ended() == ENDED
    assert silent == 0


async def test_who_submits_to_a_silent_file_system_is_told_which_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(path: Any, *_: Any) -> Any:
        raise SilentError(f"the file system of {path} does not answer")

    monkeypatch.setattr(workflows, "ask_in_thread", silent)
    async with house.life() as life:
        with pytest.raises(SilentError, match=f"the file system of {house.directory} does not answer$"):
            await life.workflows.placed(house.request().context)


async def test_a_file_system_that_falls_silent_in_between_holds_nobody_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue knows of the workflow already; the next start, which finds an answer, removes what is left."""

    async def silent(path: Any, *_: Any) -> Any:
        raise SilentError(f"the file system of {path} does not answer")

    async with house.life() as life:
        with monkeypatch.context() as patched:
            patched.setattr(creation, "ask_in_thread", silent)
            patched.setattr(creation, "refuse_silent", silent)
            patched.setattr(creation, "in_thread", silent)
            with pytest.raises(SilentError, match=f"the file system of {house.directory} does not answer$"):
                await life.create(house.request())
        assert await life.row() is not None
    async with house.life() as life:
        await life.find_again()
        assert await is_nowhere(house, life)
