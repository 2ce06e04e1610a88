"""A spec as TOML text in which every line says where it comes from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_COLUMN: Final = 40
_WIDTH: Final = 120


def write_text(tables: Mapping[str, Any], comments: Mapping[str, str], heading: Sequence[str]) -> str:
    """The text of `tables`, headed by lines of comment.

    `comments` are by dotted key. That of a value stands behind it, or above it where it does not fit; that of a table
    behind the header, and behind those of the tables in it.
    """
    lines = [f"# {line}" for line in heading]
    lines += _written(tables, comments, ())
    return "\n".join(lines) + "\n"


def _written(table: Mapping[str, Any], comments: Mapping[str, str], way: tuple[str, ...]) -> Iterator[str]:
    values = {key: value for key, value in table.items() if not _is_table(value)}
    if way and (values or not table):
        yield ""
        yield from _line(f"[{'.'.join(map(_key, way))}]", _comment_of_table(comments, way))
    for key, value in values.items():
        yield from _line(f"{_key(key)} = {_value(value)}", comments.get(".".join((*way, key)), ""))
    for key, value in table.items():
        if _is_array_of_tables(value):
            for one in value:
                yield ""
                yield f"[[{'.'.join(map(_key, (*way, key)))}]]"
                yield from (f"{_key(name)} = {_value(inner)}" for name, inner in one.items())
        elif _is_table(value):
            yield from _written(value, comments, (*way, key))


def _line(assignment: str, comment: str) -> Iterator[str]:
    beside = f"{assignment.ljust(_COMMENT_COLUMN - 1)} # {comment}"
    if not comment:
        yield assignment
    elif len(beside) <= _WIDTH:
        yield beside
    else:
        yield from (f"# {line}" for line in textwrap.wrap(comment, _WIDTH - 2, break_on_hyphens=False))
        yield assignment


def _comment_of_table(comments: Mapping[str, str], way: tuple[str, ...]) -> str:
    """The comment of a table, or of the nearest one around it that has any."""
    found = (comments.get(".".join(way[:depth])) for depth in range(len(way), 0, -1))
    return next(filter(None, found), "")


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_array_of_tables(value)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _key(part: str) -> str:
    import tomlkit

    return part if _BARE.fullmatch(part) else str(tomlkit.key(part).as_string())


def _value(value: Any) -> str:
    import tomlkit

    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    return str(tomlkit.item(value).as_string())
