"""A work directory on a file server that does not answer: its workflows wait, and nobody else does."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from tests.daemon.metrics.scraped import read
from tests.services.file_server import RealFileServer
from tests.system.conftest import Gate, Penstockd, command_spec, eventually
from tests.system.test_metrics import ask

from penstock.control.client import Client
from penstock.domain.errors import BusyError

SOON_S = 10.0
"""How long somebody whose disk answers may wait while another's does not: far more than it takes."""
WORKFLOWS, JOBS = 5, 60


@pytest.fixture
def served(real_file_server: RealFileServer, stopped_daemon: Penstockd) -> Penstockd:
    """A daemon that ends before its file server does, which counts as one; what hangs keeps its core."""
    daemon = stopped_daemon
    network, cores = 'network_file_systems = ["fuse"]', "cores = 20"
    metrics = f'metrics = "unix:{daemon.home}/m.sock"'
    daemon.config.write_text(f"[daemon]\n{network}\n{metrics}\n[clusters.local]\n{cores}\n", encoding="utf-8")
    daemon.client = Client(daemon.state / "penstockd.sock", timeout_s=SOON_S)
    daemon.start()
    return daemon


def submit(daemon: Penstockd, id: str, root: Path, script: str, *arguments: object, jobs: int = 1) -> Path:
    """A campaign whose work directory is `root`."""
    (root / f"{id}.csv").write_text("name,geometry\n" + "".join(f"{id}-{n},H 0 0 0\n" for n in range(jobs)))
    spec = command_spec(id, script, *arguments, slots=1)
    return Path(daemon.client.submit(spec, str(root / "spec.toml"), str(root)).directory)


def has_results(daemon: Penstockd, id: str) -> bool:
    return bool(daemon.client.status(id).workflow.statuses.get("completed"))


def of_structures(source: Path) -> str:
    """A spec whose structures lie elsewhere than its work directory."""
    table = {"source": str(source), "geometry_column": "geometry", "name_column": "name"}
    return command_spec("new", "true", structures=table)


def changes(daemon: Penstockd, far: Path) -> list[tuple[object, ...]]:
    """What people would do with `far`, which lies there as a whole, and with `near`, on the way there or from there."""
    spec, spare = daemon.work / "new.toml", daemon.work / "spare.tar.zst"
    spec.write_text(of_structures(far / "far.csv"), encoding="utf-8")
    return [
        ("submit", spec),
        ("submit", spec, "--dry-run"),
        ("archive", "far", spare),
        ("archive", "near", far / "near.tar.zst"),
        ("clean", "far"),
        ("clean", "far", "--dry-run"),
        ("delete", "far", "--yes"),
        ("adopt", far / ".penstock" / "other"),
        ("du", "far"),
        ("export", "near", "--to", "csv", "--output", far / "near.csv"),
        ("backup", "near", "--output", far / "near.db"),
        ("restore", far / "near.tar.zst"),
        ("import", far / "old.db"),
    ]


def scraped(daemon: Penstockd) -> dict[str, float]:
    return read(ask(daemon.home / "m.sock")[1])


def questions() -> list[tuple[str, ...]]:
    """What people ask of the workflows that wait."""
    asked = (("jobs",), ("show", "1"), ("summary",), ("why", "1"), ("results",), ("locks",))
    return [(verb, f"far-{number}", *more) for number in range(WORKFLOWS) for verb, *more in asked]


def test_nobody_waits_for_it_but_who_works_there(
    served: Penstockd, real_file_server: RealFileServer, gate: Gate
) -> None:
    daemon, far = served, real_file_server
    submit(daemon, "near", daemon.work, gate.script, *gate.paths, jobs=20)
    gate.next_started()
    for number in range(WORKFLOWS):
        submit(daemon, f"far-{number}", far.mount, "sleep 0.05", jobs=JOBS)
    eventually(lambda: all(has_results(daemon, f"far-{number}") for number in range(WORKFLOWS)), "they work")
    far.freeze()
    asking = [daemon.ctl_process(*question) for question in questions()]
    try:
        gate.release(20)
        assert daemon.wait("near").workflow.statuses == {"completed": 20}
        submit(daemon, "other", daemon.work, "true", jobs=5)
        assert daemon.wait("other").workflow.state == "completed"
        assert "far-0" in daemon.ctl("list").stdout
        answers = [process.communicate(timeout=90) for process in asking]
    finally:
        far.thaw()
        for process in asking:
            process.communicate()
    told = [err for _, err in answers if err]
    assert any(f"the file system of {far.mount}" in err and "does not answer" in err for err in told), told
    for number in range(WORKFLOWS):
        assert daemon.wait(f"far-{number}").workflow.statuses == {"completed": JOBS}


def test_who_would_change_something_there_is_told_and_nothing_begins(
    served: Penstockd, real_file_server: RealFileServer
) -> None:
    daemon, far = served, real_file_server
    directories = {"near": submit(daemon, "near", daemon.work, "true"), "far": submit(daemon, "far", far.mount, "true")}
    for id in directories:
        daemon.wait(id)
    before = {info.id: info for info in daemon.client.list_workflows().workflows}
    wanted = changes(daemon, far.mount)
    far.freeze()
    asking = [daemon.ctl_process(*change) for change in wanted]
    measuring = daemon.ctl_process("du")
    try:
        answers = [process.communicate(timeout=90) for process in asking]
        sizes, remark = measuring.communicate(timeout=90)
    finally:
        far.thaw()
        for process in (*asking, measuring):
            process.kill()
            process.communicate()
    for change, (_, err) in zip(wanted, answers, strict=True):
        assert re.search(f"the file system of {far.mount}.* does not answer", err), (change, err)
    assert [line.split()[0] for line in sizes.splitlines()] == ["workflow", "near", "far"]
    assert remark == "far is on a file system that does not answer\n"
    assert {info.id: info for info in daemon.client.list_workflows().workflows} == before
    assert all(directory.is_dir() for directory in directories.values())
    assert not [path for place in (daemon.work, far.mount) for path in place.glob("*.tar.zst*")]


def test_a_template_there_is_not_waited_for(served: Penstockd, real_file_server: RealFileServer) -> None:
    """Templates are read with the spec, before anything is asked of a worker."""
    daemon, far = served, real_file_server
    (daemon.work / "near.csv").write_text("name,geometry\na,H 0 0 0\n", encoding="utf-8")
    spec = of_structures(daemon.work / "near.csv")
    far.freeze()
    try:
        with closing(Client(daemon.client.path, timeout_s=60.0)) as patient, pytest.raises(BusyError) as told:
            patient.submit(spec, str(far.mount / "spec.toml"), str(daemon.work))
    finally:
        far.thaw()
    assert f"the file system of {far.mount} does not answer" in str(told.value)


def test_a_daemon_that_starts_meanwhile_does_without_it(
    served: Penstockd, real_file_server: RealFileServer, gate: Gate
) -> None:
    """Killed, started and stopped while it hangs, and started again: in the end all is done, nothing twice."""
    daemon, far = served, real_file_server
    submit(daemon, "near", daemon.work, gate.script, *gate.paths, jobs=3)
    gate.next_started()
    done = submit(daemon, "far-done", far.mount, "true")
    daemon.wait("far-done")
    daemon.stop()  # which writes what was last known to the catalogue
    daemon.start()
    log = far.mount / "log"
    submit(daemon, "far-0", far.mount, 'sleep 0.05; echo "$PENSTOCK_JOB_ID" >> "$0"', log, jobs=JOBS)
    eventually(lambda: has_results(daemon, "far-0"), "it works")
    daemon.kill()
    far.freeze()
    try:
        daemon.start()
        states = {info.id: (info.state, info.operation) for info in daemon.client.list_workflows().workflows}
        waits = "on a file system that does not answer"
        assert states == {"near": ("running", ""), "far-done": ("completed", waits), "far-0": ("faulted", waits)}
        assert f"the file system of {done.parent}/far-0 does not answer" in daemon.ctl("status", "far-0").stdout
        refused = daemon.ctl("resume", "far-0")
        assert (refused.returncode, f"far-0 is {waits}" in refused.stderr) == (2, True), refused
        kept = daemon.ctl("archive", "far-done", daemon.work / "far-done.tar.zst")
        assert (kept.returncode, f"far-done is {waits}" in kept.stderr) == (2, True), kept
        assert daemon.logged("goes on") == 0
        silent = f'file_system_silent{{directory="{far.mount}"}}'
        eventually(lambda: scraped(daemon).get(silent) == 1, "the metrics tell which it is")
        assert scraped(daemon)[f'file_system_silent{{directory="{daemon.state}"}}'] == 0
        gate.release(3)
        assert daemon.wait("near").workflow.statuses == {"completed": 3}
        assert daemon.stop() == 0
        daemon.start()
    finally:
        far.thaw()
    eventually(lambda: daemon.state_of("far-0") == "completed", "it goes on")
    assert daemon.client.status("far-0").workflow.statuses == {"completed": JOBS}
    assert sorted(map(int, log.read_text().split())) == list(range(1, JOBS + 1))
    assert daemon.client.status("far-done").workflow.operation == ""
