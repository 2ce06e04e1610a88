"""A spec as a document that keeps its comments: keys are set one by one, never pasted into text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import tomlkit
from tomlkit import TOMLDocument
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Item, Table

from penstock.ctl.spec_words import MEANINGS, OPTIONAL_TABLES
from penstock.domain.errors import SpecError
from penstock.domain.spec import parse_toml

_IS_LITERAL: Final = re.compile(r"(?=.*[\\\"])[ -&(-~]+")
"""Texts that are easier to read between single quotes: patterns and command lines."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_COLUMN: Final = 32
_ONE_LINE: Final = 100
"""Characters of a value that still gets its comment on the same line."""


def parse_document(text: str, file: str) -> TOMLDocument:
    """The document in `text`; SpecError as for any spec."""
    parse_toml(text, file)
    return tomlkit.parse(text.removeprefix("\ufeff").replace("\r\n", "\n"))


def document_of(tables: Mapping[str, Any]) -> TOMLDocument:
    """A document that holds `tables`, those values that are no tables first."""
    document = tomlkit.document()
    for key, value in _values_first(tables):
        document[key] = _item(value)
    return document


def split_key(key: str) -> list[str]:
    """The parts of a dotted key as TOML writes it (`engine.templates."job.inp"`); SpecError where it is none."""
    try:
        nested: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        nested = {}
    parts = []
    while isinstance(nested, dict) and len(nested) == 1:
        ((part, nested),) = nested.items()
        parts.append(part)
    if not parts or nested != 0 or "\n" in key:
        raise SpecError(f"{key!r} is no key; write it like engine.method")
    return parts


def quoted(part: str) -> str:
    """A part of a dotted key as TOML writes it."""
    return part if _BARE.fullmatch(part) else msgspec.json.encode(part).decode().replace("\x7f", "\\u007f")


def parse_value(text: str) -> Any:
    """A value as a person writes it on a command line: TOML where it is that, else a text.

    `3`, `true`, `[1, 2]` and `"3"` are TOML; `GFN2-xTB` and `02:00:00` are texts.
    """
    try:
        value = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    found = value.get("value")
    return found if len(value) == 1 and isinstance(found, bool | int | float | str | list | dict) else text


def value_at(tables: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    value: Any = tables
    for part in split_key(key):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def put(document: TOMLDocument, key: str, value: Any) -> None:
    """Set a dotted key; a comment behind it stays. SpecError where something on the way is no table."""
    *way, last = split_key(key)
    table: Any = document
    for part in way:
        if part not in table:
            table[part] = tomlkit.table()
        table = table[part]
        if not isinstance(table, Mapping):
            raise SpecError(f"{part} is no table, it cannot hold {last}", key=key)
    _assign(table, last, value)


def drop(document: TOMLDocument, key: str) -> None:
    """Take a dotted key out, and what tables are empty then."""
    *way, last = split_key(key)
    tables: list[Any] = [document]
    for part in way:
        tables.append(tables[-1].get(part, {}))
    tables[-1].pop(last, None)
    for depth in range(len(way), 0, -1):
        if tables[depth] == {}:
            tables[depth - 1].pop(way[depth - 1], None)


def render(document: TOMLDocument, meanings: Mapping[str, str] | None = None, *, without_hints: bool = False) -> str:
    """The text, with a comment at every key whose meaning is known and that has none, and what else could be said.

    `meanings` go before those known of every spec. Nothing is added of what else could be said `without_hints`.
    """
    for way, name, item in _leaves(document):
        key = f"{way}{name}"
        meaning = (meanings or {}).get(key) or MEANINGS.get(key) or MEANINGS.get(f"{way}*")
        if meaning and not item.trivia.comment and len(item.as_string()) <= _ONE_LINE and "\n" not in item.as_string():
            item.comment(meaning)
        if item.trivia.comment and item.trivia.comment_ws == " ":
            before = len(f"{name} = {item.as_string()}")
            item.trivia.comment_ws = " " * max(1, _COMMENT_COLUMN - before)
    text = document.as_string().strip("\n") + "\n"
    unsaid = [lines for table, lines in OPTIONAL_TABLES.items() if table not in document and not without_hints]
    return "\n".join([text, *unsaid])


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document's tables and values without their dress."""
    return tomllib.loads(tomlkit.dumps(document))


def _assign(table: Any, key: str, value: Any) -> None:
    comment = ""
    if key in table and isinstance(old := table[key], Item):
        comment = old.trivia.comment.lstrip("# ")
    try:
        item = _item(value)
    except (TOMLKitError, ValueError) as error:
        raise SpecError(f"{value!r} cannot be written in TOML: {error}", key=key) from error
    if comment and not isinstance(item, Table):
        item.comment(comment)
    table[key] = item


def _item(value: Any) -> Any:
    """A value, or tables in tables, as a document has it."""
    if isinstance(value, str) and _IS_LITERAL.fullmatch(value):
        return tomlkit.string(value, literal=True)
    if not isinstance(value, Mapping):
        return tomlkit.item(value)
    table = tomlkit.table(is_super_table=bool(value) and all(isinstance(inner, Mapping) for inner in value.values()))
    for key, inner in _values_first(value):
        table[key] = _item(inner)
    return table


def _values_first(tables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(tables.items(), key=lambda entry: isinstance(entry[1], Mapping))


def _leaves(table: Container | Table, way: str = "") -> Iterator[tuple[str, str, Item]]:
    """Every key of tables, but not what is in inline tables and arrays: the way to it, its name, its item."""
    container = table.value if isinstance(table, Table) else table
    for key in table:
        name, item = quoted(key), container.item(key)  # by its key alone a boolean would be a bare one
        if isinstance(item, Table):
            yield from _leaves(item, f"{way}{name}.")
        elif isinstance(item, Item):
            yield way, name, item
