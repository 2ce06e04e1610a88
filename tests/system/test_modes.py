"""The three modes of isolation, as users meet them: what may be shared is, and what may not is not."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import Gate, Penstockd, command_spec, eventually, toml

from penstock.domain.views import Selection

MODES = ("isolated", "shared", "hybrid")
GOOD = {"diamond": "H 0 0 0.5", "lead": "H 0 0 1.5", "tin": "H 0 0 2.5"}
SCRIPT = (
    'echo "made by $PENSTOCK_WORKFLOW_ID in $PENSTOCK_ISOLATION_MODE" | tee owner; '
    'case $(cat job.inp) in *poison*) exit 3;; *slow*) echo "$PENSTOCK_JOB_ID $$" > "$0"; read line < "$1";; esac; '
    "echo E = -1.25"
)


def test_the_mode_comes_from_the_highest_layer_that_names_one(daemon: Penstockd) -> None:
    daemon.write_table("m.csv", [("h", "H 0 0 0")])
    plain = command_spec("m", "exit 0").replace('id = "m"\n', "")
    (daemon.work / "plain.toml").write_text(plain)
    (daemon.work / "own.toml").write_text(plain + 'isolation = "shared"\n')
    settings, environment = daemon.work / ".penstock.toml", {"PENSTOCK_ISOLATION_MODE": "isolated"}

    def mode(id: str, spec: str, *options: str, env: dict[str, str] | None = None) -> str:
        answer = daemon.ctl("submit", spec, "--id", id, *options, env=env)
        assert answer.returncode == 0, answer.stderr
        status = daemon.ctl("status", id)
        assert f"isolation  {daemon.client.status(id).workflow.mode}" in status.stdout
        return daemon.client.status(id).workflow.mode

    assert mode("built-in", "plain.toml") == "isolated"
    settings.write_text('isolation = "hybrid"\n')
    assert mode("file", "plain.toml") == "hybrid"
    assert mode("environment", "plain.toml", env=environment) == "isolated"
    assert mode("spec", "own.toml", env=environment) == "shared"
    assert mode("line", "own.toml", "--isolation", "hybrid", env=environment) == "hybrid"
    wrong = daemon.ctl("submit", "plain.toml", "--id", "wrong", env={"PENSTOCK_ISOLATION_MODE": "share"})
    assert (wrong.returncode, "'share' is no isolation mode; did you mean 'shared'?" in wrong.stderr) == (2, True)


# ---- the matrix ------------------------------------------------------------------------------------------------------


class Pair:
    """Two workflows in one directory, with equal materials and equal file names."""

    def __init__(self, daemon: Penstockd, modes: tuple[str, str]) -> None:
        self.daemon = daemon
        self.modes = modes
        self.root = daemon.work / "-".join(modes)
        self.root.mkdir()
        self.shares = modes == ("shared", "shared")
        short = "".join(mode[0] for mode in modes)
        self.ids = (f"alpha-{short}", f"beta-{short}")

    def submit(self, which: int, materials: dict[str, str], gate: Gate) -> Path:
        rows = "".join(f"{name},{geometry}\n" for name, geometry in materials.items())
        (self.root / "materials.csv").write_text(f"name,geometry\n{rows}")
        (self.root / "job.template").write_text("$name\n$geometry\n")
        spec = toml(
            {
                "id": self.ids[which],
                "recipe": "campaign",
                "isolation": self.modes[which],
                "slots": 4,
                "structures": {"source": "materials.csv", "geometry_column": "geometry", "name_column": "name"},
                "resources": {"memory": "10MB"},
                "engine": {
                    "name": "command",
                    "command": ["sh", "-c", SCRIPT.replace("$", "$$"), *map(str, gate.paths)],
                    "templates": {"job.inp": "job.template"},
                    "results": {"patterns": {"energy_hartree": r"E = (\S+)"}},
                },
            }
        )
        accepted = self.daemon.client.submit(spec, str(self.root / "spec.toml"), str(self.root))
        return Path(accepted.directory)

    def rows(self, which: int, sql: str) -> list[tuple[Any, ...]]:
        """What plain SQLite finds of one workflow, whose id the statement has for `?`."""
        database = self.daemon.client.status(self.ids[which]).workflow.database
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql, (self.ids[which],)).fetchall()


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a workflow but its database, by name."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("workflow.db"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def lasting(directory: Path) -> dict[str, bytes]:
    """Those but the log, which is written a moment after what it tells of."""
    return {name: text for name, text in contents(directory).items() if name != "workflow.log"}


@pytest.mark.parametrize("modes", list(itertools.product(MODES, MODES)), ids="-".join)
def test_two_live_workflows_with_equal_names(daemon: Penstockd, gate: Gate, modes: tuple[str, str]) -> None:
    """One fails and is archived away while the other runs, which then is cancelled."""
    pair = Pair(daemon, modes)
    first = pair.submit(0, GOOD | {"poison": "H 0 0 9.5"}, gate)
    assert daemon.wait(pair.ids[0]).workflow.state == "failed"
    second = pair.submit(1, GOOD | {"slow": "H 0 0 7.5"}, gate)
    gate.next_started()
    so_far = {"completed": 3, "running": 1}
    eventually(lambda: daemon.client.status(pair.ids[1]).workflow.statuses == so_far, "all but one are done")

    assert first.parent == second.parent == pair.root / ".penstock"
    statuses = "SELECT name, status FROM job WHERE workflow_id = ? ORDER BY name"
    assert dict(pair.rows(0, statuses)) == dict.fromkeys(GOOD, "completed") | {"poison": "failed"}
    assert dict(pair.rows(1, statuses)) == dict.fromkeys(GOOD, "completed") | {"slow": "running"}
    for which in (0, 1):
        spaces = pair.rows(which, "SELECT DISTINCT namespace FROM material WHERE workflow_id = ?")
        assert spaces == [("shared" if modes[which] == "shared" else pair.ids[which],)]
        attempts = pair.rows(which, "SELECT DISTINCT job_id FROM attempt WHERE workflow_id = ?")
        assert len(attempts) == (1 if which and pair.shares else 4)
    origins = pair.rows(1, "SELECT origin ->> 'workflow' FROM job WHERE workflow_id = ? AND origin IS NOT NULL")
    assert origins == ([(pair.ids[0],)] * 3 if pair.shares else [])
    for mine, other, directory in ((0, 1, first), (1, 0, second)):
        files = contents(directory)
        assert {name for name in files if pair.ids[other] in name} == set()
        owners = {text for name, text in files.items() if name.endswith("/owner")}
        made = f"made by {pair.ids[mine]} in {modes[mine]}\n".encode()
        assert owners == {made}
        assert [name for name, text in files.items() if pair.ids[other].encode() in text] == []
    energies = {row.name: row.final_energy for row in daemon.client.jobs(pair.ids[1]).jobs}
    assert energies == dict.fromkeys(GOOD, -1.25) | {"slow": None}

    exported = export(daemon, pair.ids[1])
    before, beside = lasting(second), pair.rows(1, "SELECT count(*), max(seq) FROM event WHERE workflow_id = ?")
    archive_away(pair)
    assert not first.exists()
    assert lasting(second) == before
    assert export(daemon, pair.ids[1]) == exported
    assert pair.rows(1, "SELECT count(*), max(seq) FROM event WHERE workflow_id = ?") == beside
    daemon.client.cancel(pair.ids[1], Selection())
    assert daemon.wait(pair.ids[1]).workflow.statuses == {"completed": 3, "cancelled": 1}


def export(daemon: Penstockd, id: str) -> bytes:
    return Path(daemon.client.export(id, "csv").path).read_bytes()


def archive_away(pair: Pair) -> None:
    """The first workflow goes into a file, and then away; where the other has results of it, only by force."""
    archive = pair.root / "a.tar.zst"
    archived = pair.daemon.ctl("archive", pair.ids[0], archive, "--delete")
    if not pair.shares:
        assert archived.returncode == 0, archived.stderr
        return
    assert (archived.returncode, archive.exists()) == (2, False)
    assert f"3 of {pair.ids[1]}" in archived.stderr
    assert pair.daemon.ctl("archive", pair.ids[0], archive).returncode == 0
    assert pair.daemon.ctl("delete", pair.ids[0], "--force", "--yes").returncode == 0


# ---- many ------------------------------------------------------------------------------------------------------------


def test_fifty_workflows_in_one_directory_each_keep_to_their_budget(stopped_daemon: Penstockd) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[clusters.local]\ncores = 12\n")
    daemon.start()
    budgets = {f"w{n:02}": 1 + n % 3 for n in range(50)}
    directories: dict[str, Path] = {}
    for n, (id, slots) in enumerate(budgets.items()):
        settings = {"slots": slots, "isolation": MODES[n % 3], "priority": n % 2}
        script = 'echo "$PENSTOCK_WORKFLOW_ID" > owner; sleep 0.02'
        directories[id] = daemon.submit_command(id, script, jobs=6, **settings)
    seen: Counter[str] = Counter()
    eventually(partial(_budgets_kept, daemon, budgets, seen), "all have ended")
    assert len(seen) == 50
    shared = 0
    for id, directory in directories.items():
        owners = {path.read_text() for path in directory.rglob("owner")}
        assert owners <= {f"{id}\n"}
        shared += not owners
        info = daemon.client.status(id).workflow
        assert (info.state, info.statuses) == ("completed", {"completed": 6})
    assert shared < 17  # of those in shared mode, which all do the same, at least one did it
    assert daemon.logged("actor restarted") == 0


def _budgets_kept(daemon: Penstockd, budgets: dict[str, int], seen: Counter[str]) -> bool:
    infos = daemon.client.list_workflows().workflows
    for info in infos:
        running = info.states.get("running", 0)
        assert running <= budgets[info.id]
        seen[info.id] += 1
    return all(info.state == "completed" for info in infos)


def test_a_damaged_shared_database_stops_those_who_share_it_only(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text("[clusters.local]\ncores = 4\n")
    daemon.start()
    for id, mode in (("one", "shared"), ("two", "hybrid"), ("alone", "isolated")):
        daemon.submit_command(id, gate.script, *gate.paths, isolation=mode)
        gate.next_started()
    database = Path(daemon.client.status("one").workflow.database)
    assert daemon.client.status("two").workflow.database == str(database)
    daemon.kill()
    kept = database.read_bytes()
    database.write_bytes(kept[:100] + b"\xff" * (len(kept) - 100))
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    gate.release(3)
    daemon.start()
    assert daemon.wait("alone").workflow.statuses == {"completed": 1}
    for id in ("one", "two"):
        eventually(partial(_is_faulted, daemon, id), f"{id} is faulted")
        assert f"{database}" in str(daemon.client.status(id).workflow.reason)


def _is_faulted(daemon: Penstockd, id: str) -> bool:
    return daemon.state_of(id) == "faulted"
