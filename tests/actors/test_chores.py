"""What the machine refuses for a while is tried again, and told once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from penstock.actors.chores import Chores


async def test_what_is_put_off_is_told_once_until_it_is_done() -> None:
    refusals = [OSError("no disk"), OSError("no disk"), TimeoutError("late")]

    async def chore() -> None:
        if refusals:
            raise refusals.pop(0)

    chores = Chores("local")
    with capture_logs() as lines:
        await chores.do("cancel", "one", chore)
        assert chores.trouble == "cannot cancel one, trying again: no disk"
        await chores.again()
        await chores.again()
        assert chores.trouble == "cannot cancel one, trying again: late"
        await chores.again()
        assert not chores.trouble
        refusals.append(OSError("once more"))
        await chores.do("cancel", "one", chore)
    assert [line["error"] for line in lines] == ["no disk", "once more"]


async def test_a_chores_trouble_is_never_anothers() -> None:
    done: list[str] = []

    async def refuse() -> None:
        raise OSError("no disk")

    async def work() -> None:
        done.append("two")

    async def broken() -> None:
        raise ValueError("a fault")

    chores = Chores("local")
    await chores.do("cancel", "one", refuse)
    await chores.do("cancel", "two", work)
    assert done == ["two"]
    chores.drop("cancel", "one")
    assert not chores
    with pytest.raises(ValueError, match="a fault"):
        await chores.do("cancel", "three", broken)
