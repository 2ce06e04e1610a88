"""The command plan: the full spec that a goal grows into."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from penstock.ctl.goal_files import GoalFile, grow_file
from penstock.ctl.options import command
from penstock.ctl.output import Ctl
from penstock.ctl.spec_files import refuse_existing, write_file
from penstock.ctl.text import clean_block
from penstock.domain.errors import SpecError
from penstock.domain.settings import read_text
from penstock.domain.spec import parse_toml


@command("plan")
@click.argument("goal", required=False, type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write it there.")
@click.option("--overwrite", is_flag=True, help="Write over a file that exists.")
@click.option("--rules", is_flag=True, help="Show all rules instead.")
def plan(ctl: Ctl, goal: str | None, output: str | None, *, overwrite: bool, rules: bool) -> None:
    """Show the full spec that the file GOAL grows into: every line with why it is so, ready to be changed.

    No daemon is needed. What it would do: penstockctl submit --dry-run GOAL.
    """
    if rules:
        _show_rules(ctl)
        return
    if goal is None:
        raise click.UsageError("give a goal file, or --rules")
    path = Path(goal).absolute()
    target = Path(output).absolute() if output else None
    if target is not None:
        refuse_existing(target, overwrite=overwrite)
    elif overwrite:
        raise click.UsageError("--overwrite goes with --output")
    text = read_text(path)
    parse_toml(text, str(path))
    file = grow_file(ctl, path, text, target.parent if target else None, to_be_edited=True)
    if file is None:
        message = (
            'this is no goal file: it has no goal = "..."; what a full spec would do: '
            f"penstockctl submit --dry-run {os.path.relpath(path)}"
        )
        raise SpecError(message, file=str(path))
    if target is not None:
        write_file(target, file.grown.text, overwrite=overwrite)
    _show(ctl, file, target)


def _show_rules(ctl: Ctl) -> None:
    from penstock.recipes.goals.listing import list_rules

    listed = list_rules()
    if ctl.json:
        ctl.emit({"rules": [rule._asdict() for rule in listed]})
    else:
        ctl.table(("key", "value", "when", "why", "source"), listed)


def _show(ctl: Ctl, file: GoalFile, target: Path | None) -> None:
    grown = file.grown
    if ctl.json:
        ctl.emit(
            {
                "goal": str(file.path),
                "path": str(target) if target else None,
                "text": grown.text,
                "spec": grown.tables,
                "rules": grown.rules,
                "elsewhere": grown.elsewhere,
                "cautions": grown.cautions,
            }
        )
    elif target is None:
        click.echo(clean_block(grown.text), nl=False)
    else:
        file.warn(ctl)
        ctl.line(f"wrote {os.path.relpath(target)}; run it: penstockctl submit {os.path.relpath(target)}")


COMMANDS: Final = {"plan": plan}
