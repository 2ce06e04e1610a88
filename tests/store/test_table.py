"""The table of results: one row a material, with what each step found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.store.filled import GOOD, chunk, create, make_store, result, submit, workflow_row

from penstock.domain.calculation import Outcome
from penstock.domain.context import DATABASE_NAME
from penstock.domain.states import AttemptState, JobState
from penstock.store.rows import AttemptResult, NewStep
from penstock.store.table import tabulate
from penstock.store.workflow_store import WorkflowStore

STEPS = [NewStep("OPT", "fan"), NewStep("SP", "fan", after="OPT")]
FOUND = Outcome(
    None,
    final_energy_hartree=-76.5,
    properties={"gap_ev": 5.5, "kind": "direct", "magnetic": False, "dipole": [0.0, 1.0], "scf": 3},
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WorkflowStore]:
    store = make_store(tmp_path)
    await store.create(workflow_row(), [])
    first, *links = await store.add_steps(STEPS)
    await store.add_chunk(first, "w", chunk(3, done=True), links)
    yield store
    await store.close()


async def finish(store: WorkflowStore, count: int, outcome: Outcome) -> None:
    """The oldest ready jobs end well."""
    ulid, attempts = await submit(store, count)
    ends = [
        AttemptResult(ulid, attempt, AttemptState.COMPLETED, JobState.COMPLETED, None, outcome) for attempt in attempts
    ]
    await store.record_results(ends, {JobState.SUBMITTING: len(ends)}, [ulid])


async def test_before_anything_has_run_there_are_states_and_no_values(store: WorkflowStore, tmp_path: Path) -> None:
    table = tabulate(tmp_path / DATABASE_NAME, "w")
    assert table.columns == ("material", "natoms", "OPT", "OPT.energy_hartree", "SP", "SP.energy_hartree")
    assert table.rows[0] == ("h0", 1, "ready", None, "waiting", None)
    assert table.total == len(table.rows) == 3


async def test_results_of_every_step_stand_beside_one_another(store: WorkflowStore, tmp_path: Path) -> None:
    await finish(store, 3, msgspec.structs.replace(FOUND, final_energy_hartree=-1.0, properties={"cycles": 7}))
    await finish(store, 1, FOUND)
    table = tabulate(tmp_path / DATABASE_NAME, "w")
    assert table.columns == (
        "material",
        "natoms",
        "OPT",
        "OPT.energy_hartree",
        "OPT.cycles",
        "SP",
        "SP.energy_hartree",
        "SP.gap_ev",
        "SP.kind",
        "SP.magnetic",
        "SP.scf",
    )
    assert table.rows[0] == ("h0", 1, "completed", -1.0, 7, "completed", -76.5, 5.5, "direct", False, 3)
    assert table.rows[1] == ("h1", 1, "completed", -1.0, 7, "ready", None, None, None, None, None)


async def test_pages_are_in_the_order_of_the_source(store: WorkflowStore, tmp_path: Path) -> None:
    assert [row[0] for row in tabulate(tmp_path / DATABASE_NAME, "w", limit=2).rows] == ["h0", "h1"]
    second = tabulate(tmp_path / DATABASE_NAME, "w", limit=2, offset=2)
    assert ([row[0] for row in second.rows], second.total) == (["h2"], 3)
    assert tabulate(tmp_path / DATABASE_NAME, "w", offset=9).rows == ()
    assert tabulate(tmp_path / DATABASE_NAME, "w", limit=0).rows == ()
    assert len(tabulate(tmp_path / DATABASE_NAME, "w", limit=-5, offset=-5).rows) == 0


async def test_a_property_never_takes_the_place_of_the_energy(store: WorkflowStore, tmp_path: Path) -> None:
    await finish(store, 1, msgspec.structs.replace(FOUND, properties={"energy_hartree": 1.0}))
    table = tabulate(tmp_path / DATABASE_NAME, "w")
    assert len(set(table.columns)) == len(table.columns)
    assert table.rows[0][3] == -76.5


async def test_a_campaign_has_one_step(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(2, done=True))
    ulid, attempts = await submit(store, 1)
    await store.record_results([result(ulid, attempts[0])], {JobState.SUBMITTING: 1}, [ulid])
    table = tabulate(tmp_path / DATABASE_NAME, "w")
    await store.close()
    assert table.columns == ("material", "natoms", "calculate", "calculate.energy_hartree")
    assert table.rows == (("h0", 1, "completed", GOOD.final_energy_hartree), ("h1", 1, "ready", None))
