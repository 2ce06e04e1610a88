"""A line of the daemon's log: as a value, as JSON and as text for people."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from penstock.domain.printable import UNSAFE, clean, clean_block
from penstock.domain.views import View

LEVELS: Final = ("debug", "info", "warning", "error")
"""Rising."""
NAMED: Final = ("logger", "actor", "workflow", "cluster", "job", "attempt")
"""Fields that say what a line is about; they come first."""
_BLOCKS: Final = ("exception", "stack")
_EVENT_WIDTH: Final = 32
_QUOTED: Final = re.compile(r"[\s=\"']|^$")
_UNSAFE: Final = re.compile(f"[{UNSAFE}]")
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_BOLD: Final = "\x1b[1m"
_PLAIN: Final = "\x1b[0m"


class LogLine(View, frozen=True):
    """What was logged. `seq` rises within a daemon's life, and from one life to the next as the clock does.

    `at` is seconds since the epoch. `fields` holds `workflow`, `job`, `attempt`, `cluster`, `actor` where they are
    known, and whatever else the line says.
    """

    seq: int
    at: float
    level: str
    event: str
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


def flat(line: LogLine) -> dict[str, Any]:
    """The line as it stands in the journal: `timestamp` (UTC), `level`, `event`, then its fields, the named first."""
    fields = line.fields
    named = {name: fields[name] for name in NAMED if name in fields}
    head = {"timestamp": utc(line.at), "level": line.level, "event": line.event}
    return head | named | {name: value for name, value in fields.items() if name not in head}


def utc(at: float) -> str:
    """A moment in UTC, ISO 8601 with microseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def render_json(line: Mapping[str, Any]) -> str:
    """A line of `flat` as JSON on one line, whatever is in its text; values must be plain."""
    text = msgspec.json.encode(line).decode()
    # JSON escapes what is below a space; what else ends a line for somebody can only stand inside a string
    return text if text.isascii() and "\x7f" not in text else _UNSAFE.sub(_json_escape, text)


def parse_json(seq: int, at: float, text: str | bytes) -> LogLine:
    """The line that `render_json` made this text of."""
    fields = msgspec.json.decode(text, type=dict[str, Any])
    del fields["timestamp"]
    return LogLine(seq, at, fields.pop("level"), fields.pop("event"), fields)


def render_text(line: LogLine, *, colours: bool = False) -> str:
    """A line for people, in their time zone; a traceback follows on indented lines of its own."""
    fields = flat(line)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at))
    level, event = f"{line.level:<7}", clean(line.event)
    pairs = [f"{clean(name)}={_value(value)}" for name, value in list(fields.items())[3:] if name not in _BLOCKS]
    if colours:
        level, padding = f"{_COLOURS.get(line.level, '')}{level}{_PLAIN}", " " * (_EVENT_WIDTH - len(event))
        text = f"{moment} {level} {_BOLD}{event}{_PLAIN}{padding} {' '.join(pairs)}"
    else:
        text = f"{moment} {level} {event:<{_EVENT_WIDTH}} {' '.join(pairs)}"
    blocks = [clean_block(str(fields[name])) for name in _BLOCKS if name in fields]
    return "\n    ".join([text.rstrip(), *(row for block in blocks for row in block.splitlines())])


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return clean(msgspec.json.encode(value).decode())
    if _QUOTED.search(value):
        return '"{}"'.format(clean(value.replace("\\", "\\\\").replace('"', '\\"')))
    return clean(value)


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
