"""The daemon's log: every line, whoever logs it, goes through one place to standard error and into memory.

Readable text on a terminal, JSON elsewhere; under systemd with a priority that the journal takes off again. On its way
a line loses its secrets, and what is said again and again is left out. Docs: docs/logs.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

from penstock.daemon.log_outlet import Outlet
from penstock.daemon.log_repeats import Repeats
from penstock.daemon.log_ring import LogRing
from penstock.daemon.redaction import Redactor, secrets_of
from penstock.domain.log_line import LEVELS, LogLine, flat, render_json, render_text

KEEP: Final = 10_000
"""Lines that are kept in memory by default."""
_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}
_LEVEL_OF: Final = {"warn": "warning", "exception": "error", "critical": "error", "fatal": "error", "msg": "info"}
_PRIORITY: Final = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
"""sd-daemon(3): how a line of standard error tells the journal its priority."""
_KIND: Final = ("actor", "workflow", "cluster")

Fields = MutableMapping[str, Any]


class Logs:
    """Where lines go. Nothing that happens to a line is ever raised to whoever logs it."""

    def __init__(self, keep: int = KEEP, redactor: Redactor | None = None) -> None:
        self.ring = LogRing(keep)
        self.counts = dict.fromkeys(LEVELS, 0)
        """Lines written since the start, by level."""
        self._redactor = redactor or Redactor()
        self._repeats = Repeats(time.monotonic)
        self._lock = threading.RLock()
        self._rank = _RANK["info"]
        self._stream: TextIO | None = None
        self._outlet: Outlet | None = None
        self._is_text = self._has_colours = self._tells_priority = False

    @property
    def lost(self) -> int:
        """Lines that standard error would not take; they are in memory only."""
        return self._outlet.lost if self._outlet is not None else 0

    # ---- how it is to be --------------------------------------------------------------------------------------------

    def set_level(self, level: str) -> None:
        """Drops whatever is below `level` from now on."""
        self._rank = _RANK[level]

    def set_format(self, log_format: str, environ: Mapping[str, str] = os.environ) -> None:
        """`text`, `json`, or `auto`: text on a terminal, JSON elsewhere."""
        stream = self._stream
        on_terminal = stream is not None and stream.isatty()
        self._is_text = log_format == "text" or (log_format == "auto" and on_terminal)
        self._has_colours = self._is_text and on_terminal and not environ.get("NO_COLOR")
        self._tells_priority = stream is not None and is_journal(stream, environ)

    def hide(self, *secrets: str) -> None:
        """These values are in no line from now on."""
        self._redactor = self._redactor.with_secrets(secrets)

    def open(self, stream: TextIO, log_format: str, environ: Mapping[str, str]) -> None:
        """Writes to `stream` what structlog, the standard library's logging and its warnings say."""
        self._stream, self._outlet = stream, Outlet(stream)
        self.hide(*secrets_of(environ))
        self.set_format(log_format, environ)
        structlog.configure(
            processors=[
                self._drop_below,
                structlog.contextvars.merge_contextvars,
                structlog.processors.format_exc_info,  # without local variables: they may hold anything
                _hand_over,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            logger_factory=lambda *_: _Sink(self),
            cache_logger_on_first_use=False,
        )
        root = logging.getLogger()
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, _FromLogging)]
        root.addHandler(_FromLogging(logging.WARNING))
        logging.captureWarnings(capture=True)

    # ---- lines ------------------------------------------------------------------------------------------------------

    def _drop_below(self, _logger: Any, method: str, line: Fields) -> Fields:
        """Reads the threshold at every line, so that loggers made before a reload follow it."""
        level = _LEVEL_OF.get(method, method)
        if _RANK.get(level, 1) < self._rank:
            raise structlog.DropEvent
        line["level"] = level
        return line

    def take(self, line: Mapping[str, Any]) -> None:
        """A line with `level` and `event`. What is debug is wanted, however often it is said."""
        with self._lock:
            if line["level"] == "debug":
                due: list[Mapping[str, Any]] = [line]
            else:
                kind = (line["level"], str(line["event"]), *(str(line.get(name, "")) for name in _KIND))
                due = self._repeats.take(kind, line)
            self._write_all(due)

    def tell_repeats(self) -> None:
        """Writes how often was repeated what was left out, where its time has come."""
        with self._lock:
            self._write_all(self._repeats.due())

    def close(self, last_words: str = "") -> None:
        """The end: tells all that was left out, then `last_words` as they are. Nothing is written after that.

        What a reader that hangs has not taken after two seconds is left.
        """
        with self._lock:
            self._write_all(self._repeats.flush())
            outlet = self._outlet
        if outlet is not None:
            if last_words:
                outlet.put(last_words)
            outlet.close()

    def _write_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            try:
                self._write(line)
            except Exception as error:  # noqa: BLE001 - no line is worth breaking whoever logs it
                self._write({"level": "error", "event": "a line could not be logged", "error": type(error).__name__})

    def _write(self, line: Mapping[str, Any]) -> None:
        at, level = time.time(), line["level"]
        fields = self._redactor.fields({name: value for name, value in line.items() if name not in ("level", "event")})
        made = LogLine(0, at, level, self._redactor.text(str(line["event"])), fields)
        encoded = render_json(flat(made))
        self.counts[level] += 1
        self.ring.append(at, _RANK[level], encoded)
        if self._outlet is None:
            return
        text = render_text(made, colours=self._has_colours) if self._is_text else encoded
        if self._tells_priority:
            text = "\n".join(f"{_PRIORITY[level]}{row}" for row in text.split("\n"))
        self._outlet.put(f"{text}\n")


class _Sink:
    """structlog's end of the pipe."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def take(self, line: Mapping[str, Any]) -> None:
        self._logs.take(line)

    msg = log = debug = info = warn = warning = error = exception = fatal = critical = failure = err = take


def _hand_over(_logger: Any, _method: str, line: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    return (line,), {}


class _FromLogging(logging.Handler):
    """What libraries say through the standard library, from warnings up: below that it is theirs alone."""

    def emit(self, record: logging.LogRecord) -> None:
        """Passes a record on."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's wrong format string; its words are better than nothing
            message = str(record.msg)
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] is not None else None
        with contextlib.suppress(Exception):
            log = structlog.get_logger()
            getattr(log, level)(message.strip(), logger=record.name, **({"exc_info": exc_info} if exc_info else {}))


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the journal reads the stream; systemd.exec(5) says so in `JOURNAL_STREAM`."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def configure_logs(
    log_format: str, level: str, keep: int = KEEP, environ: Mapping[str, str] = os.environ, stream: TextIO | None = None
) -> Logs:
    """A log that writes to standard error, or to `stream`."""
    logs = Logs(keep)
    logs.set_level(level)
    logs.open(stream or sys.stderr, log_format, environ)
    return logs


def log_what_breaks() -> None:
    """What nobody caught, in a thread or a destructor, is a line, too."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "?"
        structlog.get_logger().error("a thread broke", thread=name, exc_info=args.exc_value)

    def unraisable(args: Any) -> None:
        structlog.get_logger().error("an error went nowhere", where=repr(args.object), exc_info=args.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
