"""A cluster looked at as a whole: what works, what does not, how to mend it; ends with a job that goes all the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import anyio
import msgspec

from penstock import __version__
from penstock.actors.clock import Clock
from penstock.actors.scheduler_link import TROUBLE, Link, Place
from penstock.actors.scheduler_messages import SchedulerConfig
from penstock.actors.scheduler_submissions import penstock_of
from penstock.clusters.feasibility import impossible
from penstock.clusters.order_files import Site, allocation, order_files
from penstock.clusters.remote_spool import SubmissionFiles
from penstock.clusters.scheduler import ACTIVE, JobRequest, Limits, Placed
from penstock.clusters.spool import End
from penstock.domain.calculation import Exit, Rendered
from penstock.domain.errors import NotFoundError
from penstock.domain.ids import new_ulid
from penstock.domain.resources import Resources
from penstock.domain.submission import Entry, Manifest, Submission
from penstock.domain.views import Finding

_WORD: Final = "penstock was here"
_NEEDS: Final = Resources(cores=1, memory_mb=100, walltime_s=60)
_LOOK_EVERY_S: Final = 1.0
_QUEUE_EVERY_S: Final = 10.0
_PATIENCE_S: Final = 300.0
_ACCOUNTS_S: Final = 10.0
_SKEW_S: Final = 5.0
_CLEAN_S: Final = 30.0


async def check_cluster(link: Link, config: SchedulerConfig, clock: Clock) -> AsyncGenerator[Finding]:
    """One finding after another; ends at the first without which the rest makes no sense."""
    try:
        found = await link.prepare(config.spool)
    except TROUBLE as error:
        remedy = "give the cluster another spool in config.toml" if "spool" in str(error) else ""
        yield Finding("connection and spool", ok=False, detail=str(error), remedy=remedy)
        return
    yield Finding("connection", ok=True, detail=f"{config.host or 'this host'} answers as {found.host}")
    yield Finding("spool", ok=True, detail=f"{found.spool} can be written from {found.host}")
    skew = found.time_s - clock.time()
    yield _judged("clock", abs(skew) <= _SKEW_S, f"{skew:+.1f} s against ours", "let NTP set the clocks of both")
    try:
        limits = await link.read_limits()
    except TROUBLE as error:
        remedy = f"see that {config.kind}'s commands are on the PATH of a shell that is not interactive, and work there"
        yield Finding("scheduler", ok=False, detail=str(error), remedy=remedy)
        return
    for finding in _scheduler(limits, config):
        yield finding
    work = config.work if config.work is None or config.work.startswith("/") else f"{found.home}/{config.work}"
    async for finding in _beside(link, config, work):
        yield finding
    async for finding in _job(link, config, Place(found.spool, work, found.host), limits, clock):
        yield finding


def _judged(what: str, ok: bool, detail: str, remedy: str) -> Finding:  # noqa: FBT001 - what it is all about
    """A finding; the remedy is told only where it is needed."""
    return Finding(what, ok, detail, "" if ok else remedy)


def _scheduler(limits: Limits, config: SchedulerConfig) -> list[Finding]:
    names = ", ".join(f"{p.name}{' (default)' if p.is_default else ''}" for p in limits.partitions)
    accounts = (
        "has accounting" if limits.has_accounting else "no accounting: what is killed without a word stays in doubt"
    )
    reason = impossible(_NEEDS, _NEEDS.walltime_s, config.options, limits)
    return [
        Finding("scheduler", ok=True, detail=f"{limits.version}; partitions: {names or 'none told'}; {accounts}"),
        _judged(
            "a small job",
            reason is None,
            reason or "one core for a minute is possible by the limits found",
            "mend partition, account or qos in the cluster's table",
        ),
    ]


async def _beside(link: Link, config: SchedulerConfig, work: str | None) -> AsyncGenerator[Finding]:
    """What jobs need beside the scheduler: a work directory, a Python."""
    if work is not None:
        try:
            await link.stage(f"{work}/.check", {"word": _WORD.encode()})
            yield Finding("work_dir", ok=True, detail=f"{work} can be written")
        except TROUBLE as error:
            yield Finding("work_dir", ok=False, detail=str(error), remedy="give a directory that the account may write")
    if config.python:
        remedy = f"install Penstock {__version__} there (docs/connect-a-cluster.md), or mend python in the table"
        try:
            version = await penstock_of(link.shell, config.python)
        except TROUBLE as error:
            yield Finding("python", ok=False, detail=str(error), remedy=remedy)
            return
        yield _judged(
            "python", version == __version__, f"{config.python} has Penstock {version or 'not at all'}", remedy
        )


# ---- a job all the way ----------------------------------------------------------------------------------------------


async def _job(
    link: Link, config: SchedulerConfig, place: Place, limits: Limits, clock: Clock
) -> AsyncGenerator[Finding]:
    submission = _no_op(config, place, new_ulid(clock.time()))
    began = clock.time()
    placed: object = None
    try:
        placed = await _submit(link, config, place, submission)
        if not isinstance(placed, Placed):
            reason = getattr(placed, "reason", "no answer came")
            yield Finding("submission", ok=False, detail=reason, remedy="mend the cluster's table, then check again")
            return
        yield Finding("submission", ok=True, detail=f"job {placed.job_id}")
        files, state = await _follow(link, place, submission.ulid, clock)
        for finding in _findings(files, state, submission.ulid, clock.time() - began):
            yield finding
        if files is not None and limits.has_accounting:
            yield await _accounts(link, submission.ulid, began, clock)
        if files is not None and _end(files) is not None and place.work is not None:
            yield await _output(link, f"{place.work}/check/{submission.ulid}/stdout")
    except TROUBLE as error:
        yield Finding("job", ok=False, detail=str(error), remedy="see the reason, mend it, then check again")
    finally:
        with anyio.move_on_after(_CLEAN_S, shield=True):
            await _clean(link, place, submission, placed)


def _no_op(config: SchedulerConfig, place: Place, ulid: str) -> Submission:
    return Submission(
        ulid=ulid,
        workflow_id="check",
        workflow_dir=place.workflow_dir("check", f"{place.spool}/{ulid}"),
        mode="isolated",
        engine="command",
        lane=0,
        priority=0,
        prefetch=False,
        size=1,
        resources=_NEEDS,
        options=config.options,
        directories=(ulid,),
    )


async def _submit(link: Link, config: SchedulerConfig, place: Place, submission: Submission) -> object:
    entry = Entry(0, submission.ulid, 0, Rendered({"word": _WORD}, ["cat", "word"]))
    manifest = Manifest(submission.ulid, "check", submission.workflow_dir, "isolated", "command", 1, 60, [entry])
    site = Site(place.spool, submission.workflow_dir, config.python, own_timer=False)
    allocation_s, warn_s = allocation(submission, None)
    inputs, spool = order_files(
        submission,
        msgspec.msgpack.encode(manifest),
        site,
        config.options,
        link.scheduler.task_variables,
        (),
        allocation_s,
    )
    await link.stage(submission.workflow_dir, inputs)
    await link.stage(place.spool, spool)
    directory = f"{place.spool}/{submission.ulid}"
    request = JobRequest(
        ulid=submission.ulid,
        width=1,
        script=f"{directory}/script",
        directory=directory,
        resources=_NEEDS,
        walltime_s=allocation_s,
        warn_s=warn_s if link.scheduler.warns else 0,
        options=config.options,
    )
    return await link.submit(place.spool, request)


async def _follow(link: Link, place: Place, ulid: str, clock: Clock) -> tuple[SubmissionFiles | None, str]:
    """Looks at the spool every second and at the queue now and then: its files and its last state."""
    began, asked_at, state = clock.monotonic(), clock.monotonic(), "not shown by the queue yet"
    gone_at: float | None = None
    while clock.monotonic() - began < _PATIENCE_S:
        files = (await link.read(place.spool, [ulid]))[ulid]
        if _end(files) is not None:
            return files, "ended"
        if clock.monotonic() - asked_at >= _QUEUE_EVERY_S:
            asked_at = clock.monotonic()
            rows = [row for row in (await link.queue()).rows if row.ulid == ulid]
            state = f"{rows[0].state} {rows[0].reason}".strip() if rows else "not shown by the queue any more"
            if not rows or rows[0].phase not in ACTIVE:
                gone_at = gone_at or clock.monotonic()
        if gone_at is not None and clock.monotonic() - gone_at > 2 * _QUEUE_EVERY_S:
            return files, state
        await clock.sleep(_LOOK_EVERY_S)
    return None, state


def _end(files: SubmissionFiles) -> Exit | None:
    return next((line.exit for line in files.journals.get(0, []) if isinstance(line, End)), None)


def _findings(files: SubmissionFiles | None, state: str, ulid: str, took_s: float) -> list[Finding]:
    if files is None:
        detail = f"it has not ended within {_PATIENCE_S:.0f} s ({state}), and is cancelled now"
        return [Finding("job", ok=False, detail=detail, remedy="where the queue is long this is no fault: check later")]
    ended = _end(files)
    if ended is None:
        detail = f"{state}, and it has left nothing in the spool"
        remedy = "put the spool on a file system that the compute nodes see under the same path, and may write"
        return [Finding("spool from the compute node", ok=False, detail=detail, remedy=remedy)]
    if ended.code != 0:
        detail = ended.message or f"exit code {ended.code}, signal {ended.signal}"
        remedy = "put work_dir on a file system that the compute nodes see under the same path, and may write"
        return [Finding("work directory from the compute node", ok=False, detail=detail, remedy=remedy)]
    return [
        Finding("spool from the compute node", ok=True, detail=f"claimed by {files.claims.get(0, '?')}"),
        Finding("job", ok=True, detail=f"{ulid} went all the way in {took_s:.1f} s"),
    ]


async def _accounts(link: Link, ulid: str, since: float, clock: Clock) -> Finding:
    began = clock.monotonic()
    while clock.monotonic() - began < _ACCOUNTS_S:
        if any(row.phase not in ACTIVE for row in await link.accounts([ulid], since - 60.0)):
            return Finding("accounting", ok=True, detail=f"knew the job's end after {clock.monotonic() - began:.1f} s")
        await clock.sleep(_LOOK_EVERY_S)
    detail = f"has not heard of the job's end within {_ACCOUNTS_S:.0f} s"
    return Finding(
        "accounting", ok=False, detail=detail, remedy="ask the site whether slurmdbd is well; jobs run anyway"
    )


async def _output(link: Link, path: str) -> Finding:
    try:
        ok = (await link.shell.get(path)).decode(errors="replace") == _WORD
    except NotFoundError:
        ok = False
    detail = "what the job wrote is seen from here" if ok else f"{path} is not what the job wrote"
    remedy = "put work_dir on a file system that login and compute nodes share"
    return _judged("work directory from the compute node", ok, detail, remedy)


async def _clean(link: Link, place: Place, submission: Submission, placed: object) -> None:
    """The check leaves nothing; if the way is gone, so be it. A job without its directory would end by itself."""
    try:
        if isinstance(placed, Placed):
            await link.cancel([(placed.job_id, None)])
        await link.forget(place.spool, [submission.ulid])
        if place.work is not None:
            await link.shell.run(
                ["rm", "-rf", f"{place.work}/check/{submission.ulid}", f"{place.work}/.check"], timeout_s=60.0
            )
    except TROUBLE:
        pass
