"""Log lines are JSON in a pipe, and follow the level as it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from penstock.daemon.logs import configure_logs, set_log_level


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave structlog as it was."""
    yield
    structlog.reset_defaults()
    set_log_level("info")


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("auto", "info")
    log = structlog.get_logger().bind(workflow="g2")
    log.debug("not said")
    log.warning("said", reason="two\nlines")
    try:
        int("broken")
    except ValueError:
        log.exception("failed")
    out, err = capsys.readouterr()
    first, second = map(json.loads, err.splitlines())
    assert out == ""
    assert first["timestamp"].endswith("Z")
    del first["timestamp"]
    assert first == {"event": "said", "level": "warning", "workflow": "g2", "reason": "two\nlines"}
    assert second["level"] == "error"
    assert "ValueError: invalid literal" in second["exception"]


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    structlog.get_logger().info("said", workflow="g2")
    (line,) = capsys.readouterr().err.splitlines()
    assert "said" in line
    assert "workflow=g2" in line
    assert "\x1b" not in line


def test_a_logger_made_before_follows_the_new_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "error")
    log = structlog.get_logger().bind(a=1)
    log.info("not yet")
    set_log_level("debug")
    log.debug("now")
    set_log_level("warning")
    log.info("no more")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["now"]
