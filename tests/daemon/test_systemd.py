"""The service manager's interfaces, on real sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing

from penstock.daemon.systemd import ServiceManager, read_sockets, read_watchdog
from penstock.domain.errors import SpecError

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """What listens in a service manager's place, and its address as NOTIFY_SOCKET has it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@penstock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address.replace("@", "\0", 1))
        channel.setblocking(False)
        yield channel, address


def heard(channel: socket.socket) -> list[str]:
    said = []
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(channel.recv(4096).decode())
    return said


def test_each_word_as_the_interface_has_it(manager: tuple[socket.socket, str]) -> None:
    channel, address = manager
    told = ServiceManager(address, watchdog_s=60.0)
    told.ready("2 workflows\nREADY=0")  # a line is a line
    told.feed_watchdog("fine")
    told.say("not well")
    told.stopping(70.5, "stopping")
    told.reloading()
    *said, reloading = heard(channel)
    assert said == [
        "READY=1\nSTATUS=2 workflows READY=0\n",
        "WATCHDOG=1\nSTATUS=fine\n",
        "STATUS=not well\n",
        "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=70500000\n",
    ]
    begun, at = reloading.splitlines()
    assert begun == "RELOADING=1"
    assert at.startswith("MONOTONIC_USEC=")
    assert at.partition("=")[2].isdecimal()


def test_without_a_manager_nothing_happens() -> None:
    none = ServiceManager.take({}, PID)
    assert none == ServiceManager()
    none.ready("fine")
    none.feed_watchdog("fine")
    assert none.listener() is None


def fill(address: Path) -> int:
    """Sends as much as one sender can, and says how much it was: nothing once the receiver's queue is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, contextlib.suppress(BlockingIOError):
        filler.setblocking(False)
        filler.connect(str(address))
        sent = 0
        while filler.send(b"x"):
            sent += 1
    return sent


@pytest.mark.parametrize("full", [True, False], ids=["does not read", "is gone"])
def test_a_manager_that_does_not_listen_stops_nobody(full: bool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        while full and fill(tmp_path / "notify"):
            pass
        if not full:
            channel.close()
        with structlog.testing.capture_logs() as log:
            ServiceManager(str(tmp_path / "notify")).ready("fine")
    assert [(line["event"], line["said"]) for line in log] == [("the service manager does not listen", "READY")]


def test_want_of_descriptors_is_no_reason_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    with structlog.testing.capture_logs() as log:
        ServiceManager(str(tmp_path / "notify")).feed_watchdog("fine")
    assert [line["error"] for line in log] == ["[Errno 24] Too many open files"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_s_patience(environ: dict[str, str], expected: float | None) -> None:
    assert read_watchdog(environ, PID) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LISTEN_PID": str(PID), "LISTEN_FDS": "1"}, ((3, ""),)),
        ({"LISTEN_PID": str(PID), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "control:x"}, ((3, "control"), (4, "x"))),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, ()),
        ({"LISTEN_FDS": "1"}, ()),
        ({"LISTEN_PID": str(PID), "LISTEN_FDS": "-1"}, ()),
        ({"LISTEN_PID": str(PID), "LISTEN_FDS": "1000000"}, ()),
        ({"LISTEN_PID": str(PID)}, ()),
    ],
)
def test_the_sockets_that_are_handed_over(environ: dict[str, str], expected: tuple[tuple[int, str], ...]) -> None:
    assert read_sockets(environ, PID) == expected


def test_nothing_of_it_is_left_to_others() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": str(PID),
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDNAMES": "control",
        "HOME": "/home",
    }
    assert ServiceManager.take(environ, PID) == ServiceManager("/run/notify", 1.0)
    assert environ == {"HOME": "/home"}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket as systemd opens one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        yield listener


def duplicate(of: socket.socket) -> int:
    return os.dup(of.fileno())


def test_the_control_socket_is_taken_over_with_its_path(listening: socket.socket, tmp_path: Path) -> None:
    for name in ("", "control", "penstockd.socket"):
        found = ServiceManager(sockets=((duplicate(listening), name),)).listener()
        assert found is not None
        with found[0] as taken:
            assert found[1] == tmp_path / "s"
            assert taken.getsockname() == str(tmp_path / "s")


def refusal(*sockets: tuple[int, str]) -> str:
    with pytest.raises(SpecError) as caught:
        ServiceManager(sockets=sockets).listener()
    return str(caught.value)


def test_what_is_no_control_socket_is_refused(listening: socket.socket, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inet:
        inet.bind(("127.0.0.1", 0))
        inet.listen()
        assert "no listening UNIX stream socket" in refusal((duplicate(inet), "control"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(tmp_path / "d"))
        assert "no listening UNIX stream socket" in refusal((duplicate(datagrams), "control"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        assert "no listening UNIX stream socket" in refusal((duplicate(deaf), "control"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind(f"\0penstock-test-{os.getpid()}")
        abstract.listen()
        assert "no absolute path" in refusal((duplicate(abstract), "control"))
    reading, writing = os.pipe()
    os.close(writing)
    assert "is no socket" in refusal((reading, "control"))
    os.close(reading)
    assert "hands over 2 sockets (control, other)" in refusal((1000, "control"), (1001, "other"))


def test_handed_over_sockets_are_not_inherited_by_children(listening: socket.socket) -> None:
    fd = duplicate(listening)
    os.set_inheritable(fd, True)
    handed = 3
    kept = os.dup(handed) if _is_open(handed) else None
    os.dup2(fd, handed)
    try:
        ServiceManager.take({"LISTEN_FDS": "1", "LISTEN_PID": str(PID)}, PID)
        assert not os.get_inheritable(handed)
    finally:
        if kept is not None:
            os.dup2(kept, handed, inheritable=False)
            os.close(kept)
        else:
            os.close(handed)
        os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
