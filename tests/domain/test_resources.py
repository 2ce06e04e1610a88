"""Amounts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError
from penstock.domain.resources import parse_duration_s, parse_memory_mb, parse_walltime_s, render_walltime


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        ("1GB", 1000),
        ("1 gb", 1000),
        (" 1.5GiB ", 1611),
        ("500MB", 500),
        ("512MiB", 537),
        ("2TB", 2_000_000),
        ("1kB", 1),
        ("100000KiB", 102),
        ("0MB", 1),
    ],
)
def test_memory(text: str, megabytes: int) -> None:
    assert parse_memory_mb(text) == megabytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10min", 600),
        ("1h 30min", 5400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("90 s", 90),
        ("1 day 2 hours 3 minutes 4 seconds", 93_784),
        ("02:00:00", 7200),
        ("1-00:00:01", 86_401),
        ("100:00:00", 360_000),
    ],
)
def test_walltime(text: str, seconds: int) -> None:
    assert parse_walltime_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "GB", "1", "1 GBit", "-1GB", "1e3MB", "1GB 1GB", "9" * 400 + "GB", "nanMB", "infGB"]
)
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(SpecError, match="is not an amount of memory; write it like '1GB'") as caught:
        parse_memory_mb(text, "resources.memory")
    assert caught.value.key == "resources.memory"


@pytest.mark.parametrize(
    "text",
    ["", "10", "ten minutes", "1h and 2min", "min", "-1h", "1:2:3", "1:00", "9" * 400 + "h", "9" * 5000 + ":00:00"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(SpecError, match="is not a duration; write it like '10min'") as caught:
        parse_walltime_s(text, "resources.walltime")
    assert caught.value.key == "resources.walltime"


@pytest.mark.parametrize("text", ["0s", "0.5s", "00:00:00"])
def test_a_walltime_is_at_least_a_second(text: str) -> None:
    with pytest.raises(SpecError, match="shorter than one second"):
        parse_walltime_s(text)


@given(st.text(max_size=30) | st.from_regex(r"[0-9.:\- ]{0,12}(s|min|h|d|GB|MiB)?", fullmatch=True))
def test_any_text_is_an_amount_or_a_spec_error(text: str) -> None:
    for parse in (parse_memory_mb, parse_walltime_s):
        try:
            amount = parse(text)
        except SpecError:
            continue
        assert 1 <= amount < 2**63


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_both_ways_to_write_a_duration_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    clock = parse_walltime_s(f"{days}-{hours}:{minutes:02}:{seconds:02}")
    assert clock == parse_walltime_s(f"{days}d {hours}h {minutes}min {seconds}s")


@pytest.mark.parametrize(("text", "seconds"), [("0.5s", 0.5), ("1min 0.25s", 60.25), ("0s", 0.0), ("00:00:02", 2.0)])
def test_a_duration_keeps_its_fractions(text: str, seconds: float) -> None:
    assert parse_duration_s(text, "listing") == seconds
    with pytest.raises(SpecError, match="is not a duration") as caught:
        parse_duration_s(f"{text}!", "listing")
    assert caught.value.key == "listing"


@given(st.integers(1, 10**8))
def test_a_walltime_reads_back_as_it_was_written(walltime_s: int) -> None:
    assert parse_walltime_s(render_walltime(walltime_s)) == walltime_s
