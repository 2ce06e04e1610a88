"""Logs: readable lines on a terminal, JSON elsewhere; the level can change while the daemon runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from penstock.daemon.log_count import count_line

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_threshold = {"level": logging.INFO}


def _drop_below(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The filter reads its threshold at every line, so that loggers made before a reload follow it."""
    name = {"warn": "warning", "exception": "error", "critical": "error"}.get(method, method)
    if _LEVELS.get(name, logging.INFO) < _threshold["level"]:
        raise structlog.DropEvent
    return event


def set_log_level(level: str) -> None:
    """Drops whatever is below `level` from now on."""
    _threshold["level"] = _LEVELS[level]


def configure_logs(log_format: str, level: str) -> None:
    """Sends log lines to standard error: key=value text on a terminal, JSON elsewhere, or as `log_format` says."""
    set_log_level(level)
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if text else structlog.processors.JSONRenderer()
    )
    errors = [] if text else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            _drop_below,
            count_line,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not text),
            *errors,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
