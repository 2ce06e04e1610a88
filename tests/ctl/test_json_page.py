"""The page for programs names every command and field."""

from __future__ import annotations

import typing
from pathlib import Path

import click
import msgspec
import pytest

from penstock.control import messages
from penstock.ctl.main import cli
from penstock.domain import views
from penstock.domain.log_line import LogLine

PAGE = (Path(__file__).parents[2] / "docs" / "ctl-json.md").read_text()
NOT_SHOWN = {views.View, views.Filter, views.Selection}
SHOWN: list[type[msgspec.Struct]] = [
    *(message for message in typing.get_args(messages.AnyReply) if message is not messages.Done),
    *(view for view in vars(views).values() if isinstance(view, type) and issubclass(view, views.View)),
    messages.StepPlan,
    messages.SettingInfo,
    messages.LeftAlone,
    messages.LogChunk,
    LogLine,
    messages.Lagged,
]


@pytest.mark.parametrize("shown", [s for s in SHOWN if s not in NOT_SHOWN], ids=lambda shown: shown.__name__)
def test_the_json_page_names_every_field(shown: type[msgspec.Struct]) -> None:
    for name in shown.__struct_fields__:
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE


def test_the_json_page_names_every_command() -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert f"`{name}" in PAGE
