"""Worker processes, with real ones."""

from __future__ import annotations

import hashlib
import os
import select
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest

from penstock import engines
from penstock.actors import task
from penstock.actors import workers as module
from penstock.actors.archive_tasks import UnpackArchive, VerifyArchive
from penstock.actors.clock import SystemClock
from penstock.actors.derive_tasks import Conclude, Place
from penstock.actors.report_tasks import WriteReport
from penstock.actors.task import Task
from penstock.actors.worker_tasks import (
    CheckWork,
    Collect,
    CollectItem,
    KeepSource,
    PlanSource,
    ReadChunk,
    Render,
    RenderItem,
    SourceFile,
    SourcePlan,
    StepInputs,
)
from penstock.actors.workers import WorkerLostError, WorkerPool, WorkerStuckError
from penstock.domain.build_table import BuildTable
from penstock.domain.calculation import Calculation, Exit, FailureClass, Outcome
from penstock.domain.context import Context, Mode
from penstock.domain.errors import BusyError, SpecError
from penstock.domain.property_tables import ElasticTable
from penstock.domain.spec import StructureSource, WorkflowSpec
from penstock.domain.submission import Manifest
from penstock.engines import get
from penstock.engines.command import CommandParameters

PARAMETERS = msgspec.json.encode(CommandParameters(["echo", "$name"]))
STEPS = (StepInputs("calculate", PARAMETERS, 1, 1, 1),)
WATER = "3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"
SOURCE = StructureSource("water.xyz")


def spec_of(source: StructureSource) -> WorkflowSpec:
    return WorkflowSpec("campaign", source, {"name": "command"})


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(2, SystemClock())
    yield pool
    pool.close()
    await anyio.lowlevel.checkpoint()


@pytest.fixture
def water(tmp_path: Path) -> Path:
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return path


def worker_pids(pool: WorkerPool) -> list[int]:
    return [worker._process.pid for worker in pool._idle]


async def gone(pid: int) -> None:
    """Returns when the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert await anyio.to_thread.run_sync(lambda: select.select([handle], [], [], 10.0)[0])
    finally:
        os.close(handle)


async def test_a_worker_reads_renders_and_collects(pool: WorkerPool, water: Path, tmp_path: Path) -> None:
    chunk = await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    assert (chunk.count, chunk.done) == (1, True)
    manifest = Manifest("U", "w", "/w", "isolated", "command", 1, 60, [])
    calculation = Calculation("water", WATER, 0, 1, 1, 1000)
    rendered = await pool.run(Render(manifest, PARAMETERS, [RenderItem(0, "jobs/1/1", 1, calculation)]))
    decoded = msgspec.msgpack.decode(rendered.manifest, type=Manifest)
    assert decoded.entries[0].rendered.argv == ["echo", "water"]
    ended = CollectItem(0, str(tmp_path), Exit(3, None, 0.0, 1.0))
    [(position, outcome)] = await pool.run(Collect("command", PARAMETERS, [ended]))
    assert (position, outcome.failure) == (0, FailureClass.EXIT_CODE)
    assert len(worker_pids(pool)) == 1


async def test_what_is_built_is_planned_kept_and_read_like_a_file(pool: WorkerPool, tmp_path: Path) -> None:
    source = StructureSource(build=BuildTable(elements=("Ni", "Al"), prototypes=("B2", "L1_2")))
    await pool.run(CheckWork(source, "", "command", STEPS))
    plan = await pool.run(PlanSource(spec_of(source), "", STEPS))
    assert (plan.structures, plan.rejected, plan.examples["calculate"].argv) == (3, 0, ["echo", "NiAl-B2"])
    kept = [await pool.run(KeepSource(source, "", str(tmp_path))) for _ in range(2)]
    assert kept[0] == kept[1]
    assert (kept[0].path, [file.path for file in kept[0].files]) == ("source/built.extxyz", ["source/built.extxyz"])
    path = tmp_path / "source" / "built.extxyz"
    written = path.read_bytes()
    assert kept[0].files == [SourceFile("source/built.extxyz", len(written), hashlib.sha256(written).hexdigest())]
    chunk = await pool.run(ReadChunk(source, str(path), "", 10))
    assert (chunk.count, chunk.done, chunk.rejected) == (3, True, [])
    assert [row[2] for row in msgspec.json.decode(chunk.rows)] == ["NiAl-B2", "Ni3Al-L1_2", "NiAl3-L1_2"]


def test_what_unfolds_is_counted_on_the_first_structures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many structures the rest are taken to be like those: here one cubic, whose strains are 4, and two others."""
    monkeypatch.setattr("penstock.actors.worker_tasks._FORESEEN", 1)
    cubic, other = "4 0 0 0 4 0 0 0 4", "4 0 0 0 4 0 0 0 5"
    frames = (f'1\nLattice="{lattice}" pbc="T T T"\nCu 0 0 0\n' for lattice in (cubic, other, other))
    (tmp_path / "cu.xyz").write_text("".join(frames))
    spec = WorkflowSpec("elastic", StructureSource("cu.xyz"), {"name": "emt"}, elastic=ElasticTable((0.01,)))
    parameters = msgspec.json.encode(get("emt").parameters({}, str))
    steps = tuple(StepInputs(key, parameters, 1, 1, 1) for key in ("relax", "strain"))
    plan = PlanSource(spec, str(tmp_path / "cu.xyz"), steps).run()
    assert (plan.structures, plan.by_step, plan.untold) == (3, {"relax": 3, "strain": 12}, {})
    monkeypatch.setattr("penstock.actors.worker_tasks._FORESEEN", 100)
    assert PlanSource(spec, str(tmp_path / "cu.xyz"), steps).run().by_step == {"relax": 3, "strain": 4 + 8 + 8}


async def test_what_cannot_be_built_or_written_is_told(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="SiO2 has no prototype") as caught:
        await pool.run(PlanSource(spec_of(StructureSource(build=BuildTable("SiO2"))), "", STEPS))
    assert caught.value.key == "structures.build.system"
    (tmp_path / "source").write_text("in the way")
    with pytest.raises(SpecError, match=r"cannot be written: .*; the work directory must be writable"):
        await pool.run(KeepSource(StructureSource(build=BuildTable("Si")), "", str(tmp_path)))


async def test_an_error_comes_back_as_what_it_was_and_the_worker_stays(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        await pool.run(CheckWork(StructureSource("m.xyz"), str(tmp_path / "m.xyz"), "command", ()))
    assert "m.xyz" in str(caught.value)
    kept = worker_pids(pool)
    with pytest.raises(SpecError):
        await pool.run(CheckWork(StructureSource("m.xyz"), str(tmp_path / "m.xyz"), "command", ()))
    assert worker_pids(pool) == kept
    assert pool.lost == 0


async def test_a_program_is_looked_for_as_the_first_sound_record_asks_for_it(pool: WorkerPool, tmp_path: Path) -> None:
    source = tmp_path / "m.xyz"
    source.write_text(f"1\n\nQq 0 0 0\n{WATER}")
    program = tmp_path / "program"
    steps = (StepInputs("calculate", msgspec.json.encode(CommandParameters([str(program)])), 1, 1, 1),)
    check = CheckWork(SOURCE, str(source), "command", steps)
    with pytest.raises(SpecError, match="there is no program"):
        await pool.run(check)
    program.write_text("#!/bin/sh\n")
    with pytest.raises(SpecError, match="program is not executable") as caught:
        await pool.run(check)
    assert caught.value.key == "engine.command"
    program.chmod(0o755)
    await pool.run(check)


@pytest.mark.parametrize(
    ("name", "key"), [("orca", "engine.command"), ("orca-sella", "engine.orca.command")], ids=["shell", "python"]
)
async def test_a_program_is_looked_for_where_another_one_calls_it(
    tmp_path: Path, name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORCA for several cores is called by a shell, and ORCA under Sella by an engine in Python."""
    source = tmp_path / "m.xyz"
    source.write_text(WATER)
    orca = {"method": "HF", "basis": "STO-3G", "command": "orca-of-a-test"}
    engine = get(name)
    monkeypatch.setattr(type(engine), "load", lambda _: None)  # whether Sella is there is not the question
    parameters = msgspec.json.encode(engine.parameters({"orca": orca} if name == "orca-sella" else orca, str))
    check = CheckWork(SOURCE, str(source), name, (StepInputs("calculate", parameters, 4, 1000, 1),))
    with pytest.raises(SpecError, match="there is no program 'orca-of-a-test' where the daemon looks") as caught:
        check.run()
    assert caught.value.key == key
    msgspec.structs.replace(check, runs_here=False).run()
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "orca-of-a-test").touch(mode=0o755)
    check.run()


@pytest.mark.parametrize("runs_here", [True, False])
async def test_parameters_of_a_step_that_do_not_go_together_are_refused(
    pool: WorkerPool, tmp_path: Path, runs_here: bool
) -> None:
    source = tmp_path / "m.xyz"
    source.write_text(WATER)
    dynamics = get("emt").parameters({"task": "dynamics", "temperature_k": 300.0}, str)
    overlaid = msgspec.json.encode(msgspec.structs.replace(dynamics, steps=5))
    steps = (StepInputs("warm", msgspec.json.encode(dynamics), 1, 1, 1), StepInputs("run", overlaid, 1, 1, 1))
    with pytest.raises(SpecError, match="must not be more than steps") as caught:
        await pool.run(CheckWork(SOURCE, str(source), "emt", steps, runs_here))
    assert caught.value.key == "steps.run.engine.sample_every"
    await pool.run(CheckWork(SOURCE, str(source), "emt", steps[:1], runs_here))


async def test_an_error_nobody_foresaw_is_told_and_the_worker_stays(pool: WorkerPool) -> None:
    with pytest.raises(BusyError, match="a worker process failed: ") as caught:
        await pool.run(Collect("command", b"not json", []))
    assert not isinstance(caught.value, WorkerLostError)
    assert len(worker_pids(pool)) == 1


async def test_a_worker_killed_over_its_task_is_lost_and_replaced(pool: WorkerPool, water: Path) -> None:
    await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    [victim] = worker_pids(pool)
    os.kill(victim, signal.SIGSTOP)
    lost: list[Exception] = []

    async def ask() -> None:
        try:
            await pool.run(ReadChunk(SOURCE, str(water), "", 10))
        except WorkerLostError as error:
            lost.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert pool.busy == 1
        os.kill(victim, signal.SIGKILL)
    assert len(lost) == 1
    assert (pool.lost, pool.busy) == (1, 0)
    assert (await pool.run(ReadChunk(SOURCE, str(water), "", 10))).done
    assert victim not in worker_pids(pool)


async def test_there_are_never_more_workers_than_allowed(pool: WorkerPool, water: Path) -> None:
    busiest = 0

    async def ask() -> None:
        nonlocal busiest
        await pool.run(ReadChunk(SOURCE, str(water), "", 10))
        busiest = max(busiest, pool.busy, pool._processes)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    assert len(worker_pids(pool)) == 2
    assert busiest == 2


async def test_a_cancelled_caller_takes_its_worker_along(pool: WorkerPool, water: Path) -> None:
    await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    [victim] = worker_pids(pool)
    os.kill(victim, signal.SIGSTOP)
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, ReadChunk(SOURCE, str(water), "", 10))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert worker_pids(pool) == []
    await gone(victim)
    assert (pool.busy, pool.lost) == (0, 0)


async def test_idle_workers_retire(pool: WorkerPool, water: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.0)
    await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    [worker] = worker_pids(pool)
    with anyio.fail_after(10.0):
        while worker_pids(pool):
            await anyio.lowlevel.checkpoint()
    await gone(worker)


async def two_stopped(pool: WorkerPool, water: Path) -> list[int]:
    """The pids of two idle workers, neither of which gets on with anything."""
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(pool.run, ReadChunk(SOURCE, str(water), "", 10))
    pids = worker_pids(pool)
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


async def test_a_worker_that_takes_too_long_is_killed_and_replaced(
    pool: WorkerPool, water: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    [victim] = worker_pids(pool)
    os.kill(victim, signal.SIGSTOP)
    with monkeypatch.context() as patch, anyio.fail_after(10.0):
        patch.setattr(task, "_LIMIT_S", 0.05)
        with pytest.raises(WorkerStuckError, match=r"in 0\.05 s"):
            await pool.run(ReadChunk(SOURCE, str(water), "", 10))
    await gone(victim)
    assert (pool.lost, pool.busy, worker_pids(pool)) == (1, 0, [])
    assert (await pool.run(ReadChunk(SOURCE, str(water), "", 10))).done


def test_what_is_long_by_nature_may_take_longer_and_reading_outputs_less() -> None:
    plan = PlanSource(spec_of(SOURCE), "water.xyz", STEPS)
    one, many = (Collect("command", PARAMETERS, [CollectItem(0, "/d", Exit(0, None, 0.0, 1.0))] * n) for n in (1, 100))
    short = ReadChunk(SOURCE, "water.xyz", "", 10)
    assert one.limit_s() < many.limit_s() < short.limit_s() < plan.limit_s()


async def test_long_tasks_never_take_the_last_worker(pool: WorkerPool, water: Path) -> None:
    stopped = await two_stopped(pool, water)
    plans: list[SourcePlan] = []

    async def plan() -> None:
        plans.append(await pool.run(PlanSource(spec_of(SOURCE), str(water), STEPS)))

    with anyio.fail_after(20.0):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(plan)
            await anyio.wait_all_tasks_blocked()
            assert pool.busy == 1
            [free] = worker_pids(pool)
            os.kill(free, signal.SIGCONT)
            assert (await pool.run(ReadChunk(SOURCE, str(water), "", 10))).done
            assert plans == []
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    assert [found.structures for found in plans] == [1, 1, 1]


def test_outputs_that_an_engine_raises_over_are_one_attempts_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = engines.get("command")

    class Fragile:
        """Raises over one directory."""

        parameters_type = command.parameters_type

        def read(self, directory: Path, *args: object) -> Outcome:
            if directory.name == "1":
                raise ZeroDivisionError("poison")
            return Outcome(None, final_energy_hartree=-1.0)

    monkeypatch.setattr(engines, "get", lambda _: Fragile())
    items = [CollectItem(n, str(tmp_path / str(n)), Exit(0, None, 0.0, 1.0)) for n in range(3)]
    (_, first), (position, poisoned), (_, last) = Collect("command", PARAMETERS, items).run()
    assert first == last == Outcome(None, final_energy_hartree=-1.0)
    assert (position, poisoned.failure) == (1, FailureClass.OUTPUT_INVALID)
    assert poisoned.message == "its outputs cannot be read: ZeroDivisionError: poison"


def test_tasks_say_where_they_go() -> None:
    """Of what may hang; a source that is built is nowhere, and a URL is no file system."""
    built = StructureSource(build=BuildTable("Si"))
    place = Place("/s/w.db", "w", "/w")
    context = Context("w", Mode.ISOLATED, "w", "/w/x", "/w/x/workflow.db", "/w/x/storage", "/w/x/locks")
    expected: list[tuple[Task[Any], set[str]]] = [
        (CheckWork(SOURCE, "/in/m.xyz", "command", ()), {"/in/m.xyz"}),
        (CheckWork(built, "", "command", ()), set()),
        (KeepSource(SOURCE, "/in/m.xyz", "/w"), {"/in/m.xyz", "/w"}),
        (KeepSource(built, "", "/w"), {"/w"}),
        (Collect("command", b"", [CollectItem(n, f"/w/{n}", Exit(0, None, 0.0, 1.0)) for n in (1, 2)]), {"/w/1"}),
        (Conclude(place, "hull", (1,)), {"/s/w.db", "/w"}),
        (WriteReport(place, "/out/r.html", overwrite=True), {"/s/w.db", "/w", "/out/r.html"}),
        (VerifyArchive("/a/w.tar.zst"), {"/a/w.tar.zst"}),
        (VerifyArchive("s3://bucket/w.tar.zst"), set()),
        (UnpackArchive("s3://bucket/w.tar.zst", "/w/.new-x", context, "t", outside_links=False, daemon=""), set()),
    ]
    assert [(one, set(one.paths())) for one, _ in expected] == expected
