"""What is said of the catalogue and of the directories that it names."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.catalogue import (
    Catalogued,
    WorkRoot,
    group_by_root,
    is_leftover,
    judge_catalogue,
    judge_moments,
    judge_root,
    look_at_catalogue,
    look_at_root,
)
from penstock.ctl.doctor.file_facts import Room
from penstock.domain.errors import StoreError
from penstock.store.inspection import CataloguedWorkflow, Inspection

INSPECTION = Inspection(3, 3, "", finished=True, newest_at=1000.0, workflows=())
ROOM = Room("/w/.penstock", 10**12, 10**13, 0, 0)
ROOT = WorkRoot("/w/.penstock", True, ROOM, "ext4", 2, (), ())


@pytest.mark.parametrize(
    ("seen", "level", "said"),
    [
        (Catalogued("/c", INSPECTION), "ok", "0 workflows, schema 3, checked"),
        (Catalogued("/c"), "ok", "not there yet"),
        (Catalogued("/c", msgspec.structs.replace(INSPECTION, version=4)), "problem", "schema 4, this program knows 3"),
        (Catalogued("/c", msgspec.structs.replace(INSPECTION, version=2)), "note", "brings it to schema 3"),
        (Catalogued("/c", msgspec.structs.replace(INSPECTION, complaint="page 3")), "problem", "damaged: page 3"),
        (Catalogued("/c", msgspec.structs.replace(INSPECTION, finished=False)), "note", "too large to be checked"),
        (Catalogued("/c", error=StoreError("/c: locked", healable=True)), "warning", "/c: locked"),
        (Catalogued("/c", error=StoreError("/c: malformed", healable=False)), "problem", "/c: malformed"),
    ],
)
def test_the_file(seen: Catalogued, level: str, said: str) -> None:
    [finding] = judge_catalogue(seen)
    assert finding.level == level
    assert said in finding.detail
    assert finding.remedy or level in {"ok", "note"}


def test_a_clock_that_was_set_back() -> None:
    seen = Catalogued("/c", INSPECTION)
    assert judge_moments(seen, 2000.0)[0].level == "ok"
    assert judge_moments(seen, 990.0)[0].level == "ok"
    [finding] = judge_moments(seen, 400.0)
    assert finding.level == "warning"
    assert "10m 00s ahead" in finding.detail
    assert judge_moments(Catalogued("/c"), 0.0) == []


def test_no_catalogue(tmp_path: Path) -> None:
    assert look_at_catalogue(tmp_path) == Catalogued(str(tmp_path / "catalogue.db"))
    (tmp_path / "catalogue.db").write_bytes(b"x" * 9000)
    seen = look_at_catalogue(tmp_path)
    assert seen is not None
    assert seen.error is not None
    assert look_at_catalogue(tmp_path / "nosuch") is None


def workflow(id: str, root: Path, state: str = "running", *, operation: bool = False) -> CataloguedWorkflow:
    return CataloguedWorkflow(id, str(root / id), state, operation)


def test_a_root_with_what_is_missing_and_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for name in (".new-half@d0", ".new-making", ".deleted-old-01ARZ3", ".deleted-going-01ARZ3", ".new-young"):
        (tmp_path / name).mkdir()
        if name != ".new-young":
            os.utime(tmp_path / name, (1, 1))
    workflows = [
        workflow("here", tmp_path),
        workflow("away", tmp_path),
        workflow("making", tmp_path, "creating"),
        workflow("going", tmp_path, "completed", operation=True),
    ]
    seen = look_at_root(tmp_path, workflows)
    assert seen.gone == ("away",)
    assert seen.left == (str(tmp_path / ".deleted-old-01ARZ3"), str(tmp_path / ".new-half@d0"))
    assert look_at_root(tmp_path / "nowhere", [workflow("x", tmp_path / "nowhere")]).gone == ("x",)
    assert group_by_root([*workflows, workflow("x", Path("/w"))]) == {
        tmp_path: workflows,
        Path("/w"): [workflow("x", Path("/w"))],
    }


@pytest.mark.parametrize(
    ("name", "left"),
    [(".new-a@d1", True), (".new-b", False), (".deleted-a-b-01AR", True), (".deleted-b-01AR", False), ("a", False)],
)
def test_leftovers_by_name(name: str, left: bool) -> None:
    assert is_leftover(name, {"b"}) is left


def test_what_is_said_of_a_root() -> None:
    assert [finding.level for finding in judge_root(ROOT)] == ["ok"]
    [gone] = judge_root(msgspec.structs.replace(ROOT, exists=False, room=None, gone=("a", "b")))
    assert (gone.level, gone.detail) == ("problem", "/w/.penstock is gone, with a, b in it")
    many = tuple(f"w{number}" for number in range(7))
    _, missing, left = judge_root(msgspec.structs.replace(ROOT, gone=many, left=("/w/.penstock/.new-a b",)))
    assert missing.detail == "/w/.penstock no longer has w0, w1, w2, w3, w4 and 2 more"
    assert left.remedy == "if nobody works there: rm -r '/w/.penstock/.new-a b'"
