"""Limits of the system that a daemon runs into: open files, processes, the end of a session."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.doctor.contact import Contact
from penstock.ctl.doctor.control_group import GroupLimits, read_limits
from penstock.ctl.doctor.file_facts import user_name
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.doctor.process import Limit, Process, count_threads, look_at_process
from penstock.domain.views import Finding

_BASE_FILES: Final = 64
_FILES_PER_WORKFLOW: Final = 4
_FILES_PER_SLOT: Final = 4
_FILES_PER_CLUSTER: Final = 16
_NEARLY: Final = 0.9
_FEW_PROCESSES: Final = 200
_LEAST_PROCESSES: Final = 32
_ROOT: Final = 0
_LINGER: Final = Path("/var/lib/systemd/linger")
_UNIT_FOLDERS: Final = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_USER_UNIT_FOLDERS: Final = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
UNIT: Final = "penstockd.service"


class Limits(msgspec.Struct, frozen=True):
    """Of the daemon where one runs (`whose` its pid), else of this shell, as a daemon started from it has them."""

    whose: str
    uid: int
    files: Limit
    open_files: int | None
    processes: Limit
    threads: int  # of the account
    group: GroupLimits


def look_at_limits(daemon: Process | None) -> Limits:
    """The limits that count."""
    own = look_at_process(os.getpid())
    assert own is not None
    process = daemon if daemon is not None and daemon.limits else own
    return Limits(
        f"penstockd, pid {process.pid}" if process is daemon else "this shell, and a daemon started from it",
        process.uid,
        process.limits.get("Max open files", Limit(None, None)),
        process.open_files if process is daemon else None,
        process.limits.get("Max processes", Limit(None, None)),
        count_threads(process.uid),
        read_limits(process.cgroup),
    )


def estimate_files(contact: Contact) -> int:
    """About as many files as a daemon has open for all that is to do now, at the same time."""
    local = {cluster.name for cluster in contact.clusters if cluster.kind == "local"}
    active = contact.active()
    slots = sum(workflow.slots for workflow in active if workflow.cluster in local)
    cores = sum(cluster.cores for cluster in contact.clusters if cluster.kind == "local")
    workflows = _FILES_PER_WORKFLOW * len(active) + _FILES_PER_SLOT * min(slots, cores)
    return _BASE_FILES + workflows + _FILES_PER_CLUSTER * len(contact.clusters)


def judge_limits(seen: Limits, needed_files: int) -> list[Finding]:
    """Open files and processes."""
    return [_files(seen, needed_files), _processes(seen), *_group(seen.group)]


def _files(seen: Limits, needed: int) -> Finding:
    what, soft = "open files", seen.files.soft
    if soft is None:
        return well(what, f"no limit ({seen.whose})")
    used = f"{seen.open_files} of {soft} in use" if seen.open_files is not None else f"{soft} allowed"
    hard = "without a hard limit" if seen.files.hard is None else f"hard limit {seen.files.hard}"
    detail = f"{used}, about {needed} needed, {hard} ({seen.whose})"
    wanted = max(4096, 4 * needed)
    remedy = f"LimitNOFILE={wanted} in the unit, or ulimit -n {wanted} before penstockd"
    if seen.open_files is not None and seen.open_files > _NEARLY * soft:
        return problem(what, detail, remedy)
    return warning(what, detail, remedy) if soft < needed else well(what, detail)


def _processes(seen: Limits) -> Finding:
    what, soft = "processes", seen.processes.soft
    if soft is None or seen.uid == _ROOT:
        return well(what, "no limit for the account")
    left = soft - seen.threads
    detail = f"{user_name(seen.uid)} has {seen.threads} of {soft} processes and threads"
    remedy = "raise it: LimitNPROC= in the unit, ulimit -u, or /etc/security/limits.conf"
    if left < _LEAST_PROCESSES:
        return problem(what, detail, remedy)
    return warning(what, detail, remedy) if left < _FEW_PROCESSES else well(what, detail)


def _group(group: GroupLimits) -> list[Finding]:
    if group.processes_left is None:
        return []
    what = "tasks of the control group"
    detail = f"{group.processes_left} left of {group.processes_max}"
    remedy = "raise it: TasksMax= in the unit"
    if group.processes_left < _LEAST_PROCESSES:
        return [problem(what, detail, remedy)]
    return [warning(what, detail, remedy) if group.processes_left < _FEW_PROCESSES else well(what, detail)]


# ---- units and lingering --------------------------------------------------------------------------------------------


class Units(msgspec.Struct, frozen=True):
    """Unit files of a daemon, and whether the account's systemd goes on without a session (None: no systemd)."""

    system: str
    user: str
    lingers: bool | None
    account: str


def look_at_units(
    uid: int,
    home: Path,
    *,
    folders: Iterable[str] = _UNIT_FOLDERS,
    user_folders: Iterable[str] = _USER_UNIT_FOLDERS,
    linger: Path = _LINGER,
) -> Units:
    """What is installed for the account."""
    own = (str(home / ".config/systemd/user"), str(home / ".local/share/systemd/user"))
    account = user_name(uid)
    lingers = (linger / account).exists() if linger.parent.is_dir() else None
    return Units(_first(folders), _first((*own, *user_folders)), lingers, account)


def _first(folders: Iterable[str]) -> str:
    return next((str(path) for folder in folders if (path := Path(folder, UNIT)).is_file()), "")


def start_command(units: Units) -> str:
    """What starts the daemon by systemd, without `systemctl`; empty where no unit is installed."""
    if units.user:
        return "--user start penstockd"
    return "start penstockd" if units.system else ""


def judge_units(units: Units, daemon: Process | None) -> list[Finding]:
    """Whether a daemon of the account's own systemd outlives the session."""
    what = "lingering"
    is_users = daemon.is_of_user_manager if daemon is not None else bool(units.user)
    if not is_users:
        return []
    if units.lingers is None:
        return [note(what, "nobody here says whether services of users go on without a session")]
    if units.lingers:
        return [well(what, f"services of {units.account} go on when the last session ends, and start at boot")]
    detail = f"systemd stops the services of {units.account} when the last session ends"
    name = units.account if re.fullmatch(r"[\w.-]+", units.account) else ""
    return [warning(what, detail, f"loginctl enable-linger {name}".rstrip())]
