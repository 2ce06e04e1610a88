"""What /proc says of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from penstock.ctl.doctor.process import (
    Limit,
    Process,
    count_threads,
    environment_of,
    look_at_process,
    parse_environ,
    parse_limits,
    parse_status,
)

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max processes             62547                62547                processes
Max open files            1024                 unlimited            files
"""


def process(cgroup: str = "", environ: dict[str, str] | None = None, command: str = "penstockd") -> Process:
    return Process(7, 1000, command, environ, {}, None, cgroup)


def test_parsers() -> None:
    assert parse_limits(LIMITS) == {"Max processes": Limit(62547, 62547), "Max open files": Limit(1024, None)}
    assert parse_environ("A=1\0B=x=y\0nonsense\0") == {"A": "1", "B": "x=y"}
    assert parse_status("Name:\tx\nUid:\t1000\t0\t0\t0\nThreads:\t4\n") == (1000, 4)
    assert parse_status("") is None


@pytest.mark.parametrize(
    ("cgroup", "environ", "unit", "is_users"),
    [
        ("0::/system.slice/penstockd.service\n", None, "penstockd.service", False),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/penstockd.service", {}, "penstockd.service", True),
        ("0::/system.slice/mine.service", {"SYSTEMD_EXEC_PID": "7"}, "mine.service", False),
        ("0::/system.slice/mine.service", {"SYSTEMD_EXEC_PID": "8"}, "", False),  # started from a shell in a service
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/terminal.service", {}, "", False),
        ("0::/user.slice/user-7.slice/session-2.scope", {}, "", False),
        ("1:name=systemd:/system.slice/penstockd.service/sub", {}, "penstockd.service", False),
    ],
)
def test_which_service_it_is(cgroup: str, environ: dict[str, str] | None, unit: str, is_users: bool) -> None:
    found = process(cgroup, environ)
    assert (found.unit, found.is_of_user_manager) == (unit, is_users)


def test_this_process() -> None:
    own = look_at_process(os.getpid())
    assert own is not None
    assert own.program == own.command.split()[0]
    assert own.uid == os.getuid()
    assert own.limits["Max open files"].soft is not None
    assert own.open_files is not None
    assert own.open_files > 2
    assert not own.is_penstockd
    assert environment_of(own, {}) == own.environ
    assert environment_of(None, {"A": "1"}) == {"A": "1"}
    assert count_threads(os.getuid()) >= 1


def test_a_process_with_limits_of_its_own_and_one_that_is_gone() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (41, 43)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = look_at_process(child.pid)
        assert found is not None
        assert found.limits["Max open files"] == Limit(41, 43)
        child.communicate(b"\n")
    assert look_at_process(child.pid) is None
