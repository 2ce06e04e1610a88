"""How long the list of a thousand workflows takes: what the daemon needs to answer, and the whole command."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.cold_start import wall_ms
from benchmarks.daemon import BenchDaemon, bench_daemon, render_spec
from benchmarks.report import Options, Report, at_most, compare
from benchmarks.sources import write_molecules
from penstock.domain.views import WorkflowInfo
from penstock.store.catalogue import Catalogue

_CTL = (sys.executable, "-c", "from penstock.ctl.main import main; main()", "list")
_PASS = (sys.executable, "-c", "pass")


def run(options: Options) -> Report:
    """The daemon is started on a catalogue with so many workflows that have ended; one of them was really run."""
    workflows, rounds = (50, 5) if options.quick else (1000, 30)
    with bench_daemon(options.scratch / "daemon") as daemon:
        write_molecules(daemon.root / "molecules.csv", 5)
        daemon.submit(render_spec("real", "molecules.csv", {"name": "command", "command": "true"}))
        ended = daemon.wait("real")
        few = [_asked_ms(daemon) for _ in range(rounds)]
        daemon.terminate()
        asyncio.run(_fill(next(daemon.root.rglob("catalogue.db")), ended, workflows))
        daemon.spawn()
        daemon.wait_until_up()
        if (found := len(daemon.client.list_workflows().workflows)) != workflows:
            raise RuntimeError(f"{found} workflows instead of {workflows}")
        many = [_asked_ms(daemon) for _ in range(rounds)]
        ours, theirs = [], []
        for _ in range(rounds // 3 + 1):
            ours.append(wall_ms(_CTL, daemon.environment()))
            theirs.append(wall_ms(_PASS, daemon.environment()))
    figures = [
        compare(f"the daemon's answer, {workflows} workflows, beside 1", "ms", many, few, at_most(100)),
        compare("penstockctl list, cold, beside python -c pass", "ms", ours, theirs),
    ]
    return Report("workflow_list", "The list of all workflows", {"workflows": workflows, "rounds": rounds}, figures)


async def _fill(path: Path, like: WorkflowInfo, workflows: int) -> None:
    """More rows like one there is; their directories are the same workflow's, for they have ended long ago."""
    catalogue = Catalogue(path, contextlib.nullcontext)
    await catalogue.open()
    for n in range(1, workflows):
        info = msgspec.structs.replace(like, id=f"w{n:04}", directory=f"{like.directory}-{n}", jobs=0)
        await catalogue.add(info.id, info.directory)
        await catalogue.update(info)
    await catalogue.close()


def _asked_ms(daemon: BenchDaemon) -> float:
    began = time.perf_counter()
    daemon.client.list_workflows()
    return (time.perf_counter() - began) * 1000
