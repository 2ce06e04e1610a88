"""Text as it may be printed: nothing in it can hide, forge or overwrite a line."""

from __future__ import annotations

import re
from typing import Final

UNSAFE: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff"
"""For a regular expression: C0 and C1 control characters but tab and line feed, DEL, what reorders text, surrogates."""
_IN_BLOCK: Final = re.compile(f"[{UNSAFE}]")
_IN_LINE: Final = re.compile(f"[\t\n{UNSAFE}]")


def clean(text: str) -> str:
    """`text` on one line, with every control character written as an escape."""
    return _IN_LINE.sub(_escaped, text)


def clean_block(text: str) -> str:
    """`text` with control characters written as escapes, but for line ends and tabs."""
    return _IN_BLOCK.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
