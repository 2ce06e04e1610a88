"""Which actions there may be at a workflow's end, and whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.domain import completion
from penstock.domain.completion import (
    Completion,
    CompletionAction,
    CompletionState,
    check_actions,
    decide_next,
    must_hold,
)
from penstock.domain.errors import SpecError
from penstock.domain.spec import decode_spec, parse_toml

SPEC = 'recipe = "campaign"\n[structures]\nsource = "m.csv"\n[engine]\nname = "emt"\n'


def decode(text: str) -> Any:
    return decode_spec(parse_toml(SPEC + text, "f"), SPEC + text, "f")


def test_actions_are_read_in_their_order() -> None:
    other = '[[on_complete]]\naction = "export"\nformat = "json"\nwhen = "ended"'
    spec = decode(f'[[on_complete]]\naction = "export"\n{other}')
    assert [(a.action, a.format, a.when) for a in spec.on_complete] == [
        ("export", "csv", "completed"),
        ("export", "json", "ended"),
    ]
    assert [a.is_due(failed=True) for a in spec.on_complete] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[on_complete]]\naction = "export"\n\n[[on_complete]]\naction = "print"', r"f:10: on_complete\[1\].action: "),
        ('[[on_complete]]\naction = "export"\nfrmat = "csv"', r"f:8: .*unknown key 'frmat'; did you mean 'format'"),
        ('[[on_complete]]\naction = "archive"', r"f:6: on_complete\[0\].destination: an archive needs"),
        (
            '[[on_complete]]\naction = "archive"\ndestination = "a"\ndelete = true\n[[on_complete]]\naction = "clean"',
            r"f:9: on_complete\[0\].delete: nothing can be done",
        ),
        ('[[on_complete]]\naction = "export"\nwhen = "never"', r"f:8: on_complete\[0\].when: invalid enum value"),
        ('[[on_complete]]\nformat = "csv"', r"f:6: on_complete\[0\].action: missing"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        decode(text)


def test_an_option_of_another_action_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "OPTIONS", {"tidy": frozenset()})
    with pytest.raises(SpecError, match=r"on_complete\[0\].path: is no option of tidy"):
        check_actions([CompletionAction("tidy", path="x")])


def done(position: int, state: CompletionState, action: str = "export") -> Completion:
    return Completion(1, position, CompletionAction(action), state, None, 0.0)


def test_actions_come_in_turn_and_one_that_was_begun_comes_again() -> None:
    first, second = done(1, CompletionState.DONE), done(2, CompletionState.BEGUN)
    assert decide_next([first, second, done(3, CompletionState.PENDING)]) == second
    assert decide_next([first, done(2, CompletionState.FAILED), done(3, CompletionState.PENDING)]) == done(
        3, CompletionState.PENDING
    )
    assert decide_next([first, done(2, CompletionState.HELD), done(3, CompletionState.DROPPED)]) is None


def test_nothing_is_taken_away_before_all_is_done() -> None:
    last = done(2, CompletionState.PENDING, "clean")
    assert must_hold(last, [done(1, CompletionState.FAILED), last])
    assert not must_hold(last, [done(1, CompletionState.DONE), last, done(3, CompletionState.PENDING)])
    assert not must_hold(done(2, CompletionState.PENDING), [done(1, CompletionState.FAILED)])
