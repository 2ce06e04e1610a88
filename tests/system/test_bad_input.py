"""What is wrong is refused in words that help, nothing of it stays behind, and the daemon goes on."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MARK
from tests.system.conftest import Gate, Penstockd, query

GOOD = """\
id = "good"
recipe = "campaign"
cluster = "local"
slots = 1
[structures]
source = "table.csv"
geometry_column = "geometry"
[engine]
name = "command"
command = "true"
[resources]
cores = 1
memory = "10MB"
walltime = "1min"
[retry]
max_attempts = 1
"""
WRONG = {
    "syntax": ('id = "good"', 'id = "good', r"spec\.toml:1: not valid TOML: "),
    "syntax further down": ("[engine]", "[engine", r"spec\.toml:8: not valid TOML: "),
    "unknown key": ("slots = 1", "slotz = 1", r"spec\.toml:4: slotz: unknown key 'slotz'; did you mean 'slots'\?"),
    "unknown key in a table": (
        "geometry_column",
        "geometry_colum",
        r"spec\.toml:7: structures\.geometry_colum: unknown key .* did you mean 'geometry_column'\?",
    ),
    "unknown table": ("[retry]", "[retries]", r"spec\.toml:15: retries: unknown key .* did you mean 'retry'\?"),
    "unknown key of the engine": ('command = "true"', 'comand = "true"', r"spec\.toml:10: .*did you mean 'command'\?"),
    "wrong type": ("slots = 1", 'slots = "one"', r"spec\.toml:4: slots: expected `int`, got `str`"),
    "wrong type in a table": ("cores = 1", "cores = 1.5", r"spec\.toml:12: resources\.cores: expected `int`"),
    "no recipe": ('recipe = "campaign"', "", r"spec\.toml: recipe: missing; add it"),
    "unknown recipe": ('"campaign"', '"campagne"', r"spec\.toml:2: recipe: .*campagne.*campaign"),
    "unknown cluster": ('"local"', '"nowhere"', r"spec\.toml:3: cluster: unknown cluster 'nowhere'; known: local"),
    "unknown engine": ('"command"', '"comand"', r"spec\.toml:9: engine\.name: .*comand.*command"),
    "missing file": ("table.csv", "tabel.csv", r"spec\.toml:6: structures\.source: .*tabel\.csv"),
    "unknown column": ('"geometry"', '"geom"', r"spec\.toml:7: structures\.geometry_column: .*geom.*geometry"),
    "too many cores": ("cores = 1", "cores = 4096", r"spec\.toml:12: resources\.cores: 4096 cores .* local has \d+"),
    "too much memory": ('"10MB"', '"900TB"', r"spec\.toml:13: resources\.memory: 900000000 MB .* local has \d+ MB"),
    "unreadable time": ('"1min"', '"soon"', r"spec\.toml:14: resources\.walltime: .*soon"),
    "no attempt": ("max_attempts = 1", "max_attempts = 0", r"spec\.toml:16: retry\.max_attempts: must be between"),
    "no slots": ("slots = 1", "slots = 0", r"spec\.toml:4: slots: must be between 1 and"),
    "way out": ('"good"', '"../x"', r"spec\.toml:1: id: '\.\./x' cannot name a workflow"),
    "absolute": ('"good"', '"/tmp/x"', r"spec\.toml:1: id: '/tmp/x' cannot name a workflow"),
    "hidden": ('"good"', '".x"', r"spec\.toml:1: id: '\.x' cannot name a workflow"),
    "reserved": ('"good"', '"shared"', r"spec\.toml:1: id: 'shared' is a reserved name"),
    "no id": ('"good"', '""', r"spec\.toml:1: id: '' cannot name a workflow"),
    "missing template": (
        'command = "true"',
        'command = "true"\ntemplates = { "run.inp" = "run.tpl" }',
        r"spec\.toml:11: engine\.templates.*run\.tpl cannot be read: No such file",
    ),
}


@pytest.fixture(scope="module")
def standing() -> Iterator[Penstockd]:
    """One daemon for all that is refused; without the suite's mark, since its workers outlive single tests."""
    home = Path(tempfile.mkdtemp(prefix="ps-"))
    daemon = Penstockd(home)
    del daemon.environment[MARK]
    daemon.write_table("table.csv", [("h", "H 0 0 0")])
    daemon.start()
    yield daemon
    daemon.end()
    shutil.rmtree(home)


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_wrong_spec_is_refused_with_file_line_and_key(case: str, dry_run: bool, standing: Penstockd) -> None:
    before, after, message = WRONG[case]
    assert GOOD.count(before) >= 1
    (standing.work / "spec.toml").write_text(GOOD.replace(before, after, 1))
    ran = standing.ctl("submit", "spec.toml", *(["--dry-run"] if dry_run else []))
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert re.match("penstockctl: " + message, ran.stderr), ran.stderr
    assert ran.stderr.count("\n") == 1
    assert standing.client.list_workflows().workflows == ()
    assert [path.name for path in standing.work.rglob("*")].count("x") == 0
    assert not list(standing.work.glob(".penstock/*"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nosuch.toml", r"nosuch\.toml: cannot be read: No such file"),
        (".", r"cannot be read: Is a directory"),
        ("binary.toml", r"binary\.toml: not UTF-8 text \(byte 4\)"),
    ],
)
def test_an_unreadable_spec(path: str, message: str, standing: Penstockd) -> None:
    (standing.work / "binary.toml").write_bytes(b'id="\xff"')
    ran = standing.ctl("submit", path)
    assert ran.returncode == 2
    assert re.search(message, ran.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nobody"], "there is no workflow 'nobody'"),
        (["show", "nobody", 1], "there is no workflow 'nobody'"),
        (["cancel", "nobody"], "there is no workflow 'nobody'"),
        (["export", "nobody", "--to", "csv"], "there is no workflow 'nobody'"),
        (["watch", "../nobody", "--until-end"], "there is no workflow '../nobody'"),
        (["submit"], "Missing argument"),
        (["export", "nobody", "--to", "xls"], "'xls' is not one of"),
    ],
)
def test_wrong_use(arguments: list[Any], message: str, standing: Penstockd) -> None:
    ran = standing.ctl(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_rows_that_cannot_be_taken_in(daemon: Penstockd) -> None:
    rows = [
        ("good", "H 0 0 0\nH 0 0 0.74", 0, 0),
        ("cut short", "2\n\nH 0 0 0\nH 0", 0, 0),
        ("charge", "H 0 0 0", 2, 0),
        ("spin", "H 0 0 0\nH 0 0 0.74", 0, 1),
        ("element", "Xx 0 0 0", 0, 0),
        ("text", "H 0 0 0", "plus", 0),
        ("also good", "H 0 0 0", 0, 1),
    ]
    with (daemon.work / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "geometry", "charge", "uhf"), *rows])
        file.write("too,few\n")
    spec = """id = "rows"\nrecipe = "campaign"\n[structures]\nsource = "rows.csv"\ngeometry_column = "geometry"
charge_column = "charge"\nunpaired_column = "uhf"\nname_column = "name"\n[engine]\nname = "command"\ncommand = "true"
"""
    (daemon.work / "rows.toml").write_text(spec)
    planned = daemon.ctl("submit", "rows.toml", "--dry-run")
    assert planned.returncode == 0
    assert "2 jobs" in planned.stdout
    assert "6 records rejected" in planned.stdout
    assert daemon.client.list_workflows().workflows == ()

    assert daemon.ctl("submit", "rows.toml", "--wait").returncode == 0
    status = daemon.wait("rows")
    assert status.workflow.statuses == {"completed": 2}
    assert status.workflow.rejected == 6
    starts = [2, 4, 8, 9, 11, 12, 13, 14]
    lines = {record.line: record.reason for record in status.rejected}
    assert list(lines) == [starts[n] for n in (1, 2, 3, 4, 5, 7)]
    for row, word in ((1, "geometry"), (2, "charge"), (3, "unpaired"), (4, "Xx"), (5, "plus"), (7, "2 fields")):
        assert word in lines[starts[row]], lines
    assert [(job.name, job.orig_index) for job in daemon.client.jobs("rows").jobs] == [("good", 0), ("also good", 6)]
    shown = daemon.ctl("status", "rows").stdout
    assert re.search(r"rejected +6 ", shown)
    assert all(f"line {line}: {reason}" in shown for line, reason in lines.items())


def test_a_source_without_a_single_usable_row(daemon: Penstockd) -> None:
    daemon.write_table("none.csv", [("bad", "Qq 0 0 0"), ("worse", "H")])
    (daemon.work / "spec.toml").write_text(GOOD.replace("table.csv", "none.csv"))
    ran = daemon.ctl("submit", "spec.toml", "--wait")
    assert ran.returncode == 2
    assert "can be taken in" in ran.stderr
    assert "unknown element 'Qq'" in ran.stderr
    assert daemon.ctl("list").stdout == ""  # its id is still free


def test_an_id_is_taken_once(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("taken", gate.script, *gate.paths)
    gate.next_started()
    (daemon.work / "table.csv").write_text("geometry\nH 0 0 0\n")
    (daemon.work / "spec.toml").write_text(GOOD.replace('"good"', '"taken"'))

    def refused() -> bool:
        ran = daemon.ctl("submit", "spec.toml")
        elsewhere = daemon.ctl("submit", daemon.work / "spec.toml", cwd=daemon.home)
        taken = f"workflow 'taken' exists already in {directory}"
        return ran.returncode == elsewhere.returncode == 2 and taken in ran.stderr and taken in elsewhere.stderr

    assert refused()
    gate.release()
    assert daemon.wait("taken").workflow.statuses == {"completed": 1}
    assert refused()
    daemon.stop()
    daemon.start()
    assert refused()
    assert query(directory, "SELECT count(*) FROM job") == [(1,)]
    foreign = directory.with_name("foreign")
    foreign.mkdir()
    ran = daemon.ctl("submit", "spec.toml", "--id", "foreign")
    assert ran.returncode == 2
    assert ".penstock/foreign exists, but " in ran.stderr
    assert list(foreign.iterdir()) == []
    assert sorted(path.name for path in foreign.parent.iterdir()) == ["foreign", "taken"]


def test_a_second_daemon_on_the_same_state_directory(daemon: Penstockd) -> None:
    with daemon.launch() as second:
        assert second.wait(30) == 2
    message = (
        f"penstockd: a daemon (pid {daemon.pid}) already runs on {daemon.state}; stop it, or set PENSTOCK_STATE_DIR"
    )
    assert message in daemon.log.read_text()
    assert daemon.client.ping().pid == daemon.pid
    assert daemon.ctl("ping").returncode == 0


def test_a_state_directory_that_cannot_be(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    (daemon.home / "file").touch()
    daemon.environment["PENSTOCK_STATE_DIR"] = str(daemon.home / "file" / "s")
    with daemon.launch() as process:
        assert process.wait(30) == 2
    (line,) = daemon.log.read_text().splitlines()
    assert line.startswith("penstockd: ")
    assert str(daemon.home / "file") in line


@pytest.mark.parametrize("text", ["[daemon]\nlog_levl = 'info'\n", "[daemon]\nlog_level = 'loud'\n", "[daemon\n"])
def test_a_wrong_configuration(text: str, stopped_daemon: Penstockd) -> None:
    stopped_daemon.config.write_text(text)
    with stopped_daemon.launch() as process:
        assert process.wait(30) == 2
    (line,) = stopped_daemon.log.read_text().splitlines()
    assert re.match(rf"penstockd: {stopped_daemon.config}:[12]: ", line), line


def test_a_work_directory_that_cannot_be_written(daemon: Penstockd, read_only: Path) -> None:
    (read_only.parent / "table.csv").write_text("geometry\nH 0 0 0\n")
    (read_only.parent / "spec.toml").write_text(GOOD)
    ran = daemon.ctl("submit", read_only.parent / "spec.toml", cwd=read_only)
    assert ran.returncode == 2
    assert str(read_only / ".penstock") in ran.stderr
    assert "must be writable and have room" in ran.stderr
    assert daemon.client.list_workflows().workflows == ()
    daemon.write_table("table.csv", [("h", "H 0 0 0")])
    daemon.submit(GOOD)
    assert daemon.wait("good").workflow.state == "completed"
    ran = daemon.ctl("export", "good", "--to", "csv", "--output", read_only / "good.csv")
    assert ran.returncode == 2
    assert "good.csv" in ran.stderr
    assert re.search("Read-only file system|Permission denied", ran.stderr)


@pytest.fixture
def read_only(home: Path) -> Iterator[Path]:
    """A directory in which nothing can be made; to root even a mode is no obstacle, a read-only file system is."""
    path = home / "read-only"
    path.mkdir(mode=0o555)
    if os.geteuid():
        yield path
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"root may not mount here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)
