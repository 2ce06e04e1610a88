"""systemd's tools, and a whole systemd: the first process of name spaces of its own, where it manages what it is given.

It has a copy of /etc, empty /run, /var/lib, /home and /srv, and a control group below the suite's. What it starts ends
with it. The Python that runs the suite is opened to all accounts there, be it in root's home.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from penstock.ctl.installation import Reader, first_closed

from .daemons import SYSTEM_PATH, Home, ServiceError, descendants, not_installed, programs_missing

ROOT: Final = Path(__file__).parents[2]
INSTALLATION: Final = Path("/srv/penstock")
_TOOLS: Final = ("systemd-analyze", "systemd-socket-activate", "systemd-sysusers", "systemd-tmpfiles")
_SOURCE: Final = Path("/srv/source")
_TARGETS: Final = ("sysinit", "basic", "sockets", "multi-user", "shutdown", "network-online", "remote-fs", "default")
_OWN: Final = ("etc", "varlib", "srv", "home")
_CONTROL_GROUP = """
set -e
mkdir "$1/cgroup" "$1/host"
mount -t cgroup2 cgroup2 "$1/host"
mkdir "$1/host/$2"
echo $$ > "$1/host/$2/cgroup.procs"
exec unshare --pid --cgroup --ipc --uts --fork --kill-child --mount-proc sh -c "$3" systemd "$1"
"""
_MANAGE = """
set -e
umount -l -R /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir "$1/srv/source" "$1/python"
mount --bind "$SOURCE" "$1/srv/source"
if [ -n "$CLOSED" ]; then
    mount --bind "$PYTHON" "$1/python"
    mount -t tmpfs -o mode=755 tmpfs "$CLOSED"
    mkdir -p "$PYTHON"
    mount --bind "$1/python" "$PYTHON"
fi
mount --rbind "$1/srv" /srv
mount --bind "$1/etc" /etc
mount --bind "$1/varlib" /var/lib
mount --bind "$1/home" /home
exec env -u SOURCE -u PYTHON -u CLOSED \\
    /lib/systemd/systemd --system --unit=default.target --show-status=no --log-target=console
"""

_REMOVE = """
mount -t cgroup2 cgroup2 "$1/host"
cd "$1/host" || exit
for attempt in 1 2 3 4 5 6 7 8 9; do
    find "$2" -depth -type d -exec rmdir {} + && exit
    sleep 0.1
done
"""


def systemd_tools_missing() -> str | None:
    """Why systemd's tools cannot be used here, or None."""
    packages = systemd_packages_missing()
    return not_installed(packages) if packages else None


def systemd_packages_missing() -> list[str]:
    """The Debian packages that are not there."""
    return programs_missing(dict.fromkeys(_TOOLS, "systemd"))


class RealSystemd:
    """A machine with a systemd, as far as a program in it can see."""

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be run here, or None."""
        if (why := systemd_tools_missing()) is not None:
            return why
        if os.geteuid() != 0:
            return "only root can give it name spaces"
        trial = [
            "unshare",
            "--mount",
            "--pid",
            "--cgroup",
            "--fork",
            "--mount-proc",
            "mount",
            "-t",
            "cgroup2",
            "cgroup2",
        ]
        done = subprocess.run([*trial, "/mnt"], capture_output=True, text=True, check=False)
        return f"no name spaces or control groups here: {done.stderr.strip()}" if done.returncode else None

    def start(self) -> None:
        """Make its directories and an installation of Penstock, and start it."""
        self.home = Home()
        try:
            self._configure()
            self._boot()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and everything that it started."""
        self.home.signal(
            ["unshare"], signal.SIGKILL
        )  # its child, the first process, dies with it, and so do all others
        self._remove_control_groups()
        self.home.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- for its users ----------------------------------------------------------------------------------------------

    def argv(self, *command: str | Path, user: str = "root", **environment: str) -> list[str]:
        """What runs a command there."""
        variables = {"PATH": f"{INSTALLATION}/bin:{SYSTEM_PATH}", "LC_ALL": "C.UTF-8"} | environment
        inside = ["nsenter", "--target", str(self._first()), "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--"]
        inside += ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        inside += [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [*inside, *map(str, command)]

    def run(self, *command: str | Path, user: str = "root", ok: bool = True, **environment: str) -> str:
        """Run a command there to its end; what it printed. ServiceError if it fails and ought not to."""
        argv = self.argv(*command, user=user, **environment)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        if ok and done.returncode != 0:
            raise ServiceError(f"{shlex.join(map(str, command))}: {done.stdout}{done.stderr}\n{self.home.logged()}")
        return done.stdout + done.stderr

    def show(self, unit: str, *names: str, user: Sequence[str] = ()) -> dict[str, str]:
        """Properties of a unit."""
        shown = self.run("systemctl", *user, "show", "--timestamp=unix", *(f"-p{name}" for name in names), unit)
        return dict(line.split("=", 1) for line in shown.splitlines())

    def seen(self, path: str | Path) -> Path:
        """Where the host finds a file of it."""
        return Path(f"/proc/{self._first()}/root{path}")

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _first(self) -> int:
        unshare = self.home.pid("unshare")
        assert unshare is not None, self.home.logged()
        return descendants(unshare)[0]

    def _configure(self) -> None:
        home = self.home
        for name in _OWN:
            home.directory(name)
        shutil.copytree("/etc", home.path / "etc", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(home.path / "etc/systemd")
        home.directory("etc/systemd/system")
        home.file("etc/systemd/system.conf", "[Manager]\nDefaultStandardOutput=null\n")
        units = home.directory("units")
        for target in _TARGETS:
            wants = "Wants=sockets.target multi-user.target\n" if target == "default" else ""
            home.file(f"units/{target}.target", f"[Unit]\nDefaultDependencies=no\n{wants}")
        home.environment |= {
            "container": "penstock-tests",
            "SYSTEMD_UNIT_PATH": f"/etc/systemd/system:{units}",
            "SOURCE": str(ROOT),
            "PYTHON": sys.base_prefix,
            "CLOSED": str(first_closed(Path(sys.base_prefix), Reader()) or ""),
        }
        self._install()

    def _install(self) -> None:
        """An installation of its own in /srv, whose code is the suite's."""
        place = self.home.directory("srv/penstock")
        self.home.run([sys.executable, "-m", "venv", "--without-pip", place])
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
        theirs = Path(sysconfig.get_path("purelib"))
        theirs = _SOURCE / theirs.relative_to(ROOT) if theirs.is_relative_to(ROOT) else theirs
        (packages / "penstock.pth").write_text(f"{_SOURCE / 'src'}\n{theirs}\n")
        for name in ("penstockd", "penstockctl"):
            module = {"penstockd": "penstock.daemon.main", "penstockctl": "penstock.ctl.main"}[name]
            text = f"#!{INSTALLATION}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
            (place / "bin" / name).write_text(text)
            (place / "bin" / name).chmod(0o755)

    def _boot(self) -> None:
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _CONTROL_GROUP, "unshare"]
        self.home.launch("unshare", [*argv, self.home.path, self.home.path.name, _MANAGE])
        self.home.wait_for(self._is_up, "systemd is up")

    def _is_up(self) -> bool:
        unshare = self.home.pid("unshare")
        if unshare is None or not descendants(unshare):
            return False
        done = subprocess.run(self.argv("systemctl", "is-active", "default.target"), capture_output=True, check=False)
        return done.returncode == 0

    def _remove_control_groups(self) -> None:
        """They are empty by now, and only root of the host's hierarchy can take them away."""
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _REMOVE, "sh"]
        subprocess.run([*argv, self.home.path, self.home.path.name], capture_output=True, check=False)
