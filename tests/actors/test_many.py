"""Fifty workflows under one supervisor in virtual time: each keeps to its budget, and breaks alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain.context import Mode
from penstock.domain.views import WorkflowInfo

from .campaign import Campaign, WatchedBoard

MANY = 50
BREAKS = "w07"


class BudgetBoard(WatchedBoard):
    """A board that remembers what was ever shown as running beyond a workflow's slots."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = 0
        self.beyond: list[WorkflowInfo] = []

    def pin(self, info: WorkflowInfo) -> None:
        super().pin(info)
        self.samples += 1
        if info.states.get("running", 0) + info.states.get("collecting", 0) > info.slots:
            self.beyond.append(info)


class Breaking:
    """Breaks its actor at the tenth to twelfth look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> bool:
        self.looks += 1
        return 10 <= self.looks <= 12


@pytest.mark.parametrize("mode", [Mode.ISOLATED, Mode.HYBRID])
async def test_one_that_breaks_is_restarted_alone(tmp_path: Path, mode: Mode) -> None:
    breaking = Breaking()
    campaigns = [
        Campaign(
            tmp_path,
            4,
            workflow_id=f"w{n:02}",
            slots=1 + n % 3,
            mode=mode,
            breaks=breaking if f"w{n:02}" == BREAKS else lambda: False,
        )
        for n in range(MANY)
    ]
    first, board = campaigns[0], BudgetBoard()
    first.board = board
    async with first:
        for campaign in campaigns[1:]:
            campaign.clock, campaign.world, campaign.workers = first.clock, first.world, first.workers
            campaign.board, campaign.cluster, campaign.supervisor = board, first.cluster, first.supervisor
            await campaign.create()
            campaign.start()
        await first.until(lambda: not any(campaign.supervisor_runs() for campaign in campaigns))
        assert first.supervisor.restarts == {BREAKS: 3}
    assert first.world.violations == []
    assert board.beyond == []
    assert board.samples > MANY * 4
    for campaign in campaigns:
        counted = campaign.query("SELECT state, count(*) FROM job WHERE workflow_id = ? GROUP BY 1", campaign.id)
        assert counted == [("completed", 4)]
        attempts = "SELECT count(*) FROM attempt WHERE workflow_id = ? AND state = 'completed'"
        assert campaign.query(attempts, campaign.id) == [(4,)]
