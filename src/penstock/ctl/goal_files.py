"""Goal files as commands take them: what a file grows into, and errors about that told in the goal's own words.

What growing needs is imported when a file is a goal: most are not.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.ctl.layers import client_layers
from penstock.ctl.output import Ctl
from penstock.domain.errors import ForbiddenError, ProtocolError, SpecError, UnreachableError
from penstock.domain.settings import BUILT_IN, find_config, resolve
from penstock.domain.spec import in_file, is_goal

if TYPE_CHECKING:
    from penstock.recipes.goals import Goal, Grown, Surroundings, System


class GoalFile(NamedTuple):
    """A goal file, and what it grew into."""

    path: Path
    text: str
    goal: Goal
    system: System
    grown: Grown

    @property
    def summary(self) -> str:
        """What it grew into, in a line."""
        goal, system = self.goal, self.system
        engine = self.grown.tables["engine"]["name"]
        structures = "1 structure" if system.count == 1 else f"{system.count} structures"
        what = f"{goal.goal} of {goal.system or ', '.join(system.elements)} ({structures}) with {engine}"
        return f"{what}, accuracy {goal.accuracy}; the spec it grew into: penstockctl plan {os.path.relpath(self.path)}"

    def warn(self, ctl: Ctl) -> None:
        """Says what to beware of, as it stands at the head of the text."""
        for caution in self.grown.cautions:
            ctl.note(f"beware: {caution}")


def grow_file(
    ctl: Ctl, path: Path, text: str, folder: Path | None = None, *, to_be_edited: bool = False
) -> GoalFile | None:
    """What the goal in `path` (absolute) grows into, None where `text` is no goal's; SpecError in the goal's words.

    `folder` is where the spec will be, if not beside the goal: paths of structures are relative to it then. A spec that
    is `to_be_edited` may leave gaps for a person to fill in.
    """
    tables = _tables(text)
    if not is_goal(tables):
        return None
    from penstock.recipes.goals import find_system, grow, read_goal

    try:
        goal = read_goal(tables)
        system = find_system(goal, path.parent)
    except SpecError as error:
        raise in_file(error, text, str(path)) from error
    grown = grow(goal, _seen_from(system, path.parent, folder), _around(ctl, goal, system), str(path), text)
    found = GoalFile(path, text, goal, system, grown)
    _check(found, to_be_edited=to_be_edited)
    return found


def _check(file: GoalFile, *, to_be_edited: bool) -> None:
    """SpecError unless the spec can be meant, but for what a person may still have to say."""
    from penstock.ctl.spec_check import check_tables

    gaps = {rule.key: rule.why for rule in file.grown.rules if rule.value == ""}
    try:
        with told_in_goal(file):
            check_tables({key: value for key, value in file.grown.tables.items() if key != "sweep"}, "", file.path)
    except SpecError as error:
        if error.key not in gaps:
            raise
        if not to_be_edited:
            raise SpecError(gaps[error.key], file=str(file.path), key=error.key) from error


@contextmanager
def told_in_goal(file: GoalFile | None) -> Iterator[None]:
    """Errors about a spec as errors about the goal file that it grew from; None: it is no goal's."""
    try:
        yield
    except SpecError as error:
        if file is None:
            raise
        from penstock.recipes.goals import as_in_goal

        raise as_in_goal(error, file.goal, file.text, str(file.path), file.grown.rules) from error


def _around(ctl: Ctl, goal: Goal, system: System) -> Surroundings:
    from penstock.recipes.goals import look_around, value_at
    from penstock.recipes.goals.surroundings import find_pseudo_dir

    pseudo_dir = value_at(goal.given, "engine.pseudo_dir") or find_pseudo_dir(os.environ)
    functional = value_at(goal.given, "engine.functional")
    return look_around(system.elements, str(pseudo_dir), functional, _settings(ctl))


def _tables(text: str) -> dict[str, Any]:
    """The tables of a text; what is no TOML is no goal, and told by whoever reads it as a spec."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _settings(ctl: Ctl) -> Mapping[str, Any]:
    """Settings of lower rank than a spec that somebody has set, as the daemon knows them or else the files here."""
    layers = client_layers({})
    try:
        found = [(setting.key, setting.value, setting.origin) for setting in ctl.client.settings(layers).settings]
    except (UnreachableError, ForbiddenError, ProtocolError):
        from penstock.daemon.config import load_config

        config = load_config(find_config(os.environ))
        resolved = resolve([*config.layers(), *layers])
        found = [(key, setting.value, setting.origin) for key, setting in resolved.items()]
    return {key: value for key, value, origin in found if origin != BUILT_IN and value is not None}


def _seen_from(system: System, base: Path, folder: Path | None) -> System:
    """The system with the path of its structures as a spec in `folder` has it."""
    source = system.structures.get("source")
    if folder is None or folder == base or not isinstance(source, str) or Path(source).expanduser().is_absolute():
        return system
    return system.with_source(os.path.relpath(base / source, folder))
