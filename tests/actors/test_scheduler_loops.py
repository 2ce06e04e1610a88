"""What a cluster's loops do at the same time: one must not undo what another relies on."""

from __future__ import annotations

from tests.actors.test_scheduler_cluster import bench

from penstock.actors.cluster_port import Forget


async def test_a_submission_is_not_made_again_though_its_job_was_faster_than_the_next_try() -> None:
    async with bench() as run:
        run.site.way = ["lost"]
        ulid = run.submit()
        await run.until(lambda: ulid in run.site.jobs)
        run.site.start(ulid)
        run.site.end(ulid)
        await run.closed(ulid, limit_s=0.9)  # the next try comes after a second
        run.cluster.tell(Forget(ulid))
        await run.advance(30.0)
        assert run.site.count("sbatch") == 1
        assert run.site.names(ulid) == []


async def test_the_next_try_leaves_the_files_of_a_job_that_may_run_alone() -> None:
    async with bench() as run:
        run.site.way = ["lost"]
        ulid = run.submit()
        await run.until(lambda: ulid in run.site.jobs)
        run.site.start(ulid)
        del run.site.files[f"{ulid}/run.0"]  # so that one sees who writes it again
        await run.advance(30.0)
        assert f"{ulid}/run.0" not in run.site.files
        assert run.site.count("sbatch") == 1


async def test_what_was_cancelled_between_two_tries_does_not_leave() -> None:
    async with bench() as run:
        run.site.unreachable = "the connection broke"
        ulid = run.submit()
        await run.advance(2.0)
        run.site.unreachable = ""
        run.cancel(ulid, 0)
        await run.closed(ulid, limit_s=0.9)  # the next try comes after a second
        run.cluster.tell(Forget(ulid))
        await run.advance(60.0)
        assert run.site.count("sbatch") == 0
        assert run.site.names(ulid) == []
