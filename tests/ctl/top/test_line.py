"""Text in cells, and columns that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from penstock.ctl.top.line import Column, Span, cut, filled, fitted, padded, row, said, text_of, wrapped

COLUMNS = (Column("ID", 5, 20), Column("N", 3, 3, right=True), Column("WHERE", 6, 9, 2), Column("WHY", 8, 90, 1))


@given(st.text(), st.integers(0, 40))
def test_whatever_a_text_holds_it_fits(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) <= width
    assert cell_len(padded(text, width)) == width
    assert cell_len(text_of(filled(said(cut(text, 30)), width))) == width
    assert not set(cut(text, width)) & {"\x1b", "\n", "\r", "\x07", "\u202e"}


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(4, 40))
def test_wrapped_text_keeps_its_words_and_its_width(text: str, width: int) -> None:
    lines = wrapped(text, width, indent="  ")
    assert all(cell_len(text_of(line)) <= width for line in lines)


def test_words_are_wrapped_at_spaces_and_longer_ones_anywhere() -> None:
    assert [text_of(line) for line in wrapped("one two three", 8)] == ["one two", "three"]
    assert [text_of(line) for line in wrapped("a " + "x" * 10, 6, indent=" ")] == ["a", " xxxxx", " xxxxx"]
    assert [text_of(line) for line in wrapped("", 6)] == [""]


def test_what_is_cut_says_so() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde~"
    assert cut("a\x1bb", 10) == "a\\x1bb"
    assert cut("\u4e2d\u6587\u5b57", 5) == "\u4e2d\u6587~"


@pytest.mark.parametrize(
    ("width", "shown"),
    [(200, [0, 1, 2, 3]), (25, [0, 1, 2, 3]), (24, [0, 1, 3]), (17, [0, 1]), (9, [0, 1]), (3, [0, 1])],
)
def test_columns_are_left_out_by_rank(width: int, shown: list[int]) -> None:
    layout = fitted(COLUMNS, width)
    assert [column.place for column in layout] == shown
    assert all(COLUMNS[column.place].least <= column.width <= COLUMNS[column.place].most for column in layout)


@given(st.integers(9, 300))
def test_rows_are_never_wider_than_the_terminal(width: int) -> None:
    cells = [Span("x" * 500), Span("12"), Span("here"), Span("because")]
    assert len(text_of(row(cells, fitted(COLUMNS, width)))) <= width
