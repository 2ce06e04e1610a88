"""The daemon while a file server hangs that its workers are in."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.file_server import RealFileServer
from tests.system.conftest import Penstockd, command_spec, eventually

from penstock.control.client import Client
from penstock.domain.errors import PenstockError
from penstock.domain.process_id import STAT_FIELDS, read_stat

DOES_NOT_ANSWER = "file system does not answer; its tasks wait"
ASKED = 4


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cannot_be_killed(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat[STAT_FIELDS["state"]] == "D"


def test_others_go_on_and_the_daemon_can_be_stopped(
    daemon: Penstockd, real_file_server: RealFileServer, tmp_path: Path
) -> None:
    """More sources are looked at than there are workers, one of which cannot be killed: a link leads to a dead server.

    Before a worker is asked, it is only seen that the source's own directory answers.
    """
    structure = real_file_server.mount_relay() / "h.xyz"
    structure.write_text("1\n\nH 0 0 0\n")
    (tmp_path / "h.xyz").symlink_to(structure)
    tables = {"structures": {"source": str(tmp_path), "format": "xyz"}}

    def plan(number: int) -> None:
        text = command_spec(f"far-{number}", "true", **tables)
        with contextlib.suppress(PenstockError), Client(daemon.state / "penstockd.sock", timeout_s=60.0) as client:
            client.plan(text, str(daemon.work / "spec.toml"), str(daemon.work))

    plan(0)  # the first imports take longest, and are no matter of the server's
    real_file_server.freeze()
    try:
        with ThreadPoolExecutor(ASKED) as clients:
            for number in range(ASKED):
                clients.submit(plan, number)
            eventually(lambda: daemon.logged(DOES_NOT_ANSWER), "the daemon has found out")
            daemon.submit_command("here", "true", jobs=20)
            assert daemon.wait("here").workflow.state == "completed"
            workers = children(daemon.pid)
            assert daemon.stop() == 0
            eventually(lambda: any(cannot_be_killed(pid) for pid in workers), "one has been killed, and is there still")
    finally:
        real_file_server.thaw()
    assert daemon.logged(DOES_NOT_ANSWER) == 1
