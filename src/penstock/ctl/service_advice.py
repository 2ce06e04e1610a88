"""What to run after the unit files are there, what else to know, and what systemd says of the units."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.ctl.unit_files import ACCOUNT, SERVICE, SYSTEM_WORK, Person
from penstock.domain.errors import PenstockError

_SHOWN: Final = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "StatusText")
_ANSWER_S: Final = 10.0
_PING_S: Final = 2.0
_LINGERING: Final = Path("/var/lib/systemd/linger")
_OF_A_PERSON: Final = (
    ("systemctl --user daemon-reload", "systemd reads the files"),
    ("systemctl --user enable --now penstockd", "it starts, now and whenever your systemd does"),
    ("loginctl enable-linger", "your systemd starts with the machine and outlives your logins"),
    ("penstockctl ping", "it answers; its log: journalctl --user -u penstockd -f"),
)
_OF_THE_SYSTEM: Final = (
    ("systemd-sysusers", f"makes the account and group {ACCOUNT}"),
    ("systemd-tmpfiles --create penstock.conf", f"makes its directories, {SYSTEM_WORK} for work among them"),
    ("systemctl daemon-reload", "systemd reads the files"),
    ("systemctl enable --now penstockd", "it starts, now and with the machine"),
    (f"usermod --append --groups {ACCOUNT} NAME", "NAME may give it work, after the next login"),
    ("penstockctl ping", "it answers; its log: journalctl -u penstockd -f"),
)


class Step(msgspec.Struct, frozen=True):
    """A command, and why."""

    run: str
    why: str


def next_steps(*, user: bool) -> list[Step]:
    """What to run once the files are there."""
    return [Step(*step) for step in (_OF_A_PERSON if user else _OF_THE_SYSTEM)]


def notes_for_the_system() -> list[str]:
    """What else an administrator should know."""
    where = (
        f"The daemon writes in its state directory only. For work directories elsewhere than {SYSTEM_WORK}: systemctl "
        "edit penstockd, and there [Service] with ReadWritePaths=/the/directory"
    )
    return [where]


def notes_for(person: Person) -> list[str]:
    """What else this person should know."""
    notes = []
    if person.host is not None:
        notes.append(
            f"Your home directory is on a network file system, where other hosts see the same units: they run it on "
            f"{person.host} only. Its state directory has to be on a local disk: PENSTOCK_STATE_DIR"
        )
    if (pid := _running_pid(person.socket)) is not None and shown(SERVICE, user=True).get("MainPID") != str(pid):
        notes.append(f"A daemon that was started by hand runs already (pid {pid}). Stop it first: kill {pid}")
    return notes


def shown(unit: str, *, user: bool) -> Mapping[str, str]:
    """What systemd says of a unit; nothing where it does not answer."""
    scope = ["--user"] if user else []
    argv = ["systemctl", *scope, "show", *(f"--property={name}" for name in _SHOWN), unit]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {} if done.returncode else dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def lingers() -> bool | None:
    """Whether this person's systemd outlives the person's logins; None where nobody knows."""
    return (_LINGERING / getpass.getuser()).exists() if _LINGERING.parent.is_dir() else None


def _running_pid(socket: Path) -> int | None:
    from penstock.control.client import Client

    try:
        with Client(socket, timeout_s=_PING_S) as client:
            return client.ping().pid
    except PenstockError:
        return None
