"""A workflow's part in results that it shares with others: it looks for theirs before it calculates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from penstock.actors.clock import Clock
from penstock.actors.ledger import Ledger
from penstock.domain.states import JobState
from penstock.store.rows import ReadyJob
from penstock.store.sharing import count_awaiting, look_for_same, release_awaiting, show_life
from penstock.store.workflow_store import timestamp

LOOK_EVERY_S: Final = 1.0
SHOWS_LIFE_EVERY_S: Final = 300.0
LOOKED_AT_ONCE: Final = 500
"""Jobs that are looked for together, however few can be submitted now: most of them may have been calculated."""


class Sharing:
    """Everything is done in the workflow actor's own turn, and changes rows of this workflow only."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._looked_at = -math.inf
        self._shown_at = -math.inf
        self._awaits = True  # as far as nobody has looked
        self._of_others = 0

    @property
    def awaits(self) -> bool:
        """Whether jobs may be waiting for those of others."""
        return self._ledger.shares_results and self._awaits and self._ledger.store.tally[JobState.WAITING] > 0

    @property
    def awaiting(self) -> int:
        """How many jobs waited for those of other workflows when it was last looked."""
        return self._of_others if self.awaits else 0

    async def keep_own(self, jobs: Sequence[ReadyJob]) -> list[ReadyJob]:
        """Those of the ready jobs that nobody has calculated or calculates now; of the others it is recorded."""
        ledger = self._ledger
        amendment, events = await ledger.store.amend(
            lambda db: look_for_same(db, ledger.workflow_id, [job.id for job in jobs], timestamp()), are_first=True
        )
        ledger.emit(events)
        self._awaits |= amendment.shift.get(JobState.WAITING, 0) > 0
        own = set(amendment.unchanged)
        return [job for job in jobs if job.id in own]

    async def look_again(self) -> None:
        """Jobs are ready again whose other one has ended. It is asked for now and then: other daemons tell nobody."""
        if not self.awaits or self._clock.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = self._clock.monotonic()
        workflow_id = self._ledger.workflow_id
        found = await count_awaiting(self._ledger.store.fetch, workflow_id, timestamp())
        if found.in_vain:
            await self._ledger.store.amend(lambda db: release_awaiting(db, workflow_id, timestamp()))
        self._awaits, self._of_others = found.jobs > found.in_vain, found.of_others

    async def show_life(self) -> None:
        """Others may go on waiting for what is under way here."""
        now = self._clock.monotonic()
        if now - self._shown_at >= SHOWS_LIFE_EVERY_S:
            self._shown_at = now
            workflow_id = self._ledger.workflow_id
            await self._ledger.store.amend(lambda db: show_life(db, workflow_id, timestamp()))
