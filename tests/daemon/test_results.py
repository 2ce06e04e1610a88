"""What the daemon says of results, and of workflows that have none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.ctl.conftest import INFO
from tests.store import drawn
from tests.store.concluded import COPPER, GOLD, create_metals
from tests.store.filled import create

from penstock.control import messages as m
from penstock.daemon import results
from penstock.daemon.results import answer_about_results
from penstock.domain.errors import ConflictError, SpecError


class Here:
    """Does tasks at once."""

    async def run(self, task: Any) -> Any:
        """The answer to a task."""
        return task.run()


async def ask(database: Path, request: m.ListResults | m.WriteResults | m.WriteReport, **changes: Any) -> Any:
    """The reply about a workflow in this database."""
    info = msgspec.structs.replace(INFO, id="w", database=str(database), directory=str(database.parent), **changes)
    workflows = cast("Any", SimpleNamespace(info=lambda _: info, refuse_held=lambda _: None))
    return await answer_about_results(workflows, cast("Any", Here()), request)


async def test_a_page_comes_with_the_state_and_what_is_open(tmp_path: Path) -> None:
    states = {"ready": 3, "failed": 1, "running": 2}
    reply = await ask(
        await create_metals(tmp_path), m.ListResults("w", limit=2, offset=1), recipe="elastic", states=states
    )
    assert reply.properties == (COPPER.properties[1], GOLD.properties[0])
    assert (reply.workflow, reply.recipe, reply.state, reply.total) == ("w", "elastic", "running", 3)
    assert (len(reply.conclusions), reply.conclusions_total, reply.open_jobs) == (2, 3, 5)


@pytest.mark.parametrize("request_", [m.ListResults("w"), m.WriteResults("w", "/r.csv")])
async def test_a_recipe_without_analyses_says_where_its_results_are(
    tmp_path: Path, request_: m.ListResults | m.WriteResults
) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    with pytest.raises(ConflictError, match="penstockctl jobs w, penstockctl table w; as a file: penstockctl export w"):
        await ask(tmp_path / "workflow.db", request_)


async def test_a_recipe_that_has_not_planned_its_analyses_yet_has_no_results_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    monkeypatch.setattr(results, "draws_conclusions", lambda name: name == "campaign")
    reply = await ask(tmp_path / "workflow.db", m.ListResults("w"))
    assert (reply.properties, reply.total, reply.analyses) == ((), 0, ())


async def test_properties_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    database = await create_metals(tmp_path)
    path = tmp_path / "r.csv"
    reply = await ask(database, m.WriteResults("w", str(path), ("bulk_modulus_vrh",)))
    assert reply == m.Exported(str(path), 2, "properties")
    assert len(path.read_text().splitlines()) == 3
    for place, said in (("r.csv", "not an absolute path"), (str(tmp_path / "r.xls"), "does not say a format")):
        with pytest.raises(SpecError, match=said):
            await ask(database, m.WriteResults("w", place))


async def test_a_report_goes_to_the_workflows_directory_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn.use(monkeypatch)
    database = await create_metals(tmp_path)
    path = tmp_path / "report.html"
    for _ in range(2):
        assert await ask(database, m.WriteReport("w")) == m.ReportWritten(str(path), 1, (), ())
    assert "bulk_modulus_vrh" in path.read_text()
    with pytest.raises(SpecError, match=r"report\.html exists"):
        await ask(database, m.WriteReport("w", str(path)))
    with pytest.raises(SpecError, match="figures: f is not an absolute path"):
        await ask(database, m.WriteReport("w", figures="f"))


async def test_figures_have_a_directory_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.use(monkeypatch)
    database = await create_metals(tmp_path)
    figures = tmp_path / "f"
    wanted = m.WriteReport("w", figures=str(figures))
    reply = await ask(database, wanted)
    files = (str(figures / "Cu-stress_strain.svg"), str(figures / "Cu-stress_strain.png"))
    assert (reply.files, reply.troubles) == (files, ())
    with pytest.raises(SpecError, match="is not empty"):
        await ask(database, wanted)
    assert (await ask(database, msgspec.structs.replace(wanted, overwrite=True))).files == files


async def test_a_campaign_has_a_report_of_its_jobs(tmp_path: Path) -> None:
    store, _ = await create(tmp_path)
    await store.close()
    reply = await ask(tmp_path / "workflow.db", m.WriteReport("w"))
    assert reply.figures == 0
    assert "There are no properties yet" in (tmp_path / "report.html").read_text()
