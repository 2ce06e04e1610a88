"""Remedies: what a rule makes of parameters, memory and walltime, within which bounds, and when there is none."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.calculation import FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.remedy import (
    Change,
    NoRemedy,
    Remedy,
    RemedyTable,
    Rule,
    check_table,
    decide_remedy,
    describe_rule,
    effective_rules,
    leads_somewhere,
    matching_rules,
)
from penstock.domain.resources import Resources

SCF = FailureClass.SCF_NOT_CONVERGED
HAD = Resources(memory_mb=1000, walltime_s=3600)


def changed(before: Any, change: Change, name: str = "x") -> Any:
    """The parameter after a rule that changes it alone; what was before it where there is no remedy."""
    rule = Rule("r", SCF, change={name: change})
    remedy = decide(rule, parameters={"x": before})
    return remedy.parameters["x"] if isinstance(remedy, Remedy) else before


def decide(
    *rules: Rule,
    text: str = "",
    parameters: dict[str, Any] | None = None,
    used: dict[str, int] | None = None,
    total: int = 9,
    most: Resources | None = None,
) -> Remedy | NoRemedy | None:
    return decide_remedy(rules, SCF, text, parameters or {}, used or {}, total=total, had=HAD, most=most)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (1, Change(set="word"), "word"),
        (1, Change(set=None), None),
        (None, Change(set={"a": [1]}), {"a": [1]}),
        (50, Change(add=100), 150),
        (50, Change(add=0.5), 50.5),
        (0.5, Change(add=0.5), 1.0),
        (50, Change(add=-100, least=1), 1),
        (50, Change(multiply=3, most=120), 120),
        (50, Change(multiply=2.5), 125),
        (50, Change(multiply=0), 0),
        (None, Change(add=10, default=30), 40),
        (None, Change(multiply=2, default=30), 60),
        (None, Change(add=10), None),
        (True, Change(add=1), True),
        ("many", Change(add=1), "many"),
        ([1], Change(multiply=2), [1]),
        (200, Change(add=10, most=100), 200),
        (1, Change(add=-10, least=5), 1),
        (["a"], Change(append=["a", "b", "c"]), ["a", "b", "c"]),
        (None, Change(append=["a"]), ["a"]),
        ("word", Change(append=["a"]), "word"),
        ({"a": 1}, Change(append=["a"]), {"a": 1}),
        (
            {"a": {"b": 1, "c": 2}, "d": 3},
            Change(merge={"a": {"b": 9}, "e": 4}),
            {"a": {"b": 9, "c": 2}, "d": 3, "e": 4},
        ),
        ({"a": 1}, Change(merge={"a": {"b": 9}}), {"a": {"b": 9}}),
        ({"a": {"b": 1}}, Change(merge={"a": 7}), {"a": 7}),
        (None, Change(merge={"a": 1}), {"a": 1}),
        ([1], Change(merge={"a": 1}), [1]),
        ("word", Change(merge={"a": 1}), "word"),
        (1e308, Change(multiply=10), 1e308),
        (10**400, Change(multiply=1.5), 10**400),
    ],
)
def test_every_change_by_example(before: Any, change: Change, after: Any) -> None:
    assert changed(before, change) == after


def test_dotted_names_lead_into_tables_and_make_those_that_are_missing() -> None:
    assert changed({"scf": {"cycles": 5}}, Change(add=5), "x.scf.cycles") == {"scf": {"cycles": 10}}
    assert changed({}, Change(set=1), "x.a.b") == {"a": {"b": 1}}
    assert changed({"a": None}, Change(set=1), "x.a.b") == {"a": {"b": 1}}
    assert changed(None, Change(set=1), "x.a.b") == {"a": {"b": 1}}


@pytest.mark.parametrize("value", [[1], "word", 3, True])
def test_a_dotted_name_that_leads_into_something_else_changes_nothing(value: Any) -> None:
    remedy = decide(Rule("r", SCF, change={"x.y": Change(set=1)}), parameters={"x": value})
    assert remedy == NoRemedy("no remedy is left: r has nothing left to change")
    assert not leads_somewhere({"x": value}, "x.y")
    assert leads_somewhere({"x": None}, "x.y.z")
    assert leads_somewhere({"x": value}, "x")


def test_a_change_of_nothing_leaves_no_empty_tables_behind() -> None:
    rule = Rule("r", SCF, change={"a.b": Change(add=1), "c": Change(set=2)})
    remedy = decide(rule, parameters={})
    assert isinstance(remedy, Remedy)
    assert (remedy.parameters, remedy.changes) == ({"c": 2}, ("c none → 2",))


def test_the_parameters_given_are_left_as_they_were() -> None:
    parameters = {"x": {"list": ["a"]}}
    assert isinstance(decide(Rule("r", SCF, change={"x.list": Change(append=["b"])}), parameters=parameters), Remedy)
    assert parameters == {"x": {"list": ["a"]}}


numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
changes = st.one_of(
    st.builds(Change, add=st.floats(-1e6, 1e6), default=st.none() | numbers, least=st.just(-50.0), most=st.just(70.0)),
    st.builds(
        Change, multiply=st.floats(-10, 10), default=st.none() | numbers, least=st.just(-50.0), most=st.just(70.0)
    ),
)


@given(before=st.none() | numbers, change=changes)
def test_bounds_hold_unless_it_began_beyond_them_and_then_it_goes_no_further(before: Any, change: Change) -> None:
    start = before if before is not None else change.default
    after = changed(before, change)
    if start is None:
        assert after is None
    elif after is not None:
        assert min(-50.0, start) <= after <= max(70.0, start)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e3, 1e3) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
any_change = st.one_of(
    changes,
    st.builds(Change, set=json_values),
    st.builds(Change, append=st.lists(json_values, max_size=2)),
    st.builds(Change, merge=st.dictionaries(st.sampled_from("abc"), json_values, max_size=2)),
)
names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
rules = st.builds(
    Rule,
    name=st.sampled_from(["one", "two", "three", "four"]),
    on=st.just(SCF),
    limit=st.integers(0, 4),
    change=st.dictionaries(names, any_change, max_size=3),
    memory=st.sampled_from([1.0, 1.5]),
    memory_most_mb=st.none() | st.integers(1, 4000),
    walltime=st.sampled_from([1.0, 2.0]),
    restart=st.booleans(),
)


@given(
    table=st.lists(rules, max_size=4, unique_by=lambda rule: rule.name),
    parameters=st.dictionaries(st.sampled_from("abc"), json_values, max_size=3),
    total=st.integers(0, 8),
)
def test_remedies_always_change_something_and_come_to_an_end(
    table: list[Rule], parameters: dict[str, Any], total: int
) -> None:
    used: dict[str, int] = {}
    had, most = HAD, msgspec.structs.replace(HAD, memory_mb=5000, walltime_s=20_000)
    limits = {rule.name: rule.limit for rule in table}
    while isinstance(
        remedy := decide_remedy(table, SCF, "", parameters, used, total=total, had=had, most=most), Remedy
    ):
        more = (remedy.memory_mb or had.memory_mb, remedy.walltime_s or had.walltime_s)
        assert remedy.changes
        assert remedy.restart or remedy.parameters != parameters or more != (had.memory_mb, had.walltime_s)
        assert had.memory_mb <= more[0] <= 5000
        assert had.walltime_s <= more[1] <= 20_000
        parameters, had = remedy.parameters, msgspec.structs.replace(had, memory_mb=more[0], walltime_s=more[1])
        msgspec.json.encode(parameters)
        used[remedy.rule] = used.get(remedy.rule, 0) + 1
        assert used[remedy.rule] <= limits[remedy.rule]
        assert sum(used.values()) <= min(total, sum(limits.values()))


def test_changes_that_undo_one_another_are_none() -> None:
    rule = Rule("r", SCF, limit=2, change={"b.a": Change(set=1), "b": Change(set={"a": 0})})
    assert decide(rule, parameters={"b": {"a": 0}}) == NoRemedy("no remedy is left: r has nothing left to change")


def test_memory_and_walltime_grow_up_to_the_rule_and_up_to_what_there_is() -> None:
    rule = Rule("r", SCF, memory=2.0, memory_most_mb=1800, walltime=10.0, walltime_most_s=7200)
    remedy = decide(rule)
    assert isinstance(remedy, Remedy)
    assert (remedy.memory_mb, remedy.walltime_s) == (1800, 7200)
    assert remedy.changes == ("memory 1000 MB → 1800 MB", "walltime 01:00:00 → 02:00:00")
    most = msgspec.structs.replace(HAD, memory_mb=1000, walltime_s=5000)
    remedy = decide(rule, most=most)
    assert isinstance(remedy, Remedy)
    assert (remedy.memory_mb, remedy.walltime_s) == (None, 5000)
    assert decide(rule, most=HAD) == NoRemedy("no remedy is left: r has nothing left to change")


FIRST = Rule("first", SCF, when="diverg", change={"x": Change(add=1)})
SECOND = Rule("second", SCF, limit=2, change={"x": Change(add=10)}, restart=True)
PERSON = Rule("person", SCF, when="basis", person="give another basis set")


def test_the_first_rule_that_matches_and_still_may_is_taken() -> None:
    assert matching_rules([FIRST, SECOND, PERSON], SCF, "it DIVERGES") == [FIRST, SECOND]
    remedy = decide(FIRST, SECOND, text="it DIVERGES", parameters={"x": 0})
    assert isinstance(remedy, Remedy)
    assert (remedy.rule, remedy.restart) == ("first", False)
    remedy = decide(FIRST, SECOND, text="it diverges", parameters={"x": 0}, used={"first": 1})
    assert isinstance(remedy, Remedy)
    assert (remedy.rule, remedy.parameters, remedy.restart) == ("second", {"x": 10}, True)
    assert remedy.changes == ("x 0 → 10", "on from the last geometry and checkpoint")


def test_what_the_table_says_nothing_about_has_no_remedy_at_all() -> None:
    assert decide(FIRST, text="something else") is None
    assert decide() is None
    assert decide_remedy([SECOND], FailureClass.WALLTIME, "", {}, {}, total=9, had=HAD) is None


def test_limits_are_told_rule_by_rule_and_in_total() -> None:
    used = {"first": 1, "second": 2}
    assert decide(FIRST, SECOND, text="diverged", used=used) == NoRemedy(
        "no remedy is left: first was used 1 of 1 times; second was used 2 of 2 times"
    )
    said = decide(FIRST, SECOND, text="diverged", used={"other": 2}, total=2)
    assert said == NoRemedy("2 remedies were tried, and no more are allowed ([remedies] total)")


def test_a_person_is_asked_where_no_program_can_help_even_when_the_total_is_used_up() -> None:
    asked = NoRemedy("needs a person: give another basis set", person=True)
    assert decide(PERSON, SECOND, text="no basis") == asked
    assert decide(FIRST, PERSON, text="diverged for lack of basis", used={"first": 1}) == asked
    assert decide(FIRST, PERSON, text="diverged for lack of basis", used={"other": 9}, total=9) == asked


def test_a_rule_that_is_off_is_as_if_it_were_not_there() -> None:
    table = RemedyTable(limits={"person": 0, "first": 0})
    off = effective_rules(table, [PERSON, FIRST])
    assert decide(*off, text="basis diverged") is None
    assert matching_rules(off, SCF, "basis diverged") == []


def test_what_alters_the_calculation_is_off_where_results_are_compared_unless_the_spec_names_it() -> None:
    altering = msgspec.structs.replace(SECOND, name="altering", alters=True)
    usual, comparing = (
        effective_rules(RemedyTable(), [FIRST, altering], compares=compares) for compares in (False, True)
    )
    assert matching_rules(usual, SCF, "diverged") == [FIRST, altering]
    assert matching_rules(comparing, SCF, "diverged") == [FIRST]
    named = effective_rules(RemedyTable(limits={"altering": 2}), [altering], compares=True)
    assert [rule.limit for rule in named] == [2]
    own = effective_rules(RemedyTable(rules=[altering]), [], compares=True)
    assert own == (altering,)
    assert describe_rule(altering)[-1] == "another calculation, off where results are compared"


def test_rules_of_the_spec_come_first_and_replace_those_of_the_engine() -> None:
    own = msgspec.structs.replace(SECOND, why="mine")
    extra = Rule("extra", SCF, restart=True)
    table = RemedyTable(rules=[extra, own], limits={"first": 5, "extra": 4})
    found = effective_rules(table, [FIRST, SECOND])
    assert [(rule.name, rule.limit) for rule in found] == [("extra", 4), ("second", 2), ("first", 5)]
    assert found[1].why == "mine"
    alone = effective_rules(msgspec.structs.replace(table, engine=False), [FIRST, SECOND])
    assert [rule.name for rule in alone] == ["extra", "second"]


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        (RemedyTable(total=-1), "remedies.total", "must be between 0 and 100, not -1"),
        (RemedyTable(total=101), "remedies.total", "must be between 0 and 100, not 101"),
        (RemedyTable(limits={"a": -1}), "remedies.limits.a", "must be 0 (the rule is off) or more, not -1"),
        (RemedyTable(rules=[FIRST, FIRST]), "remedies.rules", "there are two rules 'first'"),
        (RemedyTable(rules=[FIRST, Rule("r", SCF, when="(")]), "remedies.rules[1]", "when is no regular expression"),
        (RemedyTable(rules=[Rule("r", SCF)]), "remedies.rules[0]", "rule 'r' changes nothing; give change"),
        (RemedyTable(rules=[Rule("r", SCF, limit=-1, restart=True)]), "remedies.rules[0]", "limit must be 0"),
        (RemedyTable(rules=[Rule("r", SCF, memory=0.5)]), "remedies.rules[0]", "factors between 1 and 100, not 0.5"),
        (RemedyTable(rules=[Rule("r", SCF, walltime=math.nan)]), "remedies.rules[0]", "factors between 1 and 100"),
        (RemedyTable(rules=[Rule("r", SCF, walltime=101.0)]), "remedies.rules[0]", "not 101"),
        (
            RemedyTable(rules=[Rule("r", SCF, change={"x": Change()})]),
            "remedies.rules[0]",
            "x needs exactly one of set",
        ),
        (
            RemedyTable(rules=[Rule("r", SCF, change={"x": Change(set=1, add=1.0)})]),
            "remedies.rules[0]",
            "x needs exactly one of set",
        ),
        (RemedyTable(rules=[Rule("r", SCF, change={"x": Change(add=math.inf)})]), "remedies.rules[0]", "be finite"),
        (
            RemedyTable(rules=[Rule("r", SCF, change={"x": Change(add=1.0, least=5, most=4)})]),
            "remedies.rules[0]",
            "x: least 5 is more than most 4",
        ),
    ],
)
def test_tables_that_cannot_be_meant_are_refused_with_their_key(table: RemedyTable, key: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_table(table)
    assert caught.value.key == key
    assert message in caught.value.message


def test_good_tables_pass() -> None:
    check_table(RemedyTable())
    rules = [
        FIRST,
        SECOND,
        PERSON,
        Rule("off", SCF, limit=0, restart=True),
        Rule("n", SCF, change={"x": Change(set=None)}),
    ]
    check_table(RemedyTable(0, rules=rules, limits={"first": 0}))


def test_rules_are_described_in_words() -> None:
    assert describe_rule(PERSON) == ["needs a person: give another basis set"]
    rule = Rule(
        "all",
        SCF,
        change={
            "a": Change(add=10, most=100),
            "b": Change(multiply=0.5, least=1),
            "c": Change(append=["SlowConv", 3]),
            "d": Change(merge={"scf": {"x": 1}}),
            "e": Change(set=None),
            "f": Change(add=-1.5, least=0, most=9),
        },
        memory=2.0,
        memory_most_mb=4000,
        walltime=1.5,
        walltime_most_s=7200,
        restart=True,
    )
    assert describe_rule(rule) == [
        "a +10 up to 100",
        "b x 0.5 down to 1",
        "c with SlowConv, 3",
        'd with {"scf":{"x":1}}',
        "e = none",
        "f -1.5 down to 0 up to 9",
        "memory x 2 up to 4000 MB",
        "walltime x 1.5 up to 02:00:00",
        "on from the last geometry and checkpoint",
    ]
    assert describe_rule(Rule("more", SCF, memory=2.0, walltime=2.0)) == ["memory x 2", "walltime x 2"]
