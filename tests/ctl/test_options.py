"""What people write to say which jobs they mean."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ctl.main import cli
from penstock.ctl.options import parse_jobs
from penstock.domain.views import Filter, parse_filter


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50)), min_size=1, max_size=5))
def test_job_lists_are_read_in_order(ranges: list[tuple[int, int]]) -> None:
    text = ", ".join(str(first) if not extra else f"{first}-{first + extra}" for first, extra in ranges)
    assert parse_jobs(text) == [job for first, extra in ranges for job in range(first, first + extra + 1)]


@pytest.mark.parametrize("text", ["", ",", "1,,2", "a", "-3", "3-", "1-2-3", "1.5", "٣", "9" * 30])
def test_what_is_no_job_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a job number nor a range"):
        parse_jobs(text)


def test_a_list_too_long_to_send_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="use --status or --filter"):
        parse_jobs("1-999999999999999999")


@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">=", "~"])
def test_every_operator_is_read(op: str) -> None:
    assert parse_filter(f"natoms{op}50") == Filter("natoms", op, "50")
    assert parse_filter(f" natoms {op} 50 ") == Filter("natoms", op, "50")


def test_a_value_may_hold_anything() -> None:
    assert parse_filter("error_message~a = b < c") == Filter("error_message", "~", "a = b < c")


def test_what_can_be_chosen_is_written_as_it_is_meant() -> None:
    """Of the members of an enum click would take the names, in capitals."""
    with click.Context(cli) as context:
        commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    options = [option for command in commands if command is not None for option in command.params]
    choices = [choice for each in options if isinstance(each.type, click.Choice) for choice in each.type.choices]
    assert "hybrid" in choices
    assert {type(choice) for choice in choices} == {str}
