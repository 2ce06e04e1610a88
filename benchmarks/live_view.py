"""How many bytes `penstockctl top` writes to a terminal of 80x24: at rest, and while a campaign runs."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

from benchmarks.daemon import BenchDaemon, bench_daemon, render_spec
from benchmarks.report import Figure, Options, Report, at_most, ratio_at_most
from benchmarks.sources import write_molecules

_TOP = (sys.executable, "-c", "from penstock.ctl.main import main; main()", "top")
_WIDTH, _HEIGHT, _INTERVAL_S = 80, 24, 2.0
_START_S = 12.0
"""Until then it draws for the first time, and rates appear."""


def run(options: Options) -> Report:
    """The overview of a workflow that has ended, then of one whose jobs take half a second each, two at a time."""
    watched_s = 10.0 if options.quick else 60.0
    whole_screens = _WIDTH * _HEIGHT * 60 / _INTERVAL_S
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", int(4 * (watched_s + _START_S) + 40))
        write_molecules(daemon.root / "few.csv", 5)
        daemon.submit(render_spec("ended", "few.csv", {"name": "command", "command": "true"}))
        daemon.wait("ended")
        rest, _ = _written(daemon, watched_s)
        daemon.submit(render_spec("running", "molecules.csv", {"name": "command", "command": "sleep 0.5"}))
        busy, start = _written(daemon, watched_s)
        jobs = daemon.info("running").statuses.get("completed", 0)
        daemon.client.cancel("running")
    figures = [
        Figure("at rest", "B/min", rest * 60 / watched_s, whole_screens, at_most(100)),
        Figure("while jobs end", "B/min", busy * 60 / watched_s, whole_screens, ratio_at_most(0.25)),
        Figure("until the first screen stands", "B", start, _WIDTH * _HEIGHT),
    ]
    parameters = {"watched_s": watched_s, "interval_s": _INTERVAL_S, "jobs": jobs}
    return Report("live_view", "What the live view writes, beside the whole screen at each look", parameters, figures)


def _written(daemon: BenchDaemon, watched_s: float) -> tuple[int, int]:
    """Bytes that it writes in `watched_s`, and before, while it starts."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, _WIDTH, 0, 0))
    environment = daemon.environment() | {"TERM": "xterm"}
    process = subprocess.Popen(_TOP, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        start = _read(ours, _START_S)
        return _read(ours, watched_s), start
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(OSError):  # EIO is a terminal's end of file
            while os.read(ours, 65536):
                pass
        process.wait()
        os.close(ours)


def _read(terminal: int, seconds: float) -> int:
    count, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            count += len(os.read(terminal, 65536))
    return count
