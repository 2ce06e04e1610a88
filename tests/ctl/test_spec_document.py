"""Specs as documents: keys are set one by one and comments stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.spec_document import (
    document_of,
    drop,
    parse_document,
    parse_value,
    plain,
    put,
    quoted,
    render,
    split_key,
    value_at,
)
from penstock.domain.errors import SpecError
from penstock.domain.spec import parse_toml

VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\"'= ", min_size=1), inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(st.text("ab.#-", min_size=1), VALUES, max_size=4)


@given(TABLES)
def test_whatever_a_document_holds_is_what_its_text_says(tables: dict[str, Any]) -> None:
    assert parse_toml(render(document_of(tables)), "x") == tables


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=3))
def test_a_quoted_key_is_split_again(parts: list[str]) -> None:
    assert split_key(".".join(quoted(part) for part in parts)) == parts


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_can_never_break_out_of_its_value(text: str) -> None:
    document = parse_document('# kept\n[engine] # e\nname = "orca"  # n\n', "x")
    put(document, "engine.name", text)
    put(document, "id", text)
    assert parse_toml(render(document), "x") == {"engine": {"name": text}, "id": text}
    assert "# kept" in render(document)
    assert "# n" in render(document)


@pytest.mark.parametrize("key", ["", "a b", "a.", "a\nb", "a = 1\nb", "[a]"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match="is no key"):
        split_key(key)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("[4, 4, 4]", [4, 4, 4]),
        ('"3"', "3"),
        ("GFN2-xTB", "GFN2-xTB"),
        ("02:00:00", "02:00:00"),
        ("1\nslots = 9", "1\nslots = 9"),
        ("", ""),
        ('{ Si = "Si.UPF" }', {"Si": "Si.UPF"}),
    ],
)
def test_a_value_is_toml_where_it_can_be(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_tables_on_the_way_are_made_and_go_when_they_are_empty() -> None:
    document = document_of({"slots": 1})
    put(document, 'engine.templates."job.inp"', "a")
    assert value_at(plain(document), 'engine.templates."job.inp"') == "a"
    drop(document, 'engine.templates."job.inp"')
    drop(document, "engine.nothing.here")
    assert plain(document) == {"slots": 1}
    with pytest.raises(SpecError, match="slots is no table"):
        put(document, "slots.more", 1)


def test_keys_get_their_meaning_and_what_is_unsaid_is_a_comment() -> None:
    text = render(document_of({"slots": 2, "engine": {"task": "opt"}}), {"engine.task": "opt, sp"})
    assert "slots = 2                       # jobs that may run at the same time; default 1\n" in text
    assert 'task = "opt"                    # opt, sp\n' in text
    assert '# walltime = "1h"' in text
    assert "[resources]" not in render(document_of({}), without_hints=True)
