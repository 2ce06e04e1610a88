"""Selections: names from a list, values as values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError
from penstock.domain.states import JobState
from penstock.domain.views import Filter, Selection
from penstock.store.selection import COLUMNS, Where, in_states, order_by, where_selected
from penstock.store.workflow_store import WorkflowStore

from .filled import chunk, create, query, result, submit

EVIL = ["x' OR '1'='1", "1; DROP TABLE job; --", '" OR 1=1 --', "h1\0", "%", "NULL", ") OR (1=1"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WorkflowStore]:
    """Five jobs: 1 completed, 2 failed, the others ready."""
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(5))
    ulid, [one, two] = await submit(store, 2)
    await store.record_results([result(ulid, one), result(ulid, two, good=False)], {"submitting": 2}, [ulid])
    yield store
    await store.close()


async def ids(store: WorkflowStore, **selection: Any) -> list[int]:
    return await store.job_ids(where_selected("w", Selection(**selection)))


def some(column: str, op: str, value: str) -> Selection:
    return Selection(filters=(Filter(column, op, value),))


@pytest.mark.parametrize(
    ("column", "op", "value", "expected"),
    [
        ("name", "=", "h1", [2]),
        ("name", "!=", "h1", [1, 3, 4, 5]),
        ("name", "~", "h", [1, 2, 3, 4, 5]),
        ("id", "<", "3", [1, 2]),
        ("id", ">=", "4", [4, 5]),
        ("final_energy", "<", "-5", [1]),
        ("final_energy", "=", "-5.25", [1]),
        ("failure", "=", "exit_code", [2]),
        ("failure", "!=", "exit_code", [1, 3, 4, 5]),
        ("error_message", "~", "exit code 1", [2]),
        ("attempts", ">", "0", [1, 2]),
    ],
)
async def test_filters(store: WorkflowStore, column: str, op: str, value: str, expected: list[int]) -> None:
    assert await ids(store, filters=(Filter(column, op, value),)) == expected


async def test_kinds_of_conditions_narrow_each_other(store: WorkflowStore) -> None:
    assert await ids(store) == [1, 2, 3, 4, 5]
    assert await ids(store, jobs=(2, 3, 99)) == [2, 3]
    assert await ids(store, statuses=("ready", "failed")) == [2, 3, 4, 5]
    assert await ids(store, jobs=(2, 3), statuses=("ready",)) == [3]
    assert await ids(store, statuses=("ready",), filters=(Filter("id", ">", "3"), Filter("id", "<", "5"))) == [4]
    assert await store.job_ids(where_selected("other", Selection())) == []


@pytest.mark.parametrize("evil", EVIL)
async def test_values_are_only_ever_values(store: WorkflowStore, evil: str) -> None:
    for op in ("=", "~", "<"):
        found = await ids(store, filters=(Filter("name", op, evil),))
        assert found == [job for job in range(1, 6) if op == "<" and f"h{job - 1}" < evil]
    assert await store.count(Where("1")) == 5


@pytest.mark.parametrize("evil", [*EVIL, "geometry", "rowid", "ID"])
def test_names_that_are_not_in_the_list_are_refused(evil: str) -> None:
    with pytest.raises(SpecError):
        where_selected("w", some(evil, "=", "1"))
    with pytest.raises(SpecError):
        where_selected("w", some("id", evil, "1"))
    with pytest.raises(SpecError):
        where_selected("w", Selection(statuses=(evil,)))
    with pytest.raises(SpecError):
        order_by(evil)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(SpecError, match="did you mean 'final_energy'"):
        where_selected("w", some("final_enrgy", "<", "0"))
    with pytest.raises(SpecError, match="did you mean 'completed'"):
        where_selected("w", Selection(statuses=("complete",)))


@pytest.mark.parametrize("value", ["", "one", "9" * 30, "1e3"])
def test_a_number_is_a_number(value: str) -> None:
    with pytest.raises(SpecError, match="is not a number that natoms"):
        where_selected("w", some("natoms", "=", value))


@given(st.sampled_from(sorted(COLUMNS)), st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]), st.text())
def test_a_value_never_reaches_the_sql(column: str, op: str, value: str) -> None:
    marked = f"\u2603{value}"
    try:
        where = where_selected("w", some(column, op, marked))
    except SpecError:
        assert COLUMNS[column] is not str
        return
    assert "\u2603" not in where.sql
    assert where.parameters == ("w", marked)


async def test_order(store: WorkflowStore, tmp_path: Path) -> None:
    assert query(tmp_path, f"SELECT id FROM job {order_by('-id')}")[0] == (5,)
    assert query(tmp_path, f"SELECT id FROM job {order_by('final_energy')}") == [(1,), (2,), (3,), (4,), (5,)]
    assert query(tmp_path, f"SELECT id FROM job {order_by('-final_energy')}")[0] == (1,)


def test_conditions_join_without_leaking_into_each_other() -> None:
    both = Where("a = ? OR b = ?", (1, 2)) & in_states(JobState.READY, JobState.HELD)
    assert both.sql == "(a = ? OR b = ?) AND (state IN (?,?))"
    assert both.parameters == (1, 2, "ready", "held")
