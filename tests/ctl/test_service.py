"""`penstockctl service`: which files, what they say, and what is refused. systemd itself judges them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.ctl import service, unit_files
from penstock.ctl.installation import Reader, find_penstockd, first_closed, parts
from penstock.ctl.main import main
from penstock.ctl.unit_files import SERVICE, SOCKET, Person, quoted, shipped_folder, system_files, user_files
from penstock.daemon.config import load_config
from penstock.domain.errors import SpecError

ROOT = Path(__file__).parents[2]
SYSTEM_UNITS, USER_UNITS = "etc/systemd/system", "home/.config/systemd/user"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to install below; whose home is in it, and who has set little."""
    monkeypatch.setenv("HOME", "/home")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(service, "_refuse_closed", lambda _penstockd: None)  # the suite's Python may be in root's home
    return tmp_path


@pytest.fixture
def ctl(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """penstockctl service, below that folder; exit code and output."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["service", *arguments, "--root", str(root)])
        out, err = capsys.readouterr()
        return code, out + err

    return run


def installed(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_the_system_s_files_are_those_of_the_source_and_a_drop_in(
    root: Path, ctl: Callable[..., tuple[int, str]]
) -> None:
    code, said = ctl("install")
    assert code == 0
    found = installed(root)
    drop_in = found.pop(f"{SYSTEM_UNITS}/{SERVICE}.d/10-installation.conf")
    assert f'ExecStart=\nExecStart="{find_penstockd()}" --config /etc/penstock/config.toml\n' in drop_in
    assert found == {f"{SYSTEM_UNITS}/{name}": (ROOT / "systemd" / name).read_text() for name in (SERVICE, SOCKET)} | {
        "etc/sysusers.d/penstock.conf": (ROOT / "systemd/penstock.sysusers.conf").read_text(),
        "etc/tmpfiles.d/penstock.conf": (ROOT / "systemd/penstock.tmpfiles.conf").read_text(),
        "etc/penstock/config.toml": (ROOT / "systemd/config.toml").read_text(),
    }
    for path in installed(root):
        assert str(root / path) in said
    assert "systemctl enable --now penstockd" in said


def test_installing_again_changes_nothing_and_the_configuration_is_the_administrator_s(
    root: Path, ctl: Callable[..., tuple[int, str]]
) -> None:
    ctl("install")
    (root / "etc/penstock/config.toml").write_text("# mine\n")
    before = installed(root)
    code, said = ctl("install", "--json")
    assert code == 0
    assert {file["was"] for file in json.loads(said)["files"]} == {"same"}
    assert installed(root) == before


def test_changed_files_are_shown_and_kept_unless_forced(root: Path, ctl: Callable[..., tuple[int, str]]) -> None:
    ctl("install")
    unit = root / SYSTEM_UNITS / SERVICE
    shipped = unit.read_text()
    unit.write_text(shipped.replace("WatchdogSec=2min", "WatchdogSec=9min"))
    (root / SYSTEM_UNITS / SOCKET).unlink()
    code, said = ctl("install")
    assert code == 2
    assert "-WatchdogSec=9min\n+WatchdogSec=2min\n" in said
    assert "--force" in said
    assert not (root / SYSTEM_UNITS / SOCKET).exists()  # all or nothing
    assert ctl("install", "--force")[0] == 0
    assert unit.read_text() == shipped
    assert (root / SYSTEM_UNITS / SOCKET).exists()


def test_a_dry_run_shows_every_line_and_writes_none(root: Path, ctl: Callable[..., tuple[int, str]]) -> None:
    code, said = ctl("install", "--dry-run")
    assert code == 0
    assert installed(root) == {}
    for line in (ROOT / "systemd" / SERVICE).read_text().splitlines():
        assert line.strip() in said


def test_a_person_s_files_carry_the_shell_s_environment(
    root: Path, ctl: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/opt/slurm/bin:/usr/bin")
    monkeypatch.setenv("SLURM_CONF", "/etc/100%/slurm.conf")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    code, said = ctl("install", "--user")
    assert code == 0
    assert "loginctl enable-linger" in said
    found = installed(root)
    drop_in = found[f"{USER_UNITS}/{SERVICE}.d/10-installation.conf"]
    assert 'Environment="PATH=/opt/slurm/bin:/usr/bin"\nEnvironment="SLURM_CONF=/etc/100%%/slurm.conf"\n' in drop_in
    assert "hunter2" not in "".join(found.values())
    assert set(found) == {f"{USER_UNITS}/{name}" for name in (SERVICE, SOCKET, f"{SERVICE}.d/10-installation.conf")}


def test_a_person_s_socket_is_where_that_person_s_penstockctl_looks(
    root: Path, ctl: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(root / "state"))
    assert ctl("install", "--user")[0] == 0
    drop_in = (root / USER_UNITS / f"{SOCKET}.d/10-installation.conf").read_text()
    assert f"ListenStream=\nListenStream={root}/state/penstockd.sock\n" in drop_in
    service_drop_in = (root / USER_UNITS / f"{SERVICE}.d/10-installation.conf").read_text()
    assert f'Environment="PENSTOCK_STATE_DIR={root}/state"\n' in service_drop_in


def test_a_path_is_meant_from_where_it_was_said(
    root: Path, ctl: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mine.toml").touch()
    monkeypatch.chdir(root)
    monkeypatch.setenv("PENSTOCK_CONFIG", "mine.toml")
    assert ctl("install", "--user")[0] == 0
    drop_in = (root / USER_UNITS / f"{SERVICE}.d/10-installation.conf").read_text()
    assert f'Environment="PENSTOCK_CONFIG={root}/mine.toml"\n' in drop_in


def test_where_other_hosts_see_the_units_one_host_runs_them() -> None:
    socket = Path("/home/.local/state/penstock/penstockd.sock")
    person = Person(Path("/home"), Path("/home/.config"), {}, socket, host="login1")
    files = user_files(shipped_folder(), Path("/p/penstockd"), person)
    drop_ins = [file.text for file in files if file.path.suffix == ".conf"]
    assert len(drop_ins) == 2
    assert all("[Unit]\nConditionHost=login1\n" in text for text in drop_ins)


def test_files_are_removed_with_their_folders(root: Path, ctl: Callable[..., tuple[int, str]]) -> None:
    ctl("install")
    assert ctl("uninstall")[0] == 0
    assert installed(root) == {"etc/penstock/config.toml": (ROOT / "systemd/config.toml").read_text()}
    assert not (root / SYSTEM_UNITS / f"{SERVICE}.d").exists()
    assert ctl("uninstall") == (0, "no service of the system is installed\n")


def test_a_broken_configuration_keeps_no_service_installed(
    root: Path, ctl: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctl("install", "--user")
    broken = root / "config.toml"
    broken.write_text("[daemon\n")
    monkeypatch.setenv("PENSTOCK_CONFIG", str(broken))
    assert ctl("install", "--user")[0] == 2
    assert ctl("uninstall", "--user", "--force")[0] == 0
    assert set(installed(root)) == {"config.toml"}


def test_the_status_where_systemd_does_not_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "shown", lambda *_, **__: {})
    assert main(["service", "status"]) == 1
    said = capsys.readouterr().out
    assert f"{SERVICE}  not known: systemd does not answer" in said
    assert "installed" not in said


def test_words_of_a_unit_file_mean_themselves() -> None:
    assert quoted("/a b/$HOME/%h") == '"/a b/$HOME/%%h"'
    assert quoted('P=a"b\\c$d') == '"P=a\\"b\\\\c$d"'
    with pytest.raises(SpecError):
        quoted("a\nExecStart=/bin/evil")


@pytest.mark.parametrize("odd", ["plain", "a b", "per%h", "dol$HOME", "é;#"])
def test_systemd_finds_the_program_wherever_it_is(systemd_tools: None, odd: str, tmp_path: Path) -> None:
    program = tmp_path / odd / "penstockd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for file in system_files(shipped_folder(), program):
        place = tmp_path / "root" / file.path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.text)
    assert verified(tmp_path / "root" / SYSTEM_UNITS) == ""


@pytest.mark.parametrize("odd", ['quo"te', "apo'strophe", "back\\slash", "line\nbreak"])
def test_where_systemd_runs_nothing_nothing_is_installed(odd: str) -> None:
    with pytest.raises(SpecError):
        system_files(shipped_folder(), Path("/opt") / odd / "penstockd")


def verified(units: Path, *scope: str) -> str:
    """What systemd has to say of the units in a folder."""
    argv = ["systemd-analyze", *scope, "--man=no", "verify", str(units / SERVICE), str(units / SOCKET)]
    done = subprocess.run(
        argv,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:", "HOME": "/home", "XDG_RUNTIME_DIR": "/run"},
        capture_output=True,
        text=True,
        check=False,
    )
    own = [line for line in done.stderr.splitlines() if "penstock" in line]
    return "\n".join(own) or ("" if done.returncode == 0 else done.stderr)


@pytest.mark.parametrize("scope", [(), ("--user",)], ids=["system", "user"])
def test_systemd_finds_nothing_wrong(
    systemd_tools: None, scope: tuple[str, ...], root: Path, ctl: Callable[..., tuple[int, str]]
) -> None:
    assert ctl("install", *scope)[0] == 0
    units = root / (USER_UNITS if scope else SYSTEM_UNITS)
    assert verified(units, *scope) == ""
    (units / SERVICE).write_text((units / SERVICE).read_text().replace("KillMode=", "KilMode="))
    assert "KilMode" in verified(units, *scope)  # it does look


def test_the_system_s_unit_is_hardened(systemd_tools: None) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(ROOT / "systemd" / SERVICE)]
    done = subprocess.run([*argv, "--no-pager"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]  # more than 2.0


def test_account_and_directories(systemd_tools: None, root: Path, ctl: Callable[..., tuple[int, str]]) -> None:
    ctl("install")
    argv = ["systemd-sysusers", f"--root={root}", "--dry-run", str(root / "etc/sysusers.d/penstock.conf")]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "Would create user 'penstock'" in said.stdout + said.stderr or "Creating user 'penstock'" in said.stderr
    assert said.returncode == 0


def test_the_system_s_configuration_is_one(root: Path) -> None:
    config = load_config(ROOT / "systemd" / "config.toml")
    assert config.daemon.group == unit_files.ACCOUNT


def test_the_files_are_part_of_the_package() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"] == {"systemd": "penstock/systemd"}
    assert shipped_folder() == ROOT / "systemd"


# ---- what an account may read ----------------------------------------------------------------------------------------


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that everybody can reach."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_closed_home_is_found_on_the_way(passable: Path) -> None:
    home = passable / "home"
    program = home / "venv" / "bin" / "penstockd"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    assert first_closed(program, Reader()) is None
    home.chmod(0o700)
    assert first_closed(program, Reader()) == home
    assert first_closed(program, Reader(uid=home.stat().st_uid)) is None
    home.chmod(0o710)
    assert first_closed(program, Reader(gids=frozenset({home.stat().st_gid}))) is None
    assert first_closed(program, Reader(gids=frozenset({home.stat().st_gid + 1}))) == home


def test_links_have_two_ways(passable: Path) -> None:
    for name in ("open", "closed"):
        (passable / name).mkdir()
    for here, there in (("open", "closed"), ("closed", "open")):
        (passable / there / f"{here}.py").touch(0o644)
        (passable / here / "python").symlink_to(passable / there / f"{here}.py")
    (passable / "closed").chmod(0o700)
    assert first_closed(passable / "open" / "python", Reader()) == passable / "closed"
    assert first_closed(passable / "closed" / "python", Reader()) == passable / "closed"


def test_all_parts_of_this_installation_are_looked_at() -> None:
    found = parts(find_penstockd())
    assert all(path.exists() for path in found)
    assert {path.name for path in found} >= {"penstockd", "os.py"}


def test_an_installation_that_the_account_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "penstockd").touch(0o755)
    monkeypatch.setattr(service, "find_penstockd", lambda: closed / "penstockd")
    monkeypatch.setattr(service, "find_reader", lambda _: Reader(uid=2**31))
    assert main(["service", "install", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "cannot run this installation" in said
    assert "/opt/penstock" in said
    elsewhere = tmp_path / "root"  # for an image of another machine, where it may well be open
    assert main(["service", "install", "--root", str(elsewhere)]) == 0
    assert (elsewhere / SYSTEM_UNITS / SERVICE).exists()


def test_without_systemd_or_root_it_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["service", "install"]) == 3
    assert "--user" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(root))
    assert main(["service", "install"]) == 2
    assert "no systemctl" in capsys.readouterr().err
