"""What is said of the configuration file."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import msgspec
import pytest

from penstock.control.messages import Pong
from penstock.ctl.doctor.configuration import (
    Configuration,
    choose_file,
    judge_configuration,
    judge_taken_over,
    read_configuration,
)
from penstock.ctl.doctor.file_facts import FileFacts
from penstock.daemon.config import load_config

ME = 1000
FACTS = FileFacts("/c.toml", ME, ME, stat.S_IFREG | 0o644, 100.0, "users")
SEEN = Configuration("/c.toml", "the usual place", load_config(None), facts=FACTS)
PONG = Pong(9, "1", 5.0, "/c.toml", 200.0)


def test_which_file_counts(tmp_path: Path) -> None:
    usual = tmp_path / "penstock" / "config.toml"
    usual.parent.mkdir()
    usual.touch()
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert choose_file(Path("/x"), PONG, environ) == (Path("/x"), "as --config says")
    assert choose_file(None, PONG, environ) == (Path("/c.toml"), "the running daemon's")
    assert choose_file(None, msgspec.structs.replace(PONG, config="built-in"), environ)[0] is None
    assert choose_file(None, msgspec.structs.replace(PONG, config=""), environ) == (usual, "the usual place")
    assert choose_file(None, None, environ | {"PENSTOCK_CONFIG": "/e"}) == (Path("/e"), "PENSTOCK_CONFIG")


def test_a_file_that_is_wrong_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    seen = read_configuration(path, "as --config says")
    assert seen.error is not None
    assert seen.facts is None
    path.write_text('[daemon]\nworkers = "two"\n')
    path.chmod(0o600)
    seen = read_configuration(path, "as --config says")
    wrong, permissions = judge_configuration(seen, os.getuid())
    assert wrong.level == "problem"
    assert f"{path}:2: daemon.workers: " in wrong.detail
    assert permissions.level == "ok"
    path.write_text('[daemon]\ngroup = "nosuch-group"\n')
    assert (
        "there is no group 'nosuch-group'" in judge_configuration(read_configuration(path, ""), os.getuid())[0].detail
    )


def test_no_file_is_fine() -> None:
    [finding] = judge_configuration(read_configuration(None, "the usual place"), ME)
    assert (finding.level, finding.ok) == ("note", True)


@pytest.mark.parametrize(
    ("mode", "uid", "group", "level"),
    [
        (0o644, ME, "users", "ok"),
        (0o644, 0, "users", "ok"),
        (0o644, 1234, "users", "problem"),
        (0o664, ME, "users", "warning"),
        (0o664, ME, "", "ok"),
        (0o666, ME, "", "problem"),
    ],
)
def test_who_may_change_it(mode: int, uid: int, group: str, level: str) -> None:
    facts = msgspec.structs.replace(FACTS, mode=stat.S_IFREG | mode, uid=uid, group=group)
    _, permissions = judge_configuration(msgspec.structs.replace(SEEN, facts=facts), ME)
    assert permissions.level == level


def test_the_token_is_nobody_elses(tmp_path: Path) -> None:
    token = tmp_path / "token"
    seen = msgspec.structs.replace(SEEN, token=str(token))
    assert judge_configuration(seen, ME)[-1].detail == f"{token} is not there"
    for mode, level in ((0o600, "ok"), (0o640, "warning"), (0o604, "problem")):
        facts = msgspec.structs.replace(FACTS, path=str(token), mode=stat.S_IFREG | mode)
        finding = judge_configuration(msgspec.structs.replace(seen, token_facts=facts), ME)[-1]
        assert (finding.what, finding.level) == ("metrics token", level)


def test_what_the_daemon_has_of_it() -> None:
    [taken] = judge_taken_over(SEEN, PONG, ["local"])
    assert taken.level == "ok"
    [taken] = judge_taken_over(SEEN, msgspec.structs.replace(PONG, config_read_at=50.0), ["local"])
    assert taken.level == "warning"
    assert "kill -HUP 9" in taken.remedy
    [taken] = judge_taken_over(SEEN, msgspec.structs.replace(PONG, config="/other.toml"), ["local"])
    assert taken.detail == "the running daemon has read another: /other.toml"
    [taken] = judge_taken_over(SEEN, Pong(9, "0.1", 5.0), ["local"])
    assert taken.level == "note"
    assert judge_taken_over(read_configuration(None, ""), Pong(9, "1", 5.0, "built-in", 1.0), ["local"]) == []


def test_clusters_that_differ() -> None:
    _, clusters = judge_taken_over(SEEN, PONG, ["hpc"])
    assert clusters.level == "warning"
    assert clusters.detail == "the daemon does not have local; it has hpc still"


def test_names_of_accounts() -> None:
    facts = msgspec.structs.replace(FACTS, uid=54321)
    _, finding = judge_configuration(msgspec.structs.replace(SEEN, facts=facts), os.getuid())
    assert f"belongs to 54321, not to {pwd.getpwuid(os.getuid()).pw_name}" in finding.detail
