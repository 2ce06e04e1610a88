"""The control socket's file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from penstock.control.listener import PATH_MAX
from penstock.ctl.doctor.file_facts import FileFacts, group_name, look_at
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.domain.views import Finding


class SocketFile(msgspec.Struct, frozen=True):
    """Where clients look, what is there, and whether a daemon answers there."""

    path: str
    facts: FileFacts | None
    answers: bool


def look_at_socket(path: Path, *, answers: bool) -> SocketFile:
    """The file as it is. A directory that may not be entered raises PermissionError."""
    return SocketFile(str(path), look_at(path), answers)


def judge_socket(seen: SocketFile, expected: str, *, group_gid: int | None, holder: int | None) -> list[Finding]:
    """What is said of it; `expected` is where the configured daemon listens, `holder` who has the state directory."""
    what = "control socket"
    findings = []
    if expected != seen.path and not seen.answers:
        detail = f"penstockctl looks at {seen.path}, and the configuration has the daemon listen at {expected}"
        findings.append(warning(what, detail, f"export PENSTOCK_SOCKET={expected}, or give --socket"))
    if len(os.fsencode(seen.path)) > PATH_MAX:
        detail = f"{seen.path} has more than {PATH_MAX} bytes, which the system does not allow"
        return [*findings, problem(what, detail, "set PENSTOCK_SOCKET to a shorter one, for daemon and clients")]
    if seen.facts is None:
        return [*findings, _missing(seen, holder)]
    if not stat.S_ISSOCK(seen.facts.mode):
        detail = f"{seen.path} is no socket"
        return [*findings, problem(what, detail, "move it away, or set PENSTOCK_SOCKET to another path")]
    if not seen.answers and holder is None:
        findings.append(note(what, f"{seen.path} was left by a daemon that is gone; the next one replaces it"))
    return [*findings, _permissions(seen, seen.facts, group_gid)]


def _missing(seen: SocketFile, holder: int | None) -> Finding:
    what = "control socket"
    if holder is None:
        return well(what, f"{seen.path} is not there, as no daemon is")
    detail = (
        f"pid {holder} has the state directory, but there is no {seen.path}: removed, or the daemon listens elsewhere"
    )
    return problem(what, detail, "restart the daemon; running calculations go on and are found again")


def _permissions(seen: SocketFile, facts: FileFacts, group_gid: int | None) -> Finding:
    what = "control socket"
    if facts.mode & stat.S_IRWXO:
        detail = f"{seen.path} is open to everybody ({facts.permissions})"
        return warning(what, detail, f"chmod o-rwx {seen.path}; the daemon refuses strangers all the same")
    is_open = bool(facts.mode & stat.S_IWGRP)
    if group_gid is None:
        return well(what, f"{seen.path}, {facts.permissions}")
    wanted = group_name(group_gid)
    if facts.gid == group_gid and is_open:
        return well(what, f"{seen.path}, {facts.permissions}, open to group {wanted}")
    detail = f"{seen.path} is not open to group {wanted}, as [daemon] group says ({facts.permissions})"
    return warning(what, detail, "restart the daemon: it sets the group when it starts")
