"""Whether a process does anything, told by what the kernel counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.actors.effort import Effort, Rest, read_effort, rest_after

BEFORE = Rest(Effort(cpu_ticks=50, wakes=1000), 100.0)


@pytest.mark.parametrize(
    ("effort", "now_s", "since_s"),
    [
        (Effort(50, 1000), 110.0, 100.0),
        (Effort(50, 1006), 110.0, 100.0),  # a client that asks the dead server again every few seconds
        (Effort(51, 1000), 110.0, 110.0),
        (Effort(49, 1000), 110.0, 110.0),  # a child has ended that nobody waited for
        (Effort(50, 1100), 110.0, 110.0),  # it looks again and again whether a lock is free
        (Effort(50, 1000, is_running=True), 110.0, 110.0),  # it would, but the machine has no core for it
    ],
)
def test_a_process_rests_until_it_does_something(effort: Effort, now_s: float, since_s: float) -> None:
    assert rest_after(BEFORE, effort, now_s).since_s == since_s


@contextmanager
def python(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said that it is there, and ends when its standard input does."""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield process


def effort_of(pid: int) -> Effort:
    found = read_effort(pid)
    assert found is not None
    return found


def has_grown(pid: int, before: Effort) -> bool:
    """Returns when it has; the test's time limit is that of a process that works."""
    while effort_of(pid).cpu_ticks <= before.cpu_ticks:
        os.sched_yield()
    return True


def test_the_work_of_a_process_and_of_its_children_counts() -> None:
    busy = "print('there', flush=True)\nwhile True: pass"
    with python(busy) as process:
        before = effort_of(process.pid)
        assert before.is_running
        assert has_grown(process.pid, before)
        process.kill()
    parent = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "print('there', flush=True)\nsys.stdin.read()\nchild.kill()\nchild.wait()\n"
    )
    with python(parent) as process:
        assert has_grown(process.pid, effort_of(process.pid))


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    with python("print('there', flush=True)") as process:
        pass
    assert read_effort(process.pid) is None
