"""The history: every kind of event that is ever written reads as a sentence."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.actors.results import Response, conclude_attempt, not_run_result
from penstock.domain.calculation import Exit, FailureClass, Outcome
from penstock.domain.resources import Resources
from penstock.domain.retry import RetryPolicy
from penstock.domain.states import AttemptState
from penstock.store.database import Database
from penstock.store.events import _SENTENCES, Event, counted, describe, insert_events
from penstock.store.rows import JobFacts, OpenAttempt
from penstock.store.schema import WORKFLOW_MIGRATIONS, load_migrations

EXAMPLES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "workflow_imported": [
        (
            {"sources": ["/a.db"], "counts": {"jobs": 2, "execution_steps": 1}, "left_out": {}},
            "imported from /a.db: 2 jobs, 1 execution steps",
        ),
        (
            {"sources": ["/a.db", "/b.db"], "counts": {"jobs": 2}, "left_out": {"jobs": 3, "files": 1}},
            "imported from /a.db, /b.db: 2 jobs; 4 rows left out",
        ),
    ],
    "job_imported": [
        ({"table": "jobs", "row": 7, "status": "", "remarks": []}, "imported from row 7 of jobs (status none)"),
        (
            {"table": "jobs", "row": 7, "status": "failed", "remarks": ["no charge", "no spin"]},
            "imported from row 7 of jobs (status failed); no charge; no spin",
        ),
    ],
    "workflow_created": [({"recipe": "campaign"}, "created from recipe campaign")],
    "jobs_ingested": [
        ({"jobs": 1, "rejected": 0, "done": False}, "1 structure taken in, 0 rejected"),
        ({"jobs": 2, "rejected": 3, "done": True}, "2 structures taken in, 3 rejected, the source is read to its end"),
    ],
    "submission_intended": [
        ({"submission": "01ARZ", "jobs": 2, "lane": 0}, "2 jobs out as submission 01ARZ in slot 0")
    ],
    "job_started": [({"attempt": 1}, "attempt 1 started")],
    "job_completed": [
        ({"attempt": 2, "energy_hartree": -1.5}, "attempt 2 completed, energy -1.50000000 Eh"),
        ({"attempt": 2, "energy_hartree": 0.0}, "attempt 2 completed, energy 0.00000000 Eh"),
        ({"attempt": 2, "energy_hartree": None}, "attempt 2 completed"),
    ],
    "job_failed": [
        (
            {"attempt": 1, "failure": "exit_code", "message": "ended with {code} 1", "decision": "attempt 1 of 1"},
            "attempt 1 failed (exit_code): ended with {code} 1; attempt 1 of 1",
        )
    ],
    "job_retried": [
        (
            {"attempt": 1, "failure": "signal", "message": "killed", "decision": "attempt 1 of 3"},
            "attempt 1 failed (signal): killed; tried again: attempt 1 of 3",
        )
    ],
    "job_in_doubt": [({"attempt": 1, "reason": "no answer"}, "attempt 1 is in doubt: no answer")],
    "job_doubt_settled": [({"attempt": 1, "by": "it runs"}, "attempt 1 is no longer in doubt: it runs")],
    "job_not_run": [({"attempt": 1, "reason": "lost"}, "attempt 1 never started (lost); it costs nothing")],
    "job_reused": [
        (
            {"workflow": "a", "of_job": 3, "energy_hartree": -1.5},
            "the result of job 3 of workflow a is taken over, energy -1.50000000 Eh",
        )
    ],
    "job_awaits": [({"workflow": "a", "of_job": 3}, "waits for job 3 of workflow a, which calculates the same")],
    "job_cancelled": [({"attempt": 1}, "attempt 1 cancelled")],
    "jobs_cancelled": [({"jobs": 1}, "1 waiting job cancelled")],
    "jobs_held": [({"jobs": 2}, "2 jobs held")],
    "jobs_released": [({"jobs": 1}, "1 job released")],
    "jobs_unfolded": [
        ({"step": "strain", "jobs": 24}, "24 jobs made for step strain"),
        ({"step": "strain", "jobs": 0, "trouble": "no cell"}, "step strain makes nothing of it: no cell"),
    ],
    "subject_concluded": [
        ({"step": "elastic", "subject": "Si", "properties": 7}, "elastic of Si: 7 results"),
        (
            {"step": "elastic", "subject": "Si", "properties": 0, "failure": "no strain"},
            "elastic of Si: 0 results; no strain",
        ),
    ],
    "jobs_reset": [
        ({"jobs": 3}, "3 jobs made ready again"),
        ({"jobs": 1, "reason": "their outputs vanished"}, "1 job made ready again: their outputs vanished"),
    ],
    "job_adopted": [
        (
            {"attempt": 2, "directory": "jobs/0000/1/2", "energy_hartree": -1.5},
            "taken for completed by what is in jobs/0000/1/2, energy -1.50000000 Eh",
        )
    ],
    "metrics_recomputed": [
        (
            {"attempt": 1, "energy_hartree": None, "energy_before_hartree": -1.0},
            "outputs of attempt 1 read again",
        )
    ],
    "job_added": [({"engine": "mine"}, "made through the library, to be calculated with mine")],
    "job_superseded": [({"workflow": "a"}, "no longer shared: the result merged in from workflow a takes its place")],
    "workflow_merged": [({"workflow": "a", "jobs": 2}, "2 results of workflow a merged in")],
    "job_set": [
        (
            {"set": {"status": "completed", "final_energy": -1.5}, "by": "uid 7", "reason": "by hand"},
            "status = completed, final_energy = -1.5 by uid 7: by hand",
        ),
        ({"set": {"scf_steps": 3}, "by": "uid 7", "reason": None}, "scf_steps = 3 by uid 7"),
    ],
    "jobs_given_up": [({"jobs": 1}, "1 job marked never-rerun while waiting for another try: given up")],
    "workflow_state": [
        ({"state": "completed", "reason": None}, "workflow is completed"),
        ({"state": "failed", "reason": "2 jobs failed"}, "workflow is failed: 2 jobs failed"),
    ],
    "job_remedied": [
        (
            {
                "attempt": 1,
                "failure": "scf_not_converged",
                "message": "too long",
                "decision": "rule more: n 1 → 2",
            },
            "attempt 1 failed (scf_not_converged): too long; tried again with rule more: n 1 → 2",
        )
    ],
    "workflow_paused": [({"reason": "no such partition"}, "workflow is paused: no such partition")],
    "workflow_changed": [
        ({"slots": 3, "slots_origin": "set", "priority": -1}, "slots is now 3, priority is now -1"),
        ({"priority": 2}, "priority is now 2"),
        (
            {"revision": 2, "changes": [{"key": "engine.accuracy", "old": None, "new": 0.1}]},
            "changed (revision 2): engine.accuracy from None to 0.1",
        ),
    ],
    "workflow_action_done": [({"action": "export csv", "result": "3 jobs written"}, "export csv: 3 jobs written")],
    "workflow_action_failed": [({"action": "export csv", "result": "no room"}, "export csv failed: no room")],
    "workflow_action_held": [({"action": "clean", "result": "not yet"}, "clean held back: not yet")],
    "workflow_restored": [
        ({"workflow": "v", "archive": "/kept/v.tar.zst"}, "restored from /kept/v.tar.zst, where it was v"),
    ],
    "workflow_adopted": [
        ({"host": "head", "id": "w", "cluster": "hpc"}, "adopted by the daemon on head, to run on cluster hpc"),
        (
            {"host": "head", "id": "v", "cluster": "hpc", "was": "w"},
            "adopted by the daemon on head, to run on cluster hpc; it was w",
        ),
    ],
}


def written_kinds() -> set[str]:
    """Every kind that the source writes into a history."""
    found: set[str] = set()
    for file in Path(str(penstock.__file__)).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for call in re.findall(r"\bEvent\(([^\n]*)", text):
            found |= set(re.findall(r'"((?:job|jobs|workflow|submission|metrics|subject)_[a-z_]+)"', call))
        found |= set(re.findall(r'JobState\.[A-Z]+, JobState\.[A-Z]+, "(\w+)"', text))
    return found


def test_every_kind_that_is_written_has_a_sentence() -> None:
    kinds = written_kinds()
    assert {"workflow_created", "job_retried", "jobs_held", "jobs_released", "job_not_run"} <= kinds
    assert kinds == _SENTENCES.keys() == EXAMPLES.keys()


@pytest.mark.parametrize(
    ("kind", "data", "sentence"), [(kind, *example) for kind, examples in EXAMPLES.items() for example in examples]
)
def test_sentences(kind: str, data: dict[str, Any], sentence: str) -> None:
    assert describe(kind, data) == sentence


@pytest.mark.parametrize("failure", [None, *FailureClass])
@pytest.mark.parametrize("cancelled", [False, True])
def test_every_end_of_an_attempt_reads_as_a_sentence(failure: FailureClass | None, cancelled: bool) -> None:
    attempt = OpenAttempt(0, 7, 2, "jobs/0000/7/2", AttemptState.RUNNING)
    exit_ = Exit(0, None, 1.0, 2.0)
    for attempts in (1, 5):
        policy = RetryPolicy(attempts, 60.0)
        ended = conclude_attempt(
            *("u", attempt, exit_, Outcome(failure, None), JobFacts(), Response(policy, "{}", Resources)),
            had=Resources(),
            now=3.0,
            cancelled=cancelled,
        )
        not_run = not_run_result("u", attempt, "its runner ended", cancelled=cancelled)
        for event in (ended.event, not_run.event):
            assert event is not None
            text = describe(event.kind, event.data)
            assert text.startswith("attempt 2 ")
            assert not set(text) & set("{}\n")
            assert "None" not in text


def test_what_a_newer_program_wrote_still_reads() -> None:
    assert describe("job_teleported", {"to": "moon"}) == "job_teleported {'to': 'moon'}"
    assert describe("job_started", {"try": 1}) == "job_started {'try': 1}"


def test_counting() -> None:
    assert [counted(n) for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


async def test_events_are_numbered_as_they_are_written(tmp_path: Path) -> None:
    database = Database(tmp_path / "workflow.db", load_migrations(WORKFLOW_MIGRATIONS), contextlib.nullcontext)
    await database.create()
    async with database.transaction() as db:
        await db.execute("PRAGMA defer_foreign_keys = ON")
        nothing = await insert_events(db, "w", [])
        first = await insert_events(
            db, "w", [Event("job_started", 1, {"attempt": 1}), Event("jobs_held", 0, {"jobs": 2})]
        )
        second = await insert_events(db, "w", [Event("job_started", 2, {"attempt": 3})])
    rows = await database.fetch("SELECT seq, kind, job_id FROM event ORDER BY seq")
    await database.close()
    assert nothing == []
    assert [(event.seq, event.kind, event.job) for event in first + second] == rows
    assert [event.text for event in first + second] == ["attempt 1 started", "2 jobs held", "attempt 3 started"]
