"""Which points a sweep has, and what each has of its own."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.spec import parse_toml
from penstock.domain.sweep import describe_values, read_points, tables_of


def points(text: str, name: str = "s") -> list[tuple[str, dict[str, Any]]]:
    return [(point.id, point.values) for point in read_points(name, parse_toml(text, "f")["sweep"])]


def test_a_grid_has_every_combination() -> None:
    found = points('[sweep]\n"engine.accuracy" = [1.0, 0.1]\nslots = [1, 2]\n')
    assert found == [
        ("s-001", {"engine.accuracy": 1.0, "slots": 1}),
        ("s-002", {"engine.accuracy": 1.0, "slots": 2}),
        ("s-003", {"engine.accuracy": 0.1, "slots": 1}),
        ("s-004", {"engine.accuracy": 0.1, "slots": 2}),
    ]


def test_keys_may_be_written_with_or_without_quotes_or_as_tables() -> None:
    expected = [("s-001", {"engine.a": 1, "engine.b": [2, 3]}), ("s-002", {"engine.a": 4, "engine.b": [5]})]
    for text in (
        '[sweep]\nmode = "zip"\n"engine.a" = [1, 4]\n"engine.b" = [[2, 3], [5]]\n',
        '[sweep]\nmode = "zip"\nengine.a = [1, 4]\nengine.b = [[2, 3], [5]]\n',
        '[sweep]\nmode = "zip"\n[sweep.engine]\na = [1, 4]\nb = [[2, 3], [5]]\n',
    ):
        assert points(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep = 3", "sweep: is a table of lists"),
        ("[sweep]\n", "sweep: names no key"),
        ('[sweep]\nmode = "all"\nslots = [1]', "sweep.mode: 'all' is no way"),
        ("[sweep]\nslots = 3", "sweep.slots: needs a list of values"),
        ("[sweep]\nslots = []", "sweep.slots: needs a list of values"),
        ("[sweep]\nslots = [1, 2, 1]", "sweep.slots: has 1 twice"),
        ('[sweep]\nid = ["a"]', "sweep.id: cannot be swept: the points are named after it"),
        ('[sweep]\nmode = "zip"\nslots = [1]\npriority = [1, 2]', "slots has 1, priority has 2"),
        (f"[sweep]\nslots = {list(range(1001))}", "sweep: makes 1001 workflows; a sweep has at most 1000"),
    ],
)
def test_what_is_no_sweep_is_told_with_its_key(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        points(text)


def test_a_name_must_leave_room_for_the_number() -> None:
    with pytest.raises(SpecError, match="cannot name a workflow"):
        points("[sweep]\nslots = [1]", name="x" * 61)


def test_a_point_knows_its_sweep() -> None:
    tables = parse_toml('id = "s"\n[engine]\nname = "emt"\n[sweep]\n"engine.a" = [1, 2]\n', "f")
    _, point = read_points("s", tables["sweep"])
    assert tables_of(tables, "s", point) == {
        "id": "s-002",
        "engine": {"name": "emt", "a": 2},
        "metadata": {"sweep": {"name": "s", "point": 2, "values": {"engine.a": 2}}},
    }
    assert describe_values({"engine.a": "x", "slots": 2}) == 'engine.a = "x", slots = 2'
    with pytest.raises(SpecError, match=r"metadata\.sweep"):
        tables_of(tables | {"metadata": {"sweep": 1}}, "s", point)
