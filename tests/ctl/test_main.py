"""Every command: what it asks of the daemon, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from penstock.control import messages
from penstock.control.messages import AnyItem
from penstock.domain import errors
from penstock.domain.settings import Layer
from penstock.domain.states import Resolution
from penstock.domain.views import Filter, OnConflict, Selection, Statistic, WorkflowInfo
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

Status = Callable[[str], messages.WorkflowStatus]
COMMANDS: list[tuple[str, messages.AnyRequest]] = [
    ("list", messages.ListWorkflows()),
    ("list --state failed", messages.ListWorkflows("failed")),
    ("status", messages.ListWorkflows()),
    ("status g2", messages.GetStatus("g2")),
    ("jobs g2", messages.ListJobs("g2")),
    ("jobs g2 --offset 2", messages.ListJobs("g2", offset=2)),
    (
        "jobs g2 --job 1,5,7-9 --job 5 --status failed,timeout --state held --filter natoms>50 --limit 5 --order -id",
        messages.ListJobs(
            "g2",
            Selection((1, 5, 7, 8, 9), ("failed", "timeout", "held"), (Filter("natoms", ">", "50"),)),
            5,
            0,
            "-id",
        ),
    ),
    ("show g2 7", messages.GetJob("g2", 7)),
    ("show g2 7 --geometry", messages.GetJob("g2", 7)),
    ("summary g2", messages.Summarize("g2")),
    ("table g2 --limit 5", messages.Tabulate("g2", 5)),
    ("why g2 7", messages.Explain("g2", 7)),
    ("why g2", messages.GetStatus("g2")),
    ("pause g2", messages.Pause("g2")),
    ("pause g2 --job 3", messages.Pause("g2", Selection((3,)))),
    ("resume g2", messages.Resume("g2")),
    ("cancel g2", messages.Cancel("g2")),
    ("cancel g2 --status running", messages.Cancel("g2", Selection(statuses=("running",)))),
    ("retry g2", messages.Retry("g2", Selection(statuses=("failed", "timeout")))),
    ("retry g2 --filter name~water", messages.Retry("g2", Selection(filters=(Filter("name", "~", "water"),)))),
    ("mark g2 --job 1 --never-rerun", messages.Mark("g2", Selection((1,)), never_rerun=True)),
    ("mark g2 --job 1 --clear", messages.Mark("g2", Selection((1,)), never_rerun=False)),
    ("rescan g2", messages.Rescan("g2")),
    ("rescan g2 --status failed", messages.Rescan("g2", Selection((), ("failed",)))),
    ("recompute-metrics g2 --job 1-2", messages.RecomputeMetrics("g2", Selection((1, 2)))),
    ("reset-missing g2", messages.ResetMissing("g2")),
    ("set-job g2 --job 7 --status failed --reason x", messages.SetJob("g2", 7, "failed", reason="x")),
    ("set-job g2 --job 7 --energy -1.5", messages.SetJob("g2", 7, energy_hartree=-1.5)),
    ("set g2 --slots 4 --priority -1", messages.SetWorkflow("g2", 4, -1)),
    ("on-complete g2 --retry", messages.RepeatCompletion("g2")),
    ("on-complete g2 --again 2", messages.RepeatCompletion("g2", 2)),
    ("results g2", messages.ListResults("g2")),
    (
        "results g2 --name a --name b --subject Cu --order -value --limit 5 --offset 2",
        messages.ListResults("g2", ("a", "b"), "Cu", 5, 2, "-value"),
    ),
    ("results g2 -o /r/a.csv --name a --overwrite", messages.WriteResults("g2", "/r/a.csv", ("a",), overwrite=True)),
    ("report g2", messages.WriteReport("g2")),
    ("report g2 -o /r.html --figures /f --overwrite", messages.WriteReport("g2", "/r.html", "/f", overwrite=True)),
    ("export g2 --to csv", messages.Export("g2", "csv")),
    ("export g2 --to ase --overwrite --job 4", messages.Export("g2", "ase", None, Selection((4,)), overwrite=True)),
    ("backup g2", messages.Backup("g2")),
    ("merge g2", messages.Merge("g2")),
    (
        "merge g2 --into /w/o.db --on-conflict both --dry-run",
        messages.Merge("g2", "/w/o.db", OnConflict.BOTH, dry_run=True),
    ),
    ("backup g2 -o /w/b.db --overwrite", messages.Backup("g2", "/w/b.db", overwrite=True)),
    ("resolve g2 --job 7 --as not-run", messages.Resolve("g2", Selection((7,)), Resolution.NOT_RUN)),
    ("resolve g2 --state in_doubt --as lost -y", messages.Resolve("g2", Selection((), ("in_doubt",)), Resolution.LOST)),
    ("import /old.db", messages.Import(("/old.db",), "HERE")),
    (
        "import /a.db /b.db --id old --kind protocol --running ready --moved /d --dry-run",
        messages.Import(("/a.db", "/b.db"), "HERE", "old", "protocol", "ready", "/d", dry_run=True),
    ),
    ("executions g2", messages.ListExecutions("g2")),
    (
        "executions g2 --status failed --search x --limit 5 --offset 2",
        messages.ListExecutions("g2", ("failed",), "x", 5, 2),
    ),
    ("execution g2 a-1", messages.GetExecution("g2", "a-1")),
    ("clusters", messages.ListClusters()),
    ("clusters local", messages.ListClusters()),
    ("clusters hpc", messages.ListClusters()),
    ("clusters hpc --report", messages.ReportCluster("hpc")),
    ("cluster check hpc", messages.CheckCluster("hpc")),
    ("config", messages.GetSettings()),
    ("ping", messages.Ping()),
    ("watch", messages.Watch()),
    ("watch g2 --since 3 --until-end", messages.Watch("g2", 3, until_end=True)),
    ("log", messages.ReadLog()),
    (
        "log g2 -n 5 --level info --job 7 --cluster hpc",
        messages.ReadLog("g2", 5, level="info", job=7, cluster="hpc"),
    ),
    ("logs g2 7", messages.Logs("g2", 7)),
    ("logs g2 7 -f --attempt 2 --tail 100", messages.Logs("g2", 7, 2, follow=True, tail_bytes=100)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "request_"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_command_asks_the_daemon_and_prints_plain_text(
    line: str, request_: messages.AnyRequest, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run(*line.split())
    assert ran.code == 0, ran.err
    if isinstance(request_, messages.Import):
        request_ = msgspec.structs.replace(request_, work_root=str(Path.cwd()))
    assert daemon.script.seen == [request_]
    assert ran.out
    if not line.startswith("logs "):
        assert not set(ran.out + ran.err) & {"\x1b", "\x07", "\u202e"}
        assert "--geometry" in line or "\nforged" not in ran.out  # a geometry is a block of lines


@pytest.mark.parametrize(
    "line",
    [line for line, _ in COMMANDS] + ["submit spec.toml", "submit spec.toml --dry-run", "version", "top", "top g2"],
)
def test_every_command_answers_in_json(line: str, daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run(*line.split(), "--json")
    assert ran.code == 0, ran.err
    documents = [json.loads(text) for text in ran.out.splitlines()]
    assert documents
    assert all(isinstance(document, dict) and "type" not in document for document in documents)
    assert ran.err == ""


def test_json_has_every_field_defaults_included(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    document = json.loads(run("status", "g2", "--json").out)
    assert set(document) == set(messages.WorkflowStatus.__struct_fields__)
    assert set(document["workflow"]) == set(WorkflowInfo.__struct_fields__)
    assert document["workflow"]["reason"] is None
    detail = json.loads(run("show", "g2", "7", "--json").out)
    assert detail["properties"] == {"dipole": [1.0, 2.0]}
    assert detail["events"][0]["data"] == {"a": 1}


def test_streams_are_one_json_object_on_a_line(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    events = [json.loads(line) for line in run("watch", "--json").out.splitlines()]
    assert [event.get("kind") for event in events] == ["job_failed", None]
    assert events[1] == {"dropped": 12}
    chunks = [json.loads(line) for line in run("logs", "g2", "7", "--json").out.splitlines()]
    assert chunks == [
        {"name": "out", "data": "first \x1b[31m\n"},
        {"name": "out", "data": "ä\n"},
        {"name": "err", "data": "second\n"},
    ]


def test_logs_reach_a_pipe_byte_for_byte(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert run("logs", "g2", "7").out == "first \x1b[31m\nä\n==> err <==\nsecond\n"


def test_the_status_says_what_a_person_wants_to_know(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    out = run("status", "g2").out
    assert "g2\n" in out
    assert "40 (running 9, completed 30, failed 1)" in out
    assert "line 17: evil \\x1b[31mred\\x07\\nforged line\\u202e" in out


def test_the_summary_has_shares_bars_and_statistics(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    lines = run("summary", "g2").out.splitlines()
    assert any(line.split() == ["completed", "30", "75.0", "%", "#" * 22] for line in lines)
    assert any(line.split() == ["failed", "1", "2.5", "%", "#"] for line in lines)
    assert any(
        line.split() == ["energy/Eh", "30", "1.50000000", "1.25000000", "1.00000000", "2.00000000"] for line in lines
    )


def test_a_page_after_the_last_says_how_many_jobs_there_are(
    daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    script.answers[messages.ListJobs] = lambda _: messages.Jobs((), 9)
    assert run("jobs", "g2", "--offset", "9223372036854775807").err == "there are 9 jobs, and none on this page\n"


def test_wide_tables_are_not_cut_in_a_pipe(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    page = script.answers[messages.ListJobs](None)
    long = msgspec.structs.replace(page.jobs[0], name="n" * 500)
    script.answers[messages.ListJobs] = lambda _: messages.Jobs((long,), 1)
    assert "n" * 500 in run("jobs", "g2").out


def test_a_narrow_terminal_gets_every_digit(daemon: ScriptedDaemon, script: Script) -> None:
    [job] = script.answers[messages.ListJobs](None).jobs
    page = tuple(
        msgspec.structs.replace(job, id=id, name=f"a rather long name of molecule {id}", final_energy=-1234.56789012)
        for id in range(100_001, 100_017)
    )
    script.answers[messages.ListJobs] = lambda _: messages.Jobs(page, len(page))
    text = on_a_terminal("jobs", "g2", COLUMNS="80")
    for shown in page:
        assert f"{shown.id}  {shown.name} " in text
    assert text.count("-1234.56789012") == len(page)
    assert "─" not in text


def test_a_summary_on_a_narrow_terminal_has_every_digit(daemon: ScriptedDaemon, script: Script) -> None:
    reply = script.answers[messages.Summarize](None)
    large = Statistic(1_234_567, -12345.12345678, -22345.12345678, -32345.12345678, -42345.12345678)
    script.answers[messages.Summarize] = lambda _: msgspec.structs.replace(reply, energy_hartree=large)
    text = on_a_terminal("summary", "g2", COLUMNS="80")
    for number in ("1234567", "-12345.12345678", "-22345.12345678", "-32345.12345678", "-42345.12345678"):
        assert number in text
    assert "─" in text  # the table of statuses fits


def test_a_table_that_fits_by_folding_its_names_is_folded(daemon: ScriptedDaemon, script: Script) -> None:
    [job] = script.answers[messages.ListJobs](None).jobs
    script.answers[messages.ListJobs] = lambda _: messages.Jobs((msgspec.structs.replace(job, name="n" * 500),), 1)
    text = on_a_terminal("jobs", "g2", NO_COLOR="1")
    assert "─" in text
    assert text.count("n" * 10) < 50
    assert "-5.07012346" in text


# ---- submit -------------------------------------------------------------------------------------------------------


def test_submit_sends_text_absolute_paths_and_the_layers_it_finds(
    daemon: ScriptedDaemon, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    (here / ".penstock.toml").write_text("[retry]\nmax_attempts = 4\n")
    monkeypatch.setenv("PENSTOCK_SLOTS", "3")
    options = ["--id", "mine", "--cluster", "c", "--slots", "5", "--priority", "2"]
    ran = run("submit", "spec.toml", *options)
    assert ran == (0, "accepted g2 in /w/.penstock/g2\n", "")
    layers = (
        Layer(str(here / ".penstock.toml"), {"retry": {"max_attempts": 4}}),
        Layer("environment", {"slots": 3}),
        Layer("command line", {"id": "mine", "cluster": "c", "slots": 5, "priority": 2}),
    )
    assert daemon.script.seen == [messages.Submit('recipe = "campaign"\n', str(here / "spec.toml"), str(here), layers)]


def test_a_dry_run_plans_and_submits_nothing(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    ran = run("submit", "spec.toml", "--dry-run")
    assert ran.code == 0
    assert [type(request) for request in daemon.script.seen] == [messages.Plan]
    assert "nothing was submitted" in ran.out
    assert "40 structures: 40 jobs, at most 40.0 core hours, 1 records rejected" in ran.out
    assert "first job's run.inp:\n    evil \\x1b[31mred\\x07\n    forged line\\u202e" in ran.out


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1), ("faulted", 1)])
def test_submit_wait_ends_as_the_workflow_does(
    state: str, code: int, daemon: ScriptedDaemon, script: Script, run: Callable[..., Any], workflow_in: Status
) -> None:
    looks = iter(["running", state])
    script.answers[messages.GetStatus] = lambda _: workflow_in(next(looks))
    ran = run("submit", "spec.toml", "--wait")
    assert ran.code == code
    first, *_, last = ran.out.splitlines()
    assert first == "accepted g2 in /w/.penstock/g2"
    assert last == f"g2 {state}, 31 of 40 jobs ended, running 9, completed 30, failed 1"


def test_submit_wait_in_json_prints_one_status_at_the_end(
    daemon: ScriptedDaemon, script: Script, run: Callable[..., Any], workflow_in: Status
) -> None:
    script.answers[messages.GetStatus] = lambda _: workflow_in("failed")
    ran = run("submit", "spec.toml", "--wait", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["workflow"]["state"] == "failed"


def test_submit_wait_outlives_a_restart_of_the_daemon(
    daemon: ScriptedDaemon, script: Script, spawn_open: Any, workflow_in: Status
) -> None:
    looked = threading.Event()

    def look(_: messages.GetStatus) -> messages.WorkflowStatus:
        looked.set()
        return workflow_in("running")

    script.answers[messages.GetStatus] = look
    with spawn_open("submit", "spec.toml", "--wait") as process:
        assert looked.wait(30)
        daemon.stop()
        script.answers[messages.GetStatus] = lambda _: workflow_in("completed")
        daemon.start()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1].startswith("g2 completed")


def test_interrupting_the_wait_leaves_the_workflow_running_and_says_how_to_look_again(
    daemon: ScriptedDaemon, script: Script, spawn_open: Any, workflow_in: Status
) -> None:
    looked = threading.Event()

    def look(_: messages.GetStatus) -> messages.WorkflowStatus:
        looked.set()
        return workflow_in("running")

    script.answers[messages.GetStatus] = look
    with spawn_open("submit", "spec.toml", "--wait") as process:
        assert looked.wait(30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "workflow g2 goes on without us; look again with: penstockctl status g2\n"
    assert {type(request) for request in script.seen} == {messages.Submit, messages.GetStatus}


# ---- errors and exit codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("jobs", "Missing argument 'ID'"),
        ("show 7", "give a workflow's ID and a JOB number"),
        ("show g2 seven", "'seven' is not a job number"),
        ("jobs g2 --job 9-7", "the range 9-7 runs backwards"),
        ("jobs g2 --job 1,x", "'x' is neither a job number nor a range"),
        ("jobs g2 --job 1-9999999", "more than 1000000 jobs"),
        ("jobs g2 --status done", "'done' is not one of ready, running"),
        ("jobs g2 --state done", "'done' is not one of ready, held"),
        ("jobs g2 --filter natoms", "'natoms' is no condition"),
        ("mark g2 --never-rerun", "say which jobs"),
        ("set-job g2 --job 1 --reason x", "give --status, --energy"),
        ("mark g2 --job 1", "say --never-rerun or --clear"),
        ("set g2", "give --slots or --priority"),
        ("top g2 --interval 0", "0.0 is not in the range"),
        ("watch --since 3", "need a workflow's ID"),
        ("submit spec.toml --wait --dry-run", "exclude each other"),
        ("export g2 --to xls", "'xls' is not one of"),
        ("xyzzy", "no such command 'xyzzy'; there are submit, list"),
        ("sumbit spec.toml", "no such command 'sumbit'; did you mean 'submit'?"),
        ("export g2 --to csv -o -", "an export is a file"),
        ("show g2 9223372036854775808", "9223372036854775808 is too large for a job number"),
        ("logs g2 " + "9" * 5000, "a number of 5000 digits is too large"),
        ("logs g2 7 --attempt 99999999999999999999999", "99999999999999999999999 is not in the range"),
        ("logs g2 7 --tail " + "9" * 5000, "a number of 5000 characters is too large"),
        ("jobs g2 --offset 9223372036854775808", "is not in the range"),
        ("jobs g2 --limit 10001", "is not in the range"),
        ("watch g2 --since 9223372036854775808", "is not in the range"),
        ("set g2 --slots 9223372036854775808", "is not in the range"),
        ("set g2 --priority -" + "9" * 5000, "too large"),
        ("submit spec.toml --slots 9223372036854775808", "is not in the range"),
    ],
)
def test_wrong_use_is_2_and_asks_nothing_of_the_daemon(
    line: str, said: str, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    ran = run(*line.split())
    assert ran.code == 2
    assert said in ran.err
    assert ran.out == ""
    assert daemon.script.seen == []
    document = json.loads(run(*line.split(), "--json").err)
    assert document["error"]["code"] == "usage"
    assert said in document["error"]["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFoundError("no workflow 'g2'"), 2),
        (errors.ConflictError("it has ended"), 2),
        (errors.BusyError("later"), 3),
        (errors.StoreError("disk full", healable=True), 1),
        (errors.ClusterError("down", transient=True), 1),
        (RuntimeError("bug"), 1),
    ],
)
def test_the_daemons_errors_have_exit_codes(
    error: Exception, code: int, daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]
) -> None:
    def fail(_: messages.GetStatus) -> messages.WorkflowStatus:
        raise error

    script.answers[messages.GetStatus] = fail
    ran = run("status", "g2")
    assert ran.code == code
    assert ran.err.startswith("penstockctl: ")
    assert ran.err.count("\n") == 1


def test_a_wrong_spec_is_shown_as_compilers_do(daemon: ScriptedDaemon, script: Script, run: Callable[..., Any]) -> None:
    def fail(request: messages.Submit) -> messages.Accepted:
        raise errors.SpecError("unknown key 'x\x1b'", file=request.file, line=8, key="retry.x")

    script.answers[messages.Submit] = fail
    ran = run("submit", "spec.toml")
    assert ran == (2, "", "penstockctl: spec.toml:8: retry.x: unknown key 'x\\x1b'\n")
    ran = run("submit", "spec.toml", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert json.loads(ran.err) == {
        "error": {
            "code": "spec",
            "message": "unknown key 'x\x1b'",
            "file": str(Path.cwd() / "spec.toml"),
            "line": 8,
            "key": "retry.x",
        }
    }


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda _: None, "spec2.toml: cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "spec2.toml: cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"a = '\xff'"), "spec2.toml: not UTF-8 text (byte 5)"),
    ],
)
def test_a_spec_that_cannot_be_read_is_wrong_use(
    prepare: Callable[[Path], Any], said: str, daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    prepare(Path.cwd() / "spec2.toml")
    assert run("submit", "spec2.toml") == (2, "", f"penstockctl: {said}\n")


def test_wrong_local_settings_are_found_before_the_daemon_is_asked(
    daemon: ScriptedDaemon, run: Callable[..., Any]
) -> None:
    (Path.cwd() / ".penstock.toml").write_text("\nslotz = 4\n")
    expected = "penstockctl: .penstock.toml:2: slotz: unknown key 'slotz'; did you mean 'slots'?\n"
    assert run("submit", "spec.toml") == (2, "", expected)
    assert run("config") == (2, "", expected)
    assert daemon.script.seen == []


def test_without_a_daemon_the_exit_code_is_3_and_the_remedy_is_told(tmp_path: Path, run: Callable[..., Any]) -> None:
    missing = str(tmp_path / "none.sock")
    ran = run("status", "g2", "--socket", missing)
    assert ran.code == 3
    assert "start penstockd, or set PENSTOCK_SOCKET / --socket" in ran.err
    ran = run("--socket", missing, "ping", "--json")
    assert ran.code == 3
    assert json.loads(ran.err)["error"]["code"] == "unreachable"


def test_ping_can_wait_for_the_daemon(tmp_path: Path, script: Script, spawn_open: Any) -> None:
    path = tmp_path / "late.sock"
    with spawn_open("ping", "--wait", "60", "--socket", str(path)) as process, ScriptedDaemon(path, script):
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "penstockd 9, pid 1, up for 1.5 s\n"


def test_a_job_of_a_workflow_need_not_name_it(
    daemon: ScriptedDaemon, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_WORKFLOW_ID", "mine")
    for line in ("status", "pause", "why 7", "why g2 7"):
        assert run(*line.split()).code == 0
    assert daemon.script.seen == [
        messages.GetStatus("mine"),
        messages.Pause("mine"),
        messages.Explain("mine", 7),
        messages.Explain("g2", 7),
    ]


# ---- as a process -------------------------------------------------------------------------------------------------


def test_a_reader_that_has_enough_ends_the_command_quietly(
    daemon: ScriptedDaemon, script: Script, spawn_open: Any
) -> None:
    async def endless(request: messages.Watch) -> AsyncGenerator[AnyItem]:
        while True:
            async for item in first(request):
                yield item
            await anyio.lowlevel.checkpoint()

    first = script.streams[messages.Watch]
    script.streams[messages.Watch] = endless
    with spawn_open("watch") as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_interrupting_a_stream_is_130(daemon: ScriptedDaemon, script: Script, spawn_open: Any) -> None:
    async def events(request: messages.Watch) -> AsyncGenerator[AnyItem]:
        async for item in first(request):
            yield item
        await anyio.sleep_forever()

    first = script.streams[messages.Watch]
    script.streams[messages.Watch] = events
    with spawn_open("watch") as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_an_interrupt_while_the_program_is_loading_is_130() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "import penstock.ctl.main\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_working_directory_that_is_gone_is_said(
    daemon: ScriptedDaemon, tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = "the working directory is gone; change into one that exists"
    assert run("config") == (1, "", f"penstockctl: {said}\n")
    ran = run("submit", "spec.toml", "--json")
    assert ran.code == 1
    assert json.loads(ran.err)["error"] == {"code": "system", "message": said, "file": None, "line": None, "key": None}


def test_output_that_cannot_be_written_is_said_in_json(daemon: ScriptedDaemon) -> None:
    command = [sys.executable, "-m", "penstock.ctl.main", "version", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "system"
    assert "No space left on device" in error["message"]


def test_files_of_an_editor_that_marks_utf8_are_read(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    Path("spec.toml").write_text('id = "g2"\n', encoding="utf-8-sig")
    Path(".penstock.toml").write_text("slots = 3\n", encoding="utf-8-sig")
    assert run("submit", "spec.toml").code == 0
    [request] = daemon.script.seen
    assert isinstance(request, messages.Submit)
    assert request.text == 'id = "g2"\n'
    assert request.layers[0].values == {"slots": 3}


def test_the_status_command_imports_no_event_loop_and_no_table_library(daemon: ScriptedDaemon) -> None:
    code = (
        "import sys; from penstock.ctl.main import main; code = main(['status', 'g2']);"
        "print(code, [m for m in ('asyncio', 'anyio', 'rich', 'structlog', 'numpy', 'ase') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_terminal_gets_a_table_and_no_raw_control_characters(daemon: ScriptedDaemon) -> None:
    text = on_a_terminal("jobs", "g2")
    assert "─" in text
    assert "\x1b[31mfailed" in text  # our own colour
    assert "\x1b[31mred" not in text  # not one from a file
    assert "\x07" not in text
    plain = on_a_terminal("jobs", "g2", NO_COLOR="1")
    assert "\x1b" not in plain
    assert "─" in plain


def test_a_terminal_gets_a_progress_bar(daemon: ScriptedDaemon, script: Script, workflow_in: Status) -> None:
    looks = iter(["running", "completed"])
    script.answers[messages.GetStatus] = lambda _: workflow_in(next(looks))
    text = on_a_terminal("submit", "spec.toml", "--wait")
    assert "━" in text
    assert "31/40" in text
    assert "completed 30" in text


def test_logs_on_a_terminal_are_defused(daemon: ScriptedDaemon) -> None:
    text = on_a_terminal("logs", "g2", "7").replace("\r\n", "\n")
    assert text == "==> out <==\nfirst \\x1b[31m\nä\n==> err <==\nsecond\n"


@pytest.mark.parametrize(("answer", "asked"), [(b"n\n", []), (b"y\n", [messages.Cancel("g2")])])
def test_cancelling_a_whole_workflow_on_a_terminal_asks_first(
    answer: bytes, asked: list[messages.AnyRequest], daemon: ScriptedDaemon
) -> None:
    text = on_a_terminal("cancel", "g2", typed=answer)
    assert "Cancel the whole workflow g2" in text
    assert daemon.script.seen == asked


RESOLVED = messages.Resolve("g2", Selection((7,)), Resolution.LOST)


@pytest.mark.parametrize(("answer", "asked"), [(b"n\n", []), (b"y\n", [RESOLVED])])
def test_resolving_on_a_terminal_says_what_it_means_and_asks_first(
    answer: bytes, asked: list[messages.AnyRequest], daemon: ScriptedDaemon
) -> None:
    text = on_a_terminal("resolve", "g2", "--job", "7", "--as", "lost", typed=answer)
    assert "what still runs would run twice" in text
    assert "Is that what became of these jobs of g2?" in text
    assert daemon.script.seen == asked


def test_resolving_needs_jobs_and_a_fate(daemon: ScriptedDaemon, run: Callable[..., Any]) -> None:
    assert "say which jobs" in run("resolve", "g2", "--as", "lost").err
    assert "--as" in run("resolve", "g2", "--job", "7").err
    assert "not-run" in run("resolve", "g2", "--job", "7", "--as", "done").err
    assert daemon.script.seen == []


def test_the_status_shows_jobs_in_doubt_and_what_to_do(
    daemon: ScriptedDaemon, script: Script, workflow_in: Status, run: Callable[..., Any]
) -> None:
    assert "in doubt" not in run("status", "g2").out
    status = workflow_in("running")
    doubtful = msgspec.structs.replace(status.workflow, states={"in_doubt": 3})
    script.answers[messages.GetStatus] = lambda _: msgspec.structs.replace(status, workflow=doubtful)
    out = run("status", "g2").out
    assert "3, being looked into; which: penstockctl jobs g2 --state in_doubt" in out
    assert "penstockctl resolve g2 --job JOB --as lost|not-run|ended" in out


def test_cancelling_with_yes_asks_nothing(daemon: ScriptedDaemon) -> None:
    assert "?" not in on_a_terminal("cancel", "g2", "-y")
    assert daemon.script.seen == [messages.Cancel("g2")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_us_back(shell: str, run: Callable[..., Any]) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert f"_PENSTOCKCTL_COMPLETE={shell}_complete" in ran.out


def completed_words(line: str) -> list[str]:
    environment = os.environ | {
        "_PENSTOCKCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "penstock.ctl.main"], check=False, capture_output=True, text=True, env=environment
    )
    assert done.stderr == ""
    return [text.partition(",")[2] for text in done.stdout.split()]


def test_commands_and_workflows_complete(daemon: ScriptedDaemon) -> None:
    assert completed_words("penstockctl st") == ["status"]
    assert completed_words("penstockctl status g") == ["g2", "gold"]
    assert completed_words("penstockctl why go") == ["gold"]
    assert completed_words("penstockctl top go") == ["gold"]


def test_statuses_states_and_columns_complete(daemon: ScriptedDaemon) -> None:
    assert completed_words("penstockctl jobs g2 --status co") == ["completed"]
    assert completed_words("penstockctl jobs g2 --status failed,ti") == ["failed,timeout"]
    assert completed_words("penstockctl jobs g2 --state he") == ["held"]
    assert completed_words("penstockctl jobs g2 --order na") == ["name", "natoms"]


def test_completion_is_silent_without_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SOCKET", str(tmp_path / "none.sock"))
    assert completed_words("penstockctl status g") == []


def on_a_terminal(*argv: str, typed: bytes = b"", **environment: str) -> str:
    """What the command writes to a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.ctl.main", *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    os.write(ours, typed)
    written = b""
    with suppress(OSError):  # EIO is a terminal's end of file
        while data := os.read(ours, 65536):
            written += data
    os.close(ours)
    process.wait(60)
    return written.decode()
