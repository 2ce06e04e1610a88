"""Supervision in virtual time: how often, how soon, and what the neighbours notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import structlog
import structlog.testing

from penstock.actors.mailbox import Ref
from penstock.actors.supervisor import Actor, Policy, Supervisor
from penstock.domain.errors import BusyError, ConflictError, SpecError
from penstock.testing.virtual_clock import VirtualClock

POLICY = Policy(restarts=3, period_s=60.0, backoff_s=1.0, backoff_max_s=4.0)


class Parrot(Actor[Any]):
    """Says what it hears; raises what is an exception; runs what can be called with itself."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    async def started(self) -> None:
        self.diary.append("started")

    async def stopped(self) -> None:
        self.diary.append("stopped")

    async def handle(self, message: Any) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return message(self)
        self.diary.append(message)
        return message


class House:
    """A supervisor and its diaries."""

    def __init__(self, policy: Policy = POLICY, **options: Any) -> None:
        self.clock = VirtualClock()
        self.given_up: list[tuple[str, str]] = []
        self.diaries: dict[str, list[str]] = {}
        self.supervisor = Supervisor("house", self.clock, policy, self._note, **options)

    async def _note(self, name: str, error: BaseException) -> None:
        self.given_up.append((name, str(error)))

    def start(self, name: str, make: Callable[[list[str]], Parrot] = Parrot) -> Ref[Any]:
        diary = self.diaries.setdefault(name, [])
        return self.supervisor.start_child(name, lambda _: make(diary))


async def settle(house: House) -> None:
    await house.clock.advance(0.0)


async def test_an_actor_that_breaks_is_started_anew_behind_its_reference() -> None:
    house = House()
    async with house.supervisor:
        parrot = house.start("parrot")
        parrot.tell("a")
        parrot.tell(RuntimeError("boom"))
        parrot.tell("b")
        await house.clock.advance(10.0)
        assert house.diaries["parrot"] == ["started", "a", "stopped", "started", "b"]
        assert await parrot.ask("c", 1.0) == "c"
        assert house.supervisor.restarts == {"parrot": 1}
    assert house.diaries["parrot"][-1] == "stopped"
    assert house.given_up == []


async def test_restarts_wait_longer_each_time_up_to_a_limit() -> None:
    house = House(Policy(restarts=5, period_s=1000.0, backoff_s=1.0, backoff_max_s=4.0))
    moments: list[float] = []

    class Timed(Parrot):
        async def started(self) -> None:
            moments.append(house.clock.monotonic())

    async with house.supervisor:
        parrot = house.start("parrot", Timed)
        for _ in range(5):
            parrot.tell(RuntimeError("boom"))
        await house.clock.advance(100.0)
        assert moments == [0.0, 1.0, 3.0, 7.0, 11.0, 15.0]


async def test_too_many_failures_in_the_period_are_given_up() -> None:
    house = House()
    async with house.supervisor:
        parrot, sibling = house.start("parrot"), house.start("sibling")
        for number in range(5):
            parrot.tell(RuntimeError(f"boom {number}"))
        await house.clock.advance(100.0)
        assert house.given_up == [("parrot", "boom 3")]
        assert house.supervisor.restarts == {"parrot": 3}
        with pytest.raises(ConflictError, match="given up after 4 failures: boom 3"):
            parrot.tell("anything")
        assert not house.supervisor.has_child("parrot")
        assert await sibling.ask("well", 1.0) == "well"
        assert house.diaries["sibling"] == ["started", "well"]


async def test_failures_long_past_are_forgiven() -> None:
    house = House()
    async with house.supervisor:
        parrot = house.start("parrot")
        for _ in range(20):
            parrot.tell(RuntimeError("boom"))
            await house.clock.advance(25.0)
        assert house.given_up == []
        assert house.supervisor.restarts == {"parrot": 20}


async def test_an_actor_given_up_can_be_started_again_by_name() -> None:
    house = House(Policy(restarts=0, period_s=1.0))
    async with house.supervisor:
        house.start("parrot").tell(RuntimeError("boom"))
        await settle(house)
        assert house.given_up == [("parrot", "boom")]
        assert await house.start("parrot").ask("again", 1.0) == "again"


async def test_hopeless_errors_are_not_tried_again() -> None:
    house = House(hopeless=lambda error: "corrupt" in str(error))
    async with house.supervisor:
        parrot = house.start("parrot")
        parrot.tell(RuntimeError("boom"))
        parrot.tell(RuntimeError("corrupt"))
        await house.clock.advance(10.0)
        assert house.given_up == [("parrot", "corrupt")]
        assert house.supervisor.restarts == {"parrot": 1}


async def test_an_error_in_a_task_of_its_own_breaks_the_actor_too() -> None:
    house = House()

    async def fail() -> None:
        raise RuntimeError("in a task")

    async with house.supervisor:
        parrot = house.start("parrot")
        parrot.tell(lambda actor: actor.tasks.start_soon(fail))
        await settle(house)
        parrot.tell("after")
        await house.clock.advance(10.0)
        assert house.diaries["parrot"] == ["started", "stopped", "started", "after"]


async def test_an_actor_that_cannot_start_is_tried_again() -> None:
    house = House()
    troubles = [RuntimeError("no disk"), RuntimeError("no disk")]

    class Struggling(Parrot):
        async def started(self) -> None:
            if troubles:
                raise troubles.pop()
            await super().started()

    async with house.supervisor:
        parrot = house.start("parrot", Struggling)
        parrot.tell("hello")
        await house.clock.advance(10.0)
        assert house.diaries["parrot"] == ["stopped", "stopped", "started", "hello"]


async def test_errors_that_are_answers_leave_the_actor_as_it_was() -> None:
    house = House()
    async with house.supervisor:
        parrot = house.start("parrot")
        with pytest.raises(SpecError, match="wrong"):
            await parrot.ask(SpecError("wrong"), 1.0)
        assert await parrot.ask("a", 1.0) == "a"
        assert house.supervisor.restarts == {}


async def test_an_ask_that_breaks_the_actor_is_told_so_and_those_behind_it_are_answered_by_the_next() -> None:
    house = House()
    results: dict[str, object] = {}

    async def ask(parrot: Ref[Any], name: str, message: object) -> None:
        try:
            results[name] = await parrot.ask(message, 60.0)
        except BusyError as error:
            results[name] = str(error)

    async with house.supervisor, anyio.create_task_group() as group:
        parrot = house.start("parrot")
        group.start_soon(ask, parrot, "first", RuntimeError("boom"))
        group.start_soon(ask, parrot, "second", "hello")
        await house.clock.advance(10.0)
    assert results == {"first": "the request broke off: boom", "second": "hello"}


async def test_stopping_a_child_ends_it_and_leaves_the_others() -> None:
    house = House()
    async with house.supervisor:
        parrot, sibling = house.start("parrot"), house.start("sibling")
        parrot.tell("a")
        await settle(house)
        await house.supervisor.stop_child("parrot")
        assert house.diaries["parrot"] == ["started", "a", "stopped"]
        with pytest.raises(ConflictError, match="stopped"):
            parrot.tell("b")
        assert await sibling.ask("well", 1.0) == "well"
        await house.supervisor.stop_child("nobody")
    assert house.given_up == []


async def test_a_child_stopped_while_it_waits_to_restart_is_not_given_up() -> None:
    house = House()
    async with house.supervisor:
        house.start("parrot").tell(RuntimeError("boom"))
        await settle(house)
        await house.supervisor.stop_child("parrot")
        await house.clock.advance(100.0)
        assert house.diaries["parrot"] == ["started", "stopped"]
    assert house.given_up == []


async def test_an_actor_that_has_finished_is_not_restarted() -> None:
    house = House()
    async with house.supervisor:
        parrot = house.start("parrot")
        parrot.tell(lambda actor: setattr(actor, "finished", True))
        await house.clock.advance(100.0)
        assert not house.supervisor.has_child("parrot")
        with pytest.raises(ConflictError):
            parrot.tell("late")
    assert (house.given_up, house.supervisor.restarts) == ([], {})


async def test_a_name_is_given_once() -> None:
    house = House()
    async with house.supervisor:
        house.start("parrot")
        with pytest.raises(ConflictError, match="parrot is running already"):
            house.start("parrot")


async def test_what_is_given_up_for_a_while_is_started_anew_with_its_mailbox() -> None:
    house = House(Policy(restarts=1, period_s=1000.0, again_after_s=100.0))
    async with house.supervisor:
        parrot = house.start("parrot")
        for word in (RuntimeError("boom"), RuntimeError("boom again"), "left meanwhile"):
            parrot.tell(word)
        await house.clock.advance(99.0)
        assert house.given_up == [("parrot", "boom again")]
        assert house.diaries["parrot"] == ["started", "stopped"] * 2
        assert house.supervisor.has_child("parrot")
        parrot.tell("left late")
        await house.clock.advance(2.0)
        assert house.diaries["parrot"][4:] == ["started", "left meanwhile", "left late"]
        parrot.tell(RuntimeError("forgiven"))  # what went before does not count any more
        await settle(house)
        assert await parrot.ask("there", 1.0) == "there"
        assert house.given_up == [("parrot", "boom again")]


async def test_what_is_given_up_for_a_while_can_be_stopped_for_good() -> None:
    house = House(Policy(restarts=0, period_s=60.0, again_after_s=100.0))
    async with house.supervisor:
        house.start("parrot").tell(RuntimeError("boom"))
        await house.clock.advance(1.0)
        await house.supervisor.stop_child("parrot")
        await house.clock.advance(1000.0)
        assert house.diaries["parrot"] == ["started", "stopped"]
        assert house.given_up == [("parrot", "boom")]


async def test_what_an_actor_and_its_tasks_log_says_whose_it_is() -> None:
    log = structlog.get_logger()

    async def errand() -> None:
        log.info("errand")

    def work(parrot: Parrot) -> None:
        log.info("work")
        parrot.tasks.start_soon(errand)

    house = House(child="workflow")
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with house.supervisor:
            with structlog.contextvars.bound_contextvars(request="Submit", uid=1000):  # whoever has it started
                parrot = house.start("polly")
            parrot.tell(work)
            parrot.tell(RuntimeError("boom"))
            parrot.tell(work)
            await house.clock.advance(10.0)
        log.info("outside")
    who = {"actor": "polly", "workflow": "polly"}
    assert [line["event"] for line in logs] == ["work", "errand", "actor restarted", "work", "errand", "outside"]
    assert all(line.items() >= who.items() and "request" not in line for line in logs[:-1])
    assert "actor" not in logs[-1]


@pytest.mark.parametrize("how", ["raised", "task", "errand"])
async def test_a_cancellation_by_nobody_breaks_the_actor_and_nothing_else(how: str) -> None:
    """A task group would take it for a reason to end all its children without a word, and the daemon with them."""

    async def errand() -> None:
        raise anyio.get_cancelled_exc_class()

    def cancel(parrot: Actor[Any]) -> None:
        if how == "raised":
            raise anyio.get_cancelled_exc_class()
        if how == "errand":
            parrot.tasks.start_soon(errand)
            return
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    house, ended = House(), False
    async with house.supervisor:
        parrot, sibling = house.start("parrot"), house.start("sibling")
        await settle(house)
        parrot.tell(cancel)
        await house.clock.advance(10.0)
        assert await sibling.ask("well", 1.0) == "well"
        assert await parrot.ask("again", 1.0) == "again"
        assert house.diaries["parrot"] == ["started", "stopped", "started", "again"]
        assert house.supervisor.restarts == {"parrot": 1}
        await house.supervisor.stop_child("parrot")
        assert not house.supervisor.has_child("parrot")
        ended = True
    assert ended
    assert house.diaries["sibling"] == ["started", "well", "stopped"]
