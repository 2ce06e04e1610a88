"""Reports as worker processes write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.store import drawn
from tests.store.concluded import EVIL, create_analysed, create_metals, draw
from tests.store.filled import query

from penstock.actors.derive_tasks import Place
from penstock.actors.report_tasks import ExportResults, Reported, WriteReport
from penstock.actors.worker_tasks import AnyTask, answer
from penstock.actors.workers import WorkerLostError
from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion, Figure
from penstock.recipes import registry
from penstock.store.result_pages import Wanted

from .campaign import Campaign
from .test_deriving import Family, run_family


@pytest.fixture(autouse=True)
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.use(monkeypatch)


async def test_a_worker_takes_both_tasks_from_the_wire(tmp_path: Path) -> None:
    database = str(await create_metals(tmp_path))
    decoder = msgspec.msgpack.Decoder(AnyTask)
    place = Place(database, "w", str(tmp_path))
    for task, expected in (
        (WriteReport(place, str(tmp_path / "r.html"), overwrite=False), Reported(1, [], [])),
        (ExportResults(database, "w", str(tmp_path / "r.json"), Wanted(), overwrite=False), 3),
    ):
        said = answer(decoder, msgspec.msgpack.encode(task))
        assert said[:1] == b"="
        assert msgspec.msgpack.decode(said[1:], type=type(expected)) == expected


async def test_a_report_tells_what_is_in_the_database_and_escapes_it(tmp_path: Path) -> None:
    await create_metals(tmp_path)
    path = tmp_path / "r.html"
    WriteReport(Place(str(tmp_path / "workflow.db"), "w", str(tmp_path)), str(path), overwrite=False).run()
    text = path.read_text()
    assert "<script" not in text
    for said in (
        "a strain failed: &lt;script&gt;",
        "no strain of Ag completed",
        "140.60 ± 0.13",
        "<svg",
        "<td>Cu</td><td>strain</td><td>completed</td>",
        str(tmp_path / query(tmp_path, "SELECT job_dir FROM job WHERE id = 1")[0][0]),
        "1, running 2.0 s in all",
    ):
        assert said in text


async def test_a_figure_that_cannot_be_drawn_costs_no_other(tmp_path: Path) -> None:
    store, step = await create_analysed(tmp_path, ["Cu"])
    good, bad = Figure("k", "good", "Good", "", {"x": 1}), Figure("k", "bad", EVIL, EVIL, {})
    await draw(store, step, 1, Conclusion(figures=(bad, good)))
    await store.close()
    figures = tmp_path / "figures"
    place = Place(str(tmp_path / "workflow.db"), "w", str(tmp_path))
    reported = WriteReport(place, str(tmp_path / "r.html"), overwrite=False, figures=str(figures)).run()
    assert reported.figures == 2
    assert reported.files == [str(figures / "Cu-good.svg"), str(figures / "Cu-good.png")]
    assert reported.troubles == ["Cu-bad (elastic of Cu): ValueError: bad has no x"]
    text = (tmp_path / "r.html").read_text()
    assert "could not be drawn: ValueError: bad has no x" in text
    assert text.count("<svg") == 1


async def test_figures_never_go_into_a_file(tmp_path: Path) -> None:
    await create_metals(tmp_path)
    (tmp_path / "f").write_text("")
    place = Place(str(tmp_path / "workflow.db"), "w", str(tmp_path))
    with pytest.raises(SpecError, match="f is no directory"):
        WriteReport(place, str(tmp_path / "r.html"), overwrite=True, figures=str(tmp_path / "f")).run()
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("trouble", [None, WorkerLostError("it died"), SpecError("the disk is full")])
async def test_a_report_is_written_at_the_end_and_fails_no_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception | None
) -> None:
    monkeypatch.setitem(registry._RECIPES, "family", Family())
    async with run_family(tmp_path, 1) as run:
        asked: list[WriteReport] = []

        def look(task: Any) -> Exception | None:
            if not isinstance(task, WriteReport):
                return None
            asked.append(task)
            return trouble

        run.workers._trouble = look
        assert await run.until_ended() == "completed"
        place = Place(run.context.database, run.id, run.context.directory)
        assert set(asked) == {WriteReport(place, f"{run.context.directory}/report.html", overwrite=True)}


async def test_a_workflow_without_analyses_gets_no_report_by_itself(tmp_path: Path) -> None:
    async with Campaign(tmp_path, 1) as run:
        asked: list[str] = []
        run.workers._trouble = lambda task: asked.append(type(task).__name__)
        assert await run.until_ended() == "completed"
    assert "ExportJobs" in asked
    assert "WriteReport" not in asked
