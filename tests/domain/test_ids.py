"""Identifiers: sortable where they are made, harmless where they become directories."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError
from penstock.domain.ids import check_workflow_id, generate_workflow_id, is_ulid, new_ulid

MOMENTS = st.floats(0, 2**47 / 1000)


@given(MOMENTS, MOMENTS)
def test_ulids_sort_by_time(one: float, two: float) -> None:
    first, second = new_ulid(one), new_ulid(two)
    assert is_ulid(first)
    assert len(first) == 26
    if int(one * 1000) != int(two * 1000):
        assert (first < second) == (one < two)
    assert first != second


def test_a_ulid_of_now_is_a_ulid() -> None:
    assert len({new_ulid() for _ in range(1000)}) == 1000
    assert new_ulid(0.0).startswith("0000000000")
    assert new_ulid(1_469_918_176.385).startswith("01ARYZ6S41")


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "O" * 26, "I" * 26, "u" * 26, f"{'0' * 25}\n", f"{'0' * 25}\uff10"]
)
def test_what_is_no_ulid(text: str) -> None:
    assert not is_ulid(text)


@pytest.mark.parametrize("name", ["g2", "A", "0", "a.b_c-d", "x" * 64, "a..b", "sharedx"])
def test_names_that_are_allowed(name: str) -> None:
    assert check_workflow_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        ".hidden",
        "-rf",
        "_a",
        "a.",
        "x" * 65,
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a;b",
        "~",
    ],
)
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(SpecError, match="cannot name a workflow; use 1 to 64 letters") as caught:
        check_workflow_id(name)
    assert caught.value.key == "id"


@pytest.mark.parametrize("name", ["shared", "Shared", "SHARED"])
def test_reserved_names(name: str) -> None:
    with pytest.raises(SpecError, match="is a reserved name"):
        check_workflow_id(name)


@given(st.text(max_size=70))
def test_whatever_is_allowed_stays_inside_its_parent_directory(name: str) -> None:
    try:
        check_workflow_id(name)
    except SpecError:
        return
    assert os.path.normpath(f"/parent/{name}") == f"/parent/{name}"
    assert os.path.dirname(f"/parent/{name}") == "/parent"  # noqa: PTH120


def test_generated_names_are_allowed_and_differ() -> None:
    names = {generate_workflow_id("campaign") for _ in range(100)}
    assert len(names) == 100
    assert all(check_workflow_id(name).startswith("campaign-") for name in names)
