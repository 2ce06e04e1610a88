"""Archive, restore and delete through the real daemon: what comes back is what went away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.system.conftest import Gate, Penstockd, eventually

from penstock.domain.errors import ConflictError, NotFoundError, SpecError, StoreError

FORMATS = ("csv", "json", "extxyz", "ase", "folder")
SCRIPT = 'echo "job $PENSTOCK_JOB_ID" > made; ln -s made beside; test $PENSTOCK_JOB_ID != 2'


def exports(daemon: Penstockd, id: str) -> dict[str, bytes]:
    """Every export of a workflow, byte for byte."""
    found: dict[str, bytes] = {}
    for format_ in FORMATS:
        path = daemon.home / f"{id}-export.{format_}"
        daemon.client.export(id, format_, str(path), overwrite=True)
        files = sorted(path.iterdir()) if format_ == "folder" else [path]
        found |= {f"{format_}/{file.name}": file.read_bytes() for file in files}
    return found


def tree(directory: Path) -> dict[str, bytes | str | None]:
    """Every name below a directory with its content, links with their targets."""
    return {
        str(path.relative_to(directory)): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize("mode", ["isolated", "hybrid", "shared"])
def test_what_was_archived_and_deleted_comes_back_byte_for_byte(daemon: Penstockd, mode: str) -> None:
    directory = daemon.submit_command("w", f"{SCRIPT}; false", jobs=3, isolation=mode)
    other = daemon.submit_command("other", SCRIPT, jobs=2, isolation=mode)
    daemon.wait("w")
    daemon.wait("other")
    eventually((directory / "structures.db").exists, "the view is written")
    before, files = exports(daemon, "w"), tree(directory / "jobs")
    beside, beside_files = exports(daemon, "other"), tree(other / "jobs")

    archived = json.loads(daemon.ctl("archive", "w", f"{daemon.home}/kept/", "--json").stderr or "{}")
    assert archived["error"]["code"] == "spec"  # no such directory
    (daemon.home / "kept").mkdir()
    answer = daemon.ctl("archive", "w", f"{daemon.home}/kept/", "--delete")
    assert answer.returncode == 0, answer.stderr
    assert f"w: archived in {daemon.home}/kept/w.tar.zst" in answer.stdout
    assert not directory.exists()
    with pytest.raises(NotFoundError):
        daemon.client.status("w")
    assert [path.name for path in (daemon.home / "kept").iterdir()] == ["w.tar.zst"]
    assert exports(daemon, "other") == beside
    assert daemon.ctl("list", "--archived").stdout.split()[-1] == f"{daemon.home}/kept/w.tar.zst"

    restored = daemon.client.restore("w")
    assert (restored.state, restored.jobs, restored.directory) == ("failed", 3, str(directory))
    assert exports(daemon, "w") == before
    assert tree(directory / "jobs") == files
    assert exports(daemon, "other") == beside
    assert tree(other / "jobs") == beside_files
    assert {path.name for path in directory.parent.iterdir()} <= {"w", "other", "shared"}

    assert daemon.client.retry("w").changed == 3  # it can be worked on as ever
    assert daemon.wait("w").workflow.statuses == {"failed": 3}


def test_elsewhere_under_another_name(daemon: Penstockd) -> None:
    daemon.submit_command("w", SCRIPT, jobs=2)
    daemon.wait("w")
    daemon.client.report("w")
    daemon.client.archive("w", str(daemon.home / "w.tar.zst"))
    elsewhere = daemon.home / "elsewhere"
    elsewhere.mkdir()
    for mode, id in (("isolated", "copy"), ("shared", "one"), ("shared", "two"), ("hybrid", "three")):
        restored = daemon.client.restore(str(daemon.home / "w.tar.zst"), str(elsewhere), id, mode)
        assert restored.directory == str(elsewhere / ".penstock" / id)
        assert not Path(restored.directory, "report.html").exists()  # it names another workflow
        jobs = daemon.client.jobs(id).jobs
        assert [job.status for job in jobs] == ["completed", "failed"]
        for job in jobs:
            made = Path(restored.directory, job.job_dir or f"jobs/0000/{job.id}/1", "made").read_text()
            assert made == f"job {1 if job.status == 'completed' else 2}\n"
    assert [job.id for job in daemon.client.jobs("two").jobs] == [3, 4]
    assert daemon.client.status("w").workflow.state == "failed"


def test_a_flipped_byte_is_refused_and_leaves_nothing(daemon: Penstockd) -> None:
    daemon.submit_command("w", SCRIPT, jobs=1)
    daemon.wait("w")
    kept = daemon.home / "w.tar.zst"
    daemon.client.archive("w", str(kept), delete=True)
    good = kept.read_bytes()
    for at in (0, 4, 5, 300, len(good) // 2, len(good) - 60, len(good) - 40, len(good) - 1):
        kept.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises((StoreError, SpecError)):
            daemon.client.restore("w")
        assert [path.name for path in (daemon.work / ".penstock").iterdir()] == []
    kept.write_bytes(good)
    assert daemon.client.restore("w").state == "completed"


def test_it_is_refused_while_anything_is_under_way(daemon: Penstockd, gate: Gate) -> None:
    daemon.submit_command("w", gate.script, *gate.paths, jobs=2)
    gate.next_started()
    for act in (lambda: daemon.client.archive("w", str(daemon.home / "a.tar.zst")), lambda: daemon.client.delete("w")):
        with pytest.raises(ConflictError, match="active; wait"):
            act()
    daemon.client.pause("w")
    with pytest.raises(ConflictError, match="active"):
        daemon.client.delete("w")
    gate.release(2)
    eventually(lambda: not daemon.client.status("w").workflow.statuses.get("running"), "nothing runs")
    eventually(lambda: daemon.client.status("w").workflow.statuses == {"ready": 1, "completed": 1}, "one is left")
    daemon.client.archive("w", str(daemon.home / "a.tar.zst"), delete=True)
    assert daemon.client.restore("w").state == "paused"
    daemon.client.resume("w")
    gate.next_started()
    gate.release(1)
    assert daemon.wait("w").workflow.statuses == {"completed": 2}


def test_what_is_no_result_is_cleaned_away_and_what_is_left_is_measured(daemon: Penstockd) -> None:
    again = 'test -e "$0" || { touch "$0"; exit 1; }; head -c 100000 /dev/zero > big; ln big same'
    retry = {"max_attempts": 2, "delay": "1s"}
    directory = daemon.submit_command("w", again, daemon.home / "tried", jobs=1, retry=retry)
    assert daemon.wait("w").workflow.statuses == {"completed": 1}
    before = exports(daemon, "w")
    used = daemon.client.usage("w").workflows[0]
    assert 100_000 <= used.steps["calculate"] < 200_000  # a file with two names is one file
    parts = (used.database, *used.steps.values(), used.source, used.exports, used.storage, used.other)
    assert used.bytes == sum(parts)
    assert daemon.client.clean("w", dry_run=True).attempts == 1
    assert (directory / "jobs" / "0000" / "1" / "1").exists()
    cleaned = daemon.client.clean("w", exports=True)
    assert (cleaned.attempts, cleaned.dry_run) == (1, False)
    assert [path.name for path in (directory / "jobs" / "0000" / "1").iterdir()] == ["2"]
    assert exports(daemon, "w") == before
    assert daemon.client.clean("w").files == 0
    assert "step calculate" in daemon.ctl("du", "w").stdout
    assert daemon.ctl("du").stdout.splitlines()[1].startswith("w ")


def test_a_daemon_killed_over_an_archive_ends_it_at_its_next_start(daemon: Penstockd) -> None:
    """Its worker dies with it, so that no two ever write the same."""
    daemon.submit_command("w", "head -c 30000000 /dev/urandom > big", jobs=2)
    daemon.wait("w")
    kept = daemon.home / "kept"
    kept.mkdir()
    process = daemon.ctl_process("archive", "w", kept, "--delete")
    eventually(lambda: list(kept.iterdir()), "the archive is being written")
    daemon.kill()
    process.communicate()
    daemon.start()
    eventually(lambda: not daemon.client.list_workflows().workflows, "it is archived and gone")
    assert [path.name for path in kept.iterdir()] == ["w.tar.zst"]
    assert daemon.client.restore("w").state == "completed"


def test_a_directory_is_told_apart_from_a_workflows_own(daemon: Penstockd) -> None:
    directory = daemon.submit_command("w", SCRIPT, jobs=1)
    daemon.wait("w")
    with pytest.raises(SpecError, match="own directory"):
        daemon.client.archive("w", str(directory / "w.tar.zst"))
    (daemon.home / "taken.tar.zst").write_text("mine")
    with pytest.raises(ConflictError, match="exists"):
        daemon.client.archive("w", str(daemon.home / "taken.tar.zst"))
    with pytest.raises(SpecError, match="password"):
        daemon.client.archive("w", "s3://me:hush@bucket/")
    assert (daemon.home / "taken.tar.zst").read_text() == "mine"
    shutil.rmtree(directory)
    assert daemon.client.delete("w", force=True).id == "w"
