"""The job script of a submission, and the `run.K` files with what each of its tasks runs: text for any POSIX sh.

What it leaves in the spool and why is told in `remote_spool`; the text itself is in `job_script.sh`. No text of a user
gets into it unquoted but the lines of `setup`, which are shell by intent and are given to `eval`, so that not even an
unclosed quote in them reaches the rest.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

import msgspec

from penstock.domain.spec import is_file_name

_BODY: Final = resources.files(__package__).joinpath("job_script.sh").read_text(encoding="utf-8")
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WarmRunner(msgspec.Struct, frozen=True):
    """Who works through a bundle of a Python engine: `penstock.clusters.runner`, run by the `python` of the cluster."""

    python: str
    engine: str


class ScriptPlan(msgspec.Struct, frozen=True):
    """All that a job script is made of. Paths are absolute, as the job sees them.

    `walltime_s` is one attempt's, `allocation_s` what the scheduler was asked for; an attempt is ended `kill_grace_s`
    and five seconds before the allocation's end at the latest. `launcher` goes before every program (`srun`; not before
    a warm runner), `checkpoint` is run before an attempt is stopped at its walltime. `own_timer`: no signal warns of
    the allocation's end, so the script minds the walltime by itself; it always does where a task has several attempts.
    """

    ulid: str
    spool: str
    width: int
    size: int
    workflow_id: str
    mode: str
    workflow_dir: str
    cores: int
    walltime_s: int
    allocation_s: int
    setup: str = ""
    launcher: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    own_timer: bool = False
    kill_grace_s: int = 10
    warm: WarmRunner | None = None
    environment: Mapping[str, str] = {}


class RunEntry(msgspec.Struct, frozen=True):
    """One attempt as a task runs it. Directories are absolute.

    From `carry_from`, if any, the files that `carry` names are copied first, under the names it gives them, as far as
    they are there and none of that name is in `directory` already.
    """

    position: int
    job_id: int
    directory: str
    argv: Sequence[str]
    carry_from: str | None = None
    carry: Mapping[str, str] = {}


def render_script(task_variables: tuple[str, str, str], plan: ScriptPlan) -> str:
    """The script; `task_variables` are the scheduler's expressions for task index, job id and restart count."""
    task, job, restarts = task_variables
    values = {
        "pk_ulid": plan.ulid,
        "pk_spool": plan.spool,
        "pk_walltime": str(plan.walltime_s),
        "pk_allocation": str(plan.allocation_s),
        "pk_grace": str(plan.kill_grace_s),
        "pk_timer": "1" if plan.own_timer or plan.width < plan.size else "",
        "pk_setup": plan.setup,
        "pk_checkpoint": "1" if plan.checkpoint else "",
        "pk_python": plan.warm.python if plan.warm else "",
        "pk_engine": plan.warm.engine if plan.warm else "",
    }
    exported = {
        "PENSTOCK_WORKFLOW_ID": plan.workflow_id,
        "PENSTOCK_ISOLATION_MODE": plan.mode,
        "PENSTOCK_WORKFLOW_DIR": plan.workflow_dir,
        "SRUN_CPUS_PER_TASK": str(plan.cores),  # srun does not take it over from sbatch since Slurm 22.05
        **dict.fromkeys(_THREADS, str(plan.cores)),
        **plan.environment,
    }
    lines = [
        "#!/bin/sh",
        f"# Penstock submission {plan.ulid}",
        *(f"{name}={_quote(value)}" for name, value in values.items()),
        f'pk_task="{task}"',
        f'pk_job="{job}"',
        f'pk_restarts="{restarts}"',
        *(f"export {name}={_quote(value)}" for name, value in exported.items()),
        f'pk_launch() {{ exec $pk_detach {_join(plan.launcher)} "$@"; }}',
        f'pk_run_checkpoint() {{ exec "$@" {_join(plan.checkpoint)}; }}',
    ]
    return "\n".join(lines) + "\n" + _BODY


def render_run(entries: Iterable[RunEntry], width: int) -> dict[int, str]:
    """What each task of a submission runs, in its order: the content of `run.K` by K."""
    tasks: dict[int, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.position):
        words = ["attempt", str(entry.position), str(entry.job_id), _directory(entry.directory), _join(entry.argv)]
        line = " ".join(words) + "\n"
        if entry.carry_from is not None and entry.carry:
            line = f"carry {_directory(entry.carry_from)} {_join(_carried(entry.carry))}\n{line}"
        tasks.setdefault(entry.position % width, []).append(line)
    return {task: "".join(lines) for task, lines in sorted(tasks.items())}


def _directory(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is no absolute directory")
    return _quote(path)


def _carried(carry: Mapping[str, str]) -> list[str]:
    return [_file_name(name) for pair in carry.items() for name in pair]


def _file_name(name: str) -> str:
    if not is_file_name(name):
        raise ValueError(f"{name!r} cannot name a file of an attempt")
    return name


def _join(words: Iterable[str]) -> str:
    return " ".join(map(_quote, words))


def _quote(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} holds a NUL character, which no command line can")
    return shlex.quote(text)
