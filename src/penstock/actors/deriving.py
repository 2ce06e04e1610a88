"""What a workflow derives from results: jobs that completed ones unfold into, conclusions of its analyses.

Worker processes do it, one round at a time; the supervisor commits what they bring. Killed in between, nothing is there
of it, and the look for what is due finds it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiosqlite
from anyio.abc import TaskGroup

from penstock.actors.clock import Clock
from penstock.actors.errands import Errands
from penstock.actors.ledger import Ledger
from penstock.actors.mailbox import Ref
from penstock.actors.workflow_messages import Derived, Pump
from penstock.domain.properties import Conclusion
from penstock.domain.states import WorkflowState
from penstock.store.deriving import DerivedStep, Drawn, Unfolding, conclude, unfold
from penstock.store.reviews import Amendment
from penstock.store.workflow_store import timestamp

_AT_ONCE: Final = 16
_TRIFLE_S: Final = 0.01
_REST: Final = 20.0
"""So many times as long as a look took that found nothing, no other follows."""


class Deriving:
    """Everything but the deriving itself is done in the workflow actor's own turn."""

    def __init__(self, me: Ref[Any], ledger: Ledger, errands: Errands, clock: Clock) -> None:
        self._me = me
        self._ledger = ledger
        self._errands = errands
        self._clock = clock
        self._rests = False
        self._nothing_due_at: tuple[int, bool] | None = None  # the turn when nothing was, and whether all was read
        self.under_way = False

    @property
    def is_done(self) -> bool:
        """Whether it was looked, and nothing is to be derived as things stand."""
        return not self._ledger.derived or (not self.under_way and self._nothing_due_at == self._turn)

    @property
    def _turn(self) -> tuple[int, bool]:
        return self._ledger.store.turns, self._ledger.step.state != "expanding"

    async def go_on(self, tasks: TaskGroup) -> None:
        """Has derived what is due."""
        if self.under_way or self.is_done or self._rests:
            return
        begun = self._clock.monotonic()
        due = await self._ledger.look_for_due(_AT_ONCE)
        if due is None:
            self._nothing_due_at = self._turn
            if (took_s := self._clock.monotonic() - begun) > _TRIFLE_S:
                self._rests = True
                tasks.start_soon(self._rest, took_s * _REST)
            return
        self.under_way = True
        tasks.start_soon(self._errands.derive, due)

    async def _rest(self, seconds: float) -> None:
        """A look at ten thousand subjects takes a while; after every end of a job it would be all that is done."""
        await self._clock.sleep(seconds)
        self._rests = False
        self._me.post("pump", Pump())

    async def take(self, derived: Derived) -> bool:
        """Commits what was derived; returns whether there is more to see than before."""
        self.under_way = False
        self._nothing_due_at = None
        if derived.spec != self._ledger.row.spec or self._ledger.state is WorkflowState.CANCELLED:
            return False  # it is derived again, with the spec that there is now, or when the workflow goes on
        stamp = timestamp()
        for found in (*derived.found, *_in_vain(derived)):
            change = self._change(derived.due.step, found, stamp)
            _, events = await self._ledger.store.amend(change)
            self._ledger.emit(events)
        return bool(derived.found)

    def _change(
        self, step: DerivedStep, found: Unfolding | Drawn, stamp: str
    ) -> Callable[[aiosqlite.Connection], Awaitable[Amendment]]:
        workflow_id = self._ledger.workflow_id
        if isinstance(found, Unfolding):
            return lambda db: unfold(db, workflow_id, step, found, stamp)
        return lambda db: conclude(db, workflow_id, step, found, stamp)


def _in_vain(derived: Derived) -> list[Unfolding] | list[Drawn]:
    """What is recorded of those that no worker process got through."""
    trouble = derived.trouble or "nothing came of it"
    done = {found.subject if isinstance(found, Drawn) else found.parent for found in derived.found}
    left = [one for one in derived.due.of if one not in done]
    if derived.due.step.is_analysis:
        return [Drawn(one, Conclusion(failure=trouble), None) for one in left]
    return [Unfolding(one, None, [], trouble) for one in left]
