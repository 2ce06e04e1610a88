"""Mailboxes: bounded where nobody merges, merged where it is posted, and honest to whoever asks."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from penstock.actors.mailbox import Answer, Mailbox, Ref
from penstock.domain.errors import BusyError, ConflictError, NotFoundError


async def drain(mailbox: Mailbox[str]) -> list[str]:
    return [(await mailbox.get()).message for _ in range(len(mailbox))]


async def test_messages_come_out_in_the_order_they_went_in() -> None:
    mailbox: Mailbox[str] = Mailbox("reader")
    ref = Ref(mailbox)
    ref.tell("a")
    ref.post("key", "b")
    ref.tell("c")
    assert (ref.name, ref.waiting) == ("reader", 3)
    assert await drain(mailbox) == ["a", "b", "c"]


async def test_the_reader_waits_for_the_next_message() -> None:
    mailbox: Mailbox[str] = Mailbox("reader")
    got: list[str] = []

    async def read() -> None:
        got.append((await mailbox.get()).message)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.lowlevel.checkpoint()
        assert got == []
        Ref(mailbox).tell("late")
    assert got == ["late"]


async def test_a_full_mailbox_refuses_what_is_told_and_asked_but_not_what_is_posted() -> None:
    mailbox: Mailbox[str] = Mailbox("slow", capacity=2)
    ref = Ref(mailbox)
    ref.tell("a")
    ref.tell("b")
    for key in range(10):
        ref.post(key, "news")
    with pytest.raises(BusyError, match="slow has 2 messages waiting"):
        ref.tell("c")
    with pytest.raises(BusyError):
        await ref.ask("c", 1.0)
    assert await drain(mailbox) == ["a", "b", *["news"] * 10]
    ref.tell("c")


async def test_posts_under_one_key_merge_while_they_wait_and_keep_their_place() -> None:
    mailbox: Mailbox[str] = Mailbox("reader")
    ref = Ref(mailbox)
    ref.post("x", "1", str.__add__)
    ref.tell("between")
    ref.post("x", "2", str.__add__)
    ref.post("y", "old")
    ref.post("y", "new")
    assert await drain(mailbox) == ["12", "between", "new"]
    ref.post("x", "3", str.__add__)
    assert await drain(mailbox) == ["3"]


async def test_closing_fails_the_asks_that_wait_and_all_that_come() -> None:
    mailbox: Mailbox[str] = Mailbox("actor")
    ref = Ref(mailbox)
    errors: list[str] = []

    async def ask() -> None:
        try:
            await ref.ask("question", 60.0)
        except ConflictError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        mailbox.close("given up")
    assert errors == ["actor has stopped: given up"] * 2
    with pytest.raises(ConflictError, match="given up"):
        ref.tell("more")
    ref.post("key", "ignored")
    assert ref.waiting == 0


async def test_an_ask_without_an_answer_ends_at_its_deadline() -> None:
    ref = Ref(Mailbox[str]("deaf"))
    with pytest.raises(BusyError, match=r"deaf did not answer within 0\.01 s"):
        await ref.ask("question", 0.01)


async def test_an_answer_is_given_once() -> None:
    answer = Answer()
    answer.fail(NotFoundError("first"))
    answer.give("second")
    with pytest.raises(NotFoundError, match="first"):
        await answer.wait()
