"""The rules as people read them."""

from __future__ import annotations

from typing import NamedTuple

from penstock.recipes.goals.growing import RULES
from penstock.recipes.goals.rules import describe_value, describe_when


class ListedRule(NamedTuple):
    """A rule in words."""

    key: str
    value: str
    when: str
    why: str
    source: str


def list_rules() -> list[ListedRule]:
    """All rules, in the order in which they are gone through."""
    return [
        ListedRule(rule.key, describe_value(rule.value), describe_when(rule.when), rule.why, rule.source)
        for rule in RULES
    ]
