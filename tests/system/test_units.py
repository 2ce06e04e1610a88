"""The units under a real systemd: installed as a person would, with an account of their own and all their hardening."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.systemd import INSTALLATION, RealSystemd
from tests.system.conftest import Gate, command_spec, eventually

from penstock.control.session import ENDED_WORKFLOW

WORK = Path("/var/lib/penstock/work")
LOG = Path("/run/penstockd.log")
CONFIG = Path("/etc/penstock/config.toml")
DROP_IN = Path("/etc/systemd/system/penstockd.service.d/50-test.conf")
SERVICE, SOCKET = "penstockd.service", "penstockd.socket"
TO_LOG = f"[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"


class Machine:
    """A machine with Penstock's system service, and two people of whom one may use it."""

    def __init__(self, systemd: RealSystemd) -> None:
        self.systemd = systemd
        self.run = systemd.run
        self.install()
        for name, groups in (("alice", ["--groups", "penstock"]), ("bob", [])):
            self.run("useradd", "--create-home", "--shell", "/bin/sh", *groups, name)
        self.as_alice("umask 022; mkdir alice", cwd=WORK)

    def install(self) -> None:
        """What `penstockctl service install` says to do."""
        self.run("penstockctl", "service", "install")
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "penstock.conf")
        self.configure()
        self.run("systemctl", "enable", "--now", "penstockd")

    def configure(self, text: str = "") -> None:
        """A drop-in with `text`, and the log where it can be read."""
        self.write(DROP_IN, TO_LOG + text)
        self.run("systemctl", "daemon-reload")

    def write(self, path: Path, text: str) -> None:
        place = self.systemd.seen(path)
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_text(text, encoding="utf-8")

    def log(self) -> str:
        return self.systemd.seen(LOG).read_text(encoding="utf-8")

    def unit(self, name: str, unit: str = SERVICE) -> str:
        return self.systemd.show(unit, name)[name]

    @property
    def pid(self) -> int:
        """The daemon's, as it is known there."""
        return int(self.unit("MainPID"))

    def as_alice(self, script: str, cwd: Path = WORK / "alice", *, ok: bool = True) -> str:
        return self.run("sh", "-c", f"cd {cwd} && {script}", user="alice", HOME="/home/alice", ok=ok)

    def campaign(self, id: str, script: str, *arguments: object) -> None:
        """A workflow of one job, of Alice's."""
        spec = command_spec(id, script, *arguments)
        self.as_alice(f"printf 'name,geometry\\na,H 0 0 0\\n' > {id}.csv; printf %s {shlex.quote(spec)} > {id}.toml")
        self.as_alice(f"penstockctl submit {id}.toml")

    def ended(self, id: str) -> str:
        """Its state once it has ended."""

        def state() -> str:
            return str(json.loads(self.as_alice(f"penstockctl status {id} --json"))["workflow"]["state"])

        eventually(lambda: state() in ENDED_WORKFLOW, f"{id} ends")
        return state()


@pytest.fixture(scope="module")
def machine(real_systemd: RealSystemd) -> Machine:
    return Machine(real_systemd)


@pytest.fixture(autouse=True)
def running(machine: Machine) -> Iterator[None]:
    """Every test begins with a daemon as it is shipped."""
    yield
    machine.systemd.seen(CONFIG).write_text('[daemon]\ngroup = "penstock"\n')
    machine.configure()
    machine.run("systemctl", "reset-failed", SERVICE, SOCKET, ok=False)
    machine.run("systemctl", "restart", SERVICE)


@pytest.fixture
def door(machine: Machine, request: pytest.FixtureRequest) -> Iterator[tuple[Gate, tuple[Path, ...]]]:
    """A gate, and its two paths there."""
    name = f"gate-{request.node.name.replace('[', '-').replace(']', '')}"
    place = machine.systemd.home.path / "varlib/penstock/work" / name
    gate = Gate(place)
    for path in (place, *gate.paths):
        path.chmod(0o777)
    yield gate, tuple(WORK / name / path.name for path in gate.paths)
    gate.close()


def test_it_runs_as_installed(machine: Machine) -> None:
    assert machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{SERVICE}") == ""
    shown = machine.systemd.show(
        SERVICE, "ActiveState", "UnitFileState", "StatusText", "User", "WatchdogUSec", "Result"
    )
    assert shown == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "StatusText": "0 workflows at work; 1 cluster",
        "User": "penstock",
        "WatchdogUSec": "2min",
        "Result": "success",
    }
    status = json.loads(machine.run("penstockctl", "service", "status", "--json"))
    assert set(status["files"].values()) == {"same"}
    assert status["units"][SOCKET]["ActiveState"] == "active"
    assert "left-over" not in machine.systemd.home.logged()


def test_the_group_may_use_it_and_nobody_else(machine: Machine) -> None:
    assert f"pid {machine.pid}" in machine.as_alice("penstockctl ping")  # without being told where it is
    asked = ("penstockctl", "--socket", "/run/penstock/penstockd.sock", "ping")
    assert "not readable" in machine.run(*asked, user="bob", HOME="/home/bob", ok=False)
    assert "no daemon answers on /home/bob" in machine.run(*asked[::3], user="bob", HOME="/home/bob", ok=False)
    found = machine.run("stat", "--format=%a %U %G", "/run/penstock/penstockd.sock", "/var/lib/penstock")
    assert found == "660 penstock penstock\n750 penstock penstock\n"


def test_a_member_gives_it_work_and_reads_the_results(machine: Machine) -> None:
    machine.campaign("first", "id -un; echo $HOME; umask")
    assert machine.ended("first") == "completed"
    assert machine.as_alice("cat .penstock/first/jobs/*/1/1/stdout") == "penstock\n/var/lib/penstock\n0027\n"
    exported = json.loads(machine.as_alice("penstockctl export first --to csv --json"))
    assert "completed" in machine.as_alice(f"cat {exported['path']}")


def test_calculations_and_their_temporary_files_outlive_the_daemon(
    machine: Machine, door: tuple[Gate, tuple[Path, ...]]
) -> None:
    gate, paths = door
    script = f'f=$(mktemp) && g=$(mktemp -p /var/tmp) && echo kept > "$f" && {gate.script}; cat "$f"; ls "$g"'
    machine.campaign("outlives", script, *paths)
    _, job = gate.next_started()
    first, inode = machine.pid, machine.run("stat", "--format=%i", "/run/penstock/penstockd.sock")
    machine.run("systemctl", "stop", SERVICE)
    assert machine.unit("ActiveState") == "inactive"
    assert machine.run("ps", "-o", "pid=", "-p", str(job)).strip() == str(job)
    assert machine.run("stat", "--format=%i", "/run/penstock/penstockd.sock") == inode
    machine.as_alice("penstockctl ping")  # which starts it
    assert machine.pid not in (0, first)
    gate.release()
    assert machine.ended("outlives") == "completed"
    kept, path = machine.as_alice("cat .penstock/outlives/jobs/*/1/1/stdout").split()
    assert kept == "kept"
    assert path.startswith("/var/tmp/")
    assert json.loads(machine.as_alice("penstockctl show outlives 1 --json"))["attempts"][0]["number"] == 1


def test_calls_wait_while_it_is_restarted(machine: Machine) -> None:
    machine.run("systemctl", "stop", SERVICE)
    first = machine.pid
    machine.configure("ExecStartPre=/bin/sh -c 'read line < /run/penstock/hold'\nRestrictSUIDSGID=no\n")
    machine.run("mkfifo", "--mode=666", "/run/penstock/hold")
    argv = machine.systemd.argv("penstockctl", "ping", user="alice", HOME="/home/alice")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as call:
        eventually(lambda: machine.unit("ActiveState") == "activating", "the call starts it")
        machine.run("sh", "-c", "echo go > /run/penstock/hold")
        out, _ = call.communicate(timeout=60)
    machine.run("rm", "/run/penstock/hold")
    assert call.returncode == 0
    assert f"pid {machine.pid}" in out
    assert machine.pid != first


def test_the_watchdog_ends_a_daemon_that_hangs_and_no_calculation(
    machine: Machine, door: tuple[Gate, tuple[Path, ...]]
) -> None:
    gate, paths = door
    machine.configure("WatchdogSec=1s\n")
    machine.run("systemctl", "restart", SERVICE)
    machine.campaign("watched", gate.script, *paths)
    _, job = gate.next_started()
    first = machine.pid
    machine.run("kill", f"-{signal.SIGSTOP.name[3:]}", str(first))
    eventually(lambda: machine.pid not in (0, first) and machine.unit("ActiveState") == "active", "it is restarted")
    assert machine.unit("NRestarts") == "1"
    assert "Fatal Python error: Aborted" in machine.log()  # and where it was
    assert machine.run("ps", "-o", "pid=", "-p", str(job)).strip() == str(job)
    gate.release()
    assert machine.ended("watched") == "completed"


def test_a_kill_is_mended(machine: Machine) -> None:
    first = machine.pid
    machine.run("kill", "-KILL", str(first))
    eventually(lambda: machine.pid not in (0, first) and machine.unit("ActiveState") == "active", "it is restarted")


def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    machine.write(CONFIG, "[demon]\n")
    assert "failed" in machine.run("systemctl", "restart", SERVICE, ok=False)
    shown = machine.systemd.show(SERVICE, "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "unknown key" in machine.log() or "demon" in machine.log()


def test_reload_reads_the_configuration(machine: Machine) -> None:
    machine.write(CONFIG, '[daemon]\ngroup = "penstock"\n[workflow]\nslots = 7\n')
    first = machine.pid
    machine.run("systemctl", "reload", SERVICE)

    def follows() -> bool:
        settings = json.loads(machine.as_alice("penstockctl config --json"))["settings"]
        return any(setting["key"] == "slots" and setting["value"] == 7 for setting in settings)

    eventually(follows, "the configuration holds")
    eventually(lambda: machine.unit("SubState") == "running", "it has reloaded")
    assert machine.pid == first


LIMITS = textwrap.dedent("""\
    import ctypes, json, mmap, multiprocessing.shared_memory, os, resource, socket, subprocess
    def can(act):
        try:
            return act() is not False
        except OSError:
            return False
    run = lambda *argv: subprocess.run(argv, capture_output=True).returncode == 0
    def shared():
        block = multiprocessing.shared_memory.SharedMemory(create=True, size=64)
        block.close()
        block.unlink()
    print(json.dumps({
        "code in memory": can(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)),
        "affinity": can(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))),
        "shared memory": can(shared),
        "internet": can(lambda: socket.socket(socket.AF_INET).close()),
        "netlink": can(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
        "inputs at home": can(lambda: open("/home/alice/input").close()),
        "own processes": os.access(f"/proc/{os.getppid()}/environ", os.R_OK),
        "stack": can(lambda: resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY,) * 2)),
        "raw packets": can(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
        "write at home": can(lambda: open("/home/alice/open/x", "w").close()),
        "write to /usr": can(lambda: open("/usr/x", "w").close()),
        "write to /etc": can(lambda: open("/etc/x", "w").close()),
        "others' processes": os.path.exists("/proc/1"),
        "kernel memory": can(lambda: open("/dev/kmsg").close()),
        "name spaces": run("unshare", "--user", "true"),
        "mount": run("mount", "-t", "tmpfs", "tmpfs", "/tmp"),
        "setuid": can(lambda: os.chmod("stdout", 0o4755)),
        "privileges": open("/proc/self/status").read().count("CapBnd:\\t0000000000000000") == 0,
    }))
    """)


def test_what_programs_need_they_may_and_nothing_else(machine: Machine) -> None:
    machine.run("sh", "-c", "echo 1 > /home/alice/input; chmod 755 /home/alice; mkdir -m 777 /home/alice/open")
    machine.campaign("limits", f'exec {INSTALLATION}/bin/python -c "$0"', LIMITS)
    assert machine.ended("limits") == "completed", machine.as_alice("cat .penstock/limits/jobs/*/1/1/stderr")
    found = json.loads(machine.as_alice("cat .penstock/limits/jobs/*/1/1/stdout"))
    needed = list(found)[:8]
    assert {name for name, can in found.items() if can} == set(needed)


def test_a_drop_in_allows_more(machine: Machine) -> None:
    machine.run("mkdir", "-p", "-m", "777", "/home/alice/results")
    machine.run("chmod", "755", "/home/alice")
    script = "echo 1 > /home/alice/results/x && unshare --user --map-root-user --mount mount -t tmpfs tmpfs /mnt"
    machine.configure("ReadWritePaths=/home/alice/results\nRestrictNamespaces=no\nSystemCallFilter=@mount\n")
    machine.run("systemctl", "restart", SERVICE)
    machine.campaign("more", script)
    assert machine.ended("more") == "completed", machine.as_alice("cat .penstock/more/jobs/*/1/1/stderr")


MANAGER = """\
[Unit]
DefaultDependencies=no
[Service]
User=bob
Type=notify
ExecStart=/lib/systemd/systemd --user
Environment=XDG_RUNTIME_DIR=/run/user/{uid}
RuntimeDirectory=user/{uid}
Delegate=yes
KillMode=mixed
"""


def test_one_person_s_daemon_under_that_person_s_systemd(machine: Machine) -> None:
    uid = machine.run("id", "-u", "bob").strip()

    def as_bob(*command: str, ok: bool = True) -> str:
        return machine.run(*command, user="bob", ok=ok, HOME="/home/bob", XDG_RUNTIME_DIR=f"/run/user/{uid}")

    machine.write(Path("/etc/systemd/system/bobs.service"), MANAGER.format(uid=uid))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "bobs")
    try:
        assert "enable-linger" in as_bob("penstockctl", "service", "install", "--user")
        as_bob("systemctl", "--user", "daemon-reload")
        as_bob("systemctl", "--user", "enable", "--now", "penstockd")
        pid = as_bob("systemctl", "--user", "show", "-pMainPID", "--value", "penstockd").strip()
        assert f"pid {pid}," in as_bob("penstockctl", "ping")
        environment = machine.run("cat", f"/proc/{pid}/environ").split("\0")
        path = next(line for line in environment if line.startswith("PATH="))
        assert path.startswith(f"PATH={INSTALLATION}/bin:")  # of the shell that it was installed from
        assert as_bob("penstockctl", "service", "status", "--user").count(" active ") == 2
        as_bob("systemctl", "--user", "stop", SERVICE)
        assert "pid" in as_bob("penstockctl", "ping")  # the socket has started it
        assert "it runs; first" in as_bob("penstockctl", "service", "uninstall", "--user", ok=False)
        as_bob("systemctl", "--user", "disable", "--now", SERVICE, SOCKET)
        assert as_bob("penstockctl", "service", "uninstall", "--user").count("removed") == 3
    finally:
        machine.run("systemctl", "stop", "bobs")


def test_what_was_installed_is_removed_and_the_account_s_work_stays(machine: Machine) -> None:
    assert "it runs; first" in machine.run("penstockctl", "service", "uninstall", ok=False)
    machine.run("systemctl", "disable", "--now", SERVICE, SOCKET)
    machine.write(Path(f"/etc/systemd/system/{SERVICE}"), "# mine\n")
    refused = machine.run("penstockctl", "service", "uninstall", ok=False)
    assert "-# mine" in refused
    machine.run("penstockctl", "service", "uninstall", "--force")
    assert not machine.systemd.seen("/etc/sysusers.d/penstock.conf").exists()
    assert machine.systemd.seen(CONFIG).exists()
    assert machine.systemd.seen("/var/lib/penstock/catalogue.db").exists()
    machine.install()
