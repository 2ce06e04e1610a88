"""What is said of the control socket."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.file_facts import FileFacts, group_name
from penstock.ctl.doctor.socket_file import SocketFile, judge_socket, look_at_socket
from penstock.domain.views import Finding

FACTS = FileFacts("/s/penstockd.sock", 1000, 1000, stat.S_IFSOCK | 0o600, 0.0)
SEEN = SocketFile("/s/penstockd.sock", FACTS, answers=True)


def judged(seen: SocketFile, **about: object) -> list[Finding]:
    given: dict[str, object] = {"group_gid": None, "holder": None} | about
    return judge_socket(seen, str(given.pop("expected", seen.path)), **given)  # type: ignore[arg-type]


def test_well() -> None:
    [finding] = judged(SEEN, holder=7)
    assert (finding.level, finding.detail) == ("ok", "/s/penstockd.sock, 0600")


@pytest.mark.parametrize(
    ("seen", "about", "levels", "said"),
    [
        (msgspec.structs.replace(SEEN, facts=None, answers=False), {}, ["ok"], "is not there, as no daemon is"),
        (msgspec.structs.replace(SEEN, facts=None, answers=False), {"holder": 7}, ["problem"], "pid 7 has the state"),
        (msgspec.structs.replace(SEEN, answers=False), {}, ["note", "ok"], "was left by a daemon that is gone"),
        (msgspec.structs.replace(SEEN, answers=False), {"holder": 7}, ["ok"], "0600"),  # said of the daemon, not of it
        (
            msgspec.structs.replace(SEEN, answers=False, facts=None),
            {"expected": "/run/p.sock"},
            ["warning", "ok"],
            "the configuration has the daemon listen at /run/p.sock",
        ),
        (msgspec.structs.replace(SEEN, path="/" + "x" * 107, facts=None), {}, ["problem"], "more than 107 bytes"),
        (
            msgspec.structs.replace(SEEN, facts=msgspec.structs.replace(FACTS, mode=stat.S_IFREG | 0o600)),
            {},
            ["problem"],
            "is no socket",
        ),
        (
            msgspec.structs.replace(SEEN, facts=msgspec.structs.replace(FACTS, mode=stat.S_IFSOCK | 0o666)),
            {},
            ["warning"],
            "open to everybody",
        ),
    ],
)
def test_what_can_be_wrong(seen: SocketFile, about: dict[str, object], levels: list[str], said: str) -> None:
    findings = judged(seen, **about)
    assert [finding.level for finding in findings] == levels
    assert said in findings[0].detail


def test_a_group() -> None:
    gid = os.getgid()
    [finding] = judged(SEEN, group_gid=gid, holder=7)
    assert finding.level == "warning"
    assert f"not open to group {group_name(gid)}" in finding.detail
    facts = msgspec.structs.replace(FACTS, mode=stat.S_IFSOCK | 0o660, gid=gid)
    [finding] = judged(msgspec.structs.replace(SEEN, facts=facts), group_gid=gid, holder=7)
    assert finding.level == "ok"


def test_a_real_one(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        seen = look_at_socket(path, answers=False)
    assert seen.facts is not None
    assert stat.S_ISSOCK(seen.facts.mode)
