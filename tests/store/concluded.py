"""A workflow whose analyses have said something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.domain.calculation import Structure, StructureChunk, pack_chunk
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.states import JobState
from penstock.store.deriving import DerivedStep, Drawn, conclude
from penstock.store.events import Event
from penstock.store.rows import NewStep, StepRow
from penstock.store.selection import Where
from penstock.store.workflow_store import WorkflowStore

from .filled import make_store, result, submit, workflow_row

EVIL = "<script>alert('x')</script>"
TENSOR = [[175.0 if i == j else 123.4 if max(i, j) < 3 else 0.0 for j in range(6)] for i in range(6)]
ERRORS = [[0.21 if i == j else 0.09 for j in range(6)] for i in range(6)]
FIGURE = Figure(
    "stress_strain", "stress_strain", "Stress and strain", "Stress over strain, with the fit.", {"x": [1.0]}
)
COPPER = Conclusion(
    (
        PropertyResult("elastic_tensor", "Cu", TENSOR, "GPa", ERRORS, {"pressure_gpa": 0.0}, "fit", ("1.1", "2.1")),
        PropertyResult("bulk_modulus_vrh", "Cu", 140.6, "GPa", 0.13, {}, "Voigt-Reuss-Hill", ("1.1",)),
    ),
    (FIGURE,),
    ("one strain was left out",),
)
GOLD = Conclusion((PropertyResult("bulk_modulus_vrh", "Au", 181.25, "GPa"),), failure="a strain failed: " + EVIL)
SILVER = Conclusion(failure="no strain of Ag completed")


async def create_analysed(directory: Path, subjects: Sequence[str]) -> tuple[WorkflowStore, DerivedStep]:
    """A running workflow with one job a subject, of which the first has completed, and an analysis of each."""
    store = make_store(directory)
    await store.create(workflow_row(), [])
    rows: list[StepRow] = await store.add_steps(
        [NewStep("strain", "fan"), NewStep("elastic", "analysis", after="strain")]
    )
    structures = [Structure(n, n + 2, name, "H", 1, 0, 2, "1\n\nH 0 0 0\n") for n, name in enumerate(subjects)]
    await store.add_chunk(rows[0], "w", pack_chunk(StructureChunk(structures, [], "end", done=True)))
    ulid, attempts = await submit(store, 1)
    await store.record_results([result(ulid, attempts[0])], {"submitting": 1}, [ulid])
    return store, DerivedStep(rows[1].id, "elastic", is_analysis=True, whole=False, parent_id=rows[0].id)


async def draw(store: WorkflowStore, step: DerivedStep, subject: int, conclusion: Conclusion) -> None:
    """Commits what was concluded of a subject (from 1 on), whose jobs have ended."""
    open_ = Where("subject = ? AND state = 'ready'", (subject,))
    await store.move_jobs(open_, JobState.CANCELLED, Event("jobs_cancelled", 0))
    stamp = "2026-01-02T03:04:05.000Z"
    await store.amend(lambda db: conclude(db, "w", step, Drawn(subject, conclusion, None), stamp))


async def create_metals(directory: Path) -> Path:
    """Copper, gold (in part) and silver (not at all), and one more metal of which nothing is known yet."""
    store, step = await create_analysed(directory, ["Cu", "Au", "Ag", "Ni"])
    for subject, conclusion in enumerate((COPPER, GOLD, SILVER), 1):
        await draw(store, step, subject, conclusion)
    await store.close()
    return directory / "workflow.db"
