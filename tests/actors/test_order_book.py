"""Open submissions: what observations mean, in whatever order and however often they come."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.actors.order_book import Order, OrderBook, interpret
from penstock.domain.budget import Pace
from penstock.domain.calculation import Exit
from penstock.domain.resources import Resources
from penstock.domain.states import ATTEMPT_ENDED, AttemptState, may_follow
from penstock.domain.submission import AttemptSeen, Observed, Seen, Submission
from penstock.store.rows import OpenAttempt

SIZE = 3
EXIT = Exit(0, None, 5.0, 6.0)
ENDS = {Seen.ENDED: AttemptSeen(Seen.ENDED, 5.0, EXIT), Seen.NOT_RUN: AttemptSeen(Seen.NOT_RUN, reason="never")}
QUICK, SLOW = Pace(0.01), Pace(60.0)


def make_order(lane: int = 0, state: AttemptState = AttemptState.INTENT, ulid: str = "U") -> Order:
    submission = Submission(ulid, "w", "/w", "isolated", "emt", lane, 0, False, SIZE, Resources())
    return Order(submission, [OpenAttempt(n, n + 1, 1, f"jobs/{n}", state) for n in range(SIZE)])


seen = st.one_of(
    st.sampled_from([AttemptSeen(Seen.QUEUED), AttemptSeen(Seen.IN_DOUBT), AttemptSeen(Seen.RUNNING, 5.0)]),
    st.sampled_from(list(ENDS.values())),
)
observations = st.dictionaries(st.integers(0, SIZE), seen, max_size=SIZE + 1)


class Books:
    """Does with news what the workflow actor does, without its database."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.ends: Counter[int] = Counter()
        self.committed: dict[int, AttemptState] = {}

    def observe(self, attempts: dict[int, AttemptSeen]) -> None:
        news = interpret(self.order, Observed("U", attempts, closed=False), 9.0)
        self.order.collecting |= news.ended.keys()
        self.ends.update([*news.ended, *news.not_run])
        self.order.started |= news.started
        running = dict.fromkeys(news.started, AttemptState.RUNNING)
        for position, state in (news.moved | running).items():
            self._move(position, state)
        for position in news.not_run:
            self._move(position, AttemptState.NOT_RUN)

    def collect(self, position: int) -> None:
        if position in self.order.collecting:
            self._move(position, AttemptState.COMPLETED)
            self.order.collecting.discard(position)

    def _move(self, position: int, state: AttemptState) -> None:
        before = self.order.states[position]
        assert before not in ATTEMPT_ENDED
        assert may_follow(before, state)
        self.order.states[position] = state


@given(st.lists(st.tuples(observations, st.integers(0, SIZE - 1)), max_size=20), st.sampled_from(list(ENDS)))
def test_every_attempt_ends_exactly_once_whatever_is_told(
    story: list[tuple[dict[int, AttemptSeen], int]], last: Seen
) -> None:
    books = Books(make_order())
    for attempts, collected in story:
        books.observe(attempts)
        books.collect(collected)
        assert max(books.ends.values(), default=0) <= 1
    books.observe(dict.fromkeys(range(SIZE), ENDS[last]))
    for position in range(SIZE):
        books.collect(position)
    assert books.ends == Counter(range(SIZE))
    assert set(books.order.states.values()) <= ATTEMPT_ENDED
    before = dict(books.order.states)
    for attempts, _ in story:
        books.observe(attempts)
    assert books.order.states == before


@given(st.lists(observations, min_size=1, max_size=6), seen)
def test_merged_observations_end_what_any_of_them_ended(
    story: list[dict[int, AttemptSeen]], newest: AttemptSeen
) -> None:
    merged = Observed("U", story[0], closed=False)
    for attempts in story[1:]:
        merged = merged.merged(Observed("U", attempts, closed=False))
    told = {position for attempts in story for position, one in attempts.items() if one in ENDS.values()}
    assert {position for position, one in merged.attempts.items() if one in ENDS.values()} == told
    merged = merged.merged(Observed("U", {0: newest}, closed=True))
    assert merged.closed
    assert merged.attempts[0] == newest or merged.attempts[0] in ENDS.values()


def test_an_attempt_that_vanished_after_it_had_started_is_lost_not_unrun() -> None:
    order = make_order(state=AttemptState.RUNNING)
    news = interpret(order, Observed("U", {0: ENDS[Seen.NOT_RUN]}, closed=True), 9.0)
    assert news.not_run == {}
    assert news.ended[0].verdict == "lost"


def test_positions_that_nobody_submitted_are_ignored() -> None:
    news = interpret(make_order(), Observed("U", {SIZE: ENDS[Seen.ENDED]}, closed=True), 9.0)
    assert (news.moved, news.started, news.ended, news.not_run) == ({}, {}, {}, {})


def test_an_order_is_settled_when_the_cluster_is_through_and_every_end_is_committed() -> None:
    order = make_order(state=AttemptState.COMPLETED)
    settled = [order.settled]
    order.closed = True
    settled.append(order.settled)
    order.states[1] = AttemptState.RUNNING
    settled.append(order.settled)
    assert settled == [False, True, False]


def test_what_is_being_read_is_no_longer_live() -> None:
    order = make_order(state=AttemptState.RUNNING)
    order.collecting = {0}
    order.states[1] = AttemptState.FAILED
    assert order.live() == [2]
    assert order.job_states([0, 2]) == {"running": 2}


def book(*orders: Order) -> OrderBook:
    found = OrderBook()
    for order in orders:
        found.add(order)
    return found


def test_a_slot_takes_one_submission_and_a_quick_one_behind_it() -> None:
    busy = book(make_order(lane=0, ulid="A"))
    assert busy.free_lanes(2, SLOW) == [(1, False)]
    assert busy.free_lanes(2, QUICK) == [(1, False), (0, True), (1, True)]
    full = book(make_order(0, ulid="A"), make_order(0, ulid="B"), make_order(1, ulid="C"))
    assert full.free_lanes(2, SLOW) == []
    assert full.free_lanes(2, QUICK) == [(1, True)]


def test_a_closed_submission_frees_its_slot_while_its_outputs_are_read() -> None:
    order = make_order()
    order.closed = True
    assert book(order).free_lanes(1, SLOW) == [(0, False)]


def test_fewer_slots_take_nothing_more() -> None:
    assert book(make_order(lane=0, ulid="A"), make_order(lane=5, ulid="B")).free_lanes(1, SLOW) == []


def test_slots_given_up_count_for_as_long_as_they_are_held() -> None:
    given_up = [make_order(lane=lane, ulid=f"U{lane}") for lane in (3, 4)]
    both = book(*given_up)
    for pace in (SLOW, QUICK):  # a quick one is not queued on a slot that nothing runs on
        assert both.free_lanes(2, pace) == []
    assert both.free_lanes(3, SLOW) == [(0, False)]
    assert both.free_lanes(3, QUICK) == [(0, False), (0, True)]
    given_up[0].closed = True
    assert both.free_lanes(2, SLOW) == [(0, False)]


def test_a_slot_never_shows_two_running() -> None:
    first, second = make_order(ulid="A"), make_order(ulid="B")
    first.collecting, second.started = {2}, {0: 5.0}
    both = book(first, second)
    assert both.startable(0) == []
    assert both.unread() == 1
    first.collecting.clear()
    assert both.startable(0) == [second]
    assert both.startable(1) == []


def wide(width: int, size: int, ulid: str = "U", state: AttemptState = AttemptState.RUNNING) -> Order:
    """An order at a scheduler."""
    submission = Submission(ulid, "w", "/w", "isolated", "emt", 0, 0, False, size, Resources(), width)
    return Order(submission, [OpenAttempt(n, n + 1, 1, f"jobs/{n}", state) for n in range(size)])


def test_an_order_holds_as_many_slots_as_it_has_tasks_with_something_left() -> None:
    order = wide(2, 5)  # task 0: positions 0, 2, 4; task 1: positions 1, 3
    held = [order.tasks_held]
    for ended in ({0, 2}, {4}, {1}):
        order.states |= dict.fromkeys(ended, AttemptState.COMPLETED)
        held.append(order.tasks_held)
    order.collecting = {3}
    held.append(order.tasks_held)
    assert held == [2, 2, 1, 1, 0]
    assert (wide(4, 4).tasks_held, wide(1, 4).tasks_held) == (4, 1)


def test_slots_gather_while_a_submission_is_on_its_way() -> None:
    placed = wide(3, 3, "A")
    placed.states[0] = AttemptState.COMPLETED
    assert book(placed).free_slots(5) == 3
    assert book(placed).free_slots(1) == 0
    both = book(placed, wide(1, 1, "B", AttemptState.INTENT))
    assert both.free_slots(5) == 0
    both.orders["B"].placed = True
    assert both.free_slots(5) == 2
    both.orders["B"].closed = True
    assert both.free_slots(5) == 3


def test_no_more_are_shown_as_running_than_there_are_slots() -> None:
    first, second = wide(2, 2, "A"), wide(2, 2, "B", AttemptState.QUEUED)
    first.collecting = {0, 1}  # ended, still shown as running
    second.started = {0: 1.0, 1: 2.0}
    both = book(first, second)
    assert both.startable_within(2) == []
    assert both.startable_within(3) == [(second, [0])]
    first.states[0] = AttemptState.COMPLETED
    assert both.startable_within(2) == [(second, [0])]
    first.states[1] = AttemptState.FAILED
    second.collecting = {0}  # it has ended before it was shown
    assert both.startable_within(2) == [(second, [1])]
    assert book(first).startable_within(2) == []


def test_what_runs_is_shown_even_when_slots_have_been_taken_away() -> None:
    order = wide(3, 3, state=AttemptState.QUEUED)
    order.started = {0: 1.0, 1: 1.0, 2: 1.0}
    assert book(order).startable_within(1) == [(order, [0, 1, 2])]


def test_a_refusal_is_the_end_of_everything_that_has_not_begun() -> None:
    order = wide(3, 3, state=AttemptState.QUEUED)
    order.states[2] = AttemptState.RUNNING
    news = interpret(order, Observed("U", {0: ENDS[Seen.NOT_RUN]}, closed=True, refused="no such partition"), 9.0)
    assert news.not_run == {0: "never", 1: "the scheduler refused it: no such partition"}
    assert news.ended == {}


def test_doubts_come_and_go_with_their_reasons() -> None:
    order = make_order(state=AttemptState.QUEUED)
    doubt = AttemptSeen(Seen.IN_DOUBT, reason="gone from the queue")
    news = interpret(order, Observed("U", {0: doubt, 1: AttemptSeen(Seen.IN_DOUBT)}, closed=False), 9.0)
    assert news.doubts == {0: "gone from the queue", 1: "nobody can say what became of it"}
    assert news.settled == {}
    order.states |= news.moved
    told = {0: AttemptSeen(Seen.QUEUED, reason="found in the queue"), 1: ENDS[Seen.ENDED], 2: ENDS[Seen.ENDED]}
    news = interpret(order, Observed("U", told, closed=False), 9.0)
    assert news.settled == {0: "found in the queue", 1: "it has ended"}
    order.settled_by |= news.settled
    settled = order.settled_events([0, 1, 2])
    assert [(event.job_id, event.data["by"]) for event in settled] == [(1, "found in the queue"), (2, "it has ended")]
