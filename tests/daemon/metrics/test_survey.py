"""The survey of disks and databases, on real files; a call that does not return plays a file system that hangs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.daemon.metrics.scraped import WORKFLOW, read, sources_of

from penstock.actors.board import Board
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


async def test_a_file_system_that_hangs_is_left_out_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three disks, the second of which hangs; it answers again later."""
    answers, measure = threading.Event(), surveys.measure_disk
    hang = tmp_path / "b-work"

    def hanging(directory: str, at: float) -> surveys.Disk:
        if directory == str(hang):
            assert answers.wait(60.0)
        disk = measure(directory, at)
        return msgspec.structs.replace(disk, device=len(directory) + ord(Path(directory).name[0]))

    monkeypatch.setattr(surveys, "measure_disk", hanging)
    monkeypatch.setattr(surveys, "_HANGS_AFTER_S", 0.2)
    clock, board = VirtualClock(), Board()
    (tmp_path / "state").mkdir()
    board.pin(workflow(hang, "hung", jobs=9))
    board.pin(workflow(tmp_path / "c-work", "well"))
    survey = Survey(tmp_path / "state", board.workflows.values, clock)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(survey.keep)
            await clock.advance(600.0)
            shown = {Path(disk.directory).name for disk in survey.disks(clock.monotonic())}
            assert shown == {"state", "c-work"}
            assert survey.database_bytes(clock.monotonic()).keys() == {"well"}
            assert survey._hanging == {str(hang)}
            (stuck,) = survey._walks  # a minute later nobody goes there again
            answers.set()
            await stuck.ended.wait()
            await clock.advance(120.0)
            assert "b-work" in {Path(disk.directory).name for disk in survey.disks(clock.monotonic())}
            assert survey.database_bytes(clock.monotonic()).keys() == {"well", "hung"}
            assert not survey._hanging
            tasks.cancel_scope.cancel()
    finally:
        answers.set()


@pytest.mark.parametrize(("mounted", "walks"), [("nfs", 3), ("nfs/{}", 20)])
async def test_a_file_server_that_has_never_answered_takes_no_figures_from_others(
    mounted: str, walks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounted once, or once for each of 20 directories, it takes some threads, and not one more each minute."""
    answers, measure = threading.Event(), surveys.measure_disk

    def hanging(directory: str, at: float) -> surveys.Disk:
        if "nfs" in directory:
            assert answers.wait(60.0)
        return msgspec.structs.replace(measure(directory, at), device=7 if "nfs" in directory else len(directory))

    points = {str(tmp_path / mounted.format(number)) for number in range(20)}
    monkeypatch.setattr(threads, "read_mounts", lambda: [Mount("0:7", point, "nfs4") for point in points])
    monkeypatch.setattr(surveys, "measure_disk", hanging)
    monkeypatch.setattr(surveys, "_HANGS_AFTER_S", 0.2)
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
            stuck = list(survey._walks)
            assert len(stuck) == walks
            answers.set()
            for walk in stuck:
                await walk.ended.wait()
            await clock.advance(120.0)
            assert len(survey.database_bytes(clock.monotonic())) == 21
            assert not survey._walks
            tasks.cancel_scope.cancel()
    finally:
        answers.set()


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
