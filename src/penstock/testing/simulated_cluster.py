"""A cluster in virtual time, with latencies, limits and faults: an actor in front of a `SimulatedWorld`."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.actors.cluster_port import (
    Attach,
    Cancel,
    ClusterMessage,
    ClusterRestarted,
    Detach,
    Forget,
    Resolve,
    Submit,
)
from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Actor
from penstock.domain.calculation import Exit
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Observed, Seen, Submission
from penstock.testing.simulated_world import Fate, SimulatedWorld

_NEVER_ARRIVED = "it never arrived"
_SILENCE = "no answer came to its submission"


class SimulatedCrashError(RuntimeError):
    """The actor was made to break."""


class _Look(msgspec.Struct, frozen=True):
    """Time to look at what runs."""


class _Order:
    """What the actor remembers of a submission."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.told: dict[int, AttemptSeen] = {}
        self.closed = False
        self.refused: str | None = None


class SimulatedCluster(Actor[ClusterMessage | _Look]):
    """The actor. It may be restarted at any time: `world` and `owners` outlive it, all else is forgotten."""

    def __init__(self, me: Ref[Any], name: str, world: SimulatedWorld, owners: dict[str, Ref[Any]]) -> None:
        self._me = me
        self._name = name
        self._world = world
        self._behaviour = world.behaviour
        self._owners = owners
        self._orders: dict[str, _Order] = {}

    async def started(self) -> None:
        """Asks the workflows it knows to attach again, and begins to look."""
        for owner in self._owners.values():
            owner.post(("restarted", self._name), ClusterRestarted(self._name))
        self.tasks.start_soon(self._keep_looking)

    async def handle(self, message: ClusterMessage | _Look) -> None:
        """One message; now and then it breaks over it."""
        if isinstance(message, Attach):
            self._owners[message.workflow_id] = message.owner
        self._maybe_crash(message)
        match message:
            case Submit(submission, manifest):
                self._submit(submission, manifest)
            case Attach():
                self._attach(message)
            case Detach(workflow_id):
                self._owners.pop(workflow_id, None)
            case Cancel(ulid, attempts):
                self._world.cancel(ulid, set(attempts))
            case Resolve(ulid, positions):
                self._resolve(ulid, positions)
            case Forget(ulid):
                self._orders.pop(ulid, None)
                self._world.forget(ulid)
            case _Look():
                self._look()
        self._maybe_crash(message)

    def _maybe_crash(self, message: object) -> None:
        planned = type(message) in self._world.breaks_over
        if planned:
            self._world.breaks_over.remove(type(message))
        if planned or self._world.chance(self._behaviour.crashes / 2):
            raise SimulatedCrashError(f"cluster {self._name} was made to break")

    # ---- orders -----------------------------------------------------------------------------------------------------

    def _submit(self, submission: Submission, manifest: bytes) -> None:
        if submission.ulid not in self._orders:
            order = self._orders[submission.ulid] = _Order(submission)
            if not self._behaviour.queueing:
                self._tell(order, _all_of(submission, AttemptSeen(Seen.QUEUED)))
            self.tasks.start_soon(self._place, order, manifest)

    async def _place(self, order: _Order, manifest: bytes) -> None:
        while (fate := await self._world.submit(order.submission, manifest)) is Fate.REFUSED:
            await self._world.clock.sleep(self._behaviour.poll_s)
        match fate:
            case Fate.DENIED:
                order.closed, order.refused = True, self._world.refusal
                order.told = _all_of(order.submission, AttemptSeen(Seen.NOT_RUN, reason="it was refused"))
                self._tell(order, order.told)
            case Fate.SILENCE:
                order.told = _all_of(order.submission, AttemptSeen(Seen.IN_DOUBT, reason=_SILENCE)) | order.told
                self._tell(order, order.told)
                await self._world.clock.sleep(self._world.draw(self._behaviour.doubt_s))
                self._bar(order)
            case Fate.ACCEPTED if self._behaviour.queueing:
                self._tell(order, _all_of(order.submission, AttemptSeen(Seen.QUEUED)) | order.told)

    def _attach(self, message: Attach) -> None:
        for submission in message.open:
            order = self._orders.get(submission.ulid)
            if order is None:
                order = self._orders[submission.ulid] = _Order(submission)
                self._bar(order)
            else:
                queued = {} if self._behaviour.queueing else _all_of(submission, AttemptSeen(Seen.QUEUED))
                self._tell(order, queued | order.told)

    def _bar(self, order: _Order) -> None:
        """Settles a submission that nobody knows about: unless it is there, it never will be."""
        if self._behaviour.queueing and order.submission.ulid in self._world.placed:
            self._tell(order, _all_of(order.submission, AttemptSeen(Seen.QUEUED)) | order.told)
        if self._world.bar(order.submission.ulid):
            order.closed = True
            never = _all_of(order.submission, AttemptSeen(Seen.NOT_RUN, reason=_NEVER_ARRIVED))
            order.told = never | {n: seen for n, seen in order.told.items() if seen.seen is Seen.ENDED}
            self._tell(order, order.told)

    def _resolve(self, ulid: str, positions: dict[int, Resolution]) -> None:
        """A person's word on attempts in doubt; what is there after all goes its way."""
        order = self._orders.get(ulid)
        if order is None or order.closed or not self._world.bar(ulid):
            return
        now = self._world.clock.time()
        for position, resolution in positions.items():
            said = AttemptSeen(Seen.NOT_RUN, reason=f"a person says: {resolution}")
            if resolution is not Resolution.NOT_RUN:
                said = AttemptSeen(Seen.ENDED, now, Exit(None, None, now, now, "lost", f"a person says: {resolution}"))
            order.told[position] = said
        order.closed = (
            all(seen.seen in (Seen.ENDED, Seen.NOT_RUN) for seen in order.told.values())
            and len(order.told) == order.submission.size
        )
        self._tell(order, order.told)

    # ---- news -------------------------------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            await self._world.clock.sleep(self._behaviour.poll_s)
            self._me.post("look", _Look())

    def _look(self) -> None:
        orders = list(self._orders.values())
        self._world.random.shuffle(orders)
        for order in orders:
            placed = self._world.placed.get(order.submission.ulid)
            if placed is None or order.closed or self._world.chance(self._behaviour.delays):
                continue
            news = {n: seen for n, seen in placed.seen.items() if order.told.get(n) != seen}
            older, order.told = order.told, dict(placed.seen)
            order.closed = placed.finished
            if news or order.closed:
                self._tell(order, news)
            if self._world.chance(self._behaviour.repeats):
                self._tell(order, older)

    def _tell(self, order: _Order, news: dict[int, AttemptSeen]) -> None:
        owner = self._owners.get(order.submission.workflow_id)
        if owner is not None:
            ulid = order.submission.ulid
            owner.post(("observed", ulid), Observed(ulid, news, order.closed, order.refused), Observed.merged)


def _all_of(submission: Submission, seen: AttemptSeen) -> dict[int, AttemptSeen]:
    return dict.fromkeys(range(submission.size), seen)
