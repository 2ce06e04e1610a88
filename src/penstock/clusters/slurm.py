"""Slurm 22.05 and newer: sbatch, squeue, sacct, scancel as commands and answers. Pure: nothing is run here.

A job gets its account's login environment (`--export=NONE`, by which Slurm loads it on the node), never that of the
process that submits: what the daemon or a login shell holds, such as tokens, does not reach jobs. Slurm then sets
SLURM_EXPORT_ENV=NONE for the job, which a script must unset if its `srun` is to pass on what it exports.

Memory is handed over in Slurm's own unit: its `M` is 2^20 bytes, ours 10^6.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from penstock.clusters import slurm_limits
from penstock.clusters.scheduler import (
    ACTIVE,
    JobRequest,
    JobRow,
    Limits,
    Phase,
    Placed,
    QueueView,
    RateLimitedError,
    Submitted,
    Unclear,
    UnreadableAnswerError,
    job_name,
    ulid_of,
)
from penstock.clusters.shell import Completed
from penstock.clusters.slurm_words import indices_of, phase_of, spell_indices, why_refused

_MIB_MB: Final = 1.048576
_WARN_MAX_S: Final = 65535
_SINCE_MARGIN_S: Final = 3600.0  # two clocks may differ, and asking for more costs nothing
_ACCOUNTED: Final = "JobID,State,ExitCode,Submit,Start,End,NodeList,JobName"
_QUEUED: Final = "%i|%T|%V|%S|%e|%N|%r|%j"
# What a profile, or an allocation the daemon was started in, may set and no option can undo.
_SCRUBBED: Final = (
    *("SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SBATCH_ARRAY_INX", "SBATCH_WAIT", "SBATCH_ERROR", "SBATCH_INPUT"),
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SQUEUE_ACCOUNT", "SQUEUE_NAMES", "SQUEUE_PARTITION", "SQUEUE_QOS", "SQUEUE_LICENSES", "SQUEUE_FORMAT2"),
    *("SQUEUE_ARRAY", "SQUEUE_SORT", "SINFO_PARTITION", "SCANCEL_ACCOUNT", "SCANCEL_NAME", "SCANCEL_PARTITION"),
    *("SCANCEL_QOS", "SCANCEL_STATE", "SCANCEL_USER", "SCANCEL_INTERACTIVE", "SCANCEL_HURRY", "SCANCEL_BATCH"),
)
# A job gets what belongs to the account, not what the daemon or its shell happens to hold. Asking Slurm for the login
# environment instead (--export=NONE) would run a login shell on the node before every task.
_KEPT: Final = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_CTYPE", "TMPDIR", "SLURM_CONF", "KRB5CCNAME")
_WITH_LITTLE: Final = 'exec env -i {} sbatch "$@"'.format(" ".join(f'${{{n}+{n}="${n}"}}' for n in _KEPT))
_JOB_ID: Final = re.compile(r"([0-9]{1,12})(?:\+[0-9]+)?(?:_(?:([0-9]{1,7})|\[(.*)\]))?")
_PARSABLE: Final = re.compile(r"([1-9][0-9]{0,11})(?:;.*)?")
_EXIT: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
_EPOCH: Final = re.compile(r"[0-9]{1,11}")


class Slurm:
    """See `Scheduler`."""

    kind: Final = "slurm"
    environment: Final = {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
    warns: Final = True
    task_variables: Final = (
        "${SLURM_ARRAY_TASK_ID:-0}",
        "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}",
        "${SLURM_RESTART_COUNT:-0}",
    )
    reserved_options: Final = frozenset(
        {
            *("--array", "--chdir", "--clusters", "--export", "--help", "--input", "--job-name", "--no-requeue"),
            *("--open-mode", "--output", "--parsable", "--requeue", "--signal", "--test-only", "--usage", "--version"),
            *("--wait", "--wrap"),
        }
    )

    def __init__(self, *, has_accounting: bool = True) -> None:
        self._has_accounting = has_accounting

    def with_limits(self, limits: Limits) -> Slurm:
        """The same for a site that was asked what it has."""
        return Slurm(has_accounting=limits.has_accounting)

    # ---- submitting -------------------------------------------------------------------------------------------------

    def submit_argv(self, request: JobRequest) -> list[str]:
        """See `Scheduler`. What we rely on comes after raw directives: the last of two equal options counts."""
        options = [*_resource_options(request), *request.options.directives, *_own_options(request)]
        return ["sh", "-c", _WITH_LITTLE, "sbatch", *options, request.script]

    def parse_submit(self, answer: Completed) -> Submitted:
        """See `Scheduler`."""
        lines = _text(answer.stdout).split()
        match = _PARSABLE.fullmatch(lines[-1]) if lines else None
        if answer.exit_code == 0:
            return Placed(match[1]) if match else Unclear("sbatch succeeded, but its answer holds no job id")
        if match:
            return Unclear(f"sbatch ended with code {answer.exit_code} and yet named job {match[1]}")
        return why_refused(answer.exit_code, _text(answer.stderr))

    # ---- asking -----------------------------------------------------------------------------------------------------

    def queue_argv(self) -> list[str]:
        """See `Scheduler`. The name comes last since it may hold any character but a newline."""
        return _command("squeue", "--me", "--all", "--noheader", "--states=all", f"--format={_QUEUED}")

    def parse_queue(self, answer: Completed) -> QueueView:
        """See `Scheduler`."""
        rows, others = [], dict[str, int]()
        for fields in _lines(answer, "squeue", 8):
            job, state, submitted, started, ended, nodes, rest, name = fields
            ulid = ulid_of(name)
            if ulid is None:
                others[state] = others.get(state, 0) + 1
                continue
            phase = phase_of(state, rest)
            has_run = phase is Phase.RUNNING or (phase not in ACTIVE and bool(nodes))
            job_id, tasks = _job_and_tasks(job)
            rows.append(
                JobRow(
                    ulid=ulid,
                    job_id=job_id,
                    tasks=tasks,
                    phase=phase,
                    state=state,
                    reason="" if rest == "None" else rest,
                    exit_code=0 if phase is Phase.COMPLETED else None,
                    submitted_at=_epoch(submitted),
                    started_at=_epoch(started) if has_run else None,
                    ended_at=None if phase in ACTIVE else _epoch(ended),  # of others it is a forecast
                    nodes=nodes,
                )
            )
        return QueueView(tuple(_newest(rows)), others)

    def accounting_argv(self, ulids: Sequence[str], since: float) -> list[str] | None:
        """See `Scheduler`. sacct 22.05 takes no epoch seconds, so that the time is given as UTC, and TZ with it."""
        if not self._has_accounting:
            return None
        start = datetime.fromtimestamp(max(0.0, since - _SINCE_MARGIN_S), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        names = ",".join(job_name(ulid) for ulid in ulids)
        options = ("--allocations", "--duplicates", "--parsable2", "--noheader", f"--name={names}")
        period = (f"--starttime={start}", "--endtime=now")
        return _command("TZ=UTC0", "sacct", *options, *period, f"--format={_ACCOUNTED}")

    def parse_accounting(self, answer: Completed) -> list[JobRow]:
        """See `Scheduler`. Of a requeued job its newest incarnation counts."""
        rows = (_accounted(fields) for fields in _lines(answer, "sacct", 8))
        return _newest([row for row in rows if row is not None])

    # ---- acting -----------------------------------------------------------------------------------------------------

    def cancel_argv(self, jobs: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[str]:
        """See `Scheduler`. Tasks are None for what is no array: Slurm knows no task 0 of it."""
        named = [job if tasks is None else f"{job}_[{spell_indices(tasks)}]" for job, tasks in jobs if tasks != ()]
        return _command("scancel", "--quiet", *named)

    def signal_argv(self, job_id: str, task: int | None, signal: str) -> list[str]:
        """See `Scheduler`."""
        target = job_id if task is None else f"{job_id}_{task}"
        return _command("scancel", "--quiet", f"--signal={signal}", "--batch", target)

    # ---- limits -----------------------------------------------------------------------------------------------------

    def limits_argv(self) -> list[list[str]]:
        """See `Scheduler`."""
        mine = 'exec sacctmgr -nP show assoc where user="$(id -un)" format=MaxSubmitJobs,GrpSubmitJobs'
        return [
            _command("scontrol", "show", "config"),
            _command("scontrol", "--all", "--oneliner", "show", "partition"),
            _command("sinfo", "--all", "--noheader", "--Node", "--format=%R|%N|%c|%m|%G"),
            ["sh", "-c", mine],
        ]

    def parse_limits(self, answers: Sequence[Completed]) -> Limits:
        """See `Scheduler`. The last answer may be a failure: not every site keeps accounts."""
        config, partitions, nodes, mine = answers
        associations = _text(mine.stdout) if mine.exit_code == 0 else None
        return slurm_limits.parse(
            _body(config, "scontrol"), _body(partitions, "scontrol"), _body(nodes, "sinfo"), associations
        )


def _command(*argv: str) -> list[str]:
    return ["env", *(part for name in _SCRUBBED for part in ("-u", name)), *argv]


def _resource_options(request: JobRequest) -> list[str]:
    wanted, options = request.resources, request.options
    argv = [
        f"--time={max(1, math.ceil(request.walltime_s / 60))}",
        f"--nodes={wanted.nodes}",
        f"--ntasks={wanted.tasks}",
        f"--cpus-per-task={wanted.cores}",
        f"--mem={max(1, round(wanted.memory_mb / _MIB_MB))}M",
    ]
    if wanted.gpus:  # --gres is understood wherever there are GPUs, but counts by node
        by_node = f"--gres=gpu:{wanted.gpus * wanted.tasks}"
        argv.append(by_node if wanted.nodes == 1 else f"--gpus-per-task={wanted.gpus}")
    named = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "licenses": options.licenses,
        "reservation": options.reservation,
        "exclude": ",".join(request.exclude_nodes),
    }
    return argv + [f"--{name}={value}" for name, value in named.items() if value]


def _own_options(request: JobRequest) -> list[str]:
    is_array = request.width > 1
    directory = request.directory.replace("%", "%%")
    argv = [
        "--parsable",
        "--no-requeue",
        f"--job-name={job_name(request.ulid)}",
        f"--chdir={request.directory}",
        f"--output={directory}/slurm-{'%a' if is_array else '0'}.out",
        "--open-mode=append",
        "--export=ALL",
    ]
    if is_array:
        argv.append(f"--array=0-{request.width - 1}")
    if request.warn_s > 0:
        argv.append(f"--signal=B:USR1@{min(request.warn_s, _WARN_MAX_S)}")
    return argv


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _body(answer: Completed, program: str) -> str:
    """What a successful command printed, all of it as far as one can see."""
    if answer.exit_code != 0:
        said = " ".join(_text(answer.stderr).split())[:500] or f"ended with code {answer.exit_code}"
        error = RateLimitedError if "rate limit" in said.lower() else UnreadableAnswerError
        raise error(f"{program}: {said}")
    text = _text(answer.stdout)
    if not text and b"error" in answer.stderr.lower():
        raise UnreadableAnswerError(f"{program}: an empty answer, and beside it: {_text(answer.stderr).strip()[:500]}")
    if text and not text.endswith("\n"):
        raise UnreadableAnswerError(f"{program}: the answer breaks off within a line")
    return text


def _lines(answer: Completed, program: str, width: int) -> Iterable[list[str]]:
    """The fields of every line: the last is the name, the one before takes whatever separators are too many."""
    for line in _body(answer, program).split("\n")[:-1]:
        head, separator, name = line.rpartition("|")
        fields = head.split("|", width - 2)
        if not separator or len(fields) != width - 1:
            raise UnreadableAnswerError(f"{program}: {line[:80]!r} is no line of the answer that was asked for")
        yield [*fields, name]


def _job_and_tasks(text: str) -> tuple[str, tuple[int, ...]]:
    match = _JOB_ID.fullmatch(text)
    if match is None:
        raise UnreadableAnswerError(f"{text[:80]!r} is no whole job id")
    indices = match[3] if match[2] is None else match[2]
    return match[1], (0,) if indices is None else indices_of(indices)


def _accounted(fields: list[str]) -> JobRow | None:
    """A row of sacct; None for what is not ours, and for what the database has only half of yet."""
    job, state, exit_text, submitted, started, ended, nodes, name = fields
    ulid, exit_match = ulid_of(name), _EXIT.fullmatch(exit_text)
    if ulid is None or "." in job:
        return None
    phase = phase_of(state)
    is_over = phase not in ACTIVE
    if _epoch(submitted) is None or (is_over and (_epoch(ended) is None or exit_match is None)):
        return None
    job_id, tasks = _job_and_tasks(job)
    code, signal = (int(part) for part in exit_match.groups()) if exit_match and is_over else (0, 0)
    has_nodes = nodes not in {"", "None assigned"}
    return JobRow(
        ulid=ulid,
        job_id=job_id,
        tasks=tasks,
        phase=phase,
        state=state,
        exit_code=code if code or phase is Phase.COMPLETED else None,
        exit_signal=signal or None,
        submitted_at=_epoch(submitted),
        started_at=_epoch(started) if has_nodes else None,
        ended_at=_epoch(ended) if is_over else None,
        nodes=nodes if has_nodes else "",
    )


def _newest(rows: Sequence[JobRow]) -> list[JobRow]:
    """Each task of each job once: of several incarnations the newest.

    In one and the same second a row REQUEUED is the older one, a row of several tasks staler than a task's own, and one
    that has not begun newer than one that has.
    """

    def rank(row: JobRow) -> tuple[float, bool, bool, float]:
        begun = math.inf if row.started_at is None and row.phase in ACTIVE else row.started_at or 0.0
        return row.submitted_at or 0.0, row.state != "REQUEUED", len(row.tasks) == 1, begun

    best: dict[tuple[str, str, int], int] = {}
    for number, row in enumerate(rows):
        for task in row.tasks:
            key = (row.ulid, row.job_id, task)
            if key not in best or rank(rows[best[key]]) <= rank(row):
                best[key] = number
    kept: dict[int, list[int]] = {}
    for (_, _, task), number in best.items():
        kept.setdefault(number, []).append(task)
    return [msgspec.structs.replace(rows[n], tasks=tuple(sorted(kept[n]))) for n in range(len(rows)) if n in kept]


def _epoch(text: str) -> float | None:
    return float(text) if _EPOCH.fullmatch(text) else None
