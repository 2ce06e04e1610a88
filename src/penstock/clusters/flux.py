"""Flux (flux-core 0.49 and newer; answers known from 0.88): flux submit, jobs, cancel as commands and answers. Pure.

A submission wider than one is a set of jobs named `penstock-ULID-0`, `penstock-ULID-1`, ...; its job id is their common
name, by which they are found and cancelled, because `flux submit --cc` prints ids without saying which is whose. That
of a single job is decimal. Jobs get no environment but what says who and where they are: what the daemon or a login
shell holds, such as tokens, does not reach them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from penstock.clusters import flux_limits
from penstock.clusters.flux_jobs import phase_of, task_of
from penstock.clusters.scheduler import (
    ACTIVE,
    JobRequest,
    JobRow,
    Limits,
    Phase,
    Placed,
    QueueView,
    Refused,
    Submitted,
    Unclear,
    UnreadableAnswerError,
    is_job_name,
    job_name,
    ulid_of,
)
from penstock.clusters.shell import Completed
from penstock.domain.errors import ClusterError

_SINCE_MARGIN_S: Final = 3600.0
_REMEMBERED: Final = "1d"
REMEMBERED_S: Final = 86400
_KEPT: Final = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "MODULEPATH", "MODULESHOME", "LMOD_*")
# `flux submit` prints an id as soon as it has one: only the name after them proves that all were submitted
_SUBMIT: Final = 'name=$1; shift; "$@" && printf "%s\\n" "$name"'
# a sub-instance hides the id of the job it is from what it runs
_BROKER: Final = 'PENSTOCK_FLUX_JOB_ID=$FLUX_JOB_ID exec flux broker /bin/sh "$1"'
_CANCEL: Final = """pattern=$1; shift
[ -z "$pattern" ] || flux pkill --max-entries=0 "name:$pattern"
[ $# -eq 0 ] || flux cancel "$@"
"""
_SIGNAL: Final = 'ids=$(flux pgrep --max-entries=0 -n -o "{id.dec}" "name:$1") && exec flux job kill --signal="$2" $ids'
_F58: Final = re.compile(r"(?:ƒ|f)[1-9A-HJ-NP-Za-km-z]{1,16}")
_F58_DIGITS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")
_LASTING: Final = re.compile(
    r"usage: flux|unrecognized arguments|Invalid queue|invalid choice|expected one argument|Invalid constraint"
    r"|only instance owner can|urgency range is|not a valid|invalid duration|node count|Invalid taskmap"
)
_PASSING: Final = re.compile(r"job submission(?: to \S+)? is disabled")


class Flux:
    """See `Scheduler`."""

    kind: Final = "flux"
    environment: Final = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
    warns: Final = False  # a signal would go to the program too, which may not know it
    task_variables: Final = ("${FLUX_JOB_CC:-0}", "${PENSTOCK_FLUX_JOB_ID:-$FLUX_JOB_ID}", "0")
    reserved_options: Final = frozenset(
        {
            *("--bcc", "--cc", "--cwd", "--dry-run", "--env", "--env-file", "--env-remove", "--error", "--help"),
            *("--job-name", "--log", "--log-stderr", "--output", "--progress", "--quiet", "--signal", "--wait"),
            *("--wait-event", "--watch"),
        }
    )

    def with_limits(self, limits: Limits) -> Flux:  # noqa: ARG002 - the protocol's
        """Flux is the same at every site."""
        return Flux()

    # ---- submitting -------------------------------------------------------------------------------------------------

    def submit_argv(self, request: JobRequest) -> list[str]:
        """See `Scheduler`. ClusterError for a directory with braces, which Flux would take for placeholders.

        A program of several tasks, or on several nodes, gets a Flux instance of its own, whose first program is the
        script, so that the script runs once and `flux run` works in it.
        """
        if "{" in request.directory or "{" in request.script:
            raise ClusterError(
                f"{request.directory}: Flux would replace what stands in braces; choose a spool without",
                transient=False,
            )
        wanted = request.resources
        is_plain = wanted.tasks == wanted.nodes == 1
        instance = ["-o", "per-resource.type=node", "-o", "mpi=none", "-o", "exit-timeout=none"]
        plain, nested = ["/bin/sh", request.script], ["/bin/sh", "-c", _BROKER, "sh", request.script]
        return [
            *("sh", "-c", _SUBMIT, "sh", job_name(request.ulid), "flux", "submit"),
            *_resource_options(request),
            *request.options.directives,
            *_own_options(request),
            *([] if is_plain else instance),
            *(plain if is_plain else nested),
        ]

    def parse_submit(self, answer: Completed) -> Submitted:
        """See `Scheduler`. Part of a set may exist although the command failed."""
        lines = _text(answer.stdout).split()
        ids = [number for line in lines if (number := _decimal(line)) is not None]
        if answer.exit_code == 0 and ids and is_job_name(lines[-1]):
            return Placed(lines[-1] if len(ids) > 1 else ids[0])
        told = " ".join(_text(answer.stderr).split())[:1000]
        reason = told or f"flux submit ended with code {answer.exit_code} and said nothing"
        if answer.exit_code not in {1, 2} or lines:
            return Unclear(reason)
        failures = [line for line in _text(answer.stderr).splitlines() if line.strip()]
        if failures and all(_PASSING.search(line) for line in failures):
            return Refused(reason, lasting=False)
        if failures and (all(_LASTING.search(line) for line in failures) or failures[0].startswith("usage: flux")):
            return Refused(reason, lasting=True)
        return Unclear(reason)

    # ---- asking -----------------------------------------------------------------------------------------------------

    def queue_argv(self) -> list[str]:
        """See `Scheduler`. What ended within a day is shown too."""
        return ["flux", "jobs", "-a", "-c", "0", f"--since=-{_REMEMBERED}", "--json"]

    def parse_queue(self, answer: Completed) -> QueueView:
        """See `Scheduler`."""
        rows, others = [], dict[str, int]()
        for job in _jobs(answer):
            row = _row(job)
            if row is None:
                state = str(job.get("status") or job.get("state"))
                others[state] = others.get(state, 0) + 1
            else:
                rows.append(row)
        return QueueView(tuple(rows), others)

    def accounting_argv(self, ulids: Sequence[str], since: float) -> list[str] | None:  # noqa: ARG002 - see below
        """See `Scheduler`. The same question further back: Flux keeps no other accounts, and cannot ask by names."""
        start = datetime.fromtimestamp(max(0.0, since - _SINCE_MARGIN_S), UTC).strftime("%Y-%m-%d %H:%M:%S")
        return ["env", "TZ=UTC0", "flux", "jobs", "-a", "-c", "0", f"--since={start}", "--json"]

    def parse_accounting(self, answer: Completed) -> list[JobRow]:
        """See `Scheduler`."""
        return list(self.parse_queue(answer).rows)

    # ---- acting -----------------------------------------------------------------------------------------------------

    def cancel_argv(self, jobs: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[str]:
        """See `Scheduler`."""
        named = [(job, tasks) for job, tasks in jobs if is_job_name(job) and tasks != ()]
        patterns = "|".join(f"{job}-{_any_of(tasks)}" for job, tasks in named)
        pattern = f"^({patterns})$" if named else ""
        return [
            "sh",
            "-c",
            _CANCEL,
            "sh",
            pattern,
            *(job for job, tasks in jobs if not is_job_name(job) and tasks != ()),
        ]

    def signal_argv(self, job_id: str, task: int | None, signal: str) -> list[str]:
        """See `Scheduler`. Flux signals all processes of a job's shell, not the script alone."""
        if not is_job_name(job_id):
            return ["flux", "job", "kill", f"--signal=SIG{signal.removeprefix('SIG')}", job_id]
        pattern = f"^{job_id}-{_any_of(None if task is None else (task,))}$"
        return ["sh", "-c", _SIGNAL, "sh", pattern, f"SIG{signal.removeprefix('SIG')}"]

    # ---- limits -----------------------------------------------------------------------------------------------------

    def limits_argv(self) -> list[list[str]]:
        """See `Scheduler`."""
        return [
            ["flux", "version"],
            ["flux", "resource", "R", "-s", "all"],
            ["flux", "queue", "list", "-n", "-o", "{queuem}|{submission}|{limits.timelimit}"],
        ]

    def parse_limits(self, answers: Sequence[Completed]) -> Limits:
        """See `Scheduler`. The last two may be failures: older Flux does not know them all."""
        version, resources, queues = answers
        known = [_text(answer.stdout) if answer.exit_code == 0 else None for answer in (resources, queues)]
        return flux_limits.parse(_body(version), known[0], known[1], REMEMBERED_S)


def _resource_options(request: JobRequest) -> list[str]:
    wanted, options = request.resources, request.options
    argv = [f"--time-limit={request.walltime_s}s", f"--ntasks={wanted.tasks}", f"--cores-per-task={wanted.cores}"]
    if wanted.nodes > 1:
        argv.append(f"--nodes={wanted.nodes}")
    if wanted.gpus:
        argv.append(f"--gpus-per-task={wanted.gpus}")
    if options.partition:
        argv.append(f"--queue={options.partition}")
    if options.account:
        argv.append(f"--bank={options.account}")
    required = [part for part in (options.constraint, _excluded(request.exclude_nodes)) if part]
    return argv + [f"--requires={' and '.join(f'({part})' for part in required)}"] * bool(required)


def _excluded(nodes: Iterable[str]) -> str:
    hosts = ",".join(nodes)
    return f"-host:{hosts}" if hosts else ""


def _own_options(request: JobRequest) -> list[str]:
    is_array = request.width > 1
    name, task = job_name(request.ulid), "{cc}" if is_array else "0"
    argv = [
        f"--job-name={name}-{task}" if is_array else f"--job-name={name}",
        f"--setattr=user.penstock={request.ulid}",
        f"--cwd={request.directory}",
        f"--output={request.directory}/slurm-{task}.out",
        f"--error={request.directory}/slurm-{task}.out",
        "--env-remove=*",
        *(f"--env={pattern}" for pattern in _KEPT),
    ]
    if is_array:
        argv.append(f"--cc=0-{request.width - 1}")
    if request.warn_s > 0:
        argv.append(f"--signal=SIGUSR1@{request.warn_s}s")
    return argv


def _any_of(tasks: tuple[int, ...] | None) -> str:
    return "[0-9]+" if tasks is None else f"({'|'.join(map(str, tasks))})"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _body(answer: Completed) -> str:
    if answer.exit_code != 0:
        said = " ".join(_text(answer.stderr).split())[:500]
        raise UnreadableAnswerError(f"flux: {said or f'ended with code {answer.exit_code}'}")
    return _text(answer.stdout)


def _jobs(answer: Completed) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(_body(answer), type=dict[str, list[dict[str, Any]]])["jobs"]
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise UnreadableAnswerError(f"flux jobs: the answer is no list of jobs: {error}") from error


def _row(job: dict[str, Any]) -> JobRow | None:
    """What is said of one job; None when it is not ours."""
    name, number = job.get("name"), job.get("id")
    own = task_of(name) if isinstance(name, str) else None
    if own is None:
        return None
    if not isinstance(number, int):
        raise UnreadableAnswerError(f"flux jobs: {name} has no id")
    group, task = own
    phase, reason, code, signal = phase_of(job)
    is_over = phase not in ACTIVE
    return JobRow(
        ulid=ulid_of(group) or "",
        job_id=str(number) if task is None else group,
        tasks=(task or 0,),
        phase=phase,
        state=str(job.get("status") or job.get("result") or job.get("state")),
        reason=reason,
        exit_code=code,
        exit_signal=signal,
        submitted_at=_seconds(job.get("t_submit")),
        started_at=_seconds(job.get("t_run")) if is_over or phase is Phase.RUNNING else None,
        ended_at=_seconds(job.get("t_cleanup")) if is_over else None,
        nodes=str(job.get("nodelist") or ""),
    )


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e11 else None


def _decimal(text: str) -> str | None:
    """A job id in decimal, from decimal or F58."""
    if _DECIMAL.fullmatch(text):
        return text
    if _F58.fullmatch(text) is None:
        return None
    value = 0
    for digit in text[1:]:
        value = value * 58 + _F58_DIGITS.index(digit)
    return str(value)
