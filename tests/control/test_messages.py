"""The protocol's page names everything the protocol has."""

from __future__ import annotations

import typing
from pathlib import Path

from penstock.control import messages
from penstock.control.client import Client
from penstock.control.server import Limits
from penstock.domain import errors

DOCS = Path(__file__).parents[2] / "docs"
REQUESTS: tuple[type[messages.Request[messages.Message]], ...] = typing.get_args(messages.AnyRequest)


def test_the_protocol_page_lists_every_request_with_its_reply() -> None:
    rows = [line for line in (DOCS / "protocol.md").read_text().splitlines() if line.startswith("| `")]
    for request in REQUESTS:
        row = next(row for row in rows if row.startswith(f"| `{request.__name__}` |"))
        verb = row.split("|")[2].strip(" `")
        assert hasattr(Client, verb)
        streams = {messages.Watch: "EventInfo", messages.Logs: "LogChunk", messages.CheckCluster: "Finding"}
        streams[messages.ReadLog] = "LogLine"
        expected = streams.get(request, request.reply.__name__)
        assert f"`{expected}`" in row


def test_the_protocol_page_lists_every_error_and_limit() -> None:
    page = (DOCS / "protocol.md").read_text()
    for error in vars(errors).values():
        is_error = isinstance(error, type) and issubclass(error, errors.PenstockError)
        if is_error and error not in {errors.PenstockError, errors.OutputError}:
            assert f"| `{error.code}` | `{error.__name__}` |" in page
    limits = Limits()
    for value in (limits.connections, limits.calls, f"{limits.hello_s:g} s", f"{limits.frame_s:g} s"):
        assert f"| {value} |" in page
    assert messages.MAX_FRAME == 16 * 2**20
    assert "at most 16 MiB" in page
