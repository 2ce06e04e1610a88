"""The survey of disks and databases, on real files; a call that does not return plays a file system that hangs."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.daemon.metrics.scraped import WORKFLOW, read, sources_of

from penstock.actors.board import Board
from penstock.actors.clock import Clock
from penstock.daemon.metrics import survey as surveys
from penstock.daemon.metrics.registry import Metrics
from penstock.daemon.metrics.survey import Survey, choose_subjects
from penstock.domain.views import WorkflowInfo
from penstock.files import threads
from penstock.files.kinds import Mount
from penstock.testing.virtual_clock import VirtualClock


def workflow(root: Path, name: str = "g2", size: int = 5000, **fields: Any) -> WorkflowInfo:
    directory = root / ".penstock" / name
    directory.mkdir(parents=True)
    database = directory / "workflow.db"
    database.write_bytes(b"x" * size)
    return msgspec.structs.replace(WORKFLOW, id=name, directory=str(directory), database=str(database), **fields)


def fill(path: str | Path, size: int) -> None:
    Path(path).write_bytes(b"x" * size)


async def test_disks_and_databases_are_measured(tmp_path: Path) -> None:
    state, work = tmp_path / "state", tmp_path / "work"
    state.mkdir()
    info = workflow(work)
    fill(f"{info.database}-wal", 300)
    local = msgspec.structs.replace(workflow(work, "b"), database=str(state / "b.db"))
    fill(state / "b.db", 70)
    ended = workflow(work, "c", state="completed")
    clock, board = VirtualClock(), Board()
    for each in (info, local, ended):
        board.pin(each)
    survey = Survey(state, board.workflows.values, clock)
    metrics = Metrics(sources_of(board, clock, survey=survey))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(survey.keep)
        await clock.advance(1.0)
        found = read(metrics)
        disk = os.statvfs(state)
        assert found[f'disk_size_bytes{{directory="{state}"}}'] == disk.f_blocks * disk.f_frsize
        assert 0 < found[f'disk_free_bytes{{directory="{state}"}}'] < disk.f_blocks * disk.f_frsize
        assert [name for name in found if "disk_size" in name] == [
            f'disk_size_bytes{{directory="{state}"}}'
        ]  # one disk
        sizes = {name: value for name, value in found.items() if "database_bytes" in name}
        assert sizes == {
            'workflow_database_bytes{workflow="g2"}': 5300,
            'workflow_database_bytes{workflow="b"}': 70,
        }
        fill(info.database, 0)
        (state / "b.db").unlink()
        await clock.advance(60.0)
        found = read(metrics)
        assert found['workflow_database_bytes{workflow="g2"}'] == 300
        assert 'workflow_database_bytes{workflow="b"}' in found  # as it was a minute ago
        await clock.advance(240.0)
        assert 'workflow_database_bytes{workflow="b"}' not in read(metrics)
        tasks.cancel_scope.cancel()
    assert survey._sizes.keys() == {"g2"}


class Server:
    """A file server: what is on it, by a word in its path, is measured once it answers."""

    def __init__(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self._word, self._measure = word, surveys.measure_disk
        monkeypatch.setattr(surveys, "measure_disk", self.measure)
        monkeypatch.setattr(surveys, "_ROUND_S", 1.0)
        monkeypatch.setattr(surveys, "_HANGS_AFTER_S", 0.0)

    def measure(self, directory: str, clock: Clock) -> surveys.Disk:
        """In place of the survey's own; each directory is a disk, as far as it says."""
        if self._word in directory:
            assert self.answers.wait(60.0)
        disk = self._measure(directory, clock)
        return msgspec.structs.replace(disk, device=len(directory) + ord(Path(directory).name[0]))


async def test_a_file_system_that_hangs_is_left_out_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three disks, the second of which hangs; it answers again later."""
    hang, server = tmp_path / "b-work", Server("b-work", monkeypatch)
    clock, board = VirtualClock(), Board()
    (tmp_path / "state").mkdir()
    board.pin(workflow(hang, "hung", jobs=9))
    board.pin(workflow(tmp_path / "c-work", "well"))
    survey = Survey(tmp_path / "state", board.workflows.values, clock)
    metrics = Metrics(sources_of(board, clock, survey=survey))

    def silent() -> dict[str, float]:
        figures = read(metrics)
        return {name.rpartition("/")[2][:-2]: figures[name] for name in figures if "file_system_silent" in name}

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(survey.keep)
            await clock.advance(600.0)
            shown = {Path(disk.directory).name for disk in survey.disks(clock.monotonic())}
            assert shown == {"state", "c-work"}
            assert survey.database_bytes(clock.monotonic()).keys() == {"well"}
            assert silent() == {"state": 0, "b-work": 1, "c-work": 0}
            assert survey._under_way.keys() == {str(hang)}  # a minute later nobody goes there again
            server.answers.set()
            await survey._under_way[str(hang)].wait()
            assert "b-work" in {Path(disk.directory).name for disk in survey.disks(clock.monotonic())}
            await clock.advance(60.0)
            assert survey.database_bytes(clock.monotonic()).keys() == {"well", "hung"}
            assert silent() == {"state": 0, "b-work": 0, "c-work": 0}
            tasks.cancel_scope.cancel()
    finally:
        server.answers.set()


@pytest.mark.parametrize(("mounted", "inside"), [("nfs", 3), ("nfs/{}", 20)])
async def test_a_file_server_that_has_never_answered_takes_no_figures_from_others(
    mounted: str, inside: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounted once, or once for each of 20 directories, it takes some threads, and not one more each minute."""
    server = Server("/nfs/", monkeypatch)
    points = {str(tmp_path / mounted.format(number)) for number in range(20)}
    monkeypatch.setattr(threads, "read_mounts", lambda: [Mount("0:7", point, "nfs4") for point in points])
    clock, board = VirtualClock(), Board()
    (tmp_path / "state").mkdir()
    for number in range(20):
        board.pin(workflow(tmp_path / "nfs" / str(number), f"hung-{number}"))
    board.pin(workflow(tmp_path / "other", "well"))
    survey = Survey(tmp_path / "state", board.workflows.values, clock)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(survey.keep)
            await clock.advance(1200.0)
            assert survey.database_bytes(clock.monotonic()).keys() == {"well"}
            assert len(survey._inside) == len(survey.hanging()) == inside
            server.answers.set()
            for over in list(survey._under_way.values()):
                await over.wait()
            assert len(survey.database_bytes(clock.monotonic())) == 21
            await clock.advance(60.0)
            assert survey.hanging() == []
            tasks.cancel_scope.cancel()
    finally:
        server.answers.set()


async def test_the_daemons_own_disk_is_measured_beside_links_that_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their paths they are all on one file system."""
    server = Server("/nfs/", monkeypatch)
    clock, board = VirtualClock(), Board()
    (tmp_path / "state").mkdir()
    for number in range(5):
        board.pin(workflow(tmp_path / "nfs" / str(number), f"hung-{number}"))
    survey = Survey(tmp_path / "state", board.workflows.values, clock)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(survey.keep)
            await clock.advance(1200.0)
            assert [disk.directory for disk in survey.disks(clock.monotonic())] == [str(tmp_path / "state")]
            tasks.cancel_scope.cancel()
    finally:
        server.answers.set()


async def test_what_takes_long_in_all_but_answers_each_time_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds are counted by looks at the clock: sixteen of them, one for each database, and the last goes on."""
    goes_on, measure, seconds = threading.Event(), surveys.measure_database, itertools.count()

    def slow(database: str) -> int:
        if "w15" in database:
            assert goes_on.wait(60.0)
        return measure(database)

    monkeypatch.setattr(surveys, "measure_database", slow)
    monkeypatch.setattr(surveys, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    monkeypatch.setattr(surveys, "_ROUND_S", 1.0)
    clock, board = VirtualClock(), Board()
    (tmp_path / "state").mkdir()
    for number in range(16):
        board.pin(workflow(tmp_path / "work", f"w{number}"))
    survey = Survey(tmp_path / "state", board.workflows.values, clock)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(survey.keep)
            await clock.advance(1.0)
            assert survey._inside.keys() == {str(tmp_path / "work")}
            assert survey.hanging() == []
            goes_on.set()
            await survey._under_way[str(tmp_path / "work")].wait()
            assert len(survey.database_bytes(clock.monotonic())) == 16
            tasks.cancel_scope.cancel()
    finally:
        goes_on.set()


async def test_where_no_thread_can_be_begun_the_survey_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    clock = VirtualClock()
    survey = Survey(tmp_path, list, clock)
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            with monkeypatch.context() as patched:
                patched.setattr(anyio.to_thread, "run_sync", refuse)
                tasks.start_soon(survey.keep)
                await clock.advance(30.0)
            assert survey.disks(clock.monotonic()) == []
            await clock.advance(60.0)
            assert [disk.directory for disk in survey.disks(clock.monotonic())] == [str(tmp_path)]
            tasks.cancel_scope.cancel()
    assert [line["error"] for line in lines] == ["can't start new thread"]


def test_twenty_disks_are_shown_at_most() -> None:
    survey = Survey(Path("/state"), list, VirtualClock())
    for number in range(30):
        survey.note_disk(surveys.Disk(f"/d{number:02d}", number, 1, 2, 3, has_inodes=True, at=0.0))
    survey.note_disk(surveys.Disk("/state", 99, 1, 2, 3, has_inodes=False, at=0.0))
    shown = [disk.directory for disk in survey.disks(10.0)]
    assert (shown[0], len(shown)) == ("/state", 20)
    assert survey.disks(1000.0) == []


def test_a_directory_of_any_bytes_spoils_no_page() -> None:
    clock, board = VirtualClock(), Board()
    survey = Survey(Path("/state"), list, clock)
    survey.note_disk(surveys.Disk("/d\udcff", 1, 1, 2, 3, has_inodes=True, at=0.0))
    assert read(Metrics(sources_of(board, clock, survey=survey)))['disk_size_bytes{directory="/d?"}'] == 2


def test_subjects_are_where_active_workflows_are(tmp_path: Path) -> None:
    info = workflow(tmp_path / "w")
    gone = workflow(tmp_path / "v", "gone", state="faulted")
    subjects = choose_subjects("/state", [info, workflow(tmp_path / "x", "ended", state="failed"), gone])
    assert subjects.directories == ("/state", str(tmp_path / "w"), str(tmp_path / "v"))
    assert subjects.databases[str(tmp_path / "w")] == (("g2", info.database),)


def test_a_workflow_that_was_adopted_is_measured_where_it_lies() -> None:
    lies = msgspec.structs.replace(WORKFLOW, directory="/scratch/g2", database="/scratch/g2/workflow.db")
    assert choose_subjects("/state", [lies]).directories == ("/state", "/scratch")
