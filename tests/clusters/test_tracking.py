"""The submission protocol against a world that does what it likes, and rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.remote_spool import SubmissionFiles
from penstock.clusters.scheduler import ACTIVE, JobRow, Phase, Placed, Refused, Submitted, Unclear
from penstock.clusters.spool import End, Finish, Host, Line, Start
from penstock.clusters.tracking import Patience, Stage, Tracked
from penstock.domain.calculation import Exit
from penstock.domain.resources import Resources
from penstock.domain.states import Resolution
from penstock.domain.submission import AttemptSeen, Seen, Submission

ULID = "01KAFRP2WM0000000000000001"
TOKEN = "77:0:n1"
PATIENCE = Patience(grace_s=180.0, lag_s=5.0, has_accounting=True)
NO_ACCOUNTS = Patience(grace_s=180.0, lag_s=5.0, has_accounting=False)


def submission(size: int = 1, width: int = 1) -> Submission:
    return Submission(
        ulid=ULID,
        workflow_id="w",
        workflow_dir="/w",
        mode="isolated",
        engine="command",
        lane=0,
        priority=0,
        prefetch=False,
        size=size,
        width=width,
        resources=Resources(),
    )


def row(phase: Phase, *tasks: int, state: str = "", **fields: Any) -> JobRow:
    return JobRow(ULID, "77", tasks or (0,), phase, state or phase.upper(), **fields)


def files(
    claims: dict[int, str] | None = None, journals: dict[int, list[Line]] | None = None, **fields: Any
) -> SubmissionFiles:
    return SubmissionFiles(exists=True, claims=claims or {}, journals=journals or {}, **({"submitting": True} | fields))


def ended(code: int = 0) -> Exit:
    return Exit(code, None, 10.0, 20.0)


class World:
    """What really happens to one submission, whoever looks."""

    def __init__(self, size: int, width: int) -> None:
        self.tasks = {k: list(range(k, size, width)) for k in range(min(size, width))}
        self.exists = False
        self.phase = dict.fromkeys(self.tasks, Phase.QUEUED)
        self.claims: dict[int, str] = {}
        self.journals: dict[int, list[Line]] = {k: [] for k in self.tasks}
        self.running: dict[int, int] = {}
        self.began: list[int] = []
        self.shown = dict.fromkeys(self.tasks, True)  # the queue still remembers it
        self.accounted = dict.fromkeys(self.tasks, False)

    def alive(self) -> list[int]:
        return [k for k in self.tasks if self.exists and self.phase[k] in ACTIVE]

    def start(self, k: int) -> None:
        if self.claims.setdefault(k, TOKEN) == TOMBSTONE:
            self.phase[k] = Phase.COMPLETED
            return
        self.phase[k] = Phase.RUNNING
        self.journals[k].append(Host("n1"))
        self.go_on(k)

    def go_on(self, k: int) -> None:
        """The task begins its next attempt, or is through."""
        left = [n for n in self.tasks[k] if n not in self.began]
        if left:
            self.began.append(left[0])
            self.running[k] = left[0]
            self.journals[k].append(Start(left[0], 10.0))
        else:
            self.journals[k].append(Finish())
            self.phase[k] = Phase.COMPLETED

    def end(self, k: int) -> None:
        self.journals[k].append(End(self.running.pop(k), ended()))

    def die(self, k: int, phase: Phase) -> None:
        self.running.pop(k, None)
        self.phase[k] = phase

    def rows(self, *, everything: bool = False) -> list[JobRow]:
        if not self.exists:
            return []
        return [row(self.phase[k], k) for k in self.tasks if everything or self.shown[k]]

    def files(self, answer: bool) -> SubmissionFiles:
        journals = {k: list(lines) for k, lines in self.journals.items() if lines}
        return files(dict(self.claims), journals, submitting=True)


class AnyWorld(RuleBasedStateMachine):
    """Whatever happens: nothing is called unrun that runs or will run, nothing ended that goes on."""

    @initialize(size=st.integers(1, 5), width=st.integers(1, 5), accounts=st.booleans())
    def begin(self, size: int, width: int, accounts: bool) -> None:
        self.world = World(size, width)
        self.tracked = Tracked(submission(size, width), Stage.WAITING, 0.0)
        self.patience = PATIENCE if accounts else NO_ACCOUNTS
        self.now = 0.0
        self.tracked.leave(self.now)
        self.told: dict[int, AttemptSeen] = {}
        self.answered = False

    def hear(self, news: dict[int, AttemptSeen]) -> None:
        for n, seen in news.items():
            before = self.told.get(n)
            assert before is None or before.seen not in (Seen.ENDED, Seen.NOT_RUN), "an end was told twice"
            if seen.seen is Seen.NOT_RUN:
                assert n not in self.world.began, "what ran is called unrun"
            if seen.seen is Seen.ENDED:
                assert n not in self.world.running.values(), "what runs is called ended"
            self.told[n] = seen

    # ---- the world ----

    @precondition(lambda self: not self.world.exists and not self.answered)
    @rule(outcome=st.sampled_from(["placed", "placed, unclear", "unclear", "silence", "refused"]))
    def submit(self, outcome: str) -> None:
        self.answered = True
        self.world.exists = outcome.startswith("placed")
        if outcome == "placed":
            self.hear(self.tracked.take_answer(Placed("77"), self.now))
        elif outcome == "refused":
            self.hear(self.tracked.take_answer(Refused("no", lasting=True), self.now))
        elif outcome == "silence":
            self.hear(self.tracked.take_silence("cut", self.now))
        else:
            self.hear(self.tracked.take_answer(Unclear("Socket timed out"), self.now))

    @precondition(lambda self: self.answered and not self.world.exists and self.tracked.stage is Stage.DOUBT)
    @rule()
    def arrive_late(self) -> None:
        self.world.exists = True

    @rule(data=st.data())
    def run_on(self, data: st.DataObject) -> None:
        for k in self.world.alive():
            if self.world.phase[k] is not Phase.RUNNING and data.draw(st.booleans()):
                self.world.start(k)
            elif k in self.world.running and data.draw(st.booleans()):
                self.world.end(k)
                if data.draw(st.booleans()):
                    self.world.go_on(k)

    @rule(phase=st.sampled_from([Phase.TIMEOUT, Phase.OUT_OF_MEMORY, Phase.INFRASTRUCTURE, Phase.CANCELLED]))
    def strike(self, phase: Phase) -> None:
        for k in self.world.alive()[:1]:
            self.world.die(k, phase)

    @rule()
    def be_forgotten(self) -> None:
        """The queue drops what has ended; the accounts learn of it."""
        for k, phase in self.world.phase.items():
            if phase not in ACTIVE:
                self.world.shown[k] = False
                self.world.accounted[k] = True

    # ---- the evidence ----

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.answered)
    @rule()
    def look_where_wanted(self) -> None:
        wants = self.tracked.wants(self.now, self.patience)
        if wants.files:
            self.read()
        if wants.bury:
            self.bury(wants.bury)
        if wants.accounts:
            self.ask_accounts()

    @precondition(lambda self: self.answered)
    @rule()
    def ask_queue(self) -> None:
        self.now += 0.01
        self.hear(self.tracked.take_queue(self.world.rows(), self.now - 0.005, self.now))

    @precondition(lambda self: self.answered)
    @rule()
    def listen(self) -> None:
        for k, lines in self.world.journals.items():
            if lines:
                self.hear(self.tracked.take_journal(k, lines, self.now))

    def read(self) -> None:
        self.now += 0.01
        self.hear(self.tracked.take_files(self.world.files(False), None, self.now - 0.005, self.now, self.patience))

    def bury(self, tasks: tuple[int, ...]) -> None:
        holders = {k: self.world.claims.setdefault(k, TOMBSTONE) for k in tasks}
        self.hear(self.tracked.take_burial(holders, self.now))

    def ask_accounts(self) -> None:
        self.now += 0.01
        rows = []
        if self.patience.has_accounting:
            rows = [r for r in self.world.rows(everything=True) if all(self.world.accounted[k] for k in r.tasks)]
        self.hear(self.tracked.take_accounts(rows, self.now - 0.005, self.now, self.patience))

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        positions = data.draw(st.sets(st.integers(0, self.tracked.submission.size - 1), min_size=1))
        self.tracked.cancel(positions)

    @invariant()
    def what_was_told_stays(self) -> None:
        if hasattr(self, "told"):
            assert self.tracked.told == self.told

    def teardown(self) -> None:
        """When the world comes to rest, so does the submission: all ended, or a doubt that only a person can settle."""
        if not hasattr(self, "told"):
            return
        if not self.answered:
            self.submit("placed")
        for k in self.world.alive():
            self.world.die(k, Phase.INFRASTRUCTURE)
        self.be_forgotten()
        for _ in range(12):
            self.now += 100.0
            self.ask_queue()
            for _ in range(4):
                self.look_where_wanted()
        if self.tracked.closed:
            return
        assert self.tracked.in_doubt
        assert not self.patience.has_accounting
        left = {n: Resolution.LOST for n in self.told if self.told[n].seen is Seen.IN_DOUBT}
        self.hear(self.tracked.resolve(left, self.now))
        assert self.tracked.closed


AnyWorld.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
test_any_world = AnyWorld.TestCase


# ---- rule by rule ---------------------------------------------------------------------------------------------------


def placed(size: int = 1, width: int = 1) -> Tracked:
    tracked = Tracked(submission(size, width), Stage.WAITING, 0.0)
    tracked.leave(0.0)
    tracked.take_answer(Placed("77"), 1.0)
    return tracked


def seen(news: dict[int, AttemptSeen]) -> dict[int, Seen]:
    return {n: attempt.seen for n, attempt in news.items()}


def test_what_is_placed_is_queued_then_runs_then_ends() -> None:
    tracked = Tracked(submission(2, 2), Stage.WAITING, 0.0)
    assert tracked.wants(0.0, PATIENCE).files is False
    tracked.leave(0.0)
    assert seen(tracked.take_answer(Placed("77"), 1.0)) == {0: Seen.QUEUED, 1: Seen.QUEUED}
    assert tracked.take_journal(1, [Host("n1"), Start(1, 10.0)], 11.0) == {1: AttemptSeen(Seen.RUNNING, 10.0)}
    assert seen(tracked.take_journal(1, [Host("n1"), Start(1, 10.0), End(1, ended()), Finish()], 21.0)) == {
        1: Seen.ENDED
    }
    assert tracked.open_tasks() == [0]
    tracked.take_journal(0, [Start(0, 10.0), End(0, ended(3)), Finish()], 21.0)
    assert tracked.closed
    assert tracked.told[0].exit == ended(3)


def test_journals_of_several_tasks_are_taken_at_once() -> None:
    tracked = Tracked(submission(3, 3), Stage.WAITING, 0.0)
    tracked.leave(0.0)
    over: list[Line] = [Start(1, 10.0), End(1, ended()), Finish()]
    news = tracked.take_journals({1: over, 2: [Start(2, 10.0)], 7: [Start(7, 10.0)]}, 11.0)
    assert seen(news) == {0: Seen.QUEUED, 1: Seen.ENDED, 2: Seen.RUNNING}
    assert tracked.take_journals({1: over}, 12.0) == {}


def test_a_bundle_that_stops_early_leaves_the_rest_unrun() -> None:
    tracked = placed(3, 1)
    news = tracked.take_journal(0, [Start(0, 10.0), End(0, ended()), Finish()], 20.0)
    assert seen(news) == {0: Seen.ENDED, 1: Seen.NOT_RUN, 2: Seen.NOT_RUN}


@pytest.mark.parametrize(
    ("phase", "fields", "expected"),
    [
        (Phase.TIMEOUT, {}, ("timeout", None, None)),
        (Phase.OUT_OF_MEMORY, {}, ("oom", None, None)),
        (Phase.INFRASTRUCTURE, {"state": "NODE_FAIL"}, ("lost", None, None)),
        (Phase.CANCELLED, {}, ("lost", None, None)),
        (Phase.FAILED, {"exit_code": 3}, (None, 3, None)),
        (Phase.FAILED, {"exit_signal": 11}, (None, None, 11)),
        (Phase.COMPLETED, {"exit_code": 0}, (None, 0, None)),
    ],
)
def test_an_end_without_a_word_is_told_by_the_scheduler(phase: Phase, fields: Any, expected: Any) -> None:
    tracked = placed()
    tracked.take_journal(0, [Start(0, 10.0)], 11.0)
    assert tracked.take_queue([row(phase, ended_at=30.0, **fields)], 31.0, 31.0) == {}
    assert tracked.wants(32.0, PATIENCE).files
    early = tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, 32.0, 32.0, PATIENCE)
    assert early == {}, "the journal may still lag behind"
    news = tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, 40.0, 40.0, PATIENCE)
    exit_ = news[0].exit
    assert exit_ is not None
    assert (exit_.verdict, exit_.code, exit_.signal) == expected
    assert (exit_.started_at, exit_.ended_at) == (10.0, 30.0)


def test_a_word_that_comes_late_counts_before_the_schedulers() -> None:
    tracked = placed()
    tracked.take_journal(0, [Start(0, 10.0)], 11.0)
    tracked.take_queue([row(Phase.FAILED, exit_code=1)], 31.0, 31.0)
    lines: list[Line] = [Start(0, 10.0), End(0, ended(7)), Finish()]
    news = tracked.take_files(files({0: TOKEN}, {0: lines}), None, 32.0, 32.0, PATIENCE)
    assert news[0].exit == ended(7)


def test_cancelled_behind_our_back_while_it_waited() -> None:
    tracked = placed()
    tracked.take_queue([row(Phase.CANCELLED)], 2.0, 2.0)
    tracked.take_files(files(), None, 3.0, 3.0, PATIENCE)
    assert tracked.wants(3.0, PATIENCE).bury == (0,)
    news = tracked.take_burial({0: TOMBSTONE}, 4.0)
    assert news[0].seen is Seen.ENDED
    assert news[0].exit is not None
    assert news[0].exit.verdict == "lost"
    assert "cancelled at the scheduler" in str(news[0].exit.message)


def test_a_refusal_is_believed_once_the_claims_are_ours() -> None:
    tracked = Tracked(submission(2, 2), Stage.WAITING, 0.0)
    tracked.leave(0.0)
    assert tracked.take_answer(Refused("no such partition", lasting=True), 1.0) == {}
    assert tracked.wants(1.0, PATIENCE).bury == (0, 1)
    assert seen(tracked.take_burial({0: TOMBSTONE, 1: TOMBSTONE}, 2.0)) == {0: Seen.NOT_RUN, 1: Seen.NOT_RUN}
    assert tracked.refused == "no such partition"


def test_an_unclear_answer_is_a_doubt_until_everybody_said_no_for_long_enough() -> None:
    tracked = Tracked(submission(), Stage.WAITING, 0.0)
    tracked.leave(0.0)
    assert seen(tracked.take_answer(Unclear("Socket timed out"), 1.0)) == {0: Seen.IN_DOUBT}
    for now in (10.0, 100.0, 170.0):
        tracked.take_queue([], now, now)
        tracked.take_files(files(), Unclear("Socket timed out"), now, now, PATIENCE)
        tracked.take_accounts([], now, now, PATIENCE)
        assert tracked.wants(now, PATIENCE).bury == ()
    tracked.take_queue([], 182.0, 182.0)
    tracked.take_files(files(), Unclear("Socket timed out"), 182.0, 182.0, PATIENCE)
    tracked.take_accounts([], 182.0, 182.0, PATIENCE)
    assert tracked.wants(182.0, PATIENCE).bury == (0,)
    assert seen(tracked.take_burial({0: TOMBSTONE}, 183.0)) == {0: Seen.NOT_RUN}


@pytest.mark.parametrize("by", ["file", "queue", "journal", "burial"])
def test_a_doubt_is_settled_by(by: str) -> None:
    tracked = Tracked(submission(), Stage.WAITING, 0.0)
    tracked.leave(0.0)
    tracked.take_silence("the connection was cut", 1.0)
    answer: Submitted = Placed("77")
    news = {
        "file": lambda: tracked.take_files(files(), answer, 2.0, 2.0, PATIENCE),
        "queue": lambda: tracked.take_queue([row(Phase.QUEUED)], 2.0, 2.0),
        "journal": lambda: tracked.take_journal(0, [Start(0, 2.0)], 2.0),
        "burial": lambda: _bury(tracked),
    }[by]()
    assert news[0].seen is (Seen.RUNNING if by == "journal" else Seen.QUEUED)
    assert tracked.stage is Stage.PLACED


def _bury(tracked: Tracked) -> dict[int, AttemptSeen]:
    tracked.resolve({0: Resolution.NOT_RUN}, 2.0)
    return tracked.take_burial({0: TOKEN}, 2.0)


def test_what_began_and_vanished_stays_in_doubt_until_a_person_speaks() -> None:
    tracked = placed()
    tracked.take_journal(0, [Host("n7"), Start(0, 10.0)], 11.0)
    for now in (20.0, 30.0, 300.0):
        tracked.take_queue([], now, now)
        tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, now, now, NO_ACCOUNTS)
    assert tracked.told[0].seen is Seen.IN_DOUBT
    assert "n7" in str(tracked.told[0].reason)
    news = tracked.resolve({0: Resolution.ENDED}, 400.0)
    assert news[0].exit == Exit(0, None, 10.0, 400.0, None, "a person says that it ended; how well, its outputs tell")


def test_late_accounts_settle_a_doubt() -> None:
    tracked = placed()
    tracked.take_journal(0, [Start(0, 10.0)], 11.0)
    for now in (20.0, 30.0, 300.0):
        tracked.take_queue([], now, now)
        tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, now, now, PATIENCE)
        tracked.take_accounts([], now, now, PATIENCE)
    assert tracked.in_doubt
    tracked.take_queue([], 310.0, 310.0)
    tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, 311.0, 311.0, PATIENCE)
    tracked.take_accounts([row(Phase.OUT_OF_MEMORY)], 312.0, 312.0, PATIENCE)
    news = tracked.take_files(files({0: TOKEN}, {0: [Start(0, 10.0)]}), None, 320.0, 320.0, PATIENCE)
    assert news[0].exit is not None
    assert news[0].exit.verdict == "oom"


def test_what_can_never_start_is_called_refused() -> None:
    tracked = placed()
    for now in (2.0, 3.0):
        tracked.take_queue([row(Phase.HOPELESS, state="PENDING", reason="PartitionTimeLimit")], now, now)
    assert tracked.wants(3.0, PATIENCE).bury == (0,)
    assert seen(tracked.take_burial({0: TOMBSTONE}, 4.0)) == {0: Seen.NOT_RUN}
    assert tracked.refused == "PENDING, and can never start: PartitionTimeLimit"


def test_an_unknown_state_is_shown_and_waited_for() -> None:
    tracked = placed()
    tracked.take_queue([row(Phase.UNKNOWN, state="LEVITATING", reason="who knows")], 2.0, 2.0)
    assert tracked.notes() == {0: "job 77: LEVITATING (who knows)"}
    assert not tracked.wants(2.0, PATIENCE).bury


def test_a_cancellation_ends_whole_tasks_and_parts_of_others() -> None:
    tracked = placed(4, 2)  # tasks: 0 with 0 and 2, 1 with 1 and 3
    tracked.take_journal(1, [Start(1, 10.0)], 11.0)
    assert tracked.cancel({0, 2, 3}) == ([0], [1])
    assert tracked.wants(12.0, PATIENCE).bury == (0,)
    assert seen(tracked.take_burial({0: TOMBSTONE}, 12.0)) == {0: Seen.NOT_RUN, 2: Seen.NOT_RUN}
    news = tracked.take_journal(1, [Start(1, 10.0), End(1, ended()), Finish()], 20.0)
    assert seen(news) == {1: Seen.ENDED, 3: Seen.NOT_RUN}
    assert news[3].reason == "cancelled before it started"


def test_found_again_without_a_trace_it_never_ran_unless_the_queue_knows_it() -> None:
    tracked = Tracked(submission(), Stage.FINDING, 0.0)
    assert tracked.wants(0.0, PATIENCE).files
    assert tracked.take_files(SubmissionFiles(exists=False), None, 1.0, 1.0, PATIENCE) == {}
    assert tracked.wants(1.0, PATIENCE).queue
    known = Tracked(submission(), Stage.FINDING, 0.0)
    known.take_files(SubmissionFiles(exists=False), None, 1.0, 1.0, PATIENCE)
    assert seen(known.take_queue([row(Phase.RUNNING)], 2.0, 2.0)) == {0: Seen.IN_DOUBT}
    tracked.take_queue([], 2.0, 2.0)
    assert tracked.wants(2.0, PATIENCE).bury == (0,)
    assert seen(tracked.take_burial({0: TOMBSTONE}, 3.0)) == {0: Seen.NOT_RUN}


def test_found_again_it_goes_on_where_it_stands() -> None:
    tracked = Tracked(submission(3, 3), Stage.FINDING, 0.0)
    journals: dict[int, list[Line]] = {1: [Start(1, 5.0)], 2: [Start(2, 5.0), End(2, ended()), Finish()]}
    news = tracked.take_files(files({1: TOKEN, 2: TOKEN}, journals), Placed("77"), 1.0, 1.0, PATIENCE)
    assert seen(news) == {0: Seen.QUEUED, 1: Seen.RUNNING, 2: Seen.ENDED}


def test_found_again_between_the_question_and_the_answer_it_is_in_doubt() -> None:
    tracked = Tracked(submission(), Stage.FINDING, 0.0)
    assert seen(tracked.take_files(files(), None, 1.0, 1.0, PATIENCE)) == {0: Seen.IN_DOUBT}


# ---- two jobs of one submission -------------------------------------------------------------------------------------

RIVAL = "78"


def rival(phase: Phase) -> JobRow:
    return JobRow(ULID, RIVAL, (0,), phase, phase.upper())


def claimed() -> Tracked:
    """Placed as job 77, which claimed its task and runs."""
    tracked = Tracked(submission(), Stage.WAITING, 0.0)
    tracked.leave(1.0)
    tracked.take_answer(Placed("77"), 2.0)
    running = files({0: TOKEN}, {0: [Host("n1"), Start(0, 3.0)]})
    assert tracked.take_files(running, None, 3.5, 4.0, PATIENCE) == {0: AttemptSeen(Seen.RUNNING, 3.0)}
    return tracked


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED])
@pytest.mark.parametrize("has_claim_been_read", [True, False])
def test_the_end_of_a_barred_job_is_not_that_of_the_one_which_runs(phase: Phase, has_claim_been_read: bool) -> None:
    running = files({0: TOKEN}, {0: [Host("n1"), Start(0, 3.0)]})
    if has_claim_been_read:
        tracked = claimed()
    else:
        tracked = Tracked(submission(), Stage.WAITING, 0.0)
        tracked.leave(1.0)
        tracked.take_answer(Placed(RIVAL), 2.0)  # sbatch made two, and named the one that came too late
        tracked.take_journal(0, [Host("n1"), Start(0, 3.0)], 4.0)
    both = [row(Phase.RUNNING), rival(phase)]
    assert not tracked.take_queue(both, 5.0, 5.1)
    for now in (6.0, 20.0, 40.0):
        assert not tracked.take_files(running, None, now, now + 0.1, PATIENCE)
        assert not tracked.take_accounts([rival(phase)], now + 0.2, now + 0.3, PATIENCE)
        assert not tracked.take_queue(both, now + 0.4, now + 0.5)
    assert seen(tracked.take_journal(0, [End(0, ended())], 50.0)) == {0: Seen.ENDED}


def test_a_barred_job_that_the_queue_remembers_does_not_stand_for_the_one_it_has_forgotten() -> None:
    tracked = claimed()
    for now in (10.0, 20.0):
        assert not tracked.take_queue([rival(Phase.COMPLETED)], now, now + 0.1)
    running = files({0: TOKEN}, {0: [Host("n1"), Start(0, 3.0)]})
    assert not tracked.take_files(running, None, 30.0, 30.1, PATIENCE)
    assert tracked.wants(30.2, PATIENCE).accounts
