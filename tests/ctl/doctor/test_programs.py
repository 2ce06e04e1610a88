"""What attempts call: who needs what, where it is looked for, and what is said where it is not."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ctl.conftest import CLUSTER, INFO
from tests.store.test_migrations import restore

from penstock.control.messages import Pong
from penstock.ctl.doctor.catalogue import Catalogued
from penstock.ctl.doctor.contact import Contact
from penstock.ctl.doctor.process import Process
from penstock.ctl.doctor.programs import (
    Calculating,
    Need,
    Needs,
    Place,
    calculating,
    interpreter_of,
    judge_needs,
    look_at_needs,
    places,
)
from penstock.daemon.cluster_tables import ClusterTable, FluxTable, LocalTable, SlurmTable
from penstock.domain.views import Finding
from penstock.store.inspection import CataloguedWorkflow, Inspection

ME = os.geteuid()
ORCA = Need("local", "orca", "orca", "engine.command")
GOLD = Calculating("gold", "running", "orca", "local", "/w/gold/workflow.db")


def one(need: Need, place: Place, *workflows: Calculating) -> Finding:
    [finding] = judge_needs(Needs({need: list(workflows) or [GOLD]}, []), {need.cluster: place})
    return finding


def executable(folder: Path, name: str = "orca", mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def daemon(**values: Any) -> Process:
    return msgspec.structs.replace(Process(7, ME, "python penstockd", {}, {}, None, "", "/v/python"), **values)


# ---- who needs what ----


def test_workflows_that_have_not_ended_by_the_daemon_or_the_catalogue() -> None:
    infos = tuple(msgspec.structs.replace(INFO, id=state, state=state) for state in ("running", "paused", "completed"))
    contact = Contact(pong=Pong(7, "1", 1.0), workflows=infos, clusters=(CLUSTER,))
    assert [(w.id, w.engine, w.cluster) for w in calculating(contact, None)] == [
        ("running", "tblite", "local"),
        ("paused", "tblite", "local"),
    ]
    assert calculating(contact, None)[0].database == "/w/.penstock/g2/workflow.db"
    rows = (
        CataloguedWorkflow("a", "/w/a", "paused", False, "orca", "local", "/state/a.db"),
        CataloguedWorkflow("b", "/w/b", "failed", False, "orca", "local", "/state/b.db"),
        CataloguedWorkflow("c", "/w/c", "creating", False),
    )
    inspection = Inspection(1, 1, "", finished=True, newest_at=None, workflows=rows)
    found = calculating(Contact(), Catalogued("/c", inspection))
    assert found == [Calculating("a", "paused", "orca", "local", "/state/a.db")]
    assert calculating(Contact(), None) == []


def test_needs_are_read_from_databases_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = str(restore("workflow_v4.sql", tmp_path / "workflow.db"))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE workflow SET workflow_id = 'w', parameters = '{\"argv\":[\"code.x\"]}' WHERE rowid = 1")
        db.execute("DELETE FROM step")
    db.close()
    first = Calculating("w", "running", "command", "local", path)
    gone = msgspec.structs.replace(first, id="gone", database=str(tmp_path / "nothing.db"))
    other = msgspec.structs.replace(first, engine="orca")  # whose parameters these are not
    unknown = msgspec.structs.replace(first, engine="of-next-year")
    needs = look_at_needs([first, gone, other, unknown])
    assert needs.wanted == {Need("local", "command", "code.x", "engine.command"): [first]}
    assert needs.unread == ["gone", "w", "w"]
    [_, finding] = judge_needs(needs, {"local": Place(str(tmp_path))})
    assert (finding.level, finding.what) == ("note", "databases")
    assert "gone, w, w" in finding.detail


def test_nobody_needs_anything() -> None:
    [finding] = judge_needs(Needs({}, []), {})
    assert (finding.level, finding.detail) == ("ok", "no workflow that has not ended needs any")


# ---- programs ----


def test_a_program_along_the_path_of_the_daemon(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    missing = one(ORCA, place)
    assert (missing.level, missing.what) == ("problem", "orca on local")
    assert missing.detail == "there is no program 'orca' where the daemon looks (PATH); needed by gold"
    assert "the spec's engine.command" in missing.remedy
    assert one(ORCA, place, msgspec.structs.replace(GOLD, state="paused")).level == "warning"
    path = executable(tmp_path, mode=0o644)
    assert one(ORCA, place).remedy == f"chmod +x {path}"
    path.chmod(0o755)
    assert (one(ORCA, place).level, one(ORCA, place).detail) == ("ok", str(path))
    several = [msgspec.structs.replace(GOLD, id=f"w{n}") for n in range(7)]
    path.unlink()
    assert one(ORCA, place, *several).detail.endswith("needed by w0, w1, w2, w3, w4 and 2 more")


def test_a_full_path_and_one_of_the_attempt_s_own(tmp_path: Path) -> None:
    path = str(tmp_path / "orca")
    full = msgspec.structs.replace(ORCA, program=path)
    assert one(full, Place("")).detail == f"there is no program {path}; needed by gold"
    executable(tmp_path)
    assert one(full, Place("")).level == "ok"
    own = one(msgspec.structs.replace(ORCA, program="./run.sh"), Place(""))
    assert (own.level, own.detail) == ("note", "./run.sh not looked for: it is in the attempt's own directory")


def test_what_only_jobs_see_is_not_looked_for(tmp_path: Path) -> None:
    at_scheduler = Place(None)
    assert one(ORCA, at_scheduler).level == "note"
    assert "not looked for: its jobs have an environment of their own" in one(ORCA, at_scheduler).detail
    full = msgspec.structs.replace(ORCA, program=str(tmp_path / "orca"))
    assert (one(full, at_scheduler).level, one(full, at_scheduler).detail) == (
        "note",
        f"{tmp_path}/orca is not on this host; the nodes may have it",
    )
    executable(tmp_path)
    assert one(full, at_scheduler).level == "ok"
    away = one(ORCA, Place(unknown="its jobs run behind host far"))
    assert (away.level, away.detail) == ("note", "orca not looked for: its jobs run behind host far")
    [gone] = judge_needs(Needs({ORCA: [GOLD]}, []), {})  # a cluster that the configuration no longer has
    assert gone.level == "note"


# ---- engines in Python ----


def test_engines_in_python_are_loaded_by_their_interpreter(tmp_path: Path) -> None:
    needs = Needs({Need("local", name): [GOLD] for name in ("emt", "of-next-year")}, [])
    emt, unknown = judge_needs(needs, {"local": Place("", sys.executable, os.environ)})
    assert (emt.level, emt.detail) == ("ok", f"can be loaded by {sys.executable}")
    assert unknown.level == "problem"
    assert f"{sys.executable} cannot load it: SpecError: " in unknown.detail
    assert sys.executable in unknown.remedy
    dead = executable(tmp_path, "python")
    dead.write_text("#!/bin/sh\nexit 3\n")
    [emt, _] = judge_needs(needs, {"local": Place("", str(dead))})
    assert f"{dead} cannot load it: importing ended with exit code 3" in emt.detail
    [emt, _] = judge_needs(needs, {"local": Place("", str(tmp_path / "none"))})
    assert "cannot load it: No such file" in emt.detail


def test_a_package_that_lies_about_where_the_doctor_stands_is_nobody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ase.py").write_text("raise ImportError('of the working directory')\n")
    monkeypatch.chdir(tmp_path)
    assert one(Need("local", "emt"), Place("", sys.executable, os.environ)).level == "ok"


def test_another_account_s_python_is_never_run(tmp_path: Path) -> None:
    """What others may change must not run as root."""
    witness = tmp_path / "witness"
    python = executable(tmp_path, "python")
    python.write_text(f"#!/bin/sh\ntouch {witness}\n")
    theirs = daemon(uid=ME + 1, program=str(python))
    tables: dict[str, ClusterTable] = {"local": LocalTable(), "hpc": SlurmTable(python=str(python))}
    there = places(tables, theirs, {"PATH": "/bin"}, ME + 1)
    for cluster in tables:
        finding = one(Need(cluster, "emt"), there[cluster])
        assert (finding.level, finding.detail[:11]) == ("note", "not tried: ")
    assert not witness.exists()


# ---- places ----


def test_how_attempts_look_on_each_kind_of_cluster() -> None:
    environ = {"PATH": "/bin", "PYTHONPATH": "/mine", "HOME": "/home/me"}
    tables: dict[str, ClusterTable] = {
        "local": LocalTable(),
        "here": SlurmTable(python="/env/python"),
        "flux": FluxTable(),
        "far": SlurmTable(host="login", python="/env/python"),
    }
    found = places(tables, None, environ, ME)
    assert found == {
        "local": Place("/bin", sys.executable, environ),
        "here": Place(None, "/env/python", {"PATH": "/bin", "HOME": "/home/me"}),
        "flux": Place(None, "", {"PATH": "/bin", "HOME": "/home/me"}),
        "far": Place(unknown="its jobs run behind host login"),
    }
    hidden = places(tables, daemon(environ=None), environ, ME)["local"]
    assert hidden.unknown == "the daemon's environment is not to be seen"
    assert one(Need("flux", "emt"), found["flux"]).detail == "not tried: which Python runs it is not known"


def test_the_interpreter_is_the_daemon_s(tmp_path: Path) -> None:
    python = executable(tmp_path, "python3")
    assert interpreter_of(None, "") == sys.executable
    assert interpreter_of(daemon(program="python3"), str(tmp_path)) == str(python)
    assert interpreter_of(daemon(program=str(python)), "") == str(python)
    assert interpreter_of(daemon(program=""), str(tmp_path)) == ""
