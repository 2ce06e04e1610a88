"""Properties and conclusions, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion, PropertyResult
from penstock.domain.views import AnalysisInfo, FigureInfo
from penstock.store import result_pages
from penstock.store.result_pages import ResultPage, Wanted, how_analyses_are, list_results

from .concluded import COPPER, GOLD, SILVER, create_analysed, create_metals, draw
from .filled import create

EVERYTHING = Wanted()


def page(
    database: Path, wanted: Wanted = EVERYTHING, limit: int = 100, offset: int = 0, conclusions: int = 0
) -> ResultPage:
    return list_results(database, "w", wanted, limit=limit, offset=offset, conclusions_offset=conclusions)


def names(found: ResultPage) -> list[tuple[str, str]]:
    return [(one.subject, one.name) for one in found.properties]


async def test_what_was_concluded_comes_back_and_failures_come_first(tmp_path: Path) -> None:
    found = page(await create_metals(tmp_path))
    assert found.properties == [*COPPER.properties, *GOLD.properties]
    assert [(one.subject, one.failure, one.properties) for one in found.conclusions] == [
        ("Au", GOLD.failure, 1),
        ("Ag", SILVER.failure, 0),
        ("Cu", None, 2),
    ]
    copper = found.conclusions[-1]
    assert (copper.step, copper.notes, copper.at) == ("elastic", COPPER.notes, "2026-01-02T03:04:05.000Z")
    figure = COPPER.figures[0]
    assert copper.figures == (FigureInfo(figure.kind, figure.name, figure.title, figure.caption),)
    assert found.analyses == [AnalysisInfo("elastic", 4, 3, 2)]
    assert found.names == {"bulk_modulus_vrh": 2, "elastic_tensor": 1}
    assert (found.total, found.conclusions_total) == (3, 3)


async def test_pages_follow_each_other_without_gap_or_repeat(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    pages = [page(database, limit=1, offset=n, conclusions=n) for n in range(4)]
    assert [len(found.properties) for found in pages] == [1, 1, 1, 0]
    assert [one for found in pages for one in found.properties] == page(database).properties
    assert [one for found in pages for one in found.conclusions] == page(database).conclusions
    assert all(found.total == 3 for found in pages)


async def test_names_and_subjects_narrow(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    assert names(page(database, Wanted(("bulk_modulus_vrh",)))) == [
        ("Cu", "bulk_modulus_vrh"),
        ("Au", "bulk_modulus_vrh"),
    ]
    gold = page(database, Wanted(subject="Au"))
    assert (names(gold), gold.total) == ([("Au", "bulk_modulus_vrh")], 1)
    assert [one.subject for one in gold.conclusions] == ["Au"]
    nothing = page(database, Wanted(("bulk_modulus",), subject="Cu"))
    assert (nothing.properties, nothing.total) == ([], 0)
    assert nothing.names == {"bulk_modulus_vrh": 2, "elastic_tensor": 1}


async def test_numbers_are_sorted_and_what_is_none_comes_last(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    values = [one.value for one in page(database, Wanted(order="value")).properties]
    assert values[:2] == [140.6, 181.25]
    assert isinstance(values[2], list)
    falling = [one.value for one in page(database, Wanted(order="-value")).properties]
    assert falling[:2] == [181.25, 140.6]
    assert names(page(database, Wanted(order="subject")))[0] == ("Au", "bulk_modulus_vrh")
    with pytest.raises(SpecError, match="order: properties have no order by 'valeu'; did you mean 'value'"):
        page(database, Wanted(order="-valeu"))


async def test_a_page_is_no_larger_than_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, step = await create_analysed(tmp_path, ["Cu"])
    big = [PropertyResult("p", "Cu", [float(n)] * 100, "1") for n in range(5)]
    await draw(store, step, 1, Conclusion(tuple(big), notes=("n" * 300,)))
    await draw(store, step, 0, Conclusion(notes=("n" * 300,)))
    await store.close()
    monkeypatch.setattr(result_pages, "PAGE_BYTES", 900)
    found = page(tmp_path / "workflow.db")
    assert found.properties == big[:2]
    assert found.total == 5
    monkeypatch.setattr(result_pages, "PAGE_BYTES", 10)
    found = page(tmp_path / "workflow.db", offset=4, conclusions=1)
    assert found.properties == big[4:]  # what is larger than a page still comes
    assert [one.subject for one in found.conclusions] == ["all"]


async def test_a_workflow_without_analyses_has_nothing(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    found = page(tmp_path / "workflow.db")
    assert (found.properties, found.conclusions, found.analyses) == ([], [], [])


async def test_the_first_failures_are_told(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    analyses, failed = how_analyses_are(database, "w", 1)
    assert analyses == [AnalysisInfo("elastic", 4, 3, 2)]
    assert [one.subject for one in failed] == ["Au"]
