"""The daemon and a service manager: what it says, what it is handed, what stops the watchdog's feed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.services.daemons import free_ports
from tests.system.conftest import DAEMON, LIMIT_S, Gate, Penstockd, eventually

from penstock.actors.local_cluster import LocalCluster
from penstock.control.aio import AsyncClient
from penstock.daemon.config import parse_config
from penstock.daemon.daemon import Daemon
from penstock.daemon.systemd import ServiceManager

WATCHDOG_S = 2.0


class Manager:
    """A notify socket, and what has been heard on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(path))
        self._channel.settimeout(LIMIT_S)

    def hear(self) -> dict[str, str]:
        """The next message."""
        text = self._channel.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def hear_until(self, name: str) -> list[dict[str, str]]:
        """All messages up to the first that has `name`."""
        heard = [self.hear()]
        while name not in heard[-1]:
            heard.append(self.hear())
        return heard

    def forget(self) -> None:
        """What has come so far counts no more."""
        while self.is_heard(0.0):
            self._channel.recv(4096)

    def is_heard(self, within_s: float) -> bool:
        """Whether anything comes."""
        return bool(select.select([self._channel], [], [], within_s)[0])

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    manager = Manager(home / "notify")
    yield manager
    manager.close()


@pytest.fixture
def notifying(stopped_daemon: Penstockd, manager: Manager) -> Penstockd:
    """A daemon that is under a service manager, not started yet."""
    stopped_daemon.environment |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    return stopped_daemon


def test_a_life_as_the_service_manager_hears_of_it(notifying: Penstockd, manager: Manager) -> None:
    daemon = notifying
    daemon.config.write_text("[daemon]\ndrain_s = 100\n")
    daemon.start()
    ready = manager.hear_until("READY")[-1]
    assert ready["STATUS"] == "0 workflows at work; 1 cluster"
    assert manager.hear_until("WATCHDOG")[-1]["STATUS"] == "0 workflows at work; 1 cluster"
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    reloading = manager.hear_until("RELOADING")[-1]
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert "READY" in manager.hear_until("READY")[-1]
    assert daemon.stop() == 0
    stopping = manager.hear_until("STOPPING")[-1]
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) == 120_000_000  # the drain, and what else there is to do


def test_ready_means_that_it_answers(notifying: Penstockd, manager: Manager) -> None:
    notifying.process = notifying.launch()
    manager.hear_until("READY")
    assert notifying.client.ping().pid == notifying.pid


def test_a_daemon_that_is_frozen_feeds_no_watchdog(notifying: Penstockd, manager: Manager) -> None:
    daemon = notifying
    daemon.start()
    manager.hear_until("WATCHDOG")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
    manager.forget()
    assert not manager.is_heard(WATCHDOG_S)
    daemon.process.send_signal(signal.SIGCONT)
    manager.hear_until("WATCHDOG")


def test_a_job_knows_nothing_of_the_service_manager(notifying: Penstockd, home: Path) -> None:
    daemon = notifying
    daemon.start()
    daemon.submit_command("env", 'env > "$0"', home / "out")
    assert daemon.wait("env").workflow.state == "completed"
    found = {line.partition("=")[0] for line in (home / "out").read_text().splitlines()}
    assert "PENSTOCK_WORKFLOW_ID" in found
    assert not [name for name in found if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]


def test_what_cannot_start_says_so_and_is_never_ready(notifying: Penstockd, manager: Manager) -> None:
    notifying.config.write_text("[demon]\n")
    process = notifying.launch()
    assert process.wait(LIMIT_S) == 2  # the unit has RestartPreventExitStatus=2
    assert not manager.is_heard(0.0)


# ---- the daemon in this process, so that its actors can be broken ----------------------------------------------------


@contextlib.asynccontextmanager
async def inside(home: Path, manager: Manager) -> Any:
    """A daemon in this process's event loop."""
    environ = {"PENSTOCK_STATE_DIR": str(home / "s"), "HOME": str(home)}
    told = ServiceManager(str(manager.path), WATCHDOG_S / 5)
    daemon = Daemon(parse_config("[daemon]\nlog_level = 'error'\n", "config.toml"), None, environ, manager=told)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run)
        await anyio.to_thread.run_sync(manager.hear_until, "READY")
        yield daemon
        os.kill(os.getpid(), signal.SIGTERM)  # cancelled, it would leave its database to a thread


async def heard_soon(manager: Manager, wanted: str) -> None:
    """Listens until a message is `wanted`: fed, or a part of the status of one that is not."""

    def listen() -> None:
        while True:
            said = manager.hear()
            if wanted == "fed" and "WATCHDOG" in said:
                return
            if "WATCHDOG" not in said and wanted in said["STATUS"]:
                return

    await anyio.to_thread.run_sync(listen)


async def test_a_cluster_that_hangs_stops_the_feed_and_one_that_answers_again_is_well(
    home: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = anyio.Event()
    handle = LocalCluster.handle

    async def hang(self: LocalCluster, message: Any) -> None:
        await release.wait()
        await handle(self, message)

    async with inside(home, manager) as daemon:
        await heard_soon(manager, "fed")
        monkeypatch.setattr(LocalCluster, "handle", hang)
        daemon._clusters.reconfigure({})
        await heard_soon(manager, "cluster local does not answer")
        async with AsyncClient(home / "s" / "penstockd.sock") as client:
            assert (await client.ping()).pid == os.getpid()  # the event loop turns all the while
        assert daemon._health.silent() == {"clusters": 1, "workflows": 0}
        release.set()
        await heard_soon(manager, "fed")


async def test_a_blocked_event_loop_feeds_no_watchdog(home: Path, manager: Manager) -> None:
    async with inside(home, manager):
        await heard_soon(manager, "fed")
        manager.forget()
        blocked, heard = threading.Event(), []

        def listen() -> None:
            heard.append(manager.is_heard(WATCHDOG_S))
            blocked.set()

        listener = threading.Thread(target=listen)
        listener.start()
        blocked.wait()  # in the event loop's own thread, which is what must not be
        listener.join()
        assert heard == [False]
        await heard_soon(manager, "fed")


# ---- socket activation -----------------------------------------------------------------------------------------------


def test_the_first_call_starts_it_on_the_socket_that_is_handed_over(
    systemd_tools: None, stopped_daemon: Penstockd
) -> None:
    daemon = stopped_daemon
    path = daemon.state / "penstockd.sock"
    daemon.state.mkdir(mode=0o700)
    argv = ["systemd-socket-activate", f"--listen={path}", "--fdname=control", *_passed(daemon.environment)]
    with daemon.log.open("ab") as log:
        argv += [sys.executable, "-c", DAEMON]
        daemon.process = subprocess.Popen(argv, env=daemon.environment, stderr=log, cwd=daemon.home)
    eventually(path.exists, "it listens")
    inode = path.stat().st_ino
    assert daemon.client.ping().pid == daemon.pid  # it waited in the socket until there was a daemon
    eventually(lambda: daemon.logged("penstockd is up") == 1, "its log says so")
    daemon.client.close()
    assert daemon.stop() == 0
    assert path.stat().st_ino == inode  # the service manager's, not the daemon's


def test_a_socket_elsewhere_is_used_and_complained_of(systemd_tools: None, stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    path = daemon.home / "elsewhere.sock"
    argv = ["systemd-socket-activate", f"--listen={path}", *_passed(daemon.environment), sys.executable, "-c", DAEMON]
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(argv, env=daemon.environment, stderr=log, cwd=daemon.home)
    eventually(path.exists, "it listens")
    assert daemon.ctl("--socket", path, "ping").returncode == 0
    eventually(lambda: daemon.logged("clients look elsewhere") == 1, "its log says so")
    assert not (daemon.state / "penstockd.sock").exists()


def test_a_socket_of_another_kind_is_refused(systemd_tools: None, stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    [port] = free_ports(1)
    address = ("127.0.0.1", port)
    argv = ["systemd-socket-activate", f"--listen={address[0]}:{address[1]}", *_passed(daemon.environment)]
    with daemon.log.open("ab") as log:
        argv += [sys.executable, "-c", DAEMON]
        process = subprocess.Popen(argv, env=daemon.environment, stderr=log, cwd=daemon.home)
    eventually(lambda: _connects(address), "it listens")
    assert process.wait(LIMIT_S) == 2
    assert "no listening UNIX stream socket" in daemon.log.read_text()


def _connects(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


def _passed(environment: dict[str, str]) -> list[str]:
    """systemd-socket-activate hands on the variables that it is told of only."""
    names = [name for name in environment if name.startswith("PENSTOCK_")] + ["HOME", "PATH"]
    return [f"--setenv={name}" for name in names if name in environment]


def test_clients_that_call_while_it_is_away_are_answered_by_the_next(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(daemon.state / "penstockd.sock"))
        listener.listen()
        daemon.process = _handed(daemon, listener)
        daemon.submit_command("left", gate.script, *gate.paths, jobs=2)
        gate.next_started()
        daemon.client.close()
        assert daemon.stop() == 0
        with daemon.ctl_process("status", "left", "--json") as waiting:
            daemon.process = _handed(daemon, listener)
            out, err = waiting.communicate(timeout=LIMIT_S)
        assert waiting.returncode == 0, err
        assert '"id":"left"' in out
        gate.release(2)
        assert daemon.wait("left").workflow.statuses == {"completed": 2}
        daemon.client.close()
        daemon.stop()


_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "control"}
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


def _handed(daemon: Penstockd, listener: socket.socket) -> subprocess.Popen[bytes]:
    """A daemon that is started with a socket that is open already, as a service manager does it."""
    with daemon.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _HAND_OVER, str(listener.fileno()), DAEMON],
            env=daemon.environment,
            stdin=subprocess.DEVNULL,
            stderr=log,
            cwd=daemon.home,
            pass_fds=(listener.fileno(),),
        )
