"""Daemons of other people's making, started for a run of the suite and ended with it.

Every service lives in a directory whose name says which process it belongs to. A run that was killed cannot clean up;
the next one does, from that name and the pid files inside. The daemons are detached and carry nothing of the suite's
environment: to the leak checks they are part of the machine, whenever they are started, while what a test starts
*through* them (a job, say) is still the test's.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from penstock.files.kinds import read_mounts

from .account import Account

PREFIX = "penstock-run-"
MARK = "RUN_OF_PENSTOCK_TESTS"
LIMIT_S = 60.0
"""How long a daemon may take to start or to end; far from what any of them needs."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOK_EVERY_S = 0.01
_PORTS = range(18_000, 32_000)
"""Below what the kernel hands out for outgoing connections, so that a port that was free a moment ago still is."""
_LAUNCH = """
import subprocess, sys
pid_file, log, *argv = sys.argv[1:]
with open(log, "ab") as output:
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
with open(pid_file, "w") as file:
    file.write(f"{child.pid}\\n")
child.returncode = 0  # it is to outlive this process, which is no mistake
"""


class ServiceError(RuntimeError):
    """A service that ought to run here does not; the message ends with what its daemons logged."""


class Home:
    """A service's directory: `run/NAME[.INSTANCE].pid` (NAME is the process's), `log/`, and what else it wants."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_identity(os.getpid())}-"))
        self.path.chmod(0o755)
        self.mark = {MARK: str(self.path)}
        """For the environment of everything that is to end with the service, whoever starts it."""
        self.environment = {"PATH": SYSTEM_PATH, "HOME": str(self.path), "LC_ALL": "C.UTF-8", **self.mark}
        """What the daemons see."""
        self.directory("run", mode=0o1777)  # each daemon writes its pid file as its own user
        self.directory("log", mode=0o1777)

    def directory(self, name: str, *, owner: str | None = None, mode: int = 0o755) -> Path:
        """A new directory, for `owner` where this process may give it away."""
        path = self.path / name
        path.mkdir(parents=True)
        path.chmod(mode)
        return self.give(path, owner)

    def file(self, name: str, content: str | bytes, *, owner: str | None = None, mode: int = 0o644) -> Path:
        """A new file, complete with its mode and owner before it has a content."""
        path = self.path / name
        path.touch()
        path.chmod(mode)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.give(path, owner)

    def give(self, path: Path, owner: str | None) -> Path:
        """Make `owner` the owner of `path`, where this process may."""
        if owner is not None and os.geteuid() == 0:
            shutil.chown(path, owner)
        return path

    def run(self, argv: Sequence[str | Path], *, stdin: str = "") -> str:
        """Run a program to its end with the daemons' environment; what it printed. ServiceError if it fails."""
        with tempfile.TemporaryFile() as output:  # no pipe: what daemonises would keep it open
            done = subprocess.run(
                argv, input=stdin.encode(), stdout=output, stderr=output, env=self.environment, check=False
            )
            output.seek(0)
            printed = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise ServiceError(f"{argv[0]} failed ({done.returncode}): {printed.strip()}\n{self.logged()}")
        return printed

    def launch(self, name: str, argv: Sequence[str | Path]) -> None:
        """Start a program that does not detach by itself, detached."""
        pid_file = self.pid_file(name)
        self.run([sys.executable, "-IS", "-c", _LAUNCH, pid_file, self.path / "log" / f"{name}.log", *argv])
        pid = int(pid_file.read_text())
        self.wait_for(lambda: _has_begun(pid), f"{name} has begun")

    def pid_file(self, name: str) -> Path:
        """Where the daemon `name` has its pid; the part before the first dot is the name of its process."""
        return self.path / "run" / f"{name}.pid"

    def pid(self, name: str) -> int | None:
        """The pid of the daemon `name` while it runs."""
        return _trusted_pid(self.path, self.pid_file(name))

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Look until it holds. ServiceError with the logs if it never does."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise ServiceError(f"waited {LIMIT_S:g} s in vain until {what}\n{self.logged()}")
            time.sleep(_LOOK_EVERY_S)

    def signal(self, names: Iterable[str], number: int = signal.SIGTERM) -> None:
        """Signal daemons and wait for their ends; one that ignores it is killed."""
        _end_daemons(self.path, [self.pid_file(name) for name in names], number)

    def logged(self) -> str:
        """The ends of all logs."""
        logs = [log for log in sorted((self.path / "log").iterdir()) if log.is_file()]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def end(self) -> None:
        """End all that is left and remove the directory."""
        _end(self.path)


def sweep() -> None:
    """End the services of runs that are no more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid, _, rest = path.name.removeprefix(PREFIX).partition("-")
        with contextlib.suppress(FileNotFoundError):  # another run sweeps too
            ours = path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink()
            if ours and pid.isdecimal() and _identity(int(pid)) != f"{pid}-{rest.partition('-')[0]}":
                _end(path)


def programs_missing(packages: Mapping[str, str]) -> list[str]:
    """The Debian packages of the programs (program → package) that are not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH])
    return sorted({package for program, package in packages.items() if shutil.which(program, path=path) is None})


def not_installed(packages: Sequence[str]) -> str:
    """Why a service that needs `packages` is left out, and what to do about it."""
    return (
        f"not installed: {', '.join(packages)}; "
        f"on Debian, as root: apt-get install --no-install-recommends {' '.join(packages)}"
    )


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that nobody has."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind(("127.0.0.1", port := random.choice(_PORTS)))
                ports.append(port)
        return ports


def listens(port: int) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def processes() -> list[Path]:
    """Every other process's folder in /proc."""
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal() and int(folder.name) != os.getpid()]


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and so on down; not those that have lost a parent in between."""
    found: list[int] = []
    for folder in processes():
        with contextlib.suppress(OSError):  # ended while we looked
            if int(_fields(int(folder.name))[1]) == pid:
                found += [int(folder.name), *descendants(int(folder.name))]
    return found


def name_of(pid: int) -> str:
    """A process's name; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _identity(pid: int) -> str | None:
    """The process and when it was started, in ticks since boot: together they are never used again."""
    try:
        fields = _fields(pid)
    except OSError:
        return None
    return None if fields[0] == "Z" else f"{pid}-{fields[19]}"


def _has_begun(pid: int) -> bool:
    """Whether it is known by its command line, which the kernel fills in a moment after a program is found; or over."""
    try:
        return _identity(pid) is None or bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return True


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process: state, parent, ... (proc(5), from the third field on)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _trusted_pid(home: Path, pid_file: Path) -> int | None:
    """The process a pid file means, if it bears the right name, was started for `home`, and lives."""
    try:
        pid = int(pid_file.read_text())
        folder = Path(f"/proc/{pid}")
        if _identity(pid) is None or not name_of(pid).startswith(pid_file.name.partition(".")[0]):
            return None
        known = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(home) in known else None


def _end_daemons(home: Path, pid_files: Iterable[Path], number: int) -> None:
    pids = [(file, pid) for file in pid_files if (pid := _trusted_pid(home, file)) is not None]
    _end_processes([pid for _, pid in pids], number)
    for file, _ in pids:
        file.unlink(missing_ok=True)  # those that were killed leave theirs


def _end_processes(pids: Iterable[int], number: int) -> None:
    """Signal them and wait for their ends; kill those that take too long."""
    identities = {pid: _identity(pid) for pid in pids}
    for pid in identities:
        kill(pid, number)
    deadline = time.monotonic() + LIMIT_S / 4
    for pid, identity in identities.items():
        while identity is not None and _identity(pid) == identity:
            if time.monotonic() > deadline:
                kill(pid)
            time.sleep(_LOOK_EVERY_S)


def _end(home: Path) -> None:
    pid_files = sorted((home / "run").glob("*.pid"))
    children = [child for file in pid_files if (pid := _trusted_pid(home, file)) for child in descendants(pid)]
    _end_daemons(home, pid_files, signal.SIGTERM)
    others = [int(folder.name) for folder in processes() if _belongs(folder, home)]
    _end_processes([*children, *others], signal.SIGKILL)
    Account.remove_all(home)
    _unmount_all(home)
    shutil.rmtree(home)


def _unmount_all(home: Path) -> None:
    """Let go of file systems whose servers are gone: no directory with one of them inside can be removed."""
    for mount in read_mounts():
        if home in Path(mount.point).parents:
            subprocess.run(["fusermount3", "-u", "-z", mount.point], check=True)


def _belongs(folder: Path, home: Path) -> bool:
    """Was it started by the service, or is it a job of it?"""
    try:
        environment = (folder / "environ").read_bytes()
        if name_of(int(folder.name)).startswith("slurmstepd"):  # they write their titles over their environment
            return home in (folder / "cwd").readlink().parents
    except OSError:  # ended while we looked, or somebody else's
        return False
    mark, conf = (name + os.fsencode(home) for name in (MARK.encode() + b"=", b"SLURM_CONF="))
    return mark in environment or (conf in environment and b"SLURM_JOB_ID=" in environment)
