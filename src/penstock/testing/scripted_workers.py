"""Workers without processes: what a workflow asks of them is answered from values, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.actors.clock import Clock
from penstock.actors.derive_tasks import Conclude, Unfold
from penstock.actors.report_tasks import Reported, WriteReport
from penstock.actors.worker_tasks import (
    Collect,
    CollectItem,
    ExportJobs,
    LookAtJobs,
    ReadChunk,
    Render,
    RenderedManifest,
    RenderItem,
)
from penstock.domain.calculation import (
    FailureClass,
    Outcome,
    PackedChunk,
    Rendered,
    Structure,
    StructureChunk,
    pack_chunk,
)
from penstock.domain.submission import Entry
from penstock.store.reviews import Look, Seen

_VERDICTS = {
    "timeout": FailureClass.WALLTIME,
    "oom": FailureClass.OUT_OF_MEMORY,
    "cancelled": FailureClass.CANCELLED,
    "lost": FailureClass.RUNNER_LOST,
}


def outcome_of_exit(item: CollectItem) -> Outcome:
    """Success for exit code 0, with an energy; else the failure that the exit tells of."""
    if item.exit.verdict is not None:
        return Outcome(_VERDICTS[item.exit.verdict], f"ended as {item.exit.verdict}")
    if item.exit.code != 0:
        return Outcome(FailureClass.EXIT_CODE, f"ended with exit code {item.exit.code}")
    return Outcome(None, final_energy_hartree=-1.0, max_force_hartree_per_bohr=0.001, scf_cycles=5)


def _rendered(item: RenderItem, carry: Sequence[str]) -> Rendered:
    names = (*item.calculation.previous, *(carry if item.is_own else ()))
    return Rendered({}, carry={name: name for name in names})


def hydrogen_atoms(count: int) -> list[Structure]:
    """`count` structures that are cheap to make."""
    return [Structure(n, n + 2, f"h{n}", "H", 1, 0, 2, "1\n\nH 0 0 0\n") for n in range(count)]


class ScriptedWorkers:
    """Answers ReadChunk from `structures`, Render without inputs, Collect by `rule`; writes no exports and no reports.

    LookAtJobs is answered by `look`, which finds nothing unless a test has it find something.

    `trouble` is asked before every task; an exception that it returns is raised instead of an answer.
    """

    def __init__(
        self,
        clock: Clock,
        structures: Sequence[Structure],
        rule: Callable[[CollectItem], Outcome] = outcome_of_exit,
        *,
        latency_s: float = 0.05,
        trouble: Callable[[Any], Exception | None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._structures = structures
        self._rule = rule
        self._latency_s = latency_s
        self._trouble = trouble
        self.look: Callable[[Look], Seen] = lambda look: Seen(look.job, look.attempts, look.directory, found=False)

    async def run(self, task: Any) -> Any:  # noqa: PLR0911 - one line a kind
        """The answer to a task."""
        await self._clock.sleep(self._latency_s)
        if error := self._trouble(task):
            raise error
        match task:
            case ReadChunk():
                return self._read(task)
            case Render():
                entries = [
                    Entry(item.position, item.directory, item.job_id, _rendered(item, task.carry), item.carry_from)
                    for item in task.items
                ]
                manifest = msgspec.structs.replace(task.manifest, entries=entries)
                return RenderedManifest(msgspec.msgpack.encode(manifest), [])
            case Collect():
                return [(item.position, self._rule(item)) for item in task.items]
            case LookAtJobs():
                return [self.look(look) for look in task.items]
            case ExportJobs():
                return 0
            case WriteReport():
                return Reported(0, [], [])
            case Unfold() | Conclude():
                return task.run()  # of what is really in the database, by a recipe of the test's own
        raise NotImplementedError(f"no answer is scripted for {type(task).__name__}")

    def _read(self, task: ReadChunk) -> PackedChunk:
        begin = int(task.cursor or 0)
        end = min(begin + task.limit, len(self._structures))
        chunk = StructureChunk(list(self._structures[begin:end]), [], str(end), end == len(self._structures))
        return pack_chunk(chunk, with_keys=task.with_keys, by_name=task.by_name)
