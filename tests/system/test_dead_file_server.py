"""A work directory on a file server that does not answer: its workflows wait, and nobody else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.services.file_server import RealFileServer
from tests.system.conftest import Gate, Penstockd, command_spec, eventually

from penstock.control.client import Client

SOON_S = 10.0
"""How long somebody whose disk answers may wait while another's does not: far more than it takes."""
WORKFLOWS = 5


@pytest.fixture(params=["in_place", "in_state"])
def served(request: pytest.FixtureRequest, real_file_server: RealFileServer, daemon: Penstockd) -> Penstockd:
    """A daemon that ends before its file server does; far workflows have their databases there, or here."""
    far = '[daemon]\nnetwork_file_systems = ["fuse"]\n' if request.param == "in_state" else ""
    daemon.stop()
    daemon.config.write_text(f"{far}[clusters.local]\ncores = 20\n", encoding="utf-8")  # what hangs keeps its core
    daemon.start()
    daemon.client.close()
    daemon.client = Client(daemon.state / "penstockd.sock", timeout_s=SOON_S)
    return daemon


def submit(daemon: Penstockd, id: str, root: Path, script: str, *arguments: object, jobs: int = 1) -> Path:
    """A campaign whose work directory is `root`."""
    (root / f"{id}.csv").write_text("name,geometry\n" + "".join(f"{id}-{n},H 0 0 0\n" for n in range(jobs)))
    spec = command_spec(id, script, *arguments, slots=1)
    return Path(daemon.client.submit(spec, str(root / "spec.toml"), str(root)).directory)


def has_results(daemon: Penstockd, id: str) -> bool:
    return bool(daemon.client.status(id).workflow.statuses.get("completed"))


def questions() -> list[tuple[str, ...]]:
    """What people ask of the workflows that wait."""
    asked = (("jobs",), ("show", "1"), ("summary",), ("why", "1"), ("results",), ("pause",), ("locks",))
    return [(verb, f"far-{number}", *more) for number in range(WORKFLOWS) for verb, *more in asked]


def test_nobody_waits_for_it_but_who_works_there(
    served: Penstockd, real_file_server: RealFileServer, gate: Gate
) -> None:
    daemon, far = served, real_file_server
    submit(daemon, "near", daemon.work, gate.script, *gate.paths, jobs=20)
    gate.next_started()
    for number in range(WORKFLOWS):
        submit(daemon, f"far-{number}", far.mount, "sleep 0.1", jobs=200)
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
        daemon.ctl("resume", f"far-{number}")
        assert daemon.wait(f"far-{number}").workflow.statuses == {"completed": 200}
