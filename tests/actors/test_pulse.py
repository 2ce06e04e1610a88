"""Signs of life: who is asked, who answers, and who owes none."""

from __future__ import annotations

from typing import Any

from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Actor, Policy, Supervisor
from penstock.testing.virtual_clock import VirtualClock


class Sleeper(Actor[Any]):
    """Handles a message for as many seconds as it says; breaks over an error; does what can be called."""

    def __init__(self, clock: VirtualClock, starts_s: float = 0.0) -> None:
        self.clock = clock
        self.starts_s = starts_s
        self.heard: list[object] = []

    async def started(self) -> None:
        await self.clock.sleep(self.starts_s)

    async def handle(self, message: Any) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            message()
        else:
            await self.clock.sleep(message)
        self.heard.append(message)
        return None


class House:
    def __init__(self, policy: Policy = Policy(3, 60.0, backoff_s=5.0)) -> None:  # noqa: B008
        self.clock = VirtualClock()
        self.supervisor = Supervisor("house", self.clock, policy, self._given_up)

    async def _given_up(self, name: str, error: BaseException) -> None:
        pass

    def start(self, name: str, starts_s: float = 0.0) -> tuple[Sleeper, Ref[Any]]:
        actor = Sleeper(self.clock, starts_s)
        return actor, self.supervisor.start_child(name, lambda _: actor)

    def owed(self) -> dict[str, float | None]:
        return dict(self.supervisor.signs().owed)


async def test_whoever_takes_messages_answers_and_never_hears_of_it() -> None:
    house = House()
    async with house.supervisor:
        actor, ref = house.start("a")
        await house.clock.advance(1.0)
        house.supervisor.ask_for_signs()
        assert house.supervisor.signs().own == 1.0
        assert house.owed() == {"a": 1.0}
        assert ref.waiting == 1
        await house.clock.advance(1.0)
        assert house.supervisor.signs().own is None
        assert house.owed() == {"a": None}
        assert actor.heard == []


async def test_who_is_busy_answers_later_and_is_asked_once_only() -> None:
    house = House()
    async with house.supervisor:
        _, ref = house.start("busy")
        house.start("idle")
        ref.tell(100.0)
        await house.clock.advance(0.0)
        for _ in range(3):
            house.supervisor.ask_for_signs()
            await house.clock.advance(10.0)
        assert house.owed() == {"busy": 0.0, "idle": None}
        assert ref.waiting == 1
        await house.clock.advance(100.0)
        assert house.owed() == {"busy": None, "idle": None}


async def test_an_answer_waits_for_the_messages_before_it() -> None:
    house = House()
    async with house.supervisor:
        _, ref = house.start("a")
        for _ in range(5):
            ref.tell(10.0)
        house.supervisor.ask_for_signs()
        ref.tell(1000.0)
        await house.clock.advance(49.0)
        assert house.owed() == {"a": 0.0}
        await house.clock.advance(2.0)
        assert house.owed() == {"a": None}  # and the long one after it has begun


async def test_who_is_to_be_started_again_owes_nothing() -> None:
    house = House()
    async with house.supervisor:
        _, ref = house.start("a")
        ref.tell(RuntimeError("boom"))
        house.supervisor.ask_for_signs()
        assert house.owed() == {"a": 0.0}
        await house.clock.advance(1.0)  # the first question waits in the mailbox, and counts no more
        assert house.owed() == {"a": None}
        house.supervisor.ask_for_signs()
        assert house.owed() == {"a": None}
        await house.clock.advance(5.0)
        house.supervisor.ask_for_signs()
        assert house.owed() == {"a": 6.0}
        await house.clock.advance(1.0)
        assert house.owed() == {"a": None}


async def test_who_never_gets_through_its_start_owes_an_answer() -> None:
    house = House()
    async with house.supervisor:
        house.start("a", starts_s=1000.0)
        house.supervisor.ask_for_signs()
        await house.clock.advance(500.0)
        assert house.owed() == {"a": 0.0}


async def test_who_was_stopped_or_given_up_is_forgotten() -> None:
    house = House(Policy(0, 60.0))
    async with house.supervisor:
        _, ref = house.start("given up")
        house.start("stopped")
        done, _ = house.start("done")
        await house.clock.advance(0.0)
        house.supervisor.ask_for_signs()
        ref.tell(RuntimeError("boom"))
        done.finished = True  # it ends with the next message: the question that waits
        await house.supervisor.stop_child("stopped")
        await house.clock.advance(0.0)
        assert house.owed() == {}
