"""Lock tables: never too many holders, tokens that only rise, turns in order, and no second holder after a kill."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.domain.errors import BusyError, ConflictError, SpecError, StoreError
from penstock.domain.locks import Lease, LockLostError, Wish
from penstock.store.held_lock import hold
from penstock.store.lock_table import LockTable

NAMES = ("a", "b")
COUNTS = {"a": 1, "b": 3}


class Hands:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def table(tmp_path: Path, clock: Hands) -> Iterator[LockTable]:
    table = LockTable(tmp_path / "locks" / "locks.db", now=clock)
    yield table
    table.close()


class House:
    """A table beside a plain account of who holds what, and of who asked first."""

    def __init__(self, path: Path) -> None:
        self.clock = Hands()
        self.path = path
        self.table = self.open()
        self.held: dict[str, tuple[Lease, ...]] = {}
        self.line: list[tuple[str, dict[str, int]]] = []
        self.tokens = Counter[str]()

    def open(self) -> LockTable:
        table = LockTable(self.path, now=self.clock)
        table.set_capacities(COUNTS)
        return table

    def ask(self, name: str, needs: dict[str, int], most: int, lease_s: float | None) -> None:
        """Who waits already asks for the same again."""
        if name in self.held:
            return
        needs = dict(self.line).get(name, needs)
        at = [other for other, _ in self.line].index(name) if name in dict(self.line) else len(self.line)
        leases = self.table.take(Wish(name, f"{name}/x", needs, most, 0, lease_s))
        if leases:
            assert not any(ahead.keys() & needs.keys() for _, ahead in self.line[:at]), "somebody was overtaken"
            self.held[name] = leases
            self.line = [one for one in self.line if one[0] != name]
            for lease in leases:
                assert lease.token > self.tokens[lease.resource]
                self.tokens[lease.resource] = lease.token
        elif name not in dict(self.line):
            self.line.append((name, needs))

    def give_back(self, name: str) -> None:
        for lease in self.held.pop(name, ()):
            self.table.release(lease)

    def pass_time(self, seconds: float) -> None:
        """Leases run out; nobody leaves the line."""
        self.clock.now += seconds
        self.table.set_capacities(COUNTS)
        self.held = {
            name: leases
            for name, leases in self.held.items()
            if all(lease.expires_at is None or lease.expires_at > self.clock.now for lease in leases)
        }

    def check(self) -> None:
        standing = self.table.standing()
        used = standing.used()
        assert all(used[name] <= COUNTS[name] for name in NAMES)
        assert set(standing.leases) == {lease for leases in self.held.values() for lease in leases}
        assert [waiter.name for waiter in standing.waiters] == [name for name, _ in self.line]


WHO = st.sampled_from(["p", "q", "r", "s"])
NEEDS = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 1), min_size=1) | st.just({"b": 3}) | st.just({"b": 2})
DEEDS = st.lists(
    st.tuples(st.just("ask"), WHO, NEEDS, st.integers(1, 3), st.sampled_from([None, 20.0]))
    | st.tuples(st.just("back"), WHO)
    | st.tuples(st.just("time"), st.sampled_from([1.0, 21.0, 31.0]))
    | st.tuples(st.just("restart")),
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(DEEDS)
def test_whatever_happens_there_are_never_too_many_and_nobody_is_overtaken(deeds: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder, "locks.db"))
        try:
            for deed, *details in deeds:
                match deed:
                    case "ask":
                        house.ask(*details)  # type: ignore[arg-type]
                    case "back":
                        house.give_back(*details)  # type: ignore[arg-type]
                    case "time":
                        house.pass_time(*details)  # type: ignore[arg-type]
                    case "restart":
                        house.table.close()
                        house.table = house.open()
                house.check()
        finally:
            house.table.close()


def test_tokens_go_on_after_everything_was_given_back(table: LockTable) -> None:
    first = table.acquire("laser", "a")
    assert table.check("laser", first.token)
    assert table.release(first)
    assert not table.release(first)
    table.close()
    second = table.acquire("laser", "b")
    assert second.token == first.token + 1
    assert not table.check("laser", first.token)


def test_a_lease_that_is_not_renewed_is_anothers_and_its_holder_is_told(table: LockTable, clock: Hands) -> None:
    first = table.acquire("laser", "a", lease_s=10.0)
    clock.now += 9.0
    first = table.renew(first, 10.0)
    clock.now += 9.0
    with pytest.raises(BusyError, match="held by a"):
        table.acquire("laser", "b", wait_s=0.0)
    assert not table.standing().waiters
    clock.now += 1.0
    second = table.acquire("laser", "b")
    assert second.token > first.token
    with pytest.raises(LockLostError, match="the lease of a"):
        table.renew(first, 10.0)


def test_what_cannot_be_is_refused_at_once(table: LockTable) -> None:
    table.set_capacities({"orca": 2})
    with pytest.raises(ConflictError, match="only 2 of orca, not 3"):
        table.acquire("orca", "a", count=3)
    with pytest.raises(SpecError):
        table.acquire("no/name", "a")
    with pytest.raises(SpecError):
        table.acquire("orca", "a", count=0)


def test_what_a_submission_holds_ends_by_evidence_only(table: LockTable, clock: Hands) -> None:
    table.set_capacities({"orca": 3})
    (lease,) = table.take(Wish("w", "w/1", {"orca": 1}, 5))
    assert lease.count == 3
    clock.now += 1e9
    assert table.take(Wish("v", "v/1", {"orca": 1})) == ()
    table.keep("w/1", {"orca": 1}, 2)
    assert table.next_names() == ["v"]
    (other,) = table.take(Wish("v", "v/1", {"orca": 1}))
    assert other.token > lease.token
    table.settle("w", [])
    assert [each.holder for each in table.standing().leases] == ["v/1"]


def test_a_table_that_was_lost_learns_what_is_held(table: LockTable) -> None:
    table.set_capacities({"orca": 1})
    forgotten = Lease("orca", 7, "w/1", 2, 5.0)
    table.settle("w", [forgotten])
    table.settle("w", [forgotten])
    assert table.standing().leases == (forgotten,)
    assert table.take(Wish("v", "v/1", {"orca": 1})) == ()
    table.settle("w", [])
    assert table.take(Wish("v", "v/1", {"orca": 1}))[0].token == 8


def test_fewer_than_are_held_is_waited_for(table: LockTable) -> None:
    table.set_capacities({"orca": 3})
    (lease,) = table.take(Wish("w", "w/1", {"orca": 1}, 3))
    table.set_capacities({"orca": 2})
    table.keep("w/1", {"orca": 1}, 2)
    assert table.take(Wish("v", "v/1", {"orca": 1})) == ()
    table.set_capacities({})
    table.release(lease)
    assert table.next_names() == [], "it is not configured any more"


def test_a_file_that_vanishes_is_told_and_made_anew(table: LockTable) -> None:
    table.acquire("laser", "a")
    for path in table.path.parent.iterdir():
        path.unlink()
    with pytest.raises(StoreError, match="vanished"):
        table.acquire("laser", "b")
    assert table.acquire("laser", "b").holder == "b"


def test_a_held_lock_is_renewed_and_says_when_it_is_lost(tmp_path: Path) -> None:
    table = LockTable(tmp_path / "locks.db")
    with contextlib.closing(table):
        with hold(table, "laser", "a", lease_s=3.0) as held:  # renewed each second: a disk may take a while for it
            began = held.lease.expires_at
            until(lambda: held.lease.expires_at != began)
            held.check()
            assert table.check("laser", held.token)
        assert not table.standing().leases
        with pytest.raises(LockLostError), hold(table, "laser", "a", lease_s=0.3) as held:  # noqa: PT012
            table.release_holder("laser", "a")
            until(lambda: held.is_lost)
            with pytest.raises(LockLostError, match="is lost"):
                held.check()
        with pytest.raises(ZeroDivisionError), hold(table, "laser", "a", lease_s=60.0):
            table.release_holder("laser", str(1 / 0))


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    table, inside, most = LockTable(tmp_path / "locks.db"), [0], [0]

    def work(number: int) -> None:
        for _ in range(5):
            with hold(table, "laser", f"thread {number}"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table.close()
    assert most == [1]


def test_a_child_of_a_fork_leaves_its_parents_connection_alone(table: LockTable, clock: Hands) -> None:
    lease = table.acquire("laser", "parent", lease_s=60.0)
    pid = os.fork()
    if not pid:
        code = 1
        with contextlib.suppress(BusyError):
            table.acquire("laser", "child", wait_s=0.0)
            code = 2
        os._exit(0 if code == 1 else code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert table.renew(lease, 60.0).expires_at == clock.now + 60.0


CHILD = """
import os, sys, time
from pathlib import Path
from penstock.store.lock_table import LockTable

folder, me = Path(sys.argv[1]), sys.argv[2]
table = LockTable(folder / "locks.db")
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print("ready", flush=True)
while True:
    lease = table.acquire("laser", me, lease_s=3600.0)
    os.write(log, f"enter {me} {lease.token}\\n".encode())
    time.sleep(0.001)
    os.write(log, f"leave {me} {lease.token}\\n".encode())
    table.release(lease)
"""


def test_no_second_holder_ever_though_holders_are_killed(tmp_path: Path) -> None:
    """Leases last an hour: only the death of their process can end them in time."""
    LockTable(tmp_path / "locks.db").standing()
    dice, names = random.Random(1), iter(range(1000))
    children = [spawn(tmp_path, str(next(names))) for _ in range(4)]
    killed: set[str] = set()
    try:
        for _ in range(6):
            size = log_size(tmp_path)
            until(lambda size=size: log_size(tmp_path) > size + 60)
            victim = children.pop(dice.randrange(len(children)))
            killed.add(end(victim))
            children.append(spawn(tmp_path, str(next(names))))
    finally:
        killed |= {end(child) for child in children}
    inside: tuple[str, int] | None = None
    newest = 0
    for line in (tmp_path / "log").read_text().splitlines():
        deed, who, token = line.split()
        if deed == "enter":
            assert inside is None or inside[0] in killed, f"{who} entered while {inside} was inside"
            assert int(token) > newest
            inside, newest = (who, int(token)), int(token)
        else:
            assert inside == (who, int(token))
            inside = None
    assert newest > 6


def spawn(folder: Path, me: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), me], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen[str]) -> str:
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return str(child.args[-1])  # type: ignore[index]


def log_size(folder: Path) -> int:
    return (folder / "log").stat().st_size


def until(condition: object) -> None:
    """Looks again and again: what is waited for is done by a thread or a process that tells nobody."""
    assert callable(condition)
    for _ in range(3000):
        if condition():
            return
        select.select([], [], [], 0.005)
    pytest.fail("it did not happen")
