"""The history: append-only rows, and the sentence each one reads as."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiosqlite
import msgspec

from penstock.domain.views import EventInfo


def counted(number: int, noun: str = "job") -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Event(msgspec.Struct, frozen=True):
    """Something that happened; `job_id` 0 means the whole workflow."""

    kind: str
    job_id: int
    data: dict[str, Any] = {}


def _energy(data: dict[str, Any]) -> str:
    energy = data.get("energy_hartree")
    return "" if energy is None else f", energy {energy:.8f} Eh"


def _revised(number: int, changes: list[dict[str, Any]]) -> str:
    told = (f"{change['key']} from {change.get('old')} to {change.get('new')}" for change in changes)
    return f"changed (revision {number}): {', '.join(told)}"


_SENTENCES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "workflow_created": lambda d: f"created from recipe {d['recipe']}",
    "jobs_ingested": lambda d: (
        f"{counted(d['jobs'], 'structure')} taken in, {d['rejected']} rejected"
        + (", the source is read to its end" if d["done"] else "")
    ),
    "submission_intended": lambda d: (
        f"{counted(d['jobs'])} out as submission {d['submission']}"
        + (f", {d['width']} side by side" if "width" in d else f" in slot {d['lane']}")
    ),
    "jobs_unfolded": lambda d: (
        f"step {d['step']} makes nothing of it: {d['trouble']}"
        if "trouble" in d
        else f"{counted(d['jobs'])} made for step {d['step']}"
    ),
    "subject_concluded": lambda d: (
        f"{d['step']} of {d['subject']}: {counted(d['properties'], 'result')}"
        + (f"; {d['failure']}" if d.get("failure") else "")
    ),
    "job_started": lambda d: f"attempt {d['attempt']} started",
    "job_completed": lambda d: f"attempt {d['attempt']} completed" + _energy(d),
    "job_failed": lambda d: f"attempt {d['attempt']} failed ({d['failure']}): {d['message']}; {d['decision']}",
    "job_retried": lambda d: (
        f"attempt {d['attempt']} failed ({d['failure']}): {d['message']}; tried again: {d['decision']}"
    ),
    "job_remedied": lambda d: (
        f"attempt {d['attempt']} failed ({d['failure']}): {d['message']}; tried again with {d['decision']}"
    ),
    "job_in_doubt": lambda d: f"attempt {d['attempt']} is in doubt: {d['reason']}",
    "job_doubt_settled": lambda d: f"attempt {d['attempt']} is no longer in doubt: {d['by']}",
    "job_reused": lambda d: f"the result of job {d['of_job']} of workflow {d['workflow']} is taken over" + _energy(d),
    "job_awaits": lambda d: f"waits for job {d['of_job']} of workflow {d['workflow']}, which calculates the same",
    "job_not_run": lambda d: f"attempt {d['attempt']} never started ({d['reason']}); it costs nothing",
    "job_cancelled": lambda d: f"attempt {d['attempt']} cancelled",
    "jobs_cancelled": lambda d: f"{counted(d['jobs'], 'waiting job')} cancelled",
    "jobs_given_up": lambda d: f"{counted(d['jobs'])} marked never-rerun while waiting for another try: given up",
    "jobs_held": lambda d: f"{counted(d['jobs'])} held",
    "jobs_released": lambda d: f"{counted(d['jobs'])} released",
    "jobs_reset": lambda d: f"{counted(d['jobs'])} made ready again" + (f": {d['reason']}" if "reason" in d else ""),
    "job_adopted": lambda d: f"taken for completed by what is in {d['directory']}" + _energy(d),
    "metrics_recomputed": lambda d: f"outputs of attempt {d['attempt']} read again" + _energy(d),
    "job_added": lambda d: f"made through the library, to be calculated with {d['engine']}",
    "job_superseded": lambda d: f"no longer shared: the result merged in from workflow {d['workflow']} takes its place",
    "workflow_merged": lambda d: f"{counted(d['jobs'], 'result')} of workflow {d['workflow']} merged in",
    "job_set": lambda d: (
        ", ".join(f"{name} = {value}" for name, value in d["set"].items())
        + f" by {d['by']}"
        + (f": {d['reason']}" if d.get("reason") else "")
    ),
    "workflow_imported": lambda d: (
        f"imported from {', '.join(d['sources'])}: "
        + ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in d["counts"].items())
        + (f"; {sum(d['left_out'].values())} rows left out" if d["left_out"] else "")
    ),
    "job_imported": lambda d: (
        f"imported from row {d['row']} of {d['table']} (status {d['status'] or 'none'})"
        + ("; " + "; ".join(d["remarks"]) if d["remarks"] else "")
    ),
    "workflow_state": lambda d: f"workflow is {d['state']}" + (f": {d['reason']}" if d.get("reason") else ""),
    "workflow_adopted": lambda d: (
        f"adopted by the daemon on {d['host']}, to run on cluster {d['cluster']}"
        + (f"; it was {d['was']}" if "was" in d else "")
    ),
    "workflow_action_done": lambda d: f"{d['action']}: {d['result']}",
    "workflow_action_failed": lambda d: f"{d['action']} failed: {d['result']}",
    "workflow_action_held": lambda d: f"{d['action']} held back: {d['result']}",
    "workflow_restored": lambda d: f"restored from {d['archive']}, where it was {d['workflow']}",
    "workflow_paused": lambda d: f"workflow is paused: {d['reason']}",
    "workflow_changed": lambda d: (
        _revised(d["revision"], d["changes"])
        if "changes" in d
        else ", ".join(f"{key} is now {value}" for key, value in d.items() if key != "slots_origin")
    ),
}


def describe(kind: str, data: dict[str, Any]) -> str:
    """An event as a sentence; unknown kinds (from a newer program) read as their data."""
    sentence = _SENTENCES.get(kind)
    try:
        return sentence(data) if sentence else f"{kind} {data}"
    except KeyError:
        return f"{kind} {data}"


async def insert_events(db: aiosqlite.Connection, workflow_id: str, events: Sequence[Event]) -> list[EventInfo]:
    """Appends `events` inside the caller's transaction and returns them with their numbers."""
    if not events:
        return []
    now = time.time()
    await db.executemany(
        "INSERT INTO event (workflow_id, at, kind, job_id, data) VALUES (?, ?, ?, ?, ?)",
        [(workflow_id, now, event.kind, event.job_id, msgspec.json.encode(event.data).decode()) for event in events],
    )
    last = int(next(iter(await db.execute_fetchall("SELECT max(seq) FROM event")))[0])
    first = last - len(events) + 1
    return [
        EventInfo(workflow_id, first + n, now, event.kind, event.job_id, describe(event.kind, event.data), event.data)
        for n, event in enumerate(events)
    ]
