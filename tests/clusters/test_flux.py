"""Flux's commands and answers, those of a real 0.88 included."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clusters.flux import Flux
from penstock.clusters.scheduler import JobRow, Phase, Placed, Refused, Unclear, UnreadableAnswerError
from penstock.clusters.shell import Completed
from penstock.domain.errors import ClusterError
from penstock.domain.scheduling import SchedulerOptions

from .scheduler_answers import (
    OTHER,
    SAMPLES,
    ULID,
    check_anything,
    check_every_cut,
    failed,
    good,
    request,
    with_samples,
)

FLUX = Flux()
NAME = f"penstock-{ULID}"
BASE: dict[str, Any] = {
    "id": 1099545182208,
    "name": f"{NAME}-3",
    "urgency": 16,
    "t_submit": 1795163582.25,
    "exception": {"occurred": False},
}
ENDED = {"state": "INACTIVE", "t_run": 1795163583.0, "t_cleanup": 1795163584.5, "nodelist": "n1"}


def jobs(*changes: dict[str, Any]) -> bytes:
    return json.dumps({"jobs": [BASE | change for change in changes]}).encode()


def one(**change: Any) -> JobRow:
    return FLUX.parse_queue(good(jobs(change))).rows[0]


def raised(kind: str, note: str = "") -> dict[str, Any]:
    return {"occurred": True, "severity": 0, "type": kind, "note": note}


# ---- submitting ------------------------------------------------------------------------------------------------------


def test_a_set_of_jobs_is_submitted() -> None:
    options = SchedulerOptions(partition="batch", account="chem", constraint="fast|big", directives=("--urgency=9",))
    argv = FLUX.submit_argv(request(10, options, cores=4, gpus=1, exclude=("n1", "n2")))
    assert argv[:3] == ["sh", "-c", argv[2]]
    assert argv[4:7] == [NAME, "flux", "submit"]
    assert argv[-2:] == ["/bin/sh", "/spool/a b/script"]
    wanted = {
        f"--job-name={NAME}-{{cc}}",
        "--cc=0-9",
        f"--setattr=user.penstock={ULID}",
        "--time-limit=3601s",
        "--ntasks=1",
        "--cores-per-task=4",
        "--gpus-per-task=1",
        "--queue=batch",
        "--bank=chem",
        "--requires=(fast|big) and (-host:n1,n2)",
        "--cwd=/spool/a b",
        "--output=/spool/a b/slurm-{cc}.out",
        "--signal=SIGUSR1@90s",
        "--env-remove=*",
        "--env=PATH",
        "--urgency=9",
    }
    assert wanted <= set(argv)


def test_a_single_job_has_no_suffix() -> None:
    argv = FLUX.submit_argv(request())
    assert f"--job-name={NAME}" in argv
    assert "--output=/spool/a b/slurm-0.out" in argv
    assert not [part for part in argv if part.startswith(("--cc", "--requires", "--queue", "--nodes"))]


def test_a_parallel_program_gets_an_instance_so_that_its_script_runs_once() -> None:
    argv = FLUX.submit_argv(request(nodes=2, tasks=8, cores=2))
    assert "per-resource.type=node" in argv
    assert {"--nodes=2", "--ntasks=8", "--cores-per-task=2"} <= set(argv)
    assert "flux broker" in argv[-3]


def test_braces_in_a_directory_are_refused() -> None:
    with pytest.raises(ClusterError, match="braces"):
        FLUX.submit_argv(msgspec.structs.replace(request(), directory="/spool/{cc}"))


@pytest.fixture
def flux_path(tmp_path: Path) -> Path:
    """A directory with a `flux` that prints what it was given, and fails when FLUX_FAILS is set."""
    program = tmp_path / "flux"
    program.write_text('#!/bin/sh\nprintf "%s\\n" ƒA "$*" >>"$FLUX_LOG"\necho ƒA; echo ƒB; exit "${FLUX_FAILS:-0}"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("code", [0, 1])
def test_the_name_is_printed_only_when_all_were_submitted(flux_path: Path, code: int) -> None:
    answer = _run(FLUX.submit_argv(request(2)), flux_path, FLUX_FAILS=str(code))
    verdict = FLUX.parse_submit(answer)
    assert verdict == Placed(NAME) if code == 0 else isinstance(verdict, Unclear)


def test_cancelling_reaches_flux_by_pattern_and_by_id(flux_path: Path) -> None:
    named: list[tuple[str, tuple[int, ...] | None]] = [
        (NAME, (1, 12)),
        ("123", None),
        (f"penstock-{OTHER}", None),
        (NAME, ()),
    ]
    assert _run(FLUX.cancel_argv(named), flux_path).exit_code == 0
    told = (flux_path / "log").read_text().splitlines()[1::2]
    assert told == [f"pkill --max-entries=0 name:^({NAME}-(1|12)|penstock-{OTHER}-[0-9]+)$", "cancel 123"]
    pattern = re.compile(told[0].partition("name:")[2])
    assert pattern.search(f"{NAME}-12")
    assert pattern.search(f"penstock-{OTHER}-7")
    assert not pattern.search(f"{NAME}-121")
    assert not pattern.search(f"{NAME}-2")


def test_only_what_there_is_to_cancel_is_asked_for(flux_path: Path) -> None:
    assert _run(FLUX.cancel_argv([("123", None)]), flux_path).exit_code == 0
    assert (flux_path / "log").read_text().splitlines()[1::2] == ["cancel 123"]


def test_signalling(flux_path: Path) -> None:
    assert FLUX.signal_argv("123", None, "USR2") == ["flux", "job", "kill", "--signal=SIGUSR2", "123"]
    _run(FLUX.signal_argv(NAME, 3, "USR2"), flux_path)
    told = (flux_path / "log").read_text().splitlines()[1::2]
    assert told == [f"pgrep --max-entries=0 -n -o {{id.dec}} name:^{NAME}-(3)$", "job kill --signal=SIGUSR2 ƒA ƒB"]


def _run(argv: list[str], directory: Path, **more: str) -> Completed:
    environment = {"PATH": f"{directory}:{os.environ['PATH']}", "FLUX_LOG": str(directory / "log")} | more
    done = subprocess.run(argv, capture_output=True, env=environment, check=False)
    return Completed(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("stdout", "job_id"),
    [
        (f"ƒVtE3U6K\n{NAME}\n", "1099545182208"),
        (f"fVtE3U6K\n{NAME}\n", "1099545182208"),
        (f"1099545182208\n{NAME}\n", "1099545182208"),
        (f"ƒXVGWPsV\nƒXVGWPsW\n{NAME}\n", NAME),
    ],
)
def test_ids_are_decimal_and_a_set_is_known_by_its_name(stdout: str, job_id: str) -> None:
    assert FLUX.parse_submit(good(stdout)) == Placed(job_id)


@pytest.mark.parametrize(
    ("stderr", "code", "lasting"),
    [
        (
            "usage: flux submit [OPTIONS...] COMMAND [ARGS...]\nflux submit: error: unrecognized arguments: --x\n",
            2,
            True,
        ),
        ("cc=0: [Errno 22] Invalid queue 'x' specified\ncc=1: [Errno 22] Invalid queue 'x' specified\n", 1, True),
        ("flux-submit: ERROR: [Errno 22] job submission to batch is disabled: maintenance\n", 1, False),
    ],
)
def test_refusals(stderr: str, code: int, lasting: bool) -> None:
    verdict = FLUX.parse_submit(failed(stderr, code))
    assert isinstance(verdict, Refused)
    assert verdict.lasting == lasting


@pytest.mark.parametrize(
    "answer",
    [
        good(""),
        good("ƒVtE3U6K\n"),
        good(f"{NAME}\n"),
        failed("", 1),
        failed("flux-submit: ERROR: [Errno 110] Connection timed out\n", 1),
        failed("cc=1: [Errno 22] Invalid queue 'x' specified\n", 1, stdout="ƒVtE3U6K\n"),
        failed("cc=0: [Errno 22] Invalid queue 'x' specified\ncc=1: [Errno 71] Protocol error\n", 1),
        failed("flux-submit: ERROR: [Errno 22] Invalid queue 'x' specified\n", -9),
    ],
)
def test_everything_else_proves_nothing(answer: Completed) -> None:
    assert isinstance(FLUX.parse_submit(answer), Unclear)


# ---- the queue -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({"state": "DEPEND", "dependencies": ["after-success=ƒA"]}, Phase.QUEUED),
        ({"state": "PRIORITY"}, Phase.QUEUED),
        ({"state": "SCHED"}, Phase.QUEUED),
        ({"state": "SCHED", "urgency": 0}, Phase.HELD),
        ({"state": "RUN", "t_run": 1795163583.0}, Phase.RUNNING),
        ({"state": "CLEANUP", "result": "COMPLETED"}, Phase.RUNNING),
        ({"state": "DREAMING"}, Phase.UNKNOWN),
        (ENDED | {"result": "COMPLETED", "waitstatus": 0}, Phase.COMPLETED),
        (ENDED | {"result": "FAILED", "waitstatus": 768}, Phase.FAILED),
        (ENDED | {"result": "CANCELED", "waitstatus": 36608}, Phase.CANCELLED),
        (ENDED | {"result": "TIMEOUT", "waitstatus": 36352}, Phase.TIMEOUT),
        (ENDED | {"result": "FAILED", "exception": raised("node-failure")}, Phase.INFRASTRUCTURE),
        (ENDED | {"result": "MISLAID"}, Phase.UNKNOWN),
    ],
)
def test_states_and_results(change: dict[str, Any], phase: Phase) -> None:
    row = one(**change)
    assert (row.ulid, row.job_id, row.tasks, row.phase) == (ULID, NAME, (3,), phase)
    assert row.submitted_at == 1795163582.25


@pytest.mark.parametrize(
    ("status", "code", "signal"), [(0, 0, None), (768, 3, None), (32512, 127, None), (35584, None, 11), (11, None, 11)]
)
def test_wait_statuses(status: int, code: int | None, signal: int | None) -> None:
    row = one(**ENDED, result="COMPLETED" if status == 0 else "FAILED", waitstatus=status)
    assert (row.exit_code, row.exit_signal) == (code, signal)
    assert (row.started_at, row.ended_at, row.nodes) == (1795163583.0, 1795163584.5, "n1")


def test_an_impossible_request_has_ended_without_having_begun() -> None:
    note = "unsatisfiable request: need 100000 slot(s)"
    row = one(state="INACTIVE", result="FAILED", returncode=1, t_cleanup=1795163584.5, exception=raised("alloc", note))
    assert (row.phase, row.exit_code, row.exit_signal, row.started_at) == (Phase.FAILED, None, None, None)
    assert row.reason == f"alloc: {note}"


def test_single_jobs_have_decimal_ids_and_others_are_counted() -> None:
    view = FLUX.parse_queue(
        good(
            jobs(
                {"name": NAME, "state": "RUN"},
                {"name": "mine", "state": "RUN", "status": "RUN"},
                {"name": "penstock-x", "state": "SCHED"},
                {"name": f"{NAME}-x", "state": "SCHED"},
            )
        )
    )
    assert [(row.job_id, row.tasks) for row in view.rows] == [("1099545182208", (0,))]
    assert view.others == {"RUN": 1, "SCHED": 2}


@pytest.mark.parametrize("stdout", ["", "{}", "[]", '{"jobs": 3}', '{"jobs": [3]}', '{"jobs": []', "flux: hello"])
def test_what_is_no_list_of_jobs_says_nothing(stdout: str) -> None:
    with pytest.raises(UnreadableAnswerError):
        FLUX.parse_queue(good(stdout))


def test_an_empty_list_is_an_answer_and_a_failure_is_none() -> None:
    assert FLUX.parse_queue(good('{"jobs": []}\n')).rows == ()
    with pytest.raises(UnreadableAnswerError, match="Unable to connect"):
        FLUX.parse_queue(failed("flux-jobs: ERROR: Unable to connect to Flux\n"))


def test_accounts_are_the_same_question_further_back() -> None:
    argv = FLUX.accounting_argv([ULID], since=90000.0)
    assert argv is not None
    assert "TZ=UTC0" in argv
    assert "--since=1970-01-02 00:00:00" in argv
    assert FLUX.parse_accounting(good(jobs({"state": "RUN"})))[0].phase is Phase.RUNNING


# ---- limits ----------------------------------------------------------------------------------------------------------

VERSION = "commands:    \t\t0.88.0\nlibflux-core:\t\t0.88.0\n"
RESOURCES = json.dumps(
    {
        "version": 1,
        "execution": {
            "R_lite": [
                {"rank": "0-2", "children": {"core": "0-63"}},
                {"rank": "3", "children": {"core": "0-31", "gpu": "0,2"}},
            ]
        },
    }
)


def test_limits_are_read() -> None:
    limits = FLUX.parse_limits([good(VERSION), good(RESOURCES), good("batch*|enabled|8h\ndebug|disabled|inf\n")])
    assert (limits.version, limits.has_accounting, limits.width_max) == ("0.88.0", True, None)
    batch, debug = limits.partitions
    assert (batch.name, batch.is_default, batch.is_up, batch.walltime_s) == ("batch", True, True, 28800)
    assert (batch.nodes, batch.cores_per_node, batch.gpus_per_node) == (4, 64, 2)
    assert (debug.name, debug.is_default, debug.is_up, debug.walltime_s) == ("debug", False, False, None)


def test_limits_that_could_not_be_asked_are_unknown() -> None:
    assert FLUX.parse_limits([good(VERSION), failed("no such command"), good("|enabled|inf\n")]).partitions == ()
    assert FLUX.parse_limits([good(VERSION), good("{}"), good("|enabled|inf\n")]).partitions == ()
    with pytest.raises(UnreadableAnswerError):
        FLUX.parse_limits([good("hello\n"), good(RESOURCES), good("")])


# ---- anything at all -------------------------------------------------------------------------------------------------


def test_an_answer_cut_anywhere_ends_nothing() -> None:
    whole = jobs(
        ENDED | {"result": "COMPLETED"}, {"name": NAME, "state": "RUN"}, {"name": f"{NAME}-4", "state": "SCHED"}
    )
    check_every_cut(whole, FLUX.parse_accounting)


_scalar = st.none() | st.booleans() | st.integers(-1, 2**63) | st.floats(allow_nan=False) | st.text(max_size=5)
_value = (
    _scalar | st.dictionaries(st.sampled_from(["occurred", "type", "note"]), _scalar) | st.lists(_scalar, max_size=2)
)
_fields = [
    "id",
    "state",
    "result",
    "waitstatus",
    "exception",
    "t_run",
    "t_cleanup",
    "urgency",
    "dependencies",
    "nodelist",
]
_job = st.dictionaries(st.sampled_from([*_fields, "name", "status"]), _value)


@given(
    stdout=st.binary(max_size=120) | st.lists(_job, max_size=2).map(lambda changes: jobs(*changes)),
    code=st.integers(-2, 2),
)
def test_nothing_unexpected_is_raised(stdout: bytes, code: int) -> None:
    answer = Completed(code, stdout, stdout)
    check_anything(answer, FLUX.parse_queue, FLUX.parse_accounting, FLUX.parse_submit)
    check_anything(answer, lambda it: FLUX.parse_limits([good(VERSION), it, good("batch*|enabled|8h\n")]))
    check_anything(answer, lambda it: FLUX.parse_limits([it, good(RESOURCES), it]))
    check_anything(answer, lambda it: FLUX.parse_limits([good(VERSION), good(RESOURCES), it]))


# ---- answers of a real Flux ------------------------------------------------------------------------------------------

_RECORDED = {
    "BATCH_FAILED_exit5": (Phase.FAILED, 5, None),
    "BATCH_TIMEOUT": (Phase.TIMEOUT, None, None),
    "CANCELED_pending": (Phase.CANCELLED, None, None),
    "CANCELED_running": (Phase.CANCELLED, None, None),
    "COMPLETED": (Phase.COMPLETED, 0, None),
    "DEPEND": (Phase.QUEUED, None, None),
    "DEPENDENCY_FAILED": (Phase.FAILED, None, None),
    "FAILED_exec_127": (Phase.FAILED, 127, None),
    "FAILED_exit3": (Phase.FAILED, 3, None),
    "FAILED_signal11": (Phase.FAILED, None, 11),
    "RUN": (Phase.RUNNING, None, None),
    "SCHED_held_urgency0": (Phase.HELD, None, None),
    "SCHED_pending": (Phase.QUEUED, None, None),
    "TIMEOUT": (Phase.TIMEOUT, None, None),
}


@with_samples
@pytest.mark.parametrize("sample", _RECORDED)
def test_recorded_jobs_are_understood(sample: str) -> None:
    job = json.loads((SAMPLES / "flux" / f"{sample}.jobs.json").read_bytes())
    row = FLUX.parse_queue(good(json.dumps({"jobs": [job | {"name": NAME}]}))).rows[0]
    assert (row.phase, row.exit_code, row.exit_signal) == _RECORDED[sample]


@with_samples
def test_recorded_answers_are_understood() -> None:
    folder = SAMPLES / "flux"
    view = FLUX.parse_queue(good((folder / "jobs_a.json").read_bytes()))
    assert view.rows == ()
    assert sum(view.others.values()) == 29
    resources, version = (folder / "resource_R.json").read_bytes(), (folder / "version.txt").read_bytes()
    limits = FLUX.parse_limits([good(version), good(resources), good("|enabled|inf\n")])
    assert [(part.nodes, part.cores_per_node, part.gpus_per_node) for part in limits.partitions] == [(1, 256, 0)]


@with_samples
def test_every_recorded_file_is_survived() -> None:
    for path in sorted((SAMPLES / "flux").iterdir()):
        content = path.read_bytes()
        for answer in (good(content), Completed(1, b"", content)):
            check_anything(answer, FLUX.parse_queue, FLUX.parse_accounting, FLUX.parse_submit)
