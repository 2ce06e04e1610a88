"""Contexts are opened, nested, left; in threads, tasks, children; and refuse what cannot be."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.context.conftest import HYDROGEN, WATER

import penstock
from penstock.domain.errors import BusyError, ConflictError, NotFoundError, SpecError, StoreError


def test_a_context_is_made_and_found_again(root: Path) -> None:
    with penstock.open_context("alpha") as context:
        context.materials.add("water", WATER)
        assert (context.id, context.mode, context.namespace) == ("alpha", "isolated", "alpha")
        assert context.directory == root / ".penstock" / "alpha"
    with penstock.open_context("alpha", create=False) as context:
        assert [material.name for material in context.materials] == ["water"]
    assert sorted(path.name for path in (root / ".penstock").iterdir()) == ["alpha"]


def test_an_id_is_made_up_where_none_is_given() -> None:
    with penstock.open_context() as context:
        assert context.id.startswith("library-")


def test_nesting_restores_the_outer_one() -> None:
    assert penstock.current_context() is None
    with penstock.open_context("outer") as outer:
        with penstock.open_context("inner") as inner:
            assert penstock.current_context() is inner
            with penstock.open_context() as same:
                assert same.id == "inner"
        assert penstock.current_context() is outer
        with pytest.raises(ZeroDivisionError), penstock.open_context("inner"):
            raise ZeroDivisionError
        assert penstock.current_context() is outer
    assert penstock.current_context() is None


def test_a_nested_one_is_beside_the_one_around_wherever_the_program_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with penstock.open_context("outer") as outer:
        monkeypatch.chdir(tmp_path)
        with penstock.open_context("inner") as inner:
            assert inner.directory.parent == outer.directory.parent
        with penstock.open_context("inner", work_root=tmp_path) as elsewhere:
            assert elsewhere.directory == tmp_path / ".penstock" / "inner"


def test_leaving_out_of_order_is_an_error_that_says_so() -> None:
    outer, inner = penstock.open_context("outer"), penstock.open_context("inner")
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(ConflictError, match="outer is left before inner"):
        outer.__exit__(None, None, None)
    assert penstock.current_context() is inner
    inner.__exit__(None, None, None)
    assert penstock.current_context() is None
    with pytest.raises(ConflictError, match="another task or thread"):
        inner.__exit__(None, None, None)


def test_what_was_left_is_not_used_any_more() -> None:
    context = penstock.open_context("alpha")
    with pytest.raises(ConflictError, match="not open; enter it"):
        len(context.results)
    with context:
        assert context.is_open
    with pytest.raises(ConflictError, match="was left; enter it again"):
        context.materials.add("water", WATER)
    with context, context:  # it may be entered again, and inside itself
        context.materials.add("water", WATER)


def test_threads_share_a_context_and_begin_without_one() -> None:
    with penstock.open_context("alpha") as context, ThreadPoolExecutor(4) as pool:
        assert pool.submit(penstock.current_context).result() is None
        copied = contextvars.copy_context()
        assert pool.submit(copied.run, penstock.current_context).result() is context

        def work(n: int) -> None:
            material = context.materials.add(f"h{n}", f"H 0 0 {n}\nH 0 1 {n}")
            context.calculations.add(material, "mine").complete(energy_hartree=-float(n))

        list(pool.map(work, range(20)))
        assert sorted(record["final_energy"] for record in context.results) == sorted(-float(n) for n in range(20))
        assert context.status().states == {"completed": 20}


def test_tasks_have_contexts_of_their_own() -> None:
    async def work(name: str, entered: asyncio.Barrier) -> None:
        async with penstock.open_context(name) as context:
            await entered.wait()
            assert penstock.current_context() is context
            context.materials.add("diamond", f"C 0 0 {len(name)}\nC 0 0 0")
            await entered.wait()
            assert penstock.current_context() is context
        assert penstock.current_context() is outer

    async def main() -> None:
        entered = asyncio.Barrier(3)
        async with asyncio.TaskGroup() as tasks:
            for name in ("a", "bb", "ccc"):
                tasks.create_task(work(name, entered))

    with penstock.open_context("outer") as outer:
        asyncio.run(main())
    for name in ("a", "bb", "ccc"):
        with penstock.open_context(name) as context:
            assert [m.geometry.split("\n")[2] for m in context.materials] == [f"C 0 0 {len(name)}"]


JOIN = """
import penstock
with penstock.open_context() as context:
    context.materials.add("from the child", "H 0 0 0")
    print(context.id, context.mode, context.directory)
"""


def test_children_join(root: Path) -> None:
    with penstock.open_context("alpha", mode="hybrid") as context:
        done = context.run([sys.executable, "-c", JOIN], check=True, capture_output=True, text=True, cwd="/")
        assert done.stdout.split() == ["alpha", "hybrid", str(context.directory)]
        assert "from the child" in context.materials
        assert "PENSTOCK_WORKFLOW_ID" not in os.environ
        bare = context.run(["env"], env={"A": "b"}, check=True, capture_output=True, text=True).stdout.split()
        assert "PENSTOCK_ISOLATION_MODE=hybrid" in bare
        assert "A=b" in bare


def test_a_child_of_a_fork_has_connections_of_its_own() -> None:
    with penstock.open_context("alpha") as context:
        context.materials.add("water", WATER)
        pid = os.fork()
        if not pid:
            try:
                context.materials.add("hydrogen", HYDROGEN)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert [material.name for material in context.materials] == ["water", "hydrogen"]


HAMMER = """
import sys, penstock
with penstock.open_context(sys.argv[1], mode="shared") as context:
    for n in range(20):
        material = context.materials.add(f"{sys.argv[1]}-{n}", f"H 0 0 {n}\\nH 1 {int(sys.argv[2])} {n}")
        context.calculations.add(material, "mine").complete(energy_hartree=-n)
"""


def test_several_processes_make_and_fill_one_database_and_lose_nothing() -> None:
    ids = [("one", 1), ("one", 1), ("two", 2), ("three", 3)]
    running = [subprocess.Popen([sys.executable, "-c", HAMMER, id_, str(n)]) for id_, n in ids]
    assert [process.wait(60) for process in running] == [0] * len(running)
    with penstock.open_context("one") as context:
        assert len(context.materials) == 60
        assert {material.created_by for material in context.materials} == {"one", "two", "three"}
        assert context.status().states == {"completed": 20}
        assert len(context.results) == 20


def test_list_contexts(root: Path, tmp_path: Path) -> None:
    with penstock.open_context("a"), penstock.open_context("b", mode="shared"):
        pass
    (root / ".penstock" / "a" / "context.toml").write_text("?")
    with penstock.open_context("far", work_root=tmp_path):
        listed = {info.id: info for info in penstock.list_contexts(root)}
    assert {id_: info.is_open for id_, info in listed.items()} == {"a": False, "b": False, "far": True}
    assert (listed["b"].mode, listed["b"].state) == ("shared", "completed")
    assert "damaged" in str(listed["a"].problem)
    assert penstock.list_contexts(tmp_path / "w" / ".penstock") == []


@pytest.mark.parametrize("id_", ["", "a/b", "..", "-x", "shared", "a" * 65, "ä", "x."])
def test_odd_names_are_refused(id_: str) -> None:
    with pytest.raises(SpecError), penstock.open_context(id_):
        pass


def test_what_does_not_exist_is_told_with_the_nearest(root: Path) -> None:
    with penstock.open_context("alpha"):
        pass
    for options in ({"create": False}, {"write": False}):
        with pytest.raises(NotFoundError, match=r"no workflow 'alpa'.*did you mean 'alpha'"):
            penstock.open_context("alpa", **options).__enter__()  # type: ignore[arg-type]
    (root / ".penstock" / "mine").mkdir()
    with pytest.raises(ConflictError, match="is no workflow"):
        penstock.open_context("mine").__enter__()
    with pytest.raises(SpecError, match="is not a directory"):
        penstock.open_context("x", work_root=root / "missing").__enter__()


def test_what_is_inherited_is_joined_and_never_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with penstock.open_context("alpha") as context:
        environment = context.environment()
    for name in ("PENSTOCK_WORKFLOW_ID", "PENSTOCK_WORKFLOW_DIR", "PENSTOCK_ISOLATION_MODE"):
        monkeypatch.setenv(name, environment[name])
    with penstock.open_context() as joined, penstock.open_context("beside") as beside:
        assert joined.id == "alpha"
        assert beside.directory == root / ".penstock" / "beside"
    shutil.rmtree(context.directory)
    with pytest.raises(NotFoundError, match="which PENSTOCK_WORKFLOW_DIR names, holds no workflow"):
        penstock.open_context().__enter__()
    assert not context.directory.exists()


def test_the_mode_comes_from_the_settings_and_never_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".penstock.toml").write_text('isolation = "hybrid"\n')
    with penstock.open_context("a") as context:
        assert context.mode == "hybrid"
    monkeypatch.setenv("PENSTOCK_ISOLATION_MODE", "shared")
    with penstock.open_context("b") as context:
        assert context.mode == "shared"
    with penstock.open_context("a") as context:
        assert context.mode == "hybrid"
    with pytest.raises(ConflictError, match=r"'a' in .* is hybrid, not isolated"):
        penstock.open_context("a", mode="isolated").__enter__()
    with pytest.raises(SpecError, match="did you mean 'shared'"):
        penstock.open_context("c", mode="share")
    config = root / "config.toml"
    config.write_text("[workflow]\nisolaton = 'shared'\n")
    monkeypatch.setenv("PENSTOCK_CONFIG", str(config))
    with pytest.raises(SpecError, match="did you mean 'isolation'"):
        penstock.open_context("c").__enter__()


def test_a_damaged_database_is_told(root: Path) -> None:
    with penstock.open_context("alpha") as context:
        database = context.database
    kept = database.with_name("kept")
    shutil.copy(database, kept)
    for damage, message in (
        (lambda: database.write_bytes(b"\xa5" * 9000), "not a database"),
        (lambda: database.write_bytes(b""), "no such table|is empty"),
        (database.unlink, "is missing"),
    ):
        damage()
        with pytest.raises(StoreError, match=message):
            penstock.open_context("alpha").__enter__()
        for rest in root.glob(".penstock/alpha/workflow.db*"):
            rest.unlink()
        shutil.copy(kept, database)
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="upgrade Penstock"):
        penstock.open_context("alpha").__enter__()


def test_what_may_not_be_written_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with penstock.open_context("alpha") as context:
        context.materials.add("water", WATER)
    with penstock.open_context("alpha", write=False) as context:
        assert context.status().read_only
        with pytest.raises(ConflictError, match="read-only: it was opened for reading only"):
            context.materials.add("hydrogen", HYDROGEN)
    monkeypatch.setattr(os, "access", lambda _, how: how != os.W_OK)  # root may write wherever it likes
    with penstock.open_context("alpha") as context:
        assert "is not writable" in str(context.read_only_because)
        assert [material.name for material in context.materials] == ["water"]


def test_a_context_moves_with_its_directory(root: Path, tmp_path: Path) -> None:
    with penstock.open_context("alpha") as context:
        context.materials.add("water", WATER)
    moved = tmp_path / "moved"
    moved.mkdir()
    (root / ".penstock").rename(moved / ".penstock")
    with penstock.open_context("alpha", work_root=moved, create=False) as context:
        assert "water" in context.materials


def test_creation_that_was_killed_leaves_nothing_that_counts(root: Path) -> None:
    code = (
        "import os, penstock.context.making as making, penstock\n"
        "making.reveal = lambda *_: os._exit(9)\n"
        "penstock.open_context('alpha', mode='shared').__enter__()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert penstock.list_contexts(root) == []
    [left] = [path for path in (root / ".penstock").iterdir() if path.name.startswith(".new-")]
    os.utime(left, (0, 0))
    with penstock.open_context("alpha", mode="shared") as context:
        context.materials.add("water", WATER)
    assert not left.exists()


def test_paths_stay_in_the_storage(tmp_path: Path) -> None:
    with penstock.open_context("alpha") as context:
        path = context.path("orbitals", "water.gbw")
        path.write_bytes(b"")
        assert path == context.storage / "orbitals" / "water.gbw"
        (context.storage / "out").symlink_to(tmp_path)
        for parts in (("..", "x"), ("/etc/passwd",), ("out", "x"), ("orbitals", ".."), (), ("a\0b",)):
            with pytest.raises(SpecError, match="storage"):
                context.path(*parts)


def test_locks_are_of_the_namespace() -> None:
    shared = [penstock.open_context(name, mode="shared") for name in ("one", "two")]
    with shared[0] as one, shared[1] as two, penstock.open_context("own") as own:
        with one.lock("furnace") as held:
            assert held.token > 0
            with pytest.raises(BusyError, match="held by one"), two.lock("furnace", wait_s=0):
                pass
            with own.lock("furnace", wait_s=0):
                pass
        with two.lock("furnace", wait_s=0) as later:
            assert later.token > held.token


def test_a_left_context_is_not_in_the_way_of_threads_that_go_on() -> None:
    context = penstock.open_context("alpha")
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with context:
            inside.set()
            leave.wait()
            context.materials.add("water", WATER)

    thread = threading.Thread(target=stay)
    with context:
        thread.start()
        inside.wait()
    assert context.is_open
    leave.set()
    thread.join()
    assert not context.is_open


def test_the_package_stays_light() -> None:
    code = "import json, sys, penstock; print(json.dumps([m for m in sys.modules if m.startswith('penstock')]))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(loaded) == ["penstock"]
    code = "import sys, penstock; penstock.open_context; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"numpy", "ase", "penstock.daemon", "penstock.actors"} & set(loaded.split())
