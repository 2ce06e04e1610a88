"""Rules of a spec are held against the engine before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.daemon.creation import check_request
from penstock.domain.calculation import FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Change, RemedyTable, Rule
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.views import ClusterInfo

LOCAL = {"local": ClusterInfo("local", "local", "up", None, 2, 0, 4000, 0, 0, 0)}
GOOD = Rule("good", FailureClass.EXIT_CODE, change={"keep": Change(append=["log"])})


def check(work: Path, table: RemedyTable) -> None:
    engine = {"name": "command", "command": ["true"]}
    spec = WorkflowSpec("campaign", StructureSource("m.csv"), engine, remedies=table)
    check_request(spec, str(work), str(work / "w.toml"), "spec", LOCAL)


def rule(name: str, change: Change) -> Rule:
    return Rule("bad", FailureClass.EXIT_CODE, change={name: change})


def test_a_rule_that_the_engine_can_take_passes(tmp_path: Path) -> None:
    check(tmp_path, RemedyTable(rules=[GOOD], limits={"good": 3}))


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        (RemedyTable(limits={"god": 1}, rules=[GOOD]), "remedies.limits.god", "did you mean 'good'?"),
        (
            RemedyTable(rules=[GOOD, rule("kep", Change(set=1))]),
            "remedies.rules[1]",
            "no parameter 'kep'; did you mean",
        ),
        (RemedyTable(rules=[rule("keep", Change(set=7))]), "remedies.rules[0]", "Expected `array`, got `int`"),
        (RemedyTable(rules=[rule("keep.log", Change(set=7))]), "remedies.rules[0]", "keep is no table"),
        (RemedyTable(rules=[rule("argv.0.x", Change(add=1))]), "remedies.rules[0]", "argv.0 is no table"),
    ],
)
def test_a_rule_that_the_engine_cannot_take_is_refused(
    tmp_path: Path, table: RemedyTable, key: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check(tmp_path, table)
    assert caught.value.key == key
    assert message in caught.value.message
