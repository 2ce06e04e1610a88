"""Every kind of event has its words and its level; who reads the log is told of failures, not of every job."""

from __future__ import annotations

from typing import Any

import pytest
import structlog.testing

from penstock.actors.story import WORDS, tell, tell_all
from penstock.domain.views import EventInfo
from penstock.store.events import _SENTENCES


def event(kind: str, job: int = 0, **data: Any) -> EventInfo:
    return EventInfo("g2", 1, 1000.0, kind, job, "", data)


def test_every_kind_of_event_has_its_words() -> None:
    assert set(WORDS) == set(_SENTENCES)


def test_a_failure_says_what_failed_where_and_why() -> None:
    data = {
        "attempt": 2,
        "failure": "walltime",
        "message": "too long",
        "decision": "attempt 2 of 2",
        "evidence": "o:1: x",
    }
    told = tell(event("job_failed", 7, **data), "hpc", {})
    assert (told.level, told.event) == ("info", "job failed")
    assert told.fields == {
        "workflow": "g2",
        "cluster": "hpc",
        "job": 7,
        "attempt": 2,
        "failure": "walltime",
        "message": "too long",
        "decision": "attempt 2 of 2",
    }


def test_an_end_tells_the_counts_and_other_states_do_not() -> None:
    counts = {"completed": 3, "failed": 1, "skipped": 0}
    told = tell(event("workflow_state", state="failed", reason="1 job failed"), "hpc", counts)
    assert told.event == "workflow failed"
    assert told.fields == {"workflow": "g2", "cluster": "hpc", "reason": "1 job failed", "completed": 3, "failed": 1}
    told = tell(event("workflow_state", state="running", reason=None), "hpc", counts)
    assert (told.event, told.fields) == ("workflow running", {"workflow": "g2", "cluster": "hpc"})


def test_data_never_takes_the_place_of_what_a_line_is_about() -> None:
    data = {"workflow": "other", "job": 9, "event": "x", "level": "y", "set": {"a": 1}}
    fields = tell(EventInfo("g2", 1, 1000.0, "job_reused", 3, "", data)).fields
    assert (fields["workflow"], fields["job"], fields["of_workflow"], fields["of_job"]) == ("g2", 3, "other", 9)
    assert (fields["what"], fields["of_level"], fields["values"]) == ("x", "y", {"a": 1})


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (event("job_completed", 1, attempt=1), "debug"),
        (event("job_started", 1, attempt=1), "debug"),
        (event("job_in_doubt", 1, attempt=1, reason="lost"), "warning"),
        (event("workflow_paused", reason="refused"), "warning"),
        (event("subject_concluded", step="fit", subject="Si", properties=3), "debug"),
        (event("subject_concluded", step="fit", subject="Si", properties=0, failure="bent"), "info"),
        (event("of_a_newer_program", odd=1), "debug"),
    ],
)
def test_levels(told: EventInfo, level: str) -> None:
    with structlog.testing.capture_logs() as logs:
        tell_all([told])
    assert [line["log_level"] for line in logs] == [level]
