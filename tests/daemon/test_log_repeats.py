"""Repeats are counted by kind and window, in a time of the test's own."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.daemon.log_repeats import KINDS_MAX, MOST, PERIOD_S, Line, Repeats


class Time:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_in_a_minute_and_then_once_how_often() -> None:
    time = Time()
    repeats = Repeats(time)
    written = [line for n in range(12) for line in repeats.take("full", {"n": n})]
    assert written == [{"n": n} for n in range(MOST)]
    time.now += PERIOD_S - 0.1
    assert repeats.due() == []
    assert repeats.take("full", {"n": 12}) == []
    time.now += 0.1
    assert repeats.due() == [{"n": 12, "repeated": 13 - MOST}]
    assert repeats.due() == []
    assert len(repeats) == 0
    assert repeats.take("full", {"n": 13}) == [{"n": 13}]


def test_the_next_line_tells_it_too_and_first() -> None:
    time = Time()
    repeats = Repeats(time, most=1)
    for n in range(3):
        repeats.take("a", {"n": n})
    time.now += PERIOD_S
    assert repeats.take("a", {"n": 3}) == [{"n": 2, "repeated": 2}, {"n": 3}]


def test_kinds_are_counted_apart_and_all_is_told_at_the_end() -> None:
    repeats = Repeats(Time(), most=2)
    for kind in ("a", "b", "c"):
        for n in range({"a": 5, "b": 2, "c": 3}[kind]):
            repeats.take(kind, {"of": kind, "n": n})
    assert repeats.flush() == [{"of": "a", "n": 4, "repeated": 3}, {"of": "c", "n": 2, "repeated": 1}]
    assert repeats.flush() == []


def test_memory_is_bounded_and_the_oldest_is_told_when_it_gives_way() -> None:
    repeats = Repeats(Time(), most=1)
    repeats.take(0, {"kind": 0})
    repeats.take(0, {"kind": 0})
    for kind in range(1, KINDS_MAX):
        assert repeats.take(kind, {"kind": kind}) == [{"kind": kind}]
    assert repeats.take("new", {"kind": "new"}) == [{"kind": 0, "repeated": 1}, {"kind": "new"}]
    for kind in range(5 * KINDS_MAX):
        repeats.take(("more", kind), {})
    assert len(repeats) == KINDS_MAX


@example([(0, 0.0), (0, 20.0), (0, 40.0), (0, 0.0)], 2, 1)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40)), max_size=120), st.integers(1, 4), st.integers(1, 3))
def test_nothing_is_lost_and_never_more_is_said_than_may_be(
    said: list[tuple[int, float]], most: int, kinds_max: int
) -> None:
    time = Time()
    repeats = Repeats(time, most=most, kinds_max=kinds_max)
    written: list[Line] = []
    for kind, pause in said:
        time.now += pause
        written += repeats.take(kind, {"kind": kind, "at": time.now})
        assert len(repeats) <= kinds_max
    written += repeats.flush()
    for kind in range(4):
        own = [line for line in written if line["kind"] == kind]
        counted = sum(line.get("repeated", 1) for line in own)
        assert counted == sum(1 for k, _ in said if k == kind)
    if len({kind for kind, _ in said}) <= kinds_max:  # no window had to give way; a minute has a part in two at most
        for kind in range(4):
            moments = [line["at"] for line in written if line["kind"] == kind and "repeated" not in line]
            assert all(b - a >= PERIOD_S for a, b in zip(moments, moments[2 * most :], strict=False))
