"""The files that make systemd run penstockd: which there are, where each belongs, and what it says of an installation.

Units, sysusers and tmpfiles are those of the folder `systemd`, to the byte. What differs from one installation to the
next stands in a drop-in beside them. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

import penstock
from penstock.domain.errors import SpecError

SERVICE: Final = "penstockd.service"
SOCKET: Final = "penstockd.socket"
ACCOUNT: Final = "penstock"
SYSTEM_CONFIG: Final = Path("/etc/penstock/config.toml")
SYSTEM_WORK: Final = Path("/var/lib/penstock/work")
_DROP_IN: Final = "10-installation.conf"
_SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_HEAD: Final = (
    "# Written by `penstockctl service install`. Your own changes belong into another file beside this one.\n"
)
_CARRIED: Final = (
    "PATH",
    "SLURM_CONF",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "PENSTOCK_CONFIG",
    "PENSTOCK_SOCKET",
    "PENSTOCK_STATE_DIR",
)
"""What a person's own systemd does not know of the person's shell, and the daemon needs."""


class UnitFile(msgspec.Struct, frozen=True):
    """A file to be written, and why. One that is `only_once` is the administrator's as soon as it is there."""

    path: Path
    text: str
    why: str
    only_once: bool = False


class Person(msgspec.Struct, frozen=True):
    """What is peculiar to one person's service."""

    home: Path
    config_home: Path  # XDG_CONFIG_HOME
    environ: Mapping[str, str]
    socket: Path  # where this person's penstockctl looks
    host: str | None = None  # the only host to run it; where other hosts see the same files


def shipped_folder() -> Path:
    """Where the files are: in the package, or beside it in a checkout. SpecError where they are missing."""
    package = Path(penstock.__file__).parent
    for folder in (package / "systemd", package.parents[1] / "systemd"):
        if (folder / SERVICE).is_file():
            return folder
    raise SpecError(f"the unit files are missing from this installation ({package / 'systemd'}); install it again")


def system_files(shipped: Path, penstockd: Path) -> list[UnitFile]:
    """The files of the system's service."""

    def text(name: str) -> str:
        return (shipped / name).read_text(encoding="utf-8")

    command = f"{_program(penstockd)} --config {SYSTEM_CONFIG}"
    return [
        UnitFile(_SYSTEM_UNITS / SERVICE, text(SERVICE), "the daemon: when it starts, what it may"),
        UnitFile(_drop_in(_SYSTEM_UNITS, SERVICE), _service_section(command), "where this installation's penstockd is"),
        UnitFile(_SYSTEM_UNITS / SOCKET, text(SOCKET), "the control socket, for the group penstock"),
        UnitFile(Path("/etc/sysusers.d/penstock.conf"), text("penstock.sysusers.conf"), "the account and its group"),
        UnitFile(Path("/etc/tmpfiles.d/penstock.conf"), text("penstock.tmpfiles.conf"), "the directories"),
        UnitFile(SYSTEM_CONFIG, text("config.toml"), "the configuration, yours from now on", only_once=True),
    ]


def user_files(shipped: Path, penstockd: Path, person: Person) -> list[UnitFile]:
    """The files of one person's service."""
    units = person.config_home / "systemd" / "user"
    kept = {name: _meant(name, value) for name in _CARRIED if (value := person.environ.get(name))}
    command = _program(penstockd)
    only_here = f"[Unit]\nConditionHost={person.host}\n\n" if person.host else ""
    lines = "".join(f"Environment={quoted(f'{name}={value}')}\n" for name, value in kept.items())
    found = [
        UnitFile(units / SERVICE, (shipped / "user" / SERVICE).read_text(encoding="utf-8"), "the daemon"),
        UnitFile(
            _drop_in(units, SERVICE),
            _service_section(command, before=only_here, after=lines),
            "where penstockd is, and what of your shell's environment it gets",
        ),
        UnitFile(units / SOCKET, (shipped / "user" / SOCKET).read_text(encoding="utf-8"), "its control socket"),
    ]
    elsewhere = person.socket != person.home / ".local/state/penstock/penstockd.sock"
    if elsewhere or only_here:
        path = str(person.socket).replace("%", "%%")
        listen = f"[Socket]\nListenStream=\nListenStream={path}\n" if elsewhere else ""
        why = "where your penstockctl looks for the socket" if elsewhere else "on which host"
        found.append(UnitFile(_drop_in(units, SOCKET), f"{_HEAD}\n{only_here}{listen}".rstrip() + "\n", why))
    return found


def quoted(text: str) -> str:
    """`text` as one word of a unit file that means itself. SpecError for a line break."""
    if any(ord(character) < 0x20 for character in text):
        raise SpecError(f"{text!r} holds characters that a unit file cannot")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _meant(name: str, value: str) -> str:
    """A variable's value wherever it is looked at: a path that was meant from here as an absolute one."""
    return value if name == "PATH" else str(Path(value).expanduser().absolute())


def _program(path: Path) -> str:
    """The first word of an ExecStart=, in which systemd expands no variables and bears no quotes."""
    if any(character in str(path) for character in "\"'\\"):
        raise SpecError(f"systemd runs no program whose path has quotes or backslashes: {path}; install it elsewhere")
    return quoted(str(path))


def _drop_in(units: Path, unit: str) -> Path:
    return units / f"{unit}.d" / _DROP_IN


def _service_section(command: str, before: str = "", after: str = "") -> str:
    return f"{_HEAD}\n{before}[Service]\nExecStart=\nExecStart={command}\n{after}"
