"""The files that make an order: inputs in the attempts' directories, script and runs in the spool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from penstock import engines
from penstock.clusters.job_script import RunEntry, ScriptPlan, WarmRunner, render_run, render_script
from penstock.domain.errors import ClusterError
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.submission import Entry, Manifest, Submission

Tree = dict[str, bytes]
"""Files by path relative to a root; a path that ends with a slash is a directory."""

_LEAD_S: Final = 60  # between an attempt's walltime and the end of its allocation: to warn, to save, to be killed in
_SLACK: Final = 1.5  # of what a bundle is expected to take
_MINUTE_S: Final = 60
_WARN_MAX_S: Final = 65535


class Site(msgspec.Struct, frozen=True):
    """Where an order's files go, absolute: the spool, and the workflow's directory as its jobs see it."""

    spool: str
    workflow_dir: str
    python: str  # with Penstock, on the cluster; empty where there is none
    own_timer: bool  # the scheduler does not warn before the end of an allocation


def allocation(submission: Submission, longest_s: int | None) -> tuple[int, int]:
    """What to ask the scheduler for, and how long before its end to be warned; seconds.

    Every attempt has its whole walltime: a bundle asks for what it expects, and for one attempt's walltime on top.
    Where the site's `longest_s` leaves no time to end in, that is taken off the attempt.
    """
    walltime_s = submission.resources.walltime_s
    alone = submission.size <= submission.width
    tasks_s = 0 if alone else int((submission.expected_s or walltime_s) * _SLACK)
    asked_s = -(-(walltime_s + tasks_s + _LEAD_S) // _MINUTE_S) * _MINUTE_S
    if longest_s is not None and walltime_s <= longest_s:
        asked_s = min(asked_s, longest_s)
    return asked_s, min(max(asked_s - walltime_s, _LEAD_S) if alone else _LEAD_S, _WARN_MAX_S)


def is_warm(submission: Submission) -> bool:
    """Whether a warm runner works through it: a bundle, in one task, of an engine that runs in Python."""
    return submission.width == 1 < submission.size and engines.get(submission.engine).kind == "python"


def order_files(
    submission: Submission,
    encoded: bytes,
    site: Site,
    options: SchedulerOptions,
    task_variables: tuple[str, str, str],
    cancelled: Iterable[int],
    allocation_s: int,
) -> tuple[Tree, Tree]:
    """Files below the workflow's directory, and below the spool. ClusterError for what cannot run there."""
    manifest = msgspec.msgpack.decode(encoded, type=Manifest)
    warm = is_warm(submission)
    if not site.python and any(entry.rendered.argv is None for entry in manifest.entries):
        raise ClusterError(
            f"engine {submission.engine} runs in Python: give the cluster a python with Penstock in config.toml",
            transient=False,
        )
    inputs: Tree = {} if warm else _inputs(manifest.entries)
    home = submission.ulid
    if any(entry.rendered.launches for entry in manifest.entries):
        options = msgspec.structs.replace(options, launcher=())
    plan = _plan(submission, site, options, allocation_s, manifest.environment, warm=warm)
    script = render_script(task_variables, plan)
    spool: Tree = {f"{home}/script": script.encode()}
    if warm:
        seen_there = msgspec.structs.replace(manifest, workflow_dir=site.workflow_dir)
        spool[f"{home}/{submission.ulid}.manifest"] = msgspec.msgpack.encode(seen_there)
    else:
        runs = render_run((_run(entry, submission, site) for entry in manifest.entries), submission.width)
        spool |= {f"{home}/run.{k}": runs.get(k, "").encode() for k in range(min(submission.width, submission.size))}
    if marked := sorted(cancelled):
        spool |= {f"{home}/cancel.{position}": b"" for position in marked}
        if warm:  # a runner reads one list
            spool[f"{home}/{home}.cancel"] = msgspec.json.encode(marked)
    return inputs, spool


def _inputs(entries: list[Entry]) -> Tree:
    files: Tree = {}
    for entry in entries:
        files[f"{entry.directory}/"] = b""
        for name, text in entry.rendered.files.items():
            files[f"{entry.directory}/{name}"] = text.encode()
    return files


def _run(entry: Entry, submission: Submission, site: Site) -> RunEntry:
    argv = entry.rendered.argv
    if argv is None:
        argv = [site.python, "-m", "penstock.engines", "run", submission.engine]
    carry_from = f"{site.workflow_dir}/{entry.carry_from}" if entry.carry_from else None
    directory = f"{site.workflow_dir}/{entry.directory}"
    return RunEntry(entry.index, entry.job_id, directory, argv, carry_from, entry.rendered.carry)


def _plan(
    submission: Submission,
    site: Site,
    options: SchedulerOptions,
    allocation_s: int,
    environment: dict[str, str],
    *,
    warm: bool,
) -> ScriptPlan:
    return ScriptPlan(
        ulid=submission.ulid,
        spool=site.spool,
        width=min(submission.width, submission.size),
        size=submission.size,
        workflow_id=submission.workflow_id,
        mode=submission.mode,
        workflow_dir=site.workflow_dir,
        cores=submission.resources.cores,
        walltime_s=submission.resources.walltime_s,
        allocation_s=allocation_s,
        setup=options.setup,
        launcher=options.launcher,
        checkpoint=submission.checkpoint,
        own_timer=site.own_timer,
        warm=WarmRunner(site.python, submission.engine) if warm else None,
        environment=environment,
    )
