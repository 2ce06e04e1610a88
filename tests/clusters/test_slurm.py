"""Slurm's commands and answers, those of a real 22.05 included."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clusters import slurm_words
from penstock.clusters.scheduler import (
    JobRow,
    Limits,
    Phase,
    Placed,
    RateLimitedError,
    Refused,
    Unclear,
    UnreadableAnswerError,
)
from penstock.clusters.shell import Completed
from penstock.clusters.slurm import Slurm
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

SLURM = Slurm()
NAME = f"penstock-{ULID}"
QUEUE = f"""\
1694_[4-6,8%4]|PENDING|1795180224|N/A|N/A||JobArrayTaskLimit|{NAME}
1694_3|RUNNING|1795180224|1795180225|1795180825|n1|None|{NAME}
1694_0|COMPLETED|1795180224|1795180225|1795180245|n1|None|{NAME}
1700|CANCELLED|1795180224|1795180226|1795180226||JobHeldUser|penstock-{OTHER}
1800|PENDING|1795180224|N/A|N/A||Priority|odd|name
1801|RUNNING|1795180224|1795180225|1795180825|n2|None|penstock-
"""
ACCOUNTS = f"""\
1694_[4-9]|PENDING|0:0|1795180224|Unknown|Unknown|None assigned|{NAME}
1694_3|RUNNING|0:0|1795180224|1795180225|Unknown|n1|{NAME}
1694_0|COMPLETED|0:0|1795180224|1795180225|1795180245|n1|{NAME}
1694_1|FAILED|3:0|1795180224|1795180225|1795180245|n1|{NAME}
1694_2|FAILED|0:11|1795180224|1795180225|1795180245|n[1-2]|{NAME}
1700|CANCELLED by 1000|0:0|1795180224|None|1795180228|None assigned|penstock-{OTHER}
"""


def option(argv: list[str], name: str) -> str | None:
    values = [part.partition("=")[2] for part in argv if part.partition("=")[0] == name]
    return values[-1] if values else None


def queue_rows(answer: Completed) -> tuple[JobRow, ...]:
    return SLURM.parse_queue(answer).rows


def queue_line(state: str, reason: str = "None") -> JobRow:
    text = f"7|{state}|1795180224|1795180225|1795180245|n1|{reason}|{NAME}\n"
    return queue_rows(good(text))[0]


# ---- submitting ------------------------------------------------------------------------------------------------------


def test_an_array_is_submitted() -> None:
    options = SchedulerOptions(partition="small", account="chem", qos="q", constraint="a&b", licenses="l:2")
    argv = SLURM.submit_argv(request(10, options, cores=4, memory_mb=1000, exclude=("n1", "n2")))
    assert argv[-1] == "/spool/a b/script"
    expected = {
        "--array": "0-9",
        "--job-name": NAME,
        "--chdir": "/spool/a b",
        "--output": "/spool/a b/slurm-%a.out",
        "--time": "61",
        "--signal": "B:USR1@90",
        "--cpus-per-task": "4",
        "--nodes": "1",
        "--ntasks": "1",
        "--mem": "954M",
        "--partition": "small",
        "--account": "chem",
        "--qos": "q",
        "--constraint": "a&b",
        "--licenses": "l:2",
        "--exclude": "n1,n2",
        "--export": "ALL",
        "--open-mode": "append",
    }
    assert {name: option(argv, name) for name in expected} == expected
    assert {"--parsable", "--no-requeue"} <= set(argv)
    assert option(argv, "--reservation") is None


def test_a_single_job_is_no_array_and_what_we_rely_on_has_the_last_word() -> None:
    argv = SLURM.submit_argv(request(1, SchedulerOptions(directives=("--nodes=7", "--job-name=mine", "--mem=0"))))
    assert option(argv, "--array") is None
    assert option(argv, "--output") == "/spool/a b/slurm-0.out"
    assert option(argv, "--job-name") == NAME
    assert option(argv, "--nodes") == "7"
    assert option(argv, "--mem") == "0"


@pytest.mark.parametrize(
    ("nodes", "tasks", "name", "value"), [(1, 2, "--gres", "gpu:6"), (2, 4, "--gpus-per-task", "3")]
)
def test_gpus_are_asked_for(nodes: int, tasks: int, name: str, value: str) -> None:
    assert option(SLURM.submit_argv(request(nodes=nodes, tasks=tasks, gpus=3)), name) == value


def test_a_submission_and_its_job_see_little_of_the_surroundings(tmp_path: Path) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\nenv; echo "last:$1"\n')
    sbatch.chmod(0o755)
    odd = {"HOME": "/a b", "SBATCH_ARRAY_INX": "0-3", "SECRET": "x", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = SLURM.submit_argv(request())
    seen = subprocess.run(argv, env=odd, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.partition("=")[0] for line in seen[:-1]}
    assert names <= {"HOME", "PATH", "PWD", "OLDPWD", "SHLVL", "_"}
    assert "HOME=/a b" in seen
    assert seen[-1] == f"last:{argv[4]}"


@pytest.mark.parametrize("answer", ["1694\n", "1694;loopback\n", "Welcome to 3\n\n1694\n", "1694"])
def test_a_job_id_is_an_id(answer: str) -> None:
    assert SLURM.parse_submit(Completed(0, answer.encode(), b"sbatch: warning: unable to contact x\n")) == Placed(
        "1694"
    )


@pytest.mark.parametrize(
    "stderr",
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
        ),
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n",
        "sbatch: error: Batch job submission failed: Invalid job array specification\n",
        (
            "sbatch: error: Memory specification can not be satisfied\n"
            "sbatch: error: Batch job submission failed: Requested node configuration is not available\n"
        ),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: "
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
        ),
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)\n",
        "sbatch: error: This does not look like a batch script.  The first\n",
        "sbatch: error: Invalid generic resource (gres) specification\n",
        "sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information\n",
    ],
)
def test_lasting_refusals(stderr: str) -> None:
    answer = SLURM.parse_submit(failed(stderr))
    assert isinstance(answer, Refused)
    assert answer.lasting
    assert answer.reason
    assert "sbatch: error" not in answer.reason


@pytest.mark.parametrize(
    "stderr",
    [
        (
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: "
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
        ),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: "
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
        ),
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)\n",
        (
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable\n"
        ),
        "sbatch: error: Batch job submission failed: MaxJobCount limit reached\n",
        "sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)\n",
    ],
)
def test_passing_refusals(stderr: str) -> None:
    answer = SLURM.parse_submit(failed(stderr))
    assert isinstance(answer, Refused)
    assert not answer.lasting


@pytest.mark.parametrize(
    "answer",
    [
        good(""),
        good("sbatch: whatever\n"),
        good("0\n"),
        failed("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"),
        failed("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"),
        failed("sbatch: error: Batch job submission failed: Unexpected message received\n"),
        failed("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received\n"),
        failed("sbatch: error: Batch job submission failed: Unspecified error\n"),
        failed("sbatch: error: Batch job submission failed: Ungueltige Partition\n"),
        failed("sbatch: error: bad luck\n"),
        failed(""),
        failed("sbatch: error: Batch job submission failed: Invalid partition name specified\n", code=-15),
        failed("sbatch: error: Batch job submission failed: Invalid partition name specified\n", code=137),
        failed("sbatch: error: Batch job submission failed: Invalid partition name specified\n", stdout="1694\n"),
        failed(
            "sbatch: error: slurm_receive_msg: Socket timed out on send/recv operation\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
        ),
        failed(
            "sbatch: error: Slurm controller not responding, sleeping and retrying.\n"
            "sbatch: error: Unable to open file\n"
        ),
    ],
)
def test_everything_else_proves_nothing(answer: Completed) -> None:
    verdict = SLURM.parse_submit(answer)
    assert isinstance(verdict, Unclear)
    assert verdict.reason


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_the_queue_is_read() -> None:
    view = SLURM.parse_queue(good(QUEUE))
    pending, running, done, cancelled = view.rows
    assert (pending.job_id, pending.tasks, pending.phase) == ("1694", (4, 5, 6, 8), Phase.QUEUED)
    assert (pending.reason, pending.submitted_at, pending.started_at) == ("JobArrayTaskLimit", 1795180224.0, None)
    assert (running.tasks, running.phase, running.started_at, running.ended_at) == (
        (3,),
        Phase.RUNNING,
        1795180225.0,
        None,
    )
    assert (done.tasks, done.phase, done.exit_code, done.ended_at) == ((0,), Phase.COMPLETED, 0, 1795180245.0)
    assert (cancelled.ulid, cancelled.tasks, cancelled.phase) == (OTHER, (0,), Phase.CANCELLED)
    assert cancelled.started_at is None
    assert view.others == {"PENDING": 1, "RUNNING": 1}


def test_an_empty_queue_is_an_answer_but_a_failure_is_none() -> None:
    assert SLURM.parse_queue(good("")).rows == ()
    with pytest.raises(UnreadableAnswerError, match="Unable to contact slurm controller"):
        SLURM.parse_queue(failed("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"))
    with pytest.raises(RateLimitedError):
        SLURM.parse_queue(failed("slurm_load_jobs error: Rate limit exceeded, please retry momentarily\n"))


def test_emptiness_beside_an_error_is_not_believed() -> None:
    for parse in (SLURM.parse_queue, SLURM.parse_accounting):
        with pytest.raises(UnreadableAnswerError, match="Unable to connect to database"):
            parse(Completed(0, b"", b"sacct: error: Unable to connect to database\n"))
    assert SLURM.parse_accounting(Completed(0, b"", b"a banner\n")) == []


@pytest.mark.parametrize("line", ["noise\n", QUEUE[:-1], f"1694_[0,6,9|PENDING|1|2|3||None|{NAME}\n", "\n"])
def test_a_torn_or_abbreviated_answer_says_nothing(line: str) -> None:
    with pytest.raises(UnreadableAnswerError):
        SLURM.parse_queue(good(line))


@pytest.mark.parametrize(
    ("state", "reason", "phase"),
    [
        ("PENDING", "Resources", Phase.QUEUED),
        ("PENDING", "Priority", Phase.QUEUED),
        ("PENDING", "Dependency", Phase.QUEUED),
        ("PENDING", "BeginTime", Phase.QUEUED),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-3]", Phase.QUEUED),
        ("PENDING", "QOSMaxJobsPerUserLimit", Phase.QUEUED),
        ("PENDING", "AssocGrpCpuLimit", Phase.QUEUED),
        ("PENDING", "AssocMaxJobsLimit", Phase.QUEUED),
        ("PENDING", "PartitionDown", Phase.QUEUED),
        ("PENDING", "JobHeldUser", Phase.HELD),
        ("PENDING", "JobHeldAdmin", Phase.HELD),
        ("PENDING", "launch failed requeued held", Phase.HELD),
        ("REQUEUE_HOLD", "None", Phase.HELD),
        ("SPECIAL_EXIT", "None", Phase.HELD),
        ("PENDING", "DependencyNeverSatisfied", Phase.HOPELESS),
        ("PENDING", "PartitionTimeLimit", Phase.HOPELESS),
        ("PENDING", "InvalidQOS", Phase.HOPELESS),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", Phase.HOPELESS),
        ("PENDING", "QOSMaxGRESPerJob", Phase.HOPELESS),
        ("PENDING", "AssocMaxCpuPerNode", Phase.HOPELESS),
        ("CONFIGURING", "None", Phase.QUEUED),
        ("REQUEUED", "None", Phase.QUEUED),
        ("COMPLETING", "None", Phase.RUNNING),
        ("COMPLETED+COMPLETING", "None", Phase.RUNNING),
        ("FAILED,REQUEUED", "None", Phase.QUEUED),
        ("SUSPENDED", "None", Phase.RUNNING),
        ("TIMEOUT", "TimeLimit", Phase.TIMEOUT),
        ("DEADLINE", "None", Phase.TIMEOUT),
        ("OUT_OF_MEMORY", "OutOfMemory", Phase.OUT_OF_MEMORY),
        ("NODE_FAIL", "NodeDown", Phase.INFRASTRUCTURE),
        ("PREEMPTED", "None", Phase.INFRASTRUCTURE),
        ("CANCELLED", "None", Phase.CANCELLED),
        ("CANCELLED by 1000", "None", Phase.CANCELLED),
        ("TELEPORTED", "None", Phase.UNKNOWN),
        ("COMPLETED+TELEPORTED", "None", Phase.UNKNOWN),
        ("", "None", Phase.UNKNOWN),
    ],
)
def test_states_and_reasons(state: str, reason: str, phase: Phase) -> None:
    row = queue_line(state, reason)
    assert (row.phase, row.state) == (phase, state)


@pytest.mark.parametrize(
    ("text", "indices"),
    [("3", (3,)), ("0-3", (0, 1, 2, 3)), ("1,3,5-6%2", (1, 3, 5, 6)), ("0-9:4", (0, 4, 8)), ("7,7", (7,))],
)
def test_indices(text: str, indices: tuple[int, ...]) -> None:
    assert slurm_words.indices_of(text) == indices


@pytest.mark.parametrize("text", ["", "1,...", "1-", "a", "1,,2", "0-9999999", "0-5:0"])
def test_indices_that_are_not_all(text: str) -> None:
    with pytest.raises(UnreadableAnswerError):
        slurm_words.indices_of(text)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_indices_survive_their_spelling(indices: set[int]) -> None:
    assert slurm_words.indices_of(slurm_words.spell_indices(tuple(indices))) == tuple(sorted(indices))


# ---- accounting ------------------------------------------------------------------------------------------------------


def test_accounting_is_asked_in_one_language_and_one_zone() -> None:
    argv = SLURM.accounting_argv([ULID, OTHER], since=7200.0)
    assert argv is not None
    assert "TZ=UTC0" in argv
    assert option(argv, "--starttime") == datetime.fromtimestamp(3600.0, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert option(argv, "--name") == f"{NAME},penstock-{OTHER}"
    assert sum(map(len, SLURM.accounting_argv([ULID] * 500, since=0.0) or [])) < 100_000
    assert Slurm().with_limits(Limits(has_accounting=False)).accounting_argv([ULID], 0.0) is None


def test_accounts_are_read() -> None:
    waiting, running, done, code, signal, cancelled = SLURM.parse_accounting(good(ACCOUNTS))
    assert (waiting.tasks, waiting.phase) == ((4, 5, 6, 7, 8, 9), Phase.QUEUED)
    assert (running.tasks, running.phase, running.ended_at) == ((3,), Phase.RUNNING, None)
    assert (done.tasks, done.phase, done.exit_code, done.ended_at) == ((0,), Phase.COMPLETED, 0, 1795180245.0)
    assert (code.phase, code.exit_code, code.exit_signal) == (Phase.FAILED, 3, None)
    assert (signal.phase, signal.exit_code, signal.exit_signal, signal.nodes) == (Phase.FAILED, None, 11, "n[1-2]")
    assert (cancelled.ulid, cancelled.phase, cancelled.exit_code) == (OTHER, Phase.CANCELLED, None)
    assert (cancelled.started_at, cancelled.nodes) == (None, "")


@pytest.mark.parametrize(
    "line",
    [
        f"1694|COMPLETED|0:0|1795180224|1795180225|Unknown|n1|{NAME}\n",
        f"1694|COMPLETED||1795180224|1795180225|1795180226|n1|{NAME}\n",
        f"1694|COMPLETED|0:0||1795180225|1795180226|n1|{NAME}\n",
        "1694|OUT_OF_MEMORY|0:125|1795180224|1795180225|1795180226|n1|allocation\n",
        f"1694.batch|COMPLETED|0:0|1795180224|1795180225|1795180226|n1|{NAME}\n",
    ],
)
def test_half_filled_rows_are_left_out(line: str) -> None:
    assert SLURM.parse_accounting(good(line)) == []


@pytest.mark.parametrize(
    ("newer", "phase"),
    [
        (f"1694|COMPLETED|0:0|1795180300|1795180301|1795180302|n2|{NAME}\n", Phase.COMPLETED),
        (f"1694|PENDING|0:0|1795180300|Unknown|Unknown|None assigned|{NAME}\n", Phase.QUEUED),
        (f"1694|RUNNING|0:0|1795180224|1795180225|Unknown|n2|{NAME}\n", Phase.RUNNING),  # within the second
    ],
)
@pytest.mark.parametrize("older", ["REQUEUED", "NODE_FAIL"])
def test_of_a_requeued_job_the_newest_incarnation_counts(older: str, newer: str, phase: Phase) -> None:
    first = f"1694|{older}|0:0|1795180224|1795180224|1795180224|n1|{NAME}\n"
    if older == "REQUEUED" or "1795180300" in newer:
        assert [row.phase for row in SLURM.parse_accounting(good(newer + first))] == [phase]
    assert [row.phase for row in SLURM.parse_accounting(good(first + newer))] == [phase]


def test_a_task_of_its_own_beats_the_remainder_it_came_from() -> None:
    text = (
        f"1694_1|COMPLETED|0:0|1795180224|1795180225|1795180226|n1|{NAME}\n"
        f"1694_[0-2]|PENDING|0:0|1795180224|Unknown|Unknown|None assigned|{NAME}\n"
    )
    rows = {row.tasks: row.phase for row in SLURM.parse_accounting(good(text))}
    assert rows == {(1,): Phase.COMPLETED, (0, 2): Phase.QUEUED}


# ---- acting ----------------------------------------------------------------------------------------------------------


def test_cancelling_and_signalling() -> None:
    jobs: list[tuple[str, tuple[int, ...] | None]] = [("1694", (1, 2, 3, 7)), ("1700", None), ("1701", ())]
    argv = SLURM.cancel_argv(jobs)
    assert argv[argv.index("scancel") :] == ["scancel", "--quiet", "1694_[1-3,7]", "1700"]
    argv = SLURM.signal_argv("1694", 3, "USR2")
    assert argv[argv.index("scancel") :] == ["scancel", "--quiet", "--signal=USR2", "--batch", "1694_3"]
    assert SLURM.signal_argv("1694", None, "USR2")[-1] == "1694"


# ---- limits ----------------------------------------------------------------------------------------------------------

CONFIG = """\
Configuration data as of 2026-11-20T08:26:11
AccountingStorageType   = accounting_storage/slurmdbd
JobSubmitPlugins        = (null)
MaxArraySize            = 10001
MaxJobCount             = 50000
MinJobAge               = 300 sec
SchedulerParameters     = defer,max_array_tasks=500
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at vm is UP
"""
PARTITIONS = (
    "PartitionName=debug Default=YES MaxNodes=UNLIMITED MaxTime=1-00:00:00 MaxCPUsPerNode=UNLIMITED State=UP"
    " TotalNodes=4 MaxMemPerNode=UNLIMITED\n"
    "PartitionName=gpu Default=NO MaxNodes=1 MaxTime=UNLIMITED MaxCPUsPerNode=32 State=DOWN TotalNodes=2"
    " MaxMemPerNode=32000\n"
)
NODES = "debug|n1|64|64000|(null)\ndebug|n2|32|128000|(null)\ngpu|g1|64|64000|gpu:a100:4(S:0,1),gpu:v100:2,shard:8\n"


def test_limits_are_read() -> None:
    limits = SLURM.parse_limits([good(CONFIG), good(PARTITIONS), good(NODES), good("200|\n|300\n")])
    assert (limits.version, limits.width_max, limits.jobs_max, limits.submit_max) == ("22.05.8", 500, 50000, 300)
    assert (limits.remembered_s, limits.has_accounting) == (300, True)
    debug, gpu = limits.partitions
    assert (debug.name, debug.is_default, debug.is_up, debug.nodes, debug.walltime_s) == ("debug", True, True, 4, 86400)
    assert (debug.cores_per_node, debug.memory_mb_per_node, debug.gpus_per_node) == (64, 134218, 0)
    assert (gpu.is_default, gpu.is_up, gpu.nodes, gpu.walltime_s) == (False, False, 1, None)
    assert (gpu.cores_per_node, gpu.memory_mb_per_node, gpu.gpus_per_node) == (32, 33555, 6)


def test_no_accounts_are_no_error_but_no_configuration_is() -> None:
    plain = CONFIG.replace("slurmdbd", "none").replace("defer,max_array_tasks=500", "(null)")
    no_accounts = failed("You are not running a supported accounting_storage plugin\n")
    limits = SLURM.parse_limits([good(plain), good(PARTITIONS), good(NODES), no_accounts])
    assert (limits.width_max, limits.submit_max, limits.has_accounting) == (10001, None, False)
    with pytest.raises(UnreadableAnswerError):
        SLURM.parse_limits([failed("Unable to contact slurm controller"), good(""), good(""), good("")])
    with pytest.raises(UnreadableAnswerError):
        SLURM.parse_limits([good("hello\n"), good(""), good(""), good("")])


def test_where_a_plugin_routes_jobs_no_partition_is_the_default() -> None:
    routed = CONFIG.replace("JobSubmitPlugins        = (null)", "JobSubmitPlugins        = lua")
    limits = SLURM.parse_limits([good(routed), good(PARTITIONS), good(NODES), good("|\n")])
    assert [partition.is_default for partition in limits.partitions] == [False, False]


# ---- anything at all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [QUEUE, QUEUE.replace("|n1|", "|ü|")])
def test_a_queue_cut_anywhere_ends_nothing(whole: str) -> None:
    check_every_cut(whole.encode(), queue_rows)


def test_accounts_cut_anywhere_end_nothing() -> None:
    check_every_cut(ACCOUNTS.encode(), SLURM.parse_accounting)


_noise = st.binary(max_size=200) | st.text(f"0123456789_[]-%:,.|+\n {NAME}RUNIGCOMPLETED", max_size=120).map(str.encode)
_line = st.lists(st.text(max_size=8).map(lambda text: text.replace("\n", "")), min_size=7, max_size=9).map(
    lambda fields: f"{'|'.join(fields)}|{NAME}\n".encode()
)


@given(stdout=_noise | _line, stderr=st.binary(max_size=80), code=st.sampled_from([0, 0, 0, 1, 255, -9]))
def test_nothing_unexpected_is_raised(stdout: bytes, stderr: bytes, code: int) -> None:
    answer = Completed(code, stdout, stderr)
    check_anything(answer, SLURM.parse_queue, SLURM.parse_accounting, SLURM.parse_submit)
    check_anything(answer, lambda one: SLURM.parse_limits([good(CONFIG), one, good(NODES), one]))
    check_anything(answer, lambda one: SLURM.parse_limits([one, good(PARTITIONS), one, one]))


# ---- answers of a real Slurm -----------------------------------------------------------------------------------------


@with_samples
def test_every_recorded_job_is_understood() -> None:
    """What sacct and squeue printed for each state, in our columns, under our name."""
    folder = SAMPLES / "slurm"
    read = 0
    for path in sorted(folder.glob("*.sacct.parsable2.txt")):
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = dict(zip(header.split("|"), line.split("|"), strict=True))
            if "." in row["JobID"] or path.name.startswith("sacct_all"):
                continue
            stamps = [_stamp(row[column]) for column in ("Submit", "Start", "End")]
            ours = "|".join([row["JobID"], row["State"], row["ExitCode"], *stamps, row["NodeList"], NAME])
            (job,) = SLURM.parse_accounting(good(f"{ours}\n"))
            assert job.phase is not Phase.UNKNOWN, path.name
            read += 1
    for path in sorted(folder.glob("*.squeue*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = line.split("|")
            if len(fields) < 9:
                continue
            job = queue_line(fields[1], fields[2])
            assert job.phase is not Phase.UNKNOWN, path.name
            read += 1
    assert read > 20


@with_samples
def test_recorded_limits_are_understood() -> None:
    folder = SAMPLES / "slurm"
    config = (folder / "scontrol_config.txt").read_bytes() + b"\n"
    partitions = (folder / "scontrol_partition.txt").read_bytes() + b"\n"
    limits = SLURM.parse_limits([good(config), good(partitions), good(NODES), good("|\n")])
    assert (limits.version, limits.width_max, limits.has_accounting) == ("22.05.8", 10001, True)
    assert [partition.name for partition in limits.partitions] == ["debug", "small"]
    assert [partition.walltime_s for partition in limits.partitions] == [86400, 1800]


@with_samples
def test_every_recorded_file_is_survived() -> None:
    for path in sorted((SAMPLES / "slurm").iterdir()):
        content = path.read_bytes()[:200_000]
        for answer in (good(content), Completed(1, b"", content)):
            check_anything(answer, SLURM.parse_queue, SLURM.parse_accounting, SLURM.parse_submit)


def _stamp(text: str) -> str:
    try:
        return str(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()))
    except ValueError:
        return text
