"""Identifiers: ulids for submissions, checked names for workflows."""

from __future__ import annotations

import os
import re
import time
from typing import Final

from penstock.domain.errors import SpecError

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_WORKFLOW_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED: Final = frozenset({"shared"})
_ULID: Final = re.compile(f"[{_CROCKFORD}]{{26}}")


def new_ulid(now_s: float | None = None) -> str:
    """A 26-character identifier that sorts by time: 48 bits of milliseconds, 80 random bits."""
    milliseconds = int((time.time() if now_s is None else now_s) * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    """Whether `text` has the form of a ulid."""
    return _ULID.fullmatch(text) is not None


def ulid_time_s(ulid: str) -> float:
    """When a ulid was made, in seconds since the epoch."""
    milliseconds = 0
    for digit in ulid[:10]:
        milliseconds = milliseconds * 32 + _CROCKFORD.index(digit)
    return milliseconds / 1000


def check_workflow_id(text: str) -> str:
    """`text` itself if it can name a workflow (and so a directory), else SpecError."""
    if _WORKFLOW_ID.fullmatch(text) is None or text.endswith("."):
        raise SpecError(
            f"{text!r} cannot name a workflow; use 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit and not ending with '.'",
            key="id",
        )
    if text.lower() in _RESERVED:
        raise SpecError(f"{text!r} is a reserved name; choose another", key="id")
    return text


def generate_workflow_id(recipe: str, now_s: float | None = None) -> str:
    """A readable identifier for a workflow whose spec names none."""
    return f"{recipe}-{new_ulid(now_s)[-10:].lower()}"
