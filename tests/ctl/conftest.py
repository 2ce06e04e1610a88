"""A scripted daemon for the commands, and two ways to run them: in this process and as a user does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.control.reported import HPC, MERGED, REPORT

from penstock.control import messages
from penstock.control.messages import AnyItem, WorkflowStatus
from penstock.ctl.main import main
from penstock.domain.log_line import LogLine
from penstock.domain.properties import PropertyResult
from penstock.domain.views import (
    AnalysisInfo,
    AttemptInfo,
    ClusterInfo,
    CompletionInfo,
    ConclusionInfo,
    EventInfo,
    ExecutionInfo,
    ExecutionStepInfo,
    FigureInfo,
    Finding,
    ImportRemark,
    JobInfo,
    QueuedJobInfo,
    RejectedInfo,
    Statistic,
    WorkflowInfo,
)
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

EVIL = "evil \x1b[31mred\x07\nforged line\u202e"
INFO = WorkflowInfo(
    id="g2",
    recipe="campaign",
    state="running",
    directory="/w/.penstock/g2",
    mode="isolated",
    cluster="local",
    engine="tblite",
    slots=2,
    priority=0,
    jobs=40,
    statuses={"ready": 0, "running": 9, "completed": 30, "failed": 1},
    states={"running": 9, "completed": 30, "failed": 1},
    rejected=1,
    ingesting=False,
    reason=None,
    created_at=1_700_000_000.0,
    updated_at=1_700_000_100.0,
)
JOB = JobInfo(
    id=7,
    orig_index=6,
    name=EVIL,
    elements="O;H",
    natoms=3,
    status="failed",
    state="failed",
    charge=0,
    spin=1,
    attempts=2,
    never_rerun=False,
    job_dir="/w/.penstock/g2/jobs/7",
    max_forces=0.00123,
    scf_steps=9,
    final_energy=-5.0701234567,
    wall_time_s=61.0,
    failure="walltime",
    error_message=EVIL,
    created_at="2026-01-01T00:00:00+00:00",
    updated_at="2026-01-01T00:00:00+00:00",
)
EVENT = EventInfo("g2", 3, 1_700_000_000.0, "job_failed", 7, EVIL, {"a": 1})
ATTEMPT = AttemptInfo(1, "failed", "01ARZ3", "/w/1", "walltime", EVIL, 1, None, 1.0, 2.0, 4.5)
STATISTIC = Statistic(30, 1.5, 1.25, 1.0, 2.0)
STEP = messages.StepPlan("calculate", "fan", "tblite", 40, (), True, {"run.inp": EVIL}, ("tblite", "run"))
REJECTED = RejectedInfo(3, 17, EVIL)
CHANGED = messages.Changed(2, 1, "one is marked never-rerun")
LEFT = messages.LeftAlone(3, "truncated", EVIL)
CLUSTER = ClusterInfo("local", "local", "up", None, 4, 2, 8000, 2000, 2, 38)


TABLE_COLUMNS = ("material", "natoms", "SP", "SP.energy_hartree", "SP.band_gap_ev", "SP.band_gap_kind")


RESULTS = messages.Results(
    *("g2", "elastic", "failed", EVIL),
    (PropertyResult("bulk_modulus_vrh", EVIL, 140.6, EVIL, 0.13, {EVIL: EVIL}, EVIL, (EVIL,)),),
    1,
    (ConclusionInfo("elastic", EVIL, EVIL, (EVIL,), (FigureInfo("k", EVIL, EVIL, EVIL),), 1, "2026-01-01"),),
    *(1, {"bulk_modulus_vrh": 1}, (AnalysisInfo("elastic", 2, 1, 1),), 0),
)
EXECUTION = ExecutionInfo("a-1", EVIL, EVIL, EVIL, EVIL, EVIL, None, None, None, EVIL, {EVIL: EVIL}, 0, 5)
ANSWERS: dict[type[messages.Request[Any]], messages.AnyReply] = {
    messages.Submit: messages.Accepted("g2", "/w/.penstock/g2"),
    messages.Plan: messages.Planned(None, (STEP,), 40, (REJECTED,), 1, 40.0, 40),
    messages.ListWorkflows: messages.Workflows((INFO, msgspec.structs.replace(INFO, id="gold"))),
    messages.GetStatus: WorkflowStatus(
        *(INFO, (JOB,), (REJECTED,)), analyses=RESULTS.analyses, failed_analyses=RESULTS.conclusions
    ),
    messages.ListJobs: messages.Jobs((JOB,), 9),
    messages.GetJob: messages.JobDetail(
        *(JOB, f"3\n{EVIL}", None, (ATTEMPT,), {"dipole": [1.0, 2.0]}, ("out",), (EVENT,)),
        made_from=3,
        label={EVIL: EVIL},
    ),
    messages.Summarize: messages.Summary(INFO, {"walltime": 1}, *[STATISTIC] * 4),
    messages.Tabulate: messages.Table(INFO, TABLE_COLUMNS, ((EVIL, 2, "completed", -76.5, 5.5, "direct"),), 40),
    messages.ListResults: RESULTS,
    messages.WriteResults: messages.Exported("/w/out.csv", 30, "properties"),
    messages.WriteReport: messages.ReportWritten("/w/r.html", 1, (EVIL,), (EVIL,)),
    messages.Explain: messages.Why(JOB, EVIL, (EVIL,), (EVENT,)),
    messages.ListClusters: messages.Clusters((CLUSTER, msgspec.structs.replace(HPC, reason=EVIL, connected=False))),
    messages.ReportCluster: messages.ClusterReported(REPORT),
    messages.Resolve: CHANGED,
    messages.GetSettings: messages.Settings((messages.SettingInfo("slots", 1, "built-in"),)),
    messages.SetWorkflow: WorkflowStatus(INFO, (), ()),
    messages.RepeatCompletion: WorkflowStatus(
        INFO, (), (), None, (CompletionInfo(1, "export csv", "failed", EVIL, 1_700_000_100.0),)
    ),
    messages.Export: messages.Exported("/w/out.csv", 30),
    messages.Merge: messages.Merged(MERGED),
    messages.Backup: messages.BackupWritten("/w/b.db", 8192, ("g2", EVIL), 30),
    messages.Pause: CHANGED,
    messages.Resume: CHANGED,
    messages.Cancel: CHANGED,
    messages.Retry: CHANGED,
    messages.Mark: CHANGED,
    messages.Rescan: messages.Reviewed(9, 6, 0, {"truncated": 2, "active": 1}, (LEFT,)),
    messages.RecomputeMetrics: messages.Reviewed(9, 7, 2, {}, ()),
    messages.ResetMissing: messages.Reviewed(9, 0, 9, {}, (LEFT,) * 12),
    messages.SetJob: messages.JobDetail(JOB, "3\n", None, (), {}, (), ()),
    messages.Import: messages.Imported(
        *("old", "/w/.penstock/old", "architector", {"jobs": 2}, {"jobs": 1}, {f"{EVIL} -> held": 1}, {"held": 1}),
        *({EVIL: 1}, (ImportRemark("jobs", EVIL, EVIL, EVIL, left_out=True),), INFO),
    ),
    messages.ListExecutions: messages.Executions((EXECUTION,), 42),
    messages.GetExecution: messages.ExecutionDetail(
        EXECUTION,
        (ExecutionStepInfo("s", 0, EVIL, EVIL, {EVIL: EVIL}, "failed", None, None, EVIL, None),),
        (QueuedJobInfo("q", 1, EVIL, None, None, None, None, None, None),),
    ),
}


def _answer(reply: messages.AnyReply, _: messages.Request[Any]) -> messages.AnyReply:
    return reply


@pytest.fixture
def script() -> Script:
    script = Script()
    script.answers |= {request: partial(_answer, reply) for request, reply in ANSWERS.items()}

    async def events(_: messages.Watch) -> AsyncGenerator[AnyItem]:
        yield EVENT
        yield messages.Lagged(12)

    async def logs(_: messages.Logs) -> AsyncGenerator[AnyItem]:
        yield messages.LogChunk("out", b"first \x1b[31m\n\xc3")
        yield messages.LogChunk("out", b"\xa4\n")
        yield messages.LogChunk("err", b"second\n")

    async def log(_: messages.ReadLog) -> AsyncGenerator[AnyItem]:
        yield LogLine(8, 1_700_000_000.5, "info", EVIL, {"job": 7, "workflow": "g2", "exception": f"no\n{EVIL}"})
        yield messages.Lagged(3)

    async def findings(_: messages.CheckCluster) -> AsyncGenerator[AnyItem]:
        yield Finding("connecting", ok=True, detail=EVIL)

    script.streams |= {messages.Watch: events, messages.Logs: logs, messages.CheckCluster: findings}
    script.streams[messages.ReadLog] = log
    return script


@pytest.fixture
def daemon(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    work = tmp_path / "work"
    work.mkdir()
    (work / "spec.toml").write_text('recipe = "campaign"\n')
    monkeypatch.chdir(work)
    with ScriptedDaemon(tmp_path / "s" / "penstockd.sock", script) as daemon:
        monkeypatch.setenv("PENSTOCK_SOCKET", str(daemon.path))
        yield daemon


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ran]:
    """Run a command in this process, as if its output went into a pipe."""

    def run(*argv: str) -> Ran:
        code = main(argv)
        out, err = capsysbinary.readouterr()
        return Ran(code, out.decode(), err.decode())

    return run


def command(*argv: str) -> list[str]:
    """The command line that a process of its own runs."""
    return [sys.executable, "-W", "error", "-m", "penstock.ctl.main", *argv]


@pytest.fixture
def spawn_open() -> Callable[..., subprocess.Popen[str]]:
    """Start a command as a process with pipes."""

    def spawn_open(*argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(command(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return spawn_open


@pytest.fixture
def workflow_in() -> Callable[[str], WorkflowStatus]:
    """The status of a workflow in a given state."""
    return lambda state: WorkflowStatus(msgspec.structs.replace(INFO, state=state), (), ())
