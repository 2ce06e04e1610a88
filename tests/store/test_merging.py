"""Results of one workflow merged among those that others share: once, all or nothing, and never over a conflict."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import penstock
from penstock.context import OpenContext
from penstock.domain.context import Mode, alone_in, plan_context, work_root_of
from penstock.domain.errors import ConflictError, NotFoundError, SpecError, StoreError
from penstock.domain.views import OnConflict
from penstock.store.merging import MergeOrder, merge, plan_merge

H2 = "H 0 0 0\nH 0 0 {}"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calculate(context: OpenContext, name: str, distance: float, energy: float | None, **more: Any) -> int:
    """A completed calculation; one that waits where `energy` is None."""
    material = context.materials.add(name, H2.format(distance))
    calculation = context.calculations.add(material, "mine", reuse=False)
    if energy is not None:
        output = calculation.directory / "out.log"
        output.write_text(name)
        calculation.complete(energy_hartree=energy, properties={"gap": energy}, files=[output], **more)
    return calculation.id


@pytest.fixture
def source(root: Path) -> MergeOrder:
    """An isolated workflow: two results, one failure, one that has not ended."""
    with penstock.open_context("alpha") as context:
        calculate(context, "a", 0.7, -1.0, forces_hartree_per_bohr=[[0, 0, 0.1], [0, 0, -0.1]])
        calculate(context, "b", 0.8, -2.0)
        context.calculations.get(calculate(context, "c", 0.9, None)).fail("no")
        calculate(context, "d", 1.0, None)
        shared = root / ".penstock" / "shared" / "workflow.db"
        return MergeOrder(str(context.database), "alpha", str(context.directory), str(shared), beside=True)


def content(database: Path | str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a database that counts."""
    if not Path(database).exists():
        return {}
    with contextlib.closing(sqlite3.connect(database)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        found = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    return {table: rows for table, rows in found.items() if rows}


def test_shared_workflows_find_what_was_merged(source: MergeOrder) -> None:
    before = content(source.source)
    report = merge(source)
    assert (report.applied, report.new, report.materials, report.left, report.conflicts) == (True, 3, 3, 1, 0)
    assert content(source.source) == before
    with penstock.open_context("beta", mode="shared") as beta:
        brought = {material.name: material.created_by for material in beta.materials}
        assert brought == dict.fromkeys("abc", "alpha@merged")
        found = beta.calculations.add("a", "mine")
        assert found.origin == {"workflow": "alpha", "job": 1, "attempt": 0, "directory": None}
        record = found.record()
        assert (record.job.final_energy, record.job.max_forces) == (-1.0, 0.1)
        assert record.properties["gap"] == -1.0
        assert [Path(file).read_text() for file in record.files] == ["a"]
        assert beta.calculations.add("c", "mine").state == "held"  # a failure is nothing to be taken over


def test_a_second_merge_changes_nothing_and_a_later_one_what_has_changed(source: MergeOrder) -> None:
    merge(source)
    before = content(source.target)
    report = merge(source)
    assert (report.new, report.changed, report.unchanged, report.applied) == (0, 0, 3, True)
    assert content(source.target) == before
    with penstock.open_context("alpha") as alpha:
        alpha.calculations.get(2).complete(energy_hartree=-2.5)
        alpha.calculations.get(4).complete(energy_hartree=-4.0)
    report = merge(source)
    assert (report.new, report.changed, report.unchanged, report.left) == (1, 1, 2, 0)
    assert merge(source).unchanged == 4
    after = content(source.target)
    assert sorted(str(row[11]) for row in after["job"]) == sorted(["-1.0", "-2.5", "None", "-4.0"])
    assert [row[1:] for row in after["tally"]] == [("completed", 3), ("failed", 1)]
    assert len(after["material"]) == 4


def test_a_dry_run_says_what_would_be_and_writes_nothing(source: MergeOrder, root: Path) -> None:
    dry = msgspec.structs.replace(source, dry_run=True)
    report = merge(dry)
    assert (report.applied, report.new, report.materials) == (False, 3, 3)
    assert not Path(source.target).exists()
    merge(source)
    before = content(source.target)
    with penstock.open_context("alpha") as alpha:
        alpha.calculations.get(2).complete(energy_hartree=-2.5)
    assert merge(dry).changed == 1
    assert content(source.target) == before


def conflicting(root: Path) -> None:
    """A shared workflow that says otherwise of "a", has another "b", and the same as "c" would be."""
    with penstock.open_context("beta", mode="shared") as beta:
        calculate(beta, "a", 0.7, -1.1, forces_hartree_per_bohr=[[0, 0, 0.1], [0, 0, -0.1]])
        calculate(beta, "b", 0.85, -7.0)


@pytest.mark.parametrize("choice", [None, *OnConflict])
def test_conflicts_are_listed_and_settled_as_chosen(choice: OnConflict | None, source: MergeOrder, root: Path) -> None:
    conflicting(root)
    before = content(source.target)
    report = merge(msgspec.structs.replace(source, on_conflict=choice))
    assert report.conflicts == 2
    assert [(c.kind, c.material, c.job, c.other_workflow, c.other_energy_hartree) for c in report.shown] == [
        ("result", "a", 1, "beta", -1.1),
        ("material", "b", 2, "beta", None),
    ]
    with penstock.open_context("gamma", mode="shared") as gamma:
        names = sorted(material.name for material in gamma.materials)
        energy = gamma.calculations.add("a", "mine").info.final_energy
    match choice:
        case None:
            assert not report.applied
            assert {k: v for k, v in content(source.target).items() if k != "merged"}.keys() == before.keys()
            assert names == ["a", "b"]
        case OnConflict.KEEP:
            assert (report.new, names, energy) == (1, ["a", "b", "c"], -1.1)
        case OnConflict.REPLACE:
            assert (report.new, names, energy) == (3, ["a", "b", "b@beta", "c"], -1.0)
        case OnConflict.BOTH:
            assert (report.new, names, energy) == (3, ["a", "b", "b@alpha", "c"], -1.1)
    again = merge(msgspec.structs.replace(source, on_conflict=choice))
    assert (again.new, again.changed) == ((1, 0) if choice is None else (0, 0))
    with penstock.open_context("beta") as beta:
        assert sorted(record["final_energy"] for record in beta.results) == [-7.0, -1.1]


def test_the_same_result_is_not_brought_twice(source: MergeOrder) -> None:
    with penstock.open_context("beta", mode="shared") as beta:
        calculate(beta, "a", 0.7, -1.0 + 5e-7, forces_hartree_per_bohr=[[0, 0, 0.1], [0, 0, -0.1]])
    report = merge(source)
    assert (report.present, report.new, report.conflicts) == (1, 2, 0)
    assert merge(source).present == 1


def test_a_hybrid_workflow_is_merged_within_its_file(root: Path) -> None:
    with penstock.open_context("hy", mode="hybrid") as hybrid:
        calculate(hybrid, "a", 0.7, -1.0)
        order = MergeOrder(str(hybrid.database), "hy", str(hybrid.directory), str(hybrid.database), beside=True)
    assert merge(order).new == 1
    assert merge(order).unchanged == 1
    with penstock.open_context("beta", mode="shared") as beta:
        assert beta.calculations.add("a", "mine").state == "completed"
    with penstock.open_context("hy") as hybrid:
        assert (len(hybrid.results), [m.created_by for m in hybrid.materials]) == (1, ["hy"])


def test_what_cannot_be_merged_is_refused(source: MergeOrder, root: Path) -> None:
    replace = msgspec.structs.replace
    with pytest.raises(NotFoundError, match="no workflow 'beta'"):
        merge(replace(source, workflow_id="beta"))
    with pytest.raises(StoreError, match="is missing"):
        merge(replace(source, source=str(root / "none.db")))
    with penstock.open_context("beta", mode="shared") as beta, pytest.raises(ConflictError, match="shared already"):
        merge(replace(source, source=str(beta.database), workflow_id="beta"))
    with pytest.raises(ConflictError, match="database of the isolated workflow 'alpha'"):
        merge(replace(source, target=source.source))
    old = root / "old.db"
    shutil.copy(source.source, old)
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA user_version = 3")
    with pytest.raises(StoreError, match="has schema 3, this program merges schema"):
        merge(replace(source, source=str(old)))
    old.write_bytes(b"\xa5" * 9000)
    with pytest.raises(StoreError, match=r"old\.db.*not a database"):
        merge(replace(source, source=str(old)))
    with pytest.raises(StoreError, match=r"old\.db.*not a database"):
        merge(replace(source, target=str(old)))
    merge(source)
    other = root / "other"
    other.mkdir()
    with (
        penstock.open_context("alpha", work_root=other) as alpha,
        pytest.raises(ConflictError, match="another workflow"),
    ):
        merge(replace(source, source=str(alpha.database)))


def test_killed_at_any_statement_it_is_all_or_nothing(source: MergeOrder, root: Path) -> None:
    """Also after it was merged before, with a change and conflicts."""
    merge(source)
    with penstock.open_context("alpha") as alpha:
        alpha.calculations.get(2).complete(energy_hartree=-2.5)
        calculate(alpha, "e", 1.1, -5.0)
    with penstock.open_context("beta", mode="shared") as beta:
        calculate(beta, "e", 1.1, -5.5)
        calculate(beta, "f", 1.2, -6.0)
    order = msgspec.structs.replace(source, on_conflict=OnConflict.REPLACE)
    before, kept = content(order.target), content(order.source)
    killed = 0
    while killed_at(order, killed):
        assert content(order.target) == before, killed
        killed += 1
    assert killed > 40
    assert content(order.source) == kept
    assert content(order.target) != before
    assert merge(order).unchanged == 4


def killed_at(order: MergeOrder, statement: int) -> bool:
    """Merges in a process that is killed before that statement; False when there were not so many."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            merge_until(order, statement)
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


def merge_until(order: MergeOrder, statement: int) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    count = 0

    def look(_sql: str) -> None:
        nonlocal count
        if count == statement:
            os._exit(9)
        count += 1

    def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(look)
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]
    merge(order)


def alter(database: str, *statements: str) -> None:
    """Rows as a daemon could have left them."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def found_here(order: MergeOrder) -> dict[str, tuple[str | None, str | None]]:
    """By name, the keys of merged materials and of what was calculated of them."""
    with contextlib.closing(sqlite3.connect(order.target)) as db:
        rows = db.execute("SELECT j.name, m.key, j.calculation FROM job j JOIN material m ON m.id = j.material_id")
        return {name: (material, calculation) for name, material, calculation in rows}


def test_what_went_on_from_a_failure_or_a_remedy_is_found_by_nobody(source: MergeOrder) -> None:
    chain = "UPDATE job SET parent_id = 1, material_id = 1, geometry = '1\n\nHe 0 0 0\n' WHERE id = 2"
    alter(source.source, chain, "UPDATE job SET state = 'failed' WHERE id = 1")
    merge(source)
    found = found_here(source)
    assert found["a"][1] is not None
    assert found["b"] == (found["a"][0], None)
    Path(source.target).unlink()
    alter(source.source, "UPDATE job SET state = 'completed', parameters = '{}' WHERE id = 1")
    merge(source)
    assert found_here(source)["b"][1] is None
    Path(source.target).unlink()
    alter(source.source, "UPDATE job SET parameters = NULL WHERE id = 1")
    merge(source)
    assert found_here(source)["b"][1] is not None


def test_the_key_is_of_the_structure_that_was_read_whatever_became_of_it(source: MergeOrder) -> None:
    merge(source)
    before = found_here(source)["a"][0]
    Path(source.target).unlink()
    chain = "UPDATE job SET parent_id = 1, material_id = 1, geometry = '1\n\nHe 0 0 0\n' WHERE id = 2"
    alter(source.source, chain, "UPDATE job SET state = 'ready' WHERE id = 1")
    merge(source)
    assert found_here(source)["b"] == (before, None)


def test_a_program_that_is_told_the_name_has_other_results_under_another(source: MergeOrder) -> None:
    alter(source.source, "UPDATE job SET geometry = (SELECT geometry FROM job WHERE id = 1)")
    merge(source)
    found = found_here(source)
    assert found["a"] == found["b"]
    Path(source.target).unlink()
    alter(source.source, """UPDATE workflow SET parameters = '{"argv": ["run", "$name"]}'""")
    merge(source)
    found = found_here(source)
    assert found["a"][0] != found["b"][0]
    assert found["a"][1] != found["b"][1]


def test_a_place_that_cannot_be_written_is_refused_with_what_to_do(source: MergeOrder, root: Path) -> None:
    (root / "file").touch()
    order = msgspec.structs.replace(source, target=str(root / "file" / "x.db"))
    with pytest.raises(SpecError, match=r"into: .*choose another place"):
        merge(order)


def test_a_result_of_a_remedy_does_not_stand_against_one_without(source: MergeOrder, root: Path) -> None:
    conflicting(root)
    alter(source.target, """UPDATE job SET parameters = '{"x": 1}'""")
    assert merge(msgspec.structs.replace(source, dry_run=True)).conflicts == 1  # the name "b" only


def test_an_adopted_workflow_is_merged_into_the_directory_that_it_lies_in(tmp_path: Path) -> None:
    source = alone_in(tmp_path / "w", "w")
    root = work_root_of(tmp_path / "w")
    usual = plan_context(Mode.SHARED, str(root), "w").database
    assert usual == str(tmp_path / ".penstock" / "shared" / "workflow.db")
    order = plan_merge(source, usual, None, None, dry_run=True)
    assert (order.target, order.beside, order.prefix) == (usual, False, f"{tmp_path}/w/")
    assert plan_merge(plan_context(Mode.HYBRID, str(root), "w"), usual, str(root), None, dry_run=True).beside
