"""Where databases go when a work directory is on a network file system, and what people are told of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.domain.context import Context, Mode, alone_in, plan_context
from penstock.domain.errors import SpecError
from penstock.files.kinds import ENVIRONMENT, file_system_of
from penstock.store.placement import Placement, check_state_dir, describe_database, is_elsewhere, place_database

STATE = Placement("/state")
NETWORK = {"nfs4", "lustre"}


def placed(mode: Mode, root: str, workflow_id: str, file_system: str = "nfs4") -> Context:
    return place_database(plan_context(mode, root, workflow_id), STATE, file_system, NETWORK)


@pytest.mark.parametrize("mode", list(Mode))
def test_on_a_local_disk_everything_is_as_usual(mode: Mode) -> None:
    assert placed(mode, "/work", "w", "xfs") == plan_context(mode, "/work", "w")
    in_place = msgspec.structs.replace(STATE, policy="in_place")
    assert place_database(plan_context(mode, "/work", "w"), in_place, "nfs4", NETWORK) == plan_context(
        mode, "/work", "w"
    )


def test_only_the_database_moves_and_always_to_the_same_place() -> None:
    found, usual = placed(Mode.ISOLATED, "/work", "w"), plan_context(Mode.ISOLATED, "/work", "w")
    assert found == placed(Mode.ISOLATED, "/work", "w")
    assert found.database.startswith("/state/databases/w-")
    assert found.database.endswith("/workflow.db")
    assert msgspec.structs.replace(found, database=usual.database) == usual
    assert is_elsewhere(found)
    assert not is_elsewhere(usual)


def test_who_shares_shares_there_too_and_nobody_else_does() -> None:
    shared = {placed(mode, "/work", name).database for mode in (Mode.SHARED, Mode.HYBRID) for name in "ab"}
    own = {placed(Mode.ISOLATED, root, name).database for root in ("/work", "/other") for name in "ab"}
    assert len(shared) == 1
    assert len(own) == 4
    assert not shared & own
    assert placed(Mode.SHARED, "/other", "a").database not in shared


def test_people_are_told_why_it_is_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = plan_context(Mode.SHARED, str(tmp_path), "w")
    kind = file_system_of(tmp_path)
    found = describe_database(usual.database, usual.directory, usual.mode)
    assert (found.path, found.file_system, found.journal, found.why) == (usual.database, kind, "wal", "")
    monkeypatch.setenv(ENVIRONMENT, kind)
    found = describe_database(usual.database, usual.directory, usual.mode)
    assert (found.journal, found.why) == ("truncate", f"in place, on a network file system ({kind})")
    moved = Placement("/proc").place(usual)  # any other file system
    found = describe_database(moved.database, moved.directory, moved.mode)
    assert (found.path, found.file_system, found.journal) == (moved.database, "proc", "wal")
    place = Path(usual.database).parent
    assert found.why == f"{place} is on a network file system ({kind}); only workflows of this daemon share it"


def test_a_state_directory_on_a_network_file_system_is_refused_unless_forced() -> None:
    assert check_state_dir(Path("/state"), "ext4", NETWORK, force=False) is None
    with pytest.raises(SpecError, match=r"/state is on a network file system \(nfs4\).*set force_network_state = true"):
        check_state_dir(Path("/state"), "nfs4", NETWORK, force=False)
    warning = check_state_dir(Path("/state"), "nfs4", NETWORK, force=True)
    assert warning is not None
    assert "never start a second daemon" in warning


def test_an_adopted_workflow_has_its_database_where_it_was_brought(tmp_path: Path) -> None:
    assert describe_database(str(tmp_path / "w" / "workflow.db"), str(tmp_path / "w"), "isolated").why == ""
    assert not is_elsewhere(alone_in(tmp_path / "w", "w"))
