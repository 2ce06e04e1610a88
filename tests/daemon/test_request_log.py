"""Who changed something is told, and who looked is not."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from penstock.control import messages as m
from penstock.control.listener import Peer
from penstock.daemon.request_log import READING, carry_out, tell_stream, words
from penstock.domain.errors import ConflictError
from penstock.domain.views import Selection

pytestmark = pytest.mark.anyio
PEER = Peer(1000, 100, 4242)
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def test_what_only_looks_is_what_the_protocols_page_says() -> None:
    rows = {row.split("`")[1]: row.split("|")[4].strip() for row in PAGE.splitlines() if row.startswith("| `")}
    for request in typing.get_args(m.AnyRequest):
        assert (rows[request.__name__] == "no") == (request in READING), request


def test_a_dry_run_changes_nothing_and_a_spec_is_never_told() -> None:
    assert words(m.Clean("g2", dry_run=True)) is None
    assert words(m.ReviewRetention()) is None
    assert words(m.ReviewRetention(apply=True)) == {}
    assert words(m.Submit("id = 'x'\npassword = 'y'", "/f", "/w")) == {}
    assert words(m.Cancel("g2", Selection(jobs=(1,)))) == {"workflow": "g2"}
    assert words(m.SetWorkflow("g2", slots=3)) == {"workflow": "g2", "slots": 3}
    assert words(m.ReleaseLock("gpu", "g2/x", force=True)) == {"name": "gpu", "holder": "g2/x", "force": True}


async def test_who_changes_something_is_told_and_so_is_what_came_of_it() -> None:
    async def act(request: m.Request[Any]) -> Any:
        structlog.get_logger().info("meanwhile")
        match request:
            case m.Pause():
                return m.Changed(3)
            case m.Submit():
                return m.Accepted("made", "/w/made")
            case m.Ping():
                return m.Pong(1, "1", 1.0)
        raise ConflictError("it is running")

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await carry_out(m.Pause("g2"), PEER, act)
        await carry_out(m.Submit("", "/f", "/w"), PEER, act)
        with pytest.raises(ConflictError):
            await carry_out(m.Delete("g2"), PEER, act)
        await carry_out(m.Ping(), PEER, act)
        tell_stream(m.CheckCluster("hpc"), PEER)
        tell_stream(m.Watch("g2"), PEER)
    who = {"uid": 1000, "pid": 4242, "log_level": "info"}
    assert logs == [
        {"event": "meanwhile", "request": "Pause", **who},
        {"event": "request carried out", "request": "Pause", "workflow": "g2", "changed": 3, **who},
        {"event": "meanwhile", "request": "Submit", **who},
        {"event": "request carried out", "request": "Submit", "workflow": "made", **who},
        {"event": "meanwhile", "request": "Delete", **who},
        {
            "event": "request refused",
            "request": "Delete",
            "workflow": "g2",
            "code": "conflict",
            "reason": "it is running",
            **who,
        },
        {"event": "meanwhile", "log_level": "info"},
        {"event": "request taken up", "request": "CheckCluster", "name": "hpc", **who},
    ]
