"""What reaches a terminal is safe, and reads well."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.text import bar, clean, clean_block, counts, duration, local_time_of, number, percentage

ANYTHING = st.text(st.characters())


@given(ANYTHING)
def test_a_cleaned_line_has_no_control_character_and_can_be_written(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert not [c for c in cleaned if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert len(cleaned.splitlines()) <= 1


@given(ANYTHING)
def test_a_cleaned_block_keeps_its_lines_and_nothing_else_of_the_kind(text: str) -> None:
    cleaned = clean_block(text)
    assert {c for c in cleaned if unicodedata.category(c) in {"Cc", "Cs"}} <= {"\n", "\t"}
    assert cleaned.count("\n") == text.count("\n")


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_honest_text_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.1234, "0.12 s"),
        (5.26, "5.3 s"),
        (59.4, "59 s"),
        (59.6, "1m 00s"),
        (65, "1m 05s"),
        (7380, "2h 03m"),
        (273600, "3d 04h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_shares_and_counts() -> None:
    assert (number(None), number(1.5, 2)) == ("-", "1.50")
    assert (percentage(1, 3), percentage(0, 0)) == ("33.3 %", "-")
    assert (bar(1, 1000, 10, "#"), bar(0, 1000, 10, "#"), bar(5, 10, 10, "#")) == ("#", "", "#####")
    assert counts({"ready": 0, "failed": 2, "completed": 1}) == "failed 2, completed 1"
    assert counts({}) == "none"


def test_a_moment_that_cannot_be_read_is_shown_as_it_is() -> None:
    assert local_time_of("yesterday") == "yesterday"
    assert "T" not in local_time_of("2026-01-01T00:00:00+00:00")


def test_a_moment_without_a_zone_is_utc_and_shown_in_the_readers_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert local_time_of("2026-01-01 20:00:00") == "2026-01-02 05:00:00"
        assert local_time_of("2026-01-01T20:00:00.5Z") == "2026-01-02 05:00:00"
        assert local_time_of("2026-01-01T20:00:00-01:00") == "2026-01-02 06:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
