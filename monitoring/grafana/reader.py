"""The panels of a dashboard's file, and their expressions with Grafana's variables filled in as Grafana would."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A query of a panel; `title` and `unit` are those of its column in a table."""

    expression: str
    legend: str
    title: str = ""
    unit: str = ""


class Panel(NamedTuple):
    """What a panel shows; `kind` is Grafana's name of it, `labels` are the columns of a table that are labels."""

    id: int
    title: str
    kind: str
    unit: str
    about: str
    stacked: bool
    names_only: bool
    words: Mapping[str, str]
    labels: tuple[str, ...]
    targets: tuple[Target, ...]


def read_panels(path: Path) -> list[Panel]:
    """The panels of a dashboard in their order, without the rows between them."""
    board = json.loads(path.read_text(encoding="utf-8"))
    return [_panel(found) for found in board["panels"] if found["type"] != "row"]


def filled(expression: str, values: Mapping[str, str]) -> str:
    """`expression` with each `$name` replaced; KeyError for one that has no value."""
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], expression)


def _panel(found: dict[str, Any]) -> Panel:
    defaults = found["fieldConfig"]["defaults"]
    mappings = [mapping["options"] for mapping in defaults.get("mappings", [])]
    order = _organized(found)
    return Panel(
        id=found["id"],
        title=found["title"],
        kind=found["type"],
        unit=defaults.get("unit", ""),
        about=found.get("description", ""),
        stacked=defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        names_only=found["options"].get("textMode") == "name",
        words={value: word["text"] for options in mappings for value, word in options.items()},
        labels=tuple(name for name in order if not name.startswith("Value #")),
        targets=tuple(_target(found, target, order) for target in found["targets"]),
    )


def _organized(found: dict[str, Any]) -> dict[str, str]:
    """The columns of a table in their order, and what they are called."""
    for transformation in found.get("transformations", []):
        if transformation["id"] == "organize":
            options = transformation["options"]
            names = sorted(options["indexByName"], key=options["indexByName"].__getitem__)
            return {name: options["renameByName"].get(name, name) for name in names}
    return {}


def _target(found: dict[str, Any], target: dict[str, Any], order: Mapping[str, str]) -> Target:
    field = f"Value #{target['refId']}"
    title = "" if order.get(field) == field else order.get(field, "")
    return Target(target["expr"], target.get("legendFormat", ""), title, _override(found, title, "unit"))


def _override(found: dict[str, Any], column: str, wanted: str) -> str:
    for override in found["fieldConfig"].get("overrides", []):
        if override["matcher"] == {"id": "byName", "options": column}:
            for setting in override["properties"]:
                if setting["id"] == wanted:
                    return str(setting["value"])
    return ""
