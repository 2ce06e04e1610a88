"""A workflow of an earlier release, in the middle of its work, goes on under this one."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import msgspec
from tests.actors.campaign import Campaign
from tests.store.filled import query

from penstock.domain.ids import new_ulid
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations, prepare

SPEC = (
    '{"recipe": "campaign", "structures": {"source": "molecules.csv"}, "slots": 2, "retry": {"max_attempts": 2}, '
    '"engine": {"name": "command", "command": ["true"]}}'
)


def write_old_workflow(directory: Path, now: float) -> str:
    """A database of schema 2: one job completed, two in an open submission, one that got more memory, one ready."""
    path, ulid = directory / "workflow.db", new_ulid(now)
    prepare(path, load_migrations(WORKFLOW_MIGRATIONS)[:2], create=True)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO workflow VALUES ('w', 'campaign', 1, ?, '{\"argv\": [\"true\"]}', 'isolated', 'w', 'running', "
            "NULL, 2, 'spec', 0, ?, ?)",
            (SPEC, now, now),
        )
        db.execute("INSERT INTO step VALUES (1, 'w', 'calculate', 'fan', 'running', '5')")
        states = ["completed", "submitting", "submitting", "ready", "ready"]
        for number, state in enumerate(states, 1):
            db.execute("INSERT INTO material VALUES (?, 'w', 'w', ?, 1, ?)", (number, f"h{number}", number - 1))
            db.execute(
                "INSERT INTO job (id, orig_index, elements, natoms, status, charge, spin, geometry, created_at, "
                "updated_at, workflow_id, step_id, material_id, name, source_line, state, attempts, memory_mb) "
                "VALUES (?, ?, 'H', 1, ?, 0, 2, '1\n\nH 0 0 0\n', '', '', 'w', 1, ?, ?, ?, ?, ?, ?)",
                (
                    *(number, number - 1, "ready" if number > 1 else "completed", number, f"h{number}", number + 1),
                    *(state, int(number < 4), 2000 if number == 4 else None),
                ),
            )
        columns = "(ulid, workflow_id, cluster, lane, size, state, created_at, width)"
        db.execute(f"INSERT INTO submission {columns} VALUES ('0', 'w', 'local', 0, 1, 'closed', ?, 1)", (now,))
        db.execute(f"INSERT INTO submission {columns} VALUES (?, 'w', 'local', 0, 2, 'open', ?, 1)", (ulid, now))
        attempt = "(workflow_id, job_id, number, submission, position, directory, state, created_at)"
        for job, submission, position, state in (
            (1, "0", 0, "completed"),
            (2, ulid, 0, "intent"),
            (3, ulid, 1, "intent"),
        ):
            db.execute(
                f"INSERT INTO attempt {attempt} VALUES ('w', ?, 1, ?, ?, ?, ?, ?)",
                (job, submission, position, f"jobs/0000/{job}/1", state, now),
            )
        db.executemany("INSERT INTO tally VALUES ('w', ?, ?)", [("completed", 1), ("submitting", 2), ("ready", 2)])
        db.commit()
    return ulid


class OldCampaign(Campaign):
    """A campaign whose database an earlier release has written."""

    async def create(self) -> None:
        self.directory.mkdir(parents=True)
        self.ulid = write_old_workflow(self.directory, self.clock.time())


async def test_a_workflow_with_open_submissions_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    async with OldCampaign(tmp_path, 5) as run:
        assert await run.until_ended() == "completed"
        run.check_books()
        assert run.info.states == {"completed": 5}
        attempts = dict(run.query("SELECT job_id, count(*) FROM attempt GROUP BY job_id"))
        assert attempts == {1: 1, 2: 2, 3: 2, 4: 1, 5: 1}  # what never arrived was not run, and costs nothing
        assert run.query("SELECT DISTINCT blamed, blameless FROM job") == [(0, 0)]
        steps = dict(run.query("SELECT ulid = ?, max(step_id) FROM submission WHERE ulid != '0' GROUP BY 1", run.ulid))
        assert steps == {1: None, 0: 1}
        assert run.query("SELECT memory_mb FROM submission WHERE memory_mb IS NOT NULL") == [(2000,)]
        step = run.query("SELECT key, after, parameters, resources, optional, state FROM step")
        assert step == [("calculate", None, None, None, 0, "completed")]
    backup = run.directory / "workflow.db.v2.bak"
    with contextlib.closing(sqlite3.connect(backup)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


async def test_rows_of_before_the_upgrade_have_no_chain(tmp_path: Path) -> None:
    write_old_workflow(tmp_path, 1.0)
    prepare(tmp_path / "workflow.db", load_migrations(WORKFLOW_MIGRATIONS), create=False)
    columns = "step, parent_id, deck, final_deck, checkpoint, handed, resume, parameters, remedies"
    assert query(tmp_path, f"SELECT DISTINCT {columns} FROM job") == [(None,) * 9]
    assert query(tmp_path, "SELECT DISTINCT step_id FROM submission") == [(None,)]
    assert query(tmp_path, "SELECT DISTINCT remedy, evidence FROM attempt") == [(None, None)]
    assert msgspec.json.decode(query(tmp_path, "SELECT spec FROM workflow")[0][0])["recipe"] == "campaign"
