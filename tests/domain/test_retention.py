"""When what has ended is archived and removed: a decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError
from penstock.domain.retention import ARCHIVE, DELETE, Ended, RetentionTable, check_retention, decide

DAY = 86_400.0
BOTH = RetentionTable("30d", "90d")


def ended(id: str, at: float = 0.0, policy: RetentionTable = BOTH, *, archived: bool = False) -> Ended:
    return Ended(id, "/data", at, policy, archived)


def test_it_is_archived_first_and_removed_later() -> None:
    assert [(d.action, d.at) for d in decide([ended("w")])] == [(ARCHIVE, 30 * DAY), (DELETE, 90 * DAY)]
    assert [(d.action, d.at) for d in decide([ended("w", archived=True)])] == [(DELETE, 90 * DAY)]
    assert decide([ended("w", policy=RetentionTable())]) == []


def test_the_newest_of_a_work_directory_are_spared() -> None:
    policy = RetentionTable(delete_after="1d", keep_last=2)
    due = decide([ended(name, at, policy) for name, at in (("old", 1.0), ("newer", 2.0), ("newest", 3.0))])
    assert {d.id: d.spared for d in due} == {"old": False, "newer": True, "newest": True}
    elsewhere = Ended("alone", "/other", 0.0, policy, is_archived=False)
    assert {d.id: d.spared for d in decide([*(ended(str(n), n, policy) for n in range(5)), elsewhere])}["alone"]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (RetentionTable("a while"), "retention.archive_after"),
        (RetentionTable("30d", "7d"), "retention.delete_after"),
        (RetentionTable(keep_last=-1), "retention.keep_last"),
        (RetentionTable(destination="somewhere"), "retention.destination"),
        (RetentionTable(destination="s3://me:hush@bucket/"), "retention.destination"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(table: RetentionTable, key: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_retention(table)
    assert caught.value.key == key
    assert "hush" not in str(caught.value)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.booleans(), st.integers(0, 3)), max_size=8))
def test_nothing_is_removed_before_it_could_have_been_archived(given_: list[tuple[float, bool, int]]) -> None:
    workflows = [
        Ended(str(n), "/data", at, RetentionTable("2d", "3d", keep), archived)
        for n, (at, archived, keep) in enumerate(given_)
    ]
    due = decide(workflows)
    assert [d.at for d in due] == sorted(d.at for d in due)
    for workflow in workflows:
        own = [d.action for d in due if d.id == workflow.id]
        assert own == ([DELETE] if workflow.is_archived else [ARCHIVE, DELETE])
