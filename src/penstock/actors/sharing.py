"""A workflow's part in results that it shares with others: it looks for theirs before it calculates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.actors.clock import Clock
from penstock.actors.ledger import Ledger
from penstock.domain.states import JobState
from penstock.store.rows import ReadyJob
from penstock.store.sharing import look_for_same, release_awaiting
from penstock.store.workflow_store import timestamp

LOOK_EVERY_S: Final = 1.0
LOOKED_AT_ONCE: Final = 500
"""Jobs that are looked for together, however few can be submitted now: most of them may have been calculated."""


class Sharing:
    """Everything is done in the workflow actor's own turn, and changes rows of this workflow only."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._looked_at = 0.0

    @property
    def awaits(self) -> bool:
        """Whether jobs may be waiting for those of others."""
        return self._ledger.shares_results and self._ledger.store.tally[JobState.WAITING] > 0

    async def keep_own(self, jobs: Sequence[ReadyJob]) -> list[ReadyJob]:
        """Those of the ready jobs that nobody has calculated or calculates now; of the others it is recorded."""
        ledger = self._ledger
        amendment, events = await ledger.store.amend(
            lambda db: look_for_same(db, ledger.workflow_id, [job.id for job in jobs], timestamp())
        )
        ledger.emit(events)
        own = set(amendment.unchanged)
        return [job for job in jobs if job.id in own]

    async def look_again(self) -> None:
        """Jobs are ready again whose other one has ended. It is asked for now and then: other daemons tell nobody."""
        if not self.awaits or self._clock.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = self._clock.monotonic()
        workflow_id = self._ledger.workflow_id
        await self._ledger.store.amend(lambda db: release_awaiting(db, workflow_id, timestamp()))
