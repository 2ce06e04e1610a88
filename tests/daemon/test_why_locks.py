"""Why a workflow waits for locks, as sentences."""

from __future__ import annotations

from penstock.daemon.why_locks import explain_line, submission_of
from penstock.domain.ids import new_ulid
from penstock.domain.locks import Lease, Standing, Waiter

ULID = new_ulid(1.0)


def waiter(name: str, since: float, count: int = 1) -> Waiter:
    return Waiter(name, {"orca": count}, 0, int(since), since, since)


def test_who_holds_what_is_waited_for_and_who_is_before() -> None:
    leases = tuple(Lease("orca", n, f"w{n}/{ULID}" if n else "a script", 1, float(n)) for n in range(5))
    standing = Standing({"orca": 5}, leases, (waiter("first", 1.0), waiter("mine", 2.0)))
    first, *held, more, ahead, since = explain_line(standing, "mine", {"orca": 1}, "resource")
    assert first == "resource orca: 5 of 5 in use"
    assert held[0].startswith("held by a script since 19")
    assert held[1].startswith(f"held by workflow w1 (submission {ULID}) since")
    assert more == "and by 2 more; all: penstockctl locks"
    assert ahead == "1 before it in the line for it, first among them"
    assert since.startswith("it waits since")


def test_what_can_never_be_is_said() -> None:
    standing = Standing({"orca": 1}, (), (waiter("mine", 1.0, 2),))
    assert explain_line(standing, "mine", {"orca": 2}, "resource") == [
        "resource orca: there is only 1, and each attempt needs 2"
    ]


def test_who_does_not_wait_is_told_nothing() -> None:
    assert explain_line(Standing({"orca": 0}), "mine", {"orca": 1}, "resource") == []


def test_only_submissions_are_taken_for_such() -> None:
    assert submission_of(f"w/{ULID}") == ("w", ULID)
    assert submission_of("some/path") == (None, None)
    assert submission_of(ULID) == (None, None)
