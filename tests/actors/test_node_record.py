"""A node that lets jobs down twice is left out, and only that."""

from __future__ import annotations

import pytest

from penstock.actors.node_record import NodeRecord
from penstock.clusters.scheduler import JobRow, Phase

DAY_S = 86_400.0


def failure(ulid: str, nodes: str = "n1", *tasks: int, state: str = "NODE_FAIL") -> JobRow:
    return JobRow(ulid, "1", tasks or (0,), Phase.INFRASTRUCTURE, state, nodes=nodes)


def test_two_failures_exclude_a_node_for_a_day() -> None:
    record = NodeRecord()
    record.take(failure("A"), 0.0)
    assert record.excluded(0.0) == ()
    record.take(failure("B"), 100.0)
    assert record.excluded(100.0) == ("n1",)
    assert record.excluded(DAY_S - 1.0) == ("n1",)
    assert record.excluded(DAY_S) == ()


def test_a_failure_told_again_counts_once() -> None:
    record = NodeRecord()
    for at in (0.0, 10.0, 20.0):
        record.take(failure("A"), at)
    assert record.excluded(20.0) == ()
    record.take(failure("A", "n1", 1), 30.0)  # another task of it is another failure
    assert record.excluded(30.0) == ("n1",)


@pytest.mark.parametrize(
    "row",
    [
        failure("B", state="PREEMPTED"),
        failure("B", "n[1-2]"),
        failure("B", ""),
        failure("B", "--exclude=x y"),
        JobRow("B", "1", (0,), Phase.FAILED, "FAILED", nodes="n1"),
        JobRow("B", "1", (0,), Phase.OUT_OF_MEMORY, "OUT_OF_MEMORY", nodes="n1"),
    ],
)
def test_what_says_nothing_of_a_node(row: JobRow) -> None:
    record = NodeRecord()
    record.take(failure("A"), 0.0)
    record.take(row, 1.0)
    assert record.excluded(1.0) == ()


def test_the_worst_go_first_and_never_all_of_them() -> None:
    record = NodeRecord()
    for number in range(30):
        for time in range(2 + (number == 17)):
            record.take(failure(f"{number}-{time}", f"n{number}"), 0.0)
    excluded = record.excluded(1.0)
    assert (excluded[0], len(excluded)) == ("n17", 20)
