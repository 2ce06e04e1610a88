"""Options that commands share, and what people write in them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

import click

from penstock.control.bounds import LARGEST
from penstock.control.client import Client
from penstock.ctl.output import Ctl
from penstock.domain.errors import PenstockError
from penstock.domain.states import JobState, Status
from penstock.domain.views import Filter, JobInfo, Selection, parse_filter

P = ParamSpec("P")
T = TypeVar("T")

ID_VARIABLE: Final = "PENSTOCK_WORKFLOW_ID"
_DIGITS_MOST: Final = 40
_JOBS_MAX: Final = 1_000_000
_COMPLETION_TIMEOUT_S: Final = 0.5
_STATUSES: Final = tuple(Status)
_STATES: Final = tuple(JobState)


class Whole(click.IntRange):
    """A whole number between `least` and `most`, by default what the daemon and its databases can hold."""

    def __init__(self, least: int = -LARGEST, most: int = LARGEST) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; click.BadParameter for what is none, too small or too large."""
        if isinstance(value, str) and len(value) > _DIGITS_MOST:
            self.fail(f"a number of {len(value)} characters is too large; the largest is {self.max}", param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


class DaemonPath(click.Path):
    """A path that only the daemon goes to. click would ask the disk about it, which may never answer."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """The path as it is written."""
        return self.coerce_path_result(value)


def command(name: str) -> Callable[[Callable[..., T]], click.Command]:
    """A command with `--json` and `--socket`, whose function gets the `Ctl` first and may return an exit code."""

    def decorate(function: Callable[..., T]) -> click.Command:
        for option in (socket_option, json_option):
            function = option(function)
        return click.command(name)(click.pass_obj(function))

    return decorate


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.obj.json |= value


def _set_socket(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.obj.socket = value


json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_set_json, help="Answer in JSON; see docs/ctl-json.md."
)
socket_option = click.option(
    "--socket",
    metavar="PATH",
    type=click.Path(),
    expose_value=False,
    callback=_set_socket,
    help="The daemon's control socket.  [env: PENSTOCK_SOCKET]",
)


def complete_id(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Workflows whose id begins with `incomplete`; nothing, and no message, when the daemon does not answer at once."""
    ctl = context.find_object(Ctl)
    try:
        with Client(ctl.socket if ctl else None, timeout_s=_COMPLETION_TIMEOUT_S) as client:
            workflows = client.list_workflows().workflows
    except PenstockError:
        return []
    return [workflow.id for workflow in workflows if workflow.id.startswith(incomplete)]


def complete_order(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Columns to order by, rising ones only: click completes a word that begins with `-` as an option."""
    return [name for name in JobInfo.__struct_fields__ if name.startswith(incomplete)]


def id_argument(*, required: bool = True) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`ID`; inside a job, the workflow the job belongs to when it is left out."""
    return click.argument("id", required=required, envvar=ID_VARIABLE, shell_complete=complete_id)


def job_argument(function: Callable[..., T]) -> Callable[..., T]:
    """`[ID] JOB`, given to the function as `id` and `job`."""
    return _with_target(function, "[ID] JOB", _target)


def optional_job_argument(function: Callable[..., T]) -> Callable[..., T]:
    """`[ID] [JOB]`; without a job, which is a number, the function gets None for it."""
    return _with_target(function, "[ID] [JOB]", _target_or_workflow)


def _with_target(
    function: Callable[..., T], metavar: str, find: Callable[[click.Context, Sequence[str]], tuple[str, int | None]]
) -> Callable[..., T]:
    @click.argument("target", nargs=-1, metavar=metavar, shell_complete=complete_id)
    @click.pass_context
    @functools.wraps(function)
    def wrapped(context: click.Context, /, *args: Any, target: tuple[str, ...], **kwargs: Any) -> T:
        id, job = find(context, target)
        return context.invoke(function, *args, id=id, job=job, **kwargs)

    return wrapped


def _target_or_workflow(context: click.Context, words: Sequence[str]) -> tuple[str, int | None]:
    if len(words) == 1 and not words[0].isdecimal():
        return words[0], None
    return _target(context, words)


def _target(context: click.Context, words: Sequence[str]) -> tuple[str, int]:
    import os

    inherited = os.environ.get(ID_VARIABLE)
    if len(words) == 1 and inherited:
        words = (inherited, *words)
    if len(words) != 2:
        raise click.UsageError("give a workflow's ID and a JOB number", context)
    digits = words[1]
    if not re.fullmatch(r"\d+", digits, re.ASCII):
        raise click.UsageError(f"{digits!r} is not a job number", context)
    if len(digits) > _DIGITS_MOST or int(digits) > LARGEST:
        shown = digits if len(digits) <= _DIGITS_MOST else f"a number of {len(digits)} digits"
        raise click.UsageError(f"{shown} is too large for a job number; the largest is {LARGEST}", context)
    return words[0], int(digits)


def selection_options(function: Callable[..., T]) -> Callable[..., T]:
    """`--job`, `--status`, `--state` and `--filter`, given to the function as one `selection`."""

    @click.option("--job", "jobs", multiple=True, metavar="N,N-M", callback=_jobs, help="Job numbers and ranges.")
    @click.option(
        "--status",
        "statuses",
        multiple=True,
        metavar="STATUS",
        callback=_names(_STATUSES),
        shell_complete=_complete(_STATUSES),
        help=", ".join(_STATUSES),
    )
    @click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE",
        callback=_names(_STATES),
        shell_complete=_complete(_STATES),
        help="Exact state, such as held.",
    )
    @click.option(
        "--filter",
        "filters",
        multiple=True,
        metavar="'COLUMN OP VALUE'",
        callback=_filters,
        help="Such as 'natoms>50' or 'name~water'; OP is one of = != < <= > >= ~ (contains).",
    )
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        jobs: tuple[int, ...],
        statuses: tuple[str, ...],
        states: tuple[str, ...],
        filters: tuple[Filter, ...],
        **kwargs: Any,
    ) -> T:
        return function(*args, selection=Selection(jobs, statuses + states, filters), **kwargs)

    return wrapped


def parse_jobs(text: str) -> list[int]:
    """Job numbers from text such as `1,5,7-20`; ValueError says what is wrong with it."""
    jobs: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part, re.ASCII)
        if match is None:
            raise ValueError(f"{part!r} is neither a job number nor a range such as 7-20")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {part.strip()} runs backwards")
        if len(jobs) + last - first >= _JOBS_MAX:
            raise ValueError(f"more than {_JOBS_MAX} jobs; use --status or --filter instead")
        jobs.extend(range(first, last + 1))
    return jobs


def _complete(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        *before, last = incomplete.split(",")
        return [",".join([*before, name]) for name in known if name.startswith(last)]

    return complete


def _jobs(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(job for text in given for job in parse_jobs(text)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _filters(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Filter, ...]:
    try:
        return tuple(parse_filter(text) for text in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _names(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    def check(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
        names = [name.strip() for text in given for name in text.split(",")]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}")
        return tuple(str(name) for name in names)

    return check
