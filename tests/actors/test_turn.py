"""Whose turn it is in the pool."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from penstock.actors.turn import Turn, choose_next


def turn(places: str = "", *, long: bool = False, hung: bool = False, leaving: bool = False) -> Turn:
    """A turn in the file systems that the letters stand for."""
    made = Turn(frozenset(places), is_long=long)
    made.is_hung, made.is_leaving = hung, leaving
    return made


def test_they_come_in_their_order_and_no_more_than_there_is_room_for() -> None:
    first, second, third = (turn("a") for _ in range(3))
    assert choose_next([first, second, third], [], 2) == [first, second]
    assert choose_next([second, third], [first], 2) == [second]
    assert choose_next([third], [first, second], 2) == []


@pytest.mark.parametrize(("size", "begun"), [(1, 1), (2, 1), (3, 2)])
def test_long_ones_leave_a_place_where_there_are_two(size: int, begun: int) -> None:
    long = [turn("a", long=True) for _ in range(4)]
    assert choose_next(long, [], size) == long[:begun]
    if size > 1:
        short = turn("a")
        assert choose_next([*long, short], [], size) == [*long[:begun], short]


def test_a_place_whose_worker_hangs_is_lent_on_but_not_to_the_same_file_system() -> None:
    dead, well, without = turn("d"), turn("a", long=True), turn()
    hung = [turn("d", hung=True, long=True), turn("d", hung=True)]
    assert choose_next([dead, well, without], hung, 2) == [well, without]
    hung[0].is_hung = False  # one goes on: it has its place again
    assert choose_next([dead, well], hung, 2) == []
    assert choose_next([dead, without], hung, 2) == [without]
    assert choose_next([dead], [], 2) == [dead]


def test_a_worker_that_was_killed_is_waited_for_where_it_was() -> None:
    leaving = [turn("d", leaving=True)]
    dead, well = turn("d"), turn("a")
    assert choose_next([dead, well], leaving, 1) == [well]


def test_who_goes_to_two_file_systems_puts_neither_under_suspicion_alone() -> None:
    hung = [turn("ab", hung=True)]
    both, more, one = turn("ab"), turn("abc"), turn("b")
    assert choose_next([both, more, one], hung, 3) == [one]
    hung.append(turn("b", hung=True))  # it was this one
    assert choose_next([one, turn("bc"), both], hung, 3) == []
    other = turn("a")
    assert choose_next([other], hung, 3) == [other]


def test_one_that_goes_nowhere_stands_in_nobodys_way() -> None:
    waiting = [turn(), turn("a")]
    assert choose_next(waiting, [turn(leaving=True)], 2) == waiting


turns = st.builds(turn, st.sets(st.sampled_from("abc")).map("".join), long=st.booleans(), hung=st.booleans())


@given(waiting=st.lists(turns, max_size=8), under_way=st.lists(turns, max_size=6), size=st.integers(1, 4))
def test_whoever_waits_though_there_is_room_has_a_reason(waiting: list[Turn], under_way: list[Turn], size: int) -> None:
    for one in waiting:
        one.is_hung = False
    chosen = choose_next(waiting, under_way, size)
    at_work = [one for one in under_way if not one.is_hung] + chosen
    assert not chosen or len(at_work) <= size
    for one in waiting:
        stands_before = any(
            other.is_hung and other.file_systems and other.file_systems <= one.file_systems for other in under_way
        )
        if one in chosen:
            assert not stands_before
        elif len(at_work) < size:
            assert stands_before or (one.is_long and len([o for o in at_work if o.is_long]) >= max(1, size - 1))
