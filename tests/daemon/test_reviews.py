"""A person's word on a job is checked before a workflow hears it; reviews are asked for and waited for."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from penstock.actors.mailbox import Answer
from penstock.actors.reviews import LeftAlone, Reviewed
from penstock.actors.workflow_messages import ReviewJobs, SetJob
from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.daemon.reviews import review, word_on_job
from penstock.domain.errors import SpecError
from penstock.domain.states import JobState
from penstock.domain.views import Selection
from penstock.store.reviews import ReviewKind

ME, OTHER = Peer(os.getuid(), 1, 1), Peer(os.getuid() + 1, 1, 1)


def test_a_word_becomes_columns_and_says_who_gave_it() -> None:
    word = word_on_job(m.SetJob("w", 3, "completed", -1.5, 0.25, 7, 2.0, "by hand"), OTHER)
    cleared: dict[str, float | int | str | None] = {"failure": None, "error_message": None}
    columns: dict[str, float | int | str | None] = {
        "final_energy": -1.5,
        "max_forces": 0.25,
        "scf_steps": 7,
        "wall_time_s": 2.0,
    }
    assert word == SetJob(3, JobState.COMPLETED, columns | cleared, f"uid {OTHER.uid}", "by hand")
    failed = word_on_job(m.SetJob("w", 3, "failed"), ME)
    assert failed.columns == {"failure": None, "error_message": "set to failed by the daemon's account"}
    metrics = word_on_job(m.SetJob("w", 3, energy_hartree=0.0), ME)
    assert (metrics.state, metrics.columns) == (None, {"final_energy": 0.0})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "status: nothing to set"),
        ({"status": "ready"}, "say 'penstockctl retry'"),
        ({"status": "complete"}, "did you mean 'completed'"),
        ({"energy_hartree": float("nan")}, "energy_hartree: nan is not finite"),
        ({"scf_cycles": -1}, "scf_cycles: must not be negative, not -1"),
        ({"wall_time_s": 1.0, "reason": "x" * 1001}, "reason: longer than 1000"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        word_on_job(m.SetJob("w", 1, **given), ME)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (m.Rescan("w", Selection(jobs=(7,))), ReviewKind.RESCAN),
        (m.RecomputeMetrics("w", Selection(jobs=(7,))), ReviewKind.RECOMPUTE),
        (m.ResetMissing("w", Selection(jobs=(7,))), ReviewKind.RESET_MISSING),
    ],
)
async def test_a_review_is_waited_for(request_: Any, kind: ReviewKind) -> None:
    class Workflows:
        async def ask(self, workflow_id: str, message: Any, _deadline_s: float) -> Answer:
            assert (workflow_id, message) == ("w", ReviewJobs(kind, Selection(jobs=(7,))))
            answer = Answer()
            answer.give(Reviewed(3, 1, 1, {"truncated": 1}, (LeftAlone(7, "truncated", "cut"),)))
            return answer

    reply = await review(cast("Any", Workflows()), request_)
    assert reply == m.Reviewed(3, 1, 1, {"truncated": 1}, (m.LeftAlone(7, "truncated", "cut"),))
