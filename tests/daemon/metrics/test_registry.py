"""What a scrape shows, from values in memory."""

from __future__ import annotations

import contextlib
import platform
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.control.reported import HPC
from tests.daemon.metrics.scraped import WORKFLOW, read, sources_of

from penstock import __version__
from penstock.actors.board import Board, Connection
from penstock.actors.call_budget import Budget, QueryBudget
from penstock.actors.call_log import CallLog
from penstock.actors.clock import SystemClock
from penstock.actors.figures import Standing
from penstock.actors.locks import Locks
from penstock.actors.mailbox import Mailbox, Ref
from penstock.clusters.shell import Way
from penstock.daemon.metrics import families
from penstock.daemon.metrics.registry import Metrics
from penstock.domain import locks as rules
from penstock.domain.pause import PAUSED_BY_REQUEST, refused_reason
from penstock.domain.views import ClusterInfo, Doubt
from penstock.testing.virtual_clock import VirtualClock

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
LOCAL = ClusterInfo("local", "local", "up", None, 8, 3, 16000, 3000, 3, 4)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def metrics(board: Board) -> Metrics:
    return Metrics(sources_of(board))


def test_workflows_and_clusters(board: Board, metrics: Metrics) -> None:
    board.pin(WORKFLOW)
    board.pin(msgspec.structs.replace(WORKFLOW, id="old", state="completed"))
    board.figures.standings["g2"] = Standing(slots=2, slots_used=1, progressed_at=1_700_000_060.0)
    board.figures.ends["g2"] = Counter({("local", "completed"): 31, ("other", "failed"): 1})
    board.clusters["local"] = LOCAL
    board.clusters["far"] = msgspec.structs.replace(LOCAL, name="far", state="down")
    found = read(metrics)
    assert {
        'workflows{state="running"}': 1,
        'workflows{state="completed"}': 1,
        'workflows{state="faulted"}': 0,
        'workflow_state{cluster="local",state="running",workflow="g2"}': 1,
        'workflow_progress_timestamp_seconds{cluster="local",workflow="g2"}': 1_700_000_060,
        'jobs{cluster="local",state="running",workflow="g2"}': 9,
        'jobs{cluster="local",state="completed",workflow="g2"}': 31,
        'rejected_records{workflow="g2"}': 3,
        'workflow_slots{cluster="local",workflow="g2"}': 2,
        'workflow_slots_used{cluster="local",workflow="g2"}': 1,
        'workflow_attempts_ended_total{cluster="local",end="completed",workflow="g2"}': 31,
        'workflow_attempts_ended_total{cluster="local",end="failed",workflow="g2"}': 0,
        'workflow_attempts_ended_total{cluster="other",end="failed",workflow="g2"}': 1,
        'cluster_up{cluster="local"}': 1,
        'cluster_up{cluster="far"}': 0,
        'cluster_cores{cluster="local"}': 8,
        'cluster_cores_used{cluster="local"}': 3,
        'cluster_memory_bytes{cluster="local"}': 16e9,
        'cluster_memory_used_bytes{cluster="local"}': 3e9,
        'cluster_submissions_running{cluster="local"}': 3,
        'cluster_submissions_waiting{cluster="local"}': 4,
        "workers": 2,
        "workers_busy": 0,
        "workers_hung": 0,
        "workers_waiting": 0,
        "workers_lost_total": 0,
        f'build_info{{python="{platform.python_version()}",version="{__version__}"}}': 1,
    }.items() <= found.items()
    assert found["process_resident_memory_bytes"] > 0
    assert not [name for name in found if 'workflow="old"' in name or "_created" in name]


def test_pauses_are_told_apart_of_all_workflows_and_by_their_reasons(board: Board) -> None:
    """However small a workflow is, and whoever paused it: what a daemon before this one has written counts."""
    metrics = Metrics(sources_of(board), 1)
    board.clusters["local"] = LOCAL
    assert {name: count for name, count in read(metrics).items() if name.startswith("workflows_paused")} == {
        f'workflows_paused{{cluster="local",reason="{reason}"}}': 0 for reason in ("request", "refused", "other")
    }
    refused = refused_reason("hpc", "w", "Invalid account")
    for number, reason in enumerate((refused, refused, PAUSED_BY_REQUEST, "restored from an archive", None)):
        state = "running" if reason is None else "paused"
        one = msgspec.structs.replace(WORKFLOW, id=f"w{number}", cluster="hpc", state=state, reason=reason)
        board.pin(one)
    board.pin(msgspec.structs.replace(WORKFLOW, id="gone", cluster="hpc", state="cancelled", reason=refused))
    found = read(metrics)
    assert {
        'workflows_paused{cluster="hpc",reason="refused"}': 2,
        'workflows_paused{cluster="hpc",reason="request"}': 1,
        'workflows_paused{cluster="hpc",reason="other"}': 1,
        'workflows_paused{cluster="local",reason="refused"}': 0,
    }.items() <= found.items()
    for number in range(2):
        board.pin(msgspec.structs.replace(WORKFLOW, id=f"w{number}", cluster="hpc", reason=None))
    assert 'workflows_paused{cluster="hpc",reason="refused"}' not in read(metrics)  # of a cluster that nobody knows


def test_who_waits_for_others_is_told_where_results_are_shared(board: Board, metrics: Metrics) -> None:
    for name, awaiting in (("alone", None), ("first", 0), ("second", 3)):
        board.pin(msgspec.structs.replace(WORKFLOW, id=name))
        board.figures.standings[name] = Standing(2, 0, 1.0, awaiting)
    assert {name: count for name, count in read(metrics).items() if name.startswith("jobs_awaiting")} == {
        'jobs_awaiting{cluster="local",workflow="first"}': 0,
        'jobs_awaiting{cluster="local",workflow="second"}': 3,
    }


def test_what_says_nothing_is_left_out(board: Board, metrics: Metrics) -> None:
    board.pin(msgspec.structs.replace(WORKFLOW, states={"running": 0, "completed": 31}, rejected=0))
    board.clusters["hpc"] = HPC
    names = [name for name in read(metrics) if 'state="running",workflow="g2"' in name or "rejected" in name]
    assert names == ['workflow_state{cluster="local",state="running",workflow="g2"}']
    assert not [name for name in read(metrics) if name.startswith(("cluster_cores", "ssh_"))]


def test_the_rest_is_summed(board: Board) -> None:
    metrics = Metrics(sources_of(board), 3)
    for number in range(10):
        one = msgspec.structs.replace(
            WORKFLOW,
            id=f"w{number}",
            jobs=number,
            states={"ready": number},
            state="paused" if number < 2 else "running",
        )
        board.pin(one)
        board.figures.standings[one.id] = Standing(slots=2, slots_used=1, progressed_at=100.0 + number)
        board.figures.ends[one.id] = Counter({("local", "completed"): number})
    found = read(metrics)
    assert {
        'jobs{cluster="local",state="ready",workflow="w9"}': 9,
        'jobs{cluster="local",state="ready",workflow="(others)"}': sum(range(7)),
        'rejected_records{workflow="(others)"}': 21,
        'workflow_slots{cluster="local",workflow="(others)"}': 14,
        'workflow_slots_used{cluster="local",workflow="(others)"}': 7,
        'workflow_state{cluster="local",state="running",workflow="(others)"}': 5,
        'workflow_state{cluster="local",state="paused",workflow="(others)"}': 2,
        'workflow_progress_timestamp_seconds{cluster="local",workflow="(others)"}': 102,  # the oldest that runs
    }.items() <= found.items()
    assert not [name for name in found if "(others)" in name and "_total" in name]
    assert len({match[1] for name in found if (match := re.search(r'workflow="(w\d)"', name))}) == 3
    metrics.workflows_most = 0
    assert not [name for name in read(metrics) if 'workflow="w' in name]


_STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["pin", "end", "forget"])), max_size=300)


@settings(max_examples=40, deadline=None)
@given(_STEPS, st.integers(0, 4))
def test_series_come_and_go_with_workflows(steps: list[tuple[int, str]], most: int) -> None:
    """Whatever comes and goes: the series are those of the largest active ones, and counters only ever grow."""
    board = Board()
    metrics = Metrics(sources_of(board), most)
    empty = metrics.page().series
    before: dict[str, float] = {}
    for number, what in steps:
        name = f"w{number}"
        if what == "forget":
            board.unpin(name)
            before = {key: value for key, value in before.items() if f'"{name}"' not in key}
            continue
        state = "running" if what == "pin" else "completed"
        board.pin(msgspec.structs.replace(WORKFLOW, id=name, state=state, jobs=number, states={"ready": 1}))
        board.figures.standings.setdefault(name, Standing(1, 0, 1.0))
        board.figures.ends.setdefault(name, Counter())["local", "completed"] += 1
        found = read(metrics)
        active = sorted((i.jobs, i.id) for i in board.workflows.values() if i.state == "running")
        shown = {f'"{name}"' for _, name in active[::-1][:most]}
        assert {match[1] for key in found if (match := re.search(r'workflow=("w\d")', key))} == shown
        assert ('workflow_slots{cluster="local",workflow="(others)"}' in found) == (len(active) > most)
        counters = {key: value for key, value in found.items() if key.startswith("workflow_attempts_ended_total")}
        assert all(value >= before.get(key, 0.0) for key, value in counters.items())
        before |= counters
    for number in range(6):
        board.unpin(f"w{number}")
    assert metrics.page().series == empty
    assert (board.figures.ends, board.figures.standings, board.changed) == ({}, {}, set())


def test_thousands_of_workflows_leave_nothing() -> None:
    board = Board()
    metrics = Metrics(sources_of(board))
    empty = metrics.page().series
    for number in range(5000):
        name = f"w{number}"
        board.pin(msgspec.structs.replace(WORKFLOW, id=name, jobs=number))
        board.figures.standings[name] = Standing(2, 1, 1.0)
        board.figures.ends[name] = Counter({("local", "completed"): 1})
        if number >= 300:
            board.unpin(f"w{number - 300}")
        if number % 1000 == 999:
            # of each: its state, progress, two states of jobs, slots, slots used, rejected, two ends
            assert metrics.page().series == empty + 200 * 9 + 7
    for number in range(5000):
        board.unpin(f"w{number}")
    assert metrics.page().series == empty


def test_names_from_outside_are_bounded(board: Board, metrics: Metrics) -> None:
    for number in range(300):
        board.figures.remedies.add(("command", f"rule-{number}"))
        board.figures.observe_task(f"Task{number}", 0.1)
    found = read(metrics)
    assert len([name for name in found if name.startswith("remedies_total")]) == 101
    assert found['remedies_total{engine="command",rule="(others)"}'] == 200
    assert len([name for name in found if name.startswith("worker_task_seconds_count")]) == 41
    assert found['worker_task_seconds_count{task="(others)"}'] == 260


def test_clusters_with_a_scheduler(board: Board) -> None:
    clock = VirtualClock()
    metrics = Metrics(sources_of(board, clock))
    board.clusters["local"] = LOCAL
    board.clusters["hpc"] = HPC
    log = board.calls["hpc"] = CallLog(SystemClock())
    log.record("squeue", 0.02)
    log.record("squeue", 0.3)
    log.record("squeue", 300.0, "timeout")
    log.record_poll("spool", 0.2, "ok")
    log.record_poll("spool", 0.2, "failed")
    log.budgets = {"query": QueryBudget(2.0, 12.0, 0.0), "submit": Budget(150.0, 0.0, 30.0)}
    log.record_wait("query", 4.0)
    board.connections["hpc"] = Connection(lambda: Way(connects=2, sessions=3, sessions_max=8), None)
    for ulid, asked_at in (("a", clock.time() - 1), ("b", clock.time() + 1), ("c", None)):
        board.doubts[ulid] = Doubt(ulid, (0,), 0.0, (), "", asked_at, "hpc")
    found = read(metrics)
    assert {
        'scheduler_calls_total{cluster="hpc",command="squeue",outcome="ok"}': 2,
        'scheduler_calls_total{cluster="hpc",command="squeue",outcome="timeout"}': 1,
        'scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="0.01"}': 0,
        'scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="0.025"}': 1,
        'scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="120.0"}': 2,
        'scheduler_call_seconds_bucket{cluster="hpc",command="squeue",le="+Inf"}': 3,
        'scheduler_call_seconds_count{cluster="hpc",command="squeue"}': 3,
        'scheduler_call_seconds_sum{cluster="hpc",command="squeue"}': 300.32,
        'polls_total{cluster="hpc",outcome="ok",what="spool"}': 1,
        'polls_total{cluster="hpc",outcome="failed",what="spool"}': 1,
        'poll_seconds_count{cluster="hpc",what="spool"}': 2,
        'scheduler_call_budget{cluster="hpc",kind="query"}': 4,
        'scheduler_call_budget{cluster="hpc",kind="submit"}': 30,
        'scheduler_calls_allowed_per_minute{cluster="hpc",kind="query"}': 12,
        'scheduler_calls_allowed_per_minute{cluster="hpc",kind="submit"}': 150,
        'scheduler_budget_wait_seconds_total{cluster="hpc",kind="query"}': 4,
        'scheduler_budget_wait_seconds_total{cluster="hpc",kind="submit"}': 0,
        'scheduler_jobs_queued{cluster="hpc"}': 40,
        'scheduler_jobs_running{cluster="hpc"}': 8,
        'attempts_in_doubt{cluster="hpc"}': 1,
        'questions_open{cluster="hpc"}': 1,
        'ssh_connected{cluster="hpc"}': 1,
        'ssh_sessions{cluster="hpc"}': 3,
        'ssh_sessions_max{cluster="hpc"}': 8,
        'ssh_connects_total{cluster="hpc"}': 2,
        'ssh_reconnects_total{cluster="hpc"}': 1,
        'cluster_submissions_waiting{cluster="hpc"}': 2,
    }.items() <= found.items()
    assert not [name for name in found if name.startswith(("ssh", "questions")) and 'cluster="local"' in name]


def test_an_actor_that_starts_anew_takes_no_connection_back(board: Board, metrics: Metrics) -> None:
    board.connections["hpc"] = first = Connection(lambda: Way(connects=3), None)
    board.connections["hpc"] = Connection(lambda: Way(connects=0), first)
    assert read(metrics)['ssh_connects_total{cluster="hpc"}'] == 3
    assert read(metrics)['ssh_reconnects_total{cluster="hpc"}'] == 2


def test_every_way_to_end_is_there_before_it_happens(board: Board, metrics: Metrics) -> None:
    """An increase is only seen of what was there before."""
    board.clusters["local"] = LOCAL
    found = read(metrics)
    assert found['attempts_ended_total{cluster="local",end="completed",failure=""}'] == 0
    assert found['attempts_ended_total{cluster="local",end="failed",failure="scf_not_converged"}'] == 0
    assert found['retries_total{cluster="local",failure="runner_lost"}'] == 0
    assert found['submissions_total{cluster="local"}'] == 0


def test_locks(board: Board) -> None:
    clock = VirtualClock()
    locks = Locks(Path("/nonexistent"), clock)
    locks.configure({"licence": 3, "robot": 1})
    now = clock.time()
    locks.standing = rules.Standing(
        {"licence": 3, "robot": 1},
        (rules.Lease("licence", 1, "a/1", 2, now), rules.Lease("robot", 1, "b/1", 1, now, now - 1)),
        (rules.Waiter("c", {"licence": 2}, 0, 1, now, now), rules.Waiter("gone", {"licence": 1}, 0, 2, now, now - 60)),
    )
    locks.waits_s.observe(20.0)
    found = read(Metrics(sources_of(board, clock, locks=locks)))
    assert {
        'lock_capacity{lock="licence"}': 3,
        'lock_held{lock="licence"}': 2,
        'lock_waiters{lock="licence"}': 1,
        'lock_held{lock="robot"}': 0,
        'lock_wait_seconds_bucket{le="15.0"}': 0,
        'lock_wait_seconds_bucket{le="60.0"}': 1,
    }.items() <= found.items()
    locks.configure({f"r{number:03d}": 1 for number in range(60)})
    found = read(Metrics(sources_of(board, clock, locks=locks)))
    assert len([name for name in found if name.startswith("lock_capacity")]) == 51
    assert found['lock_capacity{lock="(others)"}'] == 10


def test_mailboxes_and_silence(board: Board) -> None:
    now = [100.0]

    def ref(*came_at: float) -> Ref[str]:
        box: Mailbox[str] = Mailbox("a", now=lambda: now[0])
        for at in came_at:
            now[0] = at
            box.put("x")
        now[0] = 100.0
        return Ref(box)

    sources = sources_of(
        board,
        clusters=lambda: {"local": ref(99.0), "hpc": ref()},
        workflows=lambda: {"a": ref(90.0, 95.0), "b": ref(98.0)},
        silent=lambda: {"clusters": 1, "workflows": 0},
        log_lines=lambda: {"warning": 4},
    )
    assert {
        'mailbox_depth{actor="workflows"}': 3,
        'mailbox_oldest_seconds{actor="workflows"}': 10,
        'mailbox_depth{actor="local"}': 1,
        'mailbox_oldest_seconds{actor="local"}': 1,
        'mailbox_depth{actor="hpc"}': 0,
        'mailbox_oldest_seconds{actor="hpc"}': 0,
        'actors_silent{supervisor="clusters"}': 1,
        'actors_silent{supervisor="workflows"}': 0,
        'log_lines_total{level="warning"}': 4,
    }.items() <= read(Metrics(sources)).items()


def test_what_is_counted_on_the_way(board: Board, metrics: Metrics) -> None:
    entered = []

    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        entered.append(True)
        yield

    with pytest.raises(ZeroDivisionError), metrics.timed(guard)():
        _ = 1 / 0
    assert entered
    metrics.count_request(WORKFLOW)
    metrics.count_connections(3)
    metrics.observe_lag(-0.001)
    found = read(metrics)
    assert found['control_requests_total{request="WorkflowInfo"}'] == 1
    assert found["control_connections"] == 3
    assert found["database_seconds_count"] == 1
    assert found["database_seconds_sum"] > 0
    assert (found["event_loop_lag_seconds_count"], found["event_loop_lag_seconds_sum"]) == (1, 0)


def test_the_page_tells_every_metric_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(penstock_\w+)` \| (\w+) \| (.*?) \|", text)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == {name: (family.kind, family.labels) for name, family in families.ALL.items()}
    assert len(rows) == len(told)
