"""What reviews of job directories change: one transaction a run of jobs, only where the row is as it was looked at."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import aiosqlite

from penstock.domain.calculation import Outcome
from penstock.domain.states import JobState
from penstock.store import reviews
from penstock.store.events import Event
from penstock.store.reviews import Amendment, Look, ReviewKind, Seen
from penstock.store.selection import Where
from penstock.store.workflow_store import WorkflowStore

from .filled import GOOD, NOW, chunk, create, query, result, submit

ALL = Where("1")


def found(job: int, *, attempts: int = 0, number: int = 1, highest: int = 0, outcome: Outcome = GOOD) -> Seen:
    """A success of attempt `number`."""
    directory = f"jobs/0000/{job}"
    return Seen(job, attempts, directory, found=True, highest=highest or number, number=number, outcome=outcome)


async def adopt(store: WorkflowStore, *seen: Seen) -> Amendment:
    """What a rescan found is committed."""
    amendment, _ = await store.amend(
        lambda db: reviews.adopt(db, "w", "local", seen, NOW, "2027-01-15 08:00:00"),
    )
    return amendment


async def completed(directory: Path, jobs: int) -> WorkflowStore:
    """A store whose jobs have all completed at their first attempt."""
    store, step = await create(directory)
    await store.add_chunk(step, "w", chunk(jobs, done=True))
    ulid, attempts = await submit(store, jobs)
    await store.record_results([result(ulid, attempt) for attempt in attempts], {"submitting": jobs}, [ulid])
    return store


async def test_a_success_that_nobody_knew_of_completes_its_job(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3))
    amendment = await adopt(store, found(1, number=2, highest=4), Seen(2, 0, "jobs/0000/2", found=False, highest=7))
    await store.close()
    assert (amendment.changed, amendment.moved_on) == ([1], [])
    assert store.tally == {"completed": 1, "ready": 2}
    columns = "id, state, status, attempts, job_dir, final_energy, max_forces, scf_steps"
    assert query(tmp_path, f"SELECT {columns} FROM job WHERE id < 3") == [
        (1, "completed", "completed", 4, "jobs/0000/1/2", -5.25, 0.125, 7),
        (2, "ready", "ready", 7, None, None, None, None),
    ]
    assert query(tmp_path, "SELECT job_id, number, state, directory FROM attempt") == [
        (1, 2, "completed", "jobs/0000/1/2")
    ]
    assert query(tmp_path, "SELECT size, state FROM submission") == [(1, "closed")]
    assert query(tmp_path, "SELECT job_id, name, value FROM property") == [(1, "dipole", "[0.0,0.0,1.5]")]
    assert query(tmp_path, "SELECT path FROM file WHERE role = 'output'") == [("jobs/0000/1/2/stdout",)]
    assert query(tmp_path, "SELECT job_id FROM event WHERE kind = 'job_adopted'") == [(1,)]


async def test_what_was_found_of_a_job_that_began_meanwhile_does_not_count(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3))
    await submit(store, 2)
    amendment = await adopt(store, found(1), found(2, attempts=1), found(3))
    await store.close()
    assert (amendment.changed, amendment.moved_on) == ([3], [1, 2])
    assert query(tmp_path, "SELECT state, attempts FROM job") == [
        ("submitting", 1),
        ("submitting", 1),
        ("completed", 1),
    ]
    assert store.tally == {"submitting": 2, "completed": 1}


async def test_adopting_twice_changes_nothing(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(1))
    await adopt(store, found(1))
    assert (await adopt(store, found(1), found(1, attempts=1))).changed == []
    await store.close()
    assert query(tmp_path, "SELECT count(*) FROM attempt") == [(1,)]
    assert query(tmp_path, "SELECT count(*) FROM event WHERE kind = 'job_adopted'") == [(1,)]


async def test_attempts_that_ended_badly_or_were_set_aside_are_told_to_whoever_looks(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(3))
    ulid, attempts = await submit(store, 2)
    ends = [result(ulid, attempts[0]), result(ulid, attempts[1], good=False)]
    await store.record_results(ends, {"submitting": 2}, [ulid])
    await store.move_jobs(Where("id = 1"), JobState.READY, Event("jobs_reset", 0), reset=True)
    page = partial(reviews.page, store.fetch, ReviewKind.RESCAN, ALL)
    assert await page(0, 10) == [
        Look(1, 1, "jobs/0000/1", {}, [1]),
        Look(2, 1, "jobs/0000/2", {}, []),  # its exit code was 0
        Look(3, 0, "jobs/0000/3", {}, []),
    ]
    await store.amend(lambda db: _set_exit(db, 2, 9))
    assert (await page(1, 1))[0].exits == {1: (9, None, NOW + 2.0)}
    await store.close()


async def _set_exit(db: aiosqlite.Connection, job: int, code: int) -> Amendment:
    await db.execute("UPDATE attempt SET exit_code = ? WHERE job_id = ?", (code, job))
    return Amendment()


async def test_only_metrics_that_differ_are_written(tmp_path: Path) -> None:
    store = await completed(tmp_path, 3)
    changed = Outcome(None, final_energy_hartree=-6.5, properties={"gap": 1.5})
    seen = [
        Seen(1, 1, "jobs/0000/1/1", found=True, number=1, outcome=GOOD),
        Seen(2, 1, "jobs/0000/2/1", found=True, number=1, outcome=changed),
        Seen(3, 1, "jobs/0000/3/1", found=False, reason="truncated"),
    ]
    amendment, events = await store.amend(lambda db: reviews.recompute(db, "w", seen, "2027-01-15 08:00:00"))
    await store.close()
    assert (amendment.changed, amendment.unchanged, amendment.moved_on) == ([2], [1], [])
    assert query(tmp_path, "SELECT final_energy, max_forces, scf_steps FROM job") == [
        (-5.25, 0.125, 7),
        (-6.5, None, None),
        (-5.25, 0.125, 7),
    ]
    assert query(tmp_path, "SELECT name, value FROM property WHERE job_id = 2") == [("gap", "1.5")]
    assert query(tmp_path, "SELECT count(*) FROM file WHERE job_id = 2") == [(0,)]
    assert [(event.kind, event.job, event.data["energy_before_hartree"]) for event in events] == [
        ("metrics_recomputed", 2, -5.25)
    ]


async def test_jobs_without_outputs_are_ready_again_and_may_be_found_again(tmp_path: Path) -> None:
    store = await completed(tmp_path, 3)
    seen = [Seen(job, 1, f"jobs/0000/{job}/1", found=job != 2) for job in (1, 2, 3)]
    seen.append(Seen(4, 1, "jobs/0000/4/1", found=True))  # no such job any more
    amendment, _ = await store.amend(lambda db: reviews.reset_missing(db, seen, "2027-01-15 08:00:00"))
    assert (amendment.changed, amendment.moved_on) == ([1, 3], [4])
    assert store.tally == {"completed": 1, "ready": 2}
    looks = await reviews.page(store.fetch, ReviewKind.RESCAN, ALL, 0, 10)
    assert [(look.job, look.aside) for look in looks] == [(1, []), (2, [1]), (3, [])]
    await adopt(store, found(1, attempts=1))
    await store.close()
    assert query(tmp_path, "SELECT state, final_energy FROM job WHERE id != 2") == [
        ("completed", -5.25),
        ("ready", None),
    ]
    assert query(tmp_path, "SELECT count(*) FROM attempt") == [(3,)]


async def test_a_job_that_is_active_cannot_be_set(tmp_path: Path) -> None:
    store, step = await create(tmp_path)
    await store.add_chunk(step, "w", chunk(2))
    await submit(store, 1)
    given = {"final_energy": -1.0}
    for job, moved_on in ((1, [1]), (2, [])):
        word = partial(reviews.set_job, job=job, state=JobState.COMPLETED, columns=given, event=Event("job_set", job))
        amendment, _ = await store.amend(word)
        assert amendment.moved_on == moved_on
    await store.close()
    assert query(tmp_path, "SELECT state, final_energy FROM job") == [("submitting", None), ("completed", -1.0)]
    assert store.tally == {"submitting": 1, "completed": 1}
