"""Log lines: JSON in a pipe, text on a terminal, with what they are about and without secrets, whoever logs them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from penstock.daemon.log_place import describe_place, leave_log_place
from penstock.daemon.log_repeats import MOST
from penstock.daemon.logs import Logs, configure_logs, is_journal
from penstock.domain.log_line import LogLine, flat, parse_json, render_json, render_text


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leaves structlog and logging as they were."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    """A person reads it."""

    def isatty(self) -> bool:
        """It says so."""
        return True


def opened(log_format: str = "auto", level: str = "info", stream: Any = None, **environ: str) -> tuple[Logs, Any]:
    stream = stream or io.StringIO()
    return configure_logs(log_format, level, environ=environ, stream=stream), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    logs, stream = opened()
    log = structlog.get_logger().bind(workflow="g2")
    log.debug("not said")
    log.warning("said", reason="two\nlines", job=3)
    first, second = log.warning("again"), lines(stream)
    assert first is None
    assert list(second[0]) == ["timestamp", "level", "event", "workflow", "job", "reason"]
    assert second[0].pop("timestamp").endswith("Z")
    assert second[0] == {"event": "said", "level": "warning", "workflow": "g2", "reason": "two\nlines", "job": 3}
    assert logs.counts == {"debug": 0, "info": 0, "warning": 2, "error": 0}
    assert [kept.text.decode() for kept in logs.ring.kept()] == stream.getvalue().splitlines()


def test_text_lines_for_a_terminal_and_colours_there_only() -> None:
    _, stream = opened("text")
    structlog.get_logger().info("said", workflow="g2", words="a b")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(' workflow=g2 words="a b"')
    assert "\x1b" not in line
    _, terminal = opened("auto", stream=Terminal())
    structlog.get_logger().info("said")
    assert "\x1b[32minfo" in terminal.getvalue()
    _, plain = opened("auto", stream=Terminal(), NO_COLOR="1")
    structlog.get_logger().info("said")
    assert "\x1b" not in plain.getvalue()
    assert " info    said" in plain.getvalue()


def test_a_traceback_is_there_without_the_values_in_it() -> None:
    for log_format in ("json", "text"):
        _, stream = opened(log_format)
        local = "hunter2-and-more"
        try:
            int("broken" + local[:0])
        except ValueError:
            structlog.get_logger().exception("failed")
        text = stream.getvalue()
        assert "ValueError: invalid literal" in text
        assert "test_logs.py" in text
        assert "hunter2" not in text.replace('local = "hunter2-and-more"', "")


def test_secrets_are_hidden_in_events_fields_and_tracebacks() -> None:
    _, stream = opened("json", S3_SECRET="abcdefgh12345")
    log = structlog.get_logger()
    log.info("puts s3://key:pass/word@bucket/x", password="hunter2hunter2", text="has abcdefgh12345 in it")
    error = RuntimeError("POST https://me:pass/word@host failed: Authorization: Bearer abcdefgh12345")
    log.error("failed", exc_info=error)
    text = stream.getvalue()
    for secret in ("pass/word", "hunter2", "abcdefgh12345"):
        assert secret not in text
    assert "RuntimeError: POST https://[redacted]@host failed" in text


def test_a_secret_that_is_known_later_is_hidden_from_then_on() -> None:
    logs, stream = opened("json")
    logs.hide("correct-horse")
    structlog.get_logger().info("token is correct-horse")
    assert "correct-horse" not in stream.getvalue()


@given(st.text(), st.text(), st.dictionaries(st.text(min_size=1), st.text(), max_size=3))
def test_no_text_forges_a_line_in_either_format(event: str, value: str, more: dict[str, str]) -> None:
    more = {name: text for name, text in more.items() if name not in ("timestamp", "level", "event", "exception")}
    clean = {key.encode("utf-8", "replace").decode(): v.encode("utf-8", "replace").decode() for key, v in more.items()}
    line = LogLine(
        1,
        1.0,
        "info",
        event.encode("utf-8", "replace").decode(),
        clean | {"v": value.encode("utf-8", "replace").decode()},
    )
    encoded = render_json(flat(line))
    assert len(encoded.splitlines()) == 1
    assert parse_json(1, 1.0, encoded) == line
    assert len(render_text(line).splitlines()) == 1
    block = LogLine(1, 1.0, "info", "x", {"exception": f"{event}\n{value}"})
    assert all(row.startswith("    ") for row in render_text(block).splitlines()[1:])


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x85b", "a\u2028b", "\x1b[2J", "a\udc80b"])
def test_control_characters_are_escaped_on_their_way_to_a_stream(value: str) -> None:
    for log_format in ("json", "text"):
        _, stream = opened(log_format)
        structlog.get_logger().info(value, value=value, **{f"k{value}": 1})
        (line,) = stream.getvalue().splitlines()
        assert line.isprintable()


def test_a_logger_made_before_follows_the_new_level() -> None:
    logs, stream = opened("json", "error")
    log = structlog.get_logger().bind(a=1)
    log.info("not yet")
    logs.set_level("debug")
    log.debug("now")
    logs.set_level("warning")
    log.info("no more")
    assert [line["event"] for line in lines(stream)] == ["now"]


def test_what_libraries_say_is_there_from_warnings_up() -> None:
    logging.getLogger().handlers.clear()  # pytest's own would choke on what is wrong on purpose
    logs, stream = opened()
    logging.getLogger("asyncssh").info("user logged in")
    logging.getLogger("asyncssh").warning("odd %s", "packet")
    logging.getLogger("aiosqlite").warning("wrong %d format", "no number")
    with warnings.catch_warnings(action="always"):
        warnings.warn("old ways", UserWarning, stacklevel=1)
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "never retrieved", "exception": ValueError("lost")})
    loop.close()
    ssh, sqlite, warned, loop_line = lines(stream)
    assert (ssh["logger"], ssh["level"], ssh["event"]) == ("asyncssh", "warning", "odd packet")
    assert sqlite["event"] == "wrong %d format"
    assert warned["logger"] == "py.warnings"
    assert "old ways" in warned["event"]
    assert (loop_line["logger"], loop_line["level"]) == ("asyncio", "error")
    assert "ValueError: lost" in loop_line["exception"]
    logs.set_level("error")
    logging.getLogger("asyncssh").warning("odd again")
    assert len(lines(stream)) == 4


def test_repeats_are_left_out_but_for_debug_and_told_at_the_end() -> None:
    logs, stream = opened("json", "debug")
    log = structlog.get_logger()
    for n in range(MOST + 3):
        log.debug("step", n=n)
        log.info("full", workflow="a", n=n)
        log.info("full", workflow="b") if n < 2 else None
    logs.tell_repeats()
    said = lines(stream)
    assert len([line for line in said if line["level"] == "debug"]) == MOST + 3
    assert [line["n"] for line in said if line.get("workflow") == "a"] == list(range(MOST))
    assert len([line for line in said if line.get("workflow") == "b"]) == 2
    logs.close()
    last = lines(stream)[-1]
    assert (last["event"], last["n"], last["repeated"]) == ("full", MOST + 2, 3)


def test_under_systemd_lines_have_a_priority_and_stay_json(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        journal = f"{found.st_dev}:{found.st_ino}"
        assert is_journal(stream, {"JOURNAL_STREAM": journal})
        assert not is_journal(stream, {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": journal})
        logs, _ = opened("auto", "debug", stream, JOURNAL_STREAM=journal)
        log = structlog.get_logger()
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
        logs.close()
        rows = Path(stream.name).read_text().splitlines()
        assert [row[:3] for row in rows] == ["<7>", "<6>", "<4>", "<3>"]
        assert [json.loads(row[3:])["event"] for row in rows] == list("abcd")
        logs, _ = opened("text", "debug", stream, JOURNAL_STREAM=journal)
        log.error("broke", exc_info=ValueError("x"))
        logs.close()
        assert all(row.startswith("<3>") for row in Path(stream.name).read_text().splitlines()[4:])


class Full(io.StringIO):
    """A disk without room."""

    def write(self, _text: str) -> int:
        """Fails."""
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_breaks_nobody_and_is_in_memory() -> None:
    logs, _ = opened("json", stream=Full())
    structlog.get_logger().info("said")
    assert logs.lost == 1
    assert len(logs.ring.kept()) == 1

    class Odd:
        """A value that breaks whoever looks at it."""

        def __eq__(self, _other: object) -> bool:
            raise RuntimeError

        __hash__ = object.__hash__

    structlog.get_logger().info("odd", value=Odd())
    assert json.loads(logs.ring.kept()[-1].text)["event"] == "a line could not be logged"


def test_lines_of_many_threads_are_whole() -> None:
    logs, stream = opened("json", "debug")

    def say(number: int) -> None:
        for n in range(200):
            structlog.get_logger().debug("step", thread=number, n=n)

    threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(line["thread"], line["n"]) for line in lines(stream)}) == 800
    assert logs.counts["debug"] == 800


@pytest.mark.parametrize(
    ("target", "in_journal", "cgroup", "place"),
    [
        ("/var/log/p.log", False, "", "/var/log/p.log"),
        ("/dev/pts/3", False, "", ""),
        ("pipe:[123]", False, "", ""),
        ("socket:[1]", True, "0::/system.slice/penstockd.service\n", "journalctl -u penstockd.service"),
        (
            "socket:[1]",
            True,
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/penstockd.service\n",
            "journalctl --user -u penstockd.service",
        ),
        ("socket:[1]", True, "0::/\n", "journalctl _COMM=penstockd"),
    ],
)
def test_where_the_log_is(target: str, in_journal: bool, cgroup: str, place: str) -> None:
    assert describe_place(target, in_journal=in_journal, cgroup=cgroup) == place


def test_a_place_that_cannot_be_written_down_stops_nothing(tmp_path: Path) -> None:
    leave_log_place(tmp_path / "missing", {})
