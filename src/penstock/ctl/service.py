"""`penstockctl service`: puts the unit files in place and explains them; says how the service is; takes them away."""

from __future__ import annotations

import difflib
import os
import platform
import shutil
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.ctl import unit_files
from penstock.ctl.installation import find_penstockd, find_reader, first_closed, parts
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.service_advice import lingers, next_steps, notes_for, notes_for_the_system, shown
from penstock.ctl.unit_files import ACCOUNT, SERVICE, SOCKET, Person, UnitFile
from penstock.domain.errors import ConflictError, ForbiddenError, SpecError


class _Target(msgspec.Struct, frozen=True):
    """What is installed, and where."""

    user: bool
    root: Path
    files: tuple[UnitFile, ...]

    def place(self, file: UnitFile) -> Path:
        return self.root / file.path.relative_to("/")

    def state(self, file: UnitFile) -> str:
        """missing, same or different; a file that was only to be made once is always the same."""
        try:
            there = self.place(file).read_text(encoding="utf-8")
        except FileNotFoundError:
            return "missing"
        return "same" if file.only_once or there == file.text else "different"


@click.group("service", context_settings={"help_option_names": ["-h", "--help"]})
def service() -> None:
    """Have systemd keep penstockd running: `service install --user`, `service status --user`, `service uninstall`."""


_user = click.option("--user", is_flag=True, help="Your own service, under your systemd, instead of the system's.")
_root = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Below DIR instead of /, for packages and images.",
)


@command("install")
@_user
@_root
@click.option("--dry-run", is_flag=True, help="Show every file and write none.")
@click.option("--force", is_flag=True, help="Also over files that were changed.")
def install(ctl: Ctl, user: bool, root: Path, dry_run: bool, force: bool) -> None:
    """Write the unit files for this installation, and say what each is for and what to run next."""
    penstockd = find_penstockd()
    target = _target(penstockd, root, user=user)
    if not dry_run:
        _refuse_where_useless(target)
    if not user and target.root == Path("/"):  # elsewhere it is for another machine, where other things are open
        _refuse_closed(penstockd)
    _refuse_changed(ctl, target, force=force or dry_run)
    states = {file.path: target.state(file) for file in target.files}
    notes = notes_for(_person()) if user else notes_for_the_system()
    for file in target.files:
        if not dry_run and states[file.path] != "same":
            _write(target.place(file), file.text)
    steps = next_steps(user=user)
    if ctl.json:
        listed = [{"path": str(target.place(f)), "was": states[f.path], "why": f.why} for f in target.files]
        ctl.emit({"files": listed, "next": steps, "notes": notes, "dry_run": dry_run})
        return
    for file in target.files:
        done = "kept" if states[file.path] == "same" else "would be written" if dry_run else "written"
        ctl.line(f"{done}: {target.place(file)}  ({file.why})")
        if dry_run and states[file.path] != "same":
            for line in file.text.splitlines():
                ctl.line(f"    {line}".rstrip())
    for note in notes:
        ctl.line()
        ctl.line(note)
    ctl.line()
    ctl.line("Next:")
    for step in steps:
        ctl.line(f"  {step.run}")
        ctl.line(f"      {step.why}")


@command("status")
@_user
def status(ctl: Ctl, user: bool) -> int:
    """Say whether the units are those of this installation, and what systemd makes of them."""
    target = _target(find_penstockd(), Path("/"), user=user, lenient=True)
    states = {str(target.place(file)): target.state(file) for file in target.files}
    units = {unit: shown(unit, user=user) for unit in (SERVICE, SOCKET)}
    stays = lingers() if user else None
    if ctl.json:
        ctl.emit({"files": states, "units": units, "lingers": stays})
    else:
        ctl.pairs((path, state) for path, state in states.items())
        for unit, found in units.items():
            if not found:
                ctl.line(f"{unit}  not known: systemd does not answer")
                continue
            ctl.line(
                f"{unit}  {found['ActiveState']} ({found['SubState']}), {found['UnitFileState'] or 'not installed'}"
            )
            if found.get("StatusText"):
                ctl.line(f"  {found['StatusText']}; pid {found['MainPID']}, {found['NRestarts']} restarts")
        if stays is False:
            ctl.line("it ends when you log out: loginctl enable-linger")
    well = all(found.get("ActiveState") == "active" for found in units.values())
    return 0 if well and all(state == "same" for state in states.values()) else 1


@command("uninstall")
@_user
@_root
@click.option("--force", is_flag=True, help="Also files that were changed.")
def uninstall(ctl: Ctl, user: bool, root: Path, force: bool) -> None:
    """Remove the unit files. Configuration, workflows and the account stay."""
    target = _target(find_penstockd(), root, user=user, lenient=True)
    if not user and root == Path("/") and os.geteuid():
        raise ForbiddenError("only root can remove the system's service")
    _refuse_changed(ctl, target, force=force)
    systemctl = "systemctl --user" if user else "systemctl"
    if root == Path("/") and any(shown(unit, user=user).get("ActiveState") == "active" for unit in (SERVICE, SOCKET)):
        raise ConflictError(f"it runs; first: {systemctl} disable --now {SERVICE} {SOCKET}")
    removed = [target.place(file) for file in target.files if not file.only_once and target.place(file).exists()]
    for path in removed:
        path.unlink()
        if path.parent.name.endswith(".d") and path.parent.name.startswith("penstockd."):
            _remove_if_empty(path.parent)
    if ctl.json:
        ctl.emit({"removed": [str(path) for path in removed]})
        return
    for path in removed:
        ctl.line(f"removed: {path}")
    if not removed:
        ctl.line("no service of your own is installed" if user else "no service of the system is installed")
        return
    ctl.line(f"Next: {systemctl} daemon-reload")


COMMANDS: Final = {"service": service}
for _verb in (install, status, uninstall):
    service.add_command(_verb)


# ---- what there is to install ---------------------------------------------------------------------------------------


def _target(penstockd: Path, root: Path, *, user: bool, lenient: bool = False) -> _Target:
    shipped = unit_files.shipped_folder()
    if user:
        files = unit_files.user_files(shipped, penstockd, _person(lenient=lenient))
    else:
        files = unit_files.system_files(shipped, penstockd)
    return _Target(user, root.absolute(), tuple(files))


def _person(*, lenient: bool = False) -> Person:
    """`lenient`: a configuration that cannot be read is no reason not to look at, or remove, what is installed."""
    from penstock.daemon.config import load_config
    from penstock.domain.settings import find_config, socket_path
    from penstock.files.kinds import file_system_of, network_types

    home = Path(os.environ.get("HOME") or Path.home())
    try:
        socket = load_config(find_config(os.environ)).socket_path(os.environ)
    except SpecError:
        if not lenient:
            raise
        socket = socket_path(os.environ)
    host = platform.node() if file_system_of(home) in network_types() else None
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return Person(home, config_home, dict(os.environ), socket, host)


# ---- refusing -------------------------------------------------------------------------------------------------------


def _refuse_where_useless(target: _Target) -> None:
    if target.root != Path("/"):
        return
    if shutil.which("systemctl") is None:
        raise SpecError(
            "there is no systemctl here, so no systemd that could run it; start penstockd by what this machine has "
            "instead, or write the files elsewhere with --root DIR"
        )
    if not target.user and os.geteuid():
        raise ForbiddenError(
            "only root can install the system's service; for a daemon of your own: penstockctl service install --user"
        )


def _refuse_closed(penstockd: Path) -> None:
    """The mistake that is made most: an installation in somebody's home, which the account cannot even see."""
    reader = find_reader(ACCOUNT)
    for part in parts(penstockd):
        if (closed := first_closed(part, reader)) is not None:
            raise SpecError(
                f"the account {ACCOUNT!r} cannot run this installation: {closed} is closed to it (the way to {part}); "
                "install Penstock where everybody can read it (python3 -m venv /opt/penstock, then its pip), and run "
                "that installation's penstockctl service install"
            )


def _refuse_changed(ctl: Ctl, target: _Target, *, force: bool) -> None:
    changed = [file for file in target.files if target.state(file) == "different"]
    if not changed:
        return
    if not ctl.json:
        for file in changed:
            there = target.place(file).read_text(encoding="utf-8").splitlines(keepends=True)
            names = (str(target.place(file)), "this installation's")
            for line in difflib.unified_diff(there, file.text.splitlines(keepends=True), *names):
                ctl.line(line.rstrip("\n"))
    if not force:
        paths = ", ".join(str(target.place(file)) for file in changed)
        raise ConflictError(
            f"{paths} is not what this installation writes; if the changes are yours, keep them in a drop-in "
            "(systemctl edit), then repeat with --force"
        )


# ---- writing --------------------------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o644)
    partial.replace(path)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
