"""What must never be in a log: passwords, tokens, keys. Applied to every line before anybody sees it.

Two nets: what is called a secret, or looks like one, wherever it stands; and the very values that the daemon's
environment holds under such names. Rather too much is hidden than too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

HIDDEN: Final = "[redacted]"
_NAME: Final = (
    r"pass(?:word|wd|phrase)|secret|token|authori[sz]ation|cookie|credential|signature"
    r"|(?:api|access|account|private|shared|signing|encryption)[_-]?key"
)
_SECRET_NAME: Final = re.compile(_NAME, re.IGNORECASE)
_PLACE_NAME: Final = re.compile(r"_(?:FILE|PATH|DIR|SOCK)$", re.IGNORECASE)  # where a secret is, not what it is
_FILE_NAME: Final = re.compile(r"_(?:file|path)$", re.IGNORECASE)  # what is said of such a file is to be read
_SHORTEST: Final = 8
"""Shorter values of the environment are left: they would be found in innocent words."""
_TEXT_MAX: Final = 2**20
_KEPT: Final = 12_000
_DEPTH_MAX: Final = 6
_ITEMS_MAX: Final = 200
_INTEGER_BITS: Final = 63

_ASSIGNED: Final = (  # a value in quotes, in quotes within quotes, or in none
    r"""(?:b?"(?:[^"\\]|\\.){0,8192}"?|b?'(?:[^'\\]|\\.){0,8192}'?|\\{1,8}(["'])(?:(?!\2).){0,8192}\2?|\S{1,8192})"""
)
_SHAPES: Final = (  # tokens that are known by their looks
    r"\b(?:gh[pousr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,255}|xox[abprs]-[\w-]{10,255}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]{8,8192}\.[\w-]{8,8192}\.[\w-]{8,8192})"
)
# every repetition is bounded: a hostile text must not take long
_RULES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
            HIDDEN,
        ),
        # the part of a URL before its host; a password may hold slashes, as those of S3 do
        (
            r"(?<=://)(?:[^\s/\"'<>]{1,2048}|[^\s/@\"'<>:]{0,512}+:[^\s@\"'<>]{0,512}+)@(?:[^\s/@\"'<>]{1,512}+@){0,4}",
            f"{HIDDEN}@",
        ),
        (r"(authori[sz]ation[\"']?\s{0,8}[=:]\s{0,8})[^\r\n]{1,4096}", rf"\1{HIDDEN}"),
        (r"\b(bearer\s{1,8})[^\s\"',;]{1,8192}", rf"\1{HIDDEN}"),
        (
            rf"((?:{_NAME})[\w.-]{{0,64}}(?<!_file)(?<!_path)\\{{0,8}}[\"']?\s{{0,8}}[=:]\s{{0,8}}){_ASSIGNED}",
            rf"\1{HIDDEN}",
        ),
        # an option and its argument, in a command line or in a list of words
        (rf"((?<![\w-])--[\w-]{{0,64}}(?:{_NAME})[\w-]{{0,64}}[\"']?,?\s{{1,8}}){_ASSIGNED}", rf"\1{HIDDEN}"),
        (r"([?&]sig=)[^\s&\"'<>]{1,2048}", rf"\1{HIDDEN}"),  # of a shared access signature
        (_SHAPES, HIDDEN),
    )
)
_SUSPECT: Final = re.compile(
    rf"://|[?&]sig=|bearer|-----begin|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|akia|asia|eyj|{_NAME}", re.IGNORECASE
)


class Redactor:
    """Makes plain values without secrets of whatever is logged. `secrets` are values that are hidden wherever met."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = frozenset(secrets)
        known = sorted(filter(None, self._known), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, known))) if known else None

    def with_secrets(self, secrets: Iterable[str]) -> Redactor:
        """One that hides these, too."""
        return Redactor({*self._known, *secrets})

    def text(self, text: str) -> str:
        """`text` without secrets, of bounded length; undecodable bytes in it are written as escapes."""
        text = text[:_TEXT_MAX]
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        if _SUSPECT.search(text):
            for pattern, replacement in _RULES:
                text = pattern.sub(replacement, text)
        if (
            len(text) > _KEPT
        ):  # only now: what is cut apart might not be known for a secret; a traceback's end says most
            text = f"{text[: _KEPT // 3]} ... (shortened) ... {text[-2 * _KEPT // 3 :]}"
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

    def fields(self, fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        """Every field as a plain value: what has the name of a secret is hidden as a whole."""
        found: dict[str, Any] = {}
        for name, value in fields.items():
            if len(found) >= _ITEMS_MAX:
                found["..."] = len(fields) - _ITEMS_MAX
                break
            plain = self.text(str(name))
            found[plain] = HIDDEN if _is_secret(str(name), value) else self.value(value, depth)
        return found

    def value(self, value: object, depth: int = 0) -> Any:
        """A value as JSON knows it."""
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, int):
            return value if value.bit_length() <= _INTEGER_BITS else hex(value)[:_INTEGER_BITS]
        if depth < _DEPTH_MAX and isinstance(value, Mapping):
            return self.fields(value, depth + 1)
        if depth < _DEPTH_MAX and isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, depth + 1) for item in list(value)[:_ITEMS_MAX]]
        return self.text(_described(value))


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """The values that an environment holds under the name of a secret."""
    return {
        value
        for name, value in environ.items()
        if len(value) >= _SHORTEST
        and (_SECRET_NAME.search(name) or name.upper().endswith("KEY"))
        and not _PLACE_NAME.search(name)
    }


def _is_secret(name: str, value: object) -> bool:
    """Whether a field is hidden as a whole."""
    if value in (None, "") or isinstance(value, bool):
        return False
    names_file = isinstance(value, (str, os.PathLike)) and _FILE_NAME.search(name) is not None
    return _SECRET_NAME.search(name) is not None and not names_file


def _described(value: object) -> str:
    """What has no place in JSON, as text; a value that cannot even be shown is no reason not to log."""
    try:
        return str(value) if isinstance(value, BaseException) or hasattr(value, "__fspath__") else repr(value)
    except Exception as error:  # noqa: BLE001 - other people's __repr__
        return f"({type(value).__name__}, which cannot be shown: {type(error).__name__})"
