"""Both clients against a scripted daemon: the same verbs, the same requests, the same errors."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.control.reported import FINDING, MERGED, REPORT

from penstock.control import messages
from penstock.control.aio import AsyncClient
from penstock.control.client import Client
from penstock.control.framing import encode
from penstock.control.messages import AnyItem, Fail, Pong, Watch, Welcome, WorkflowStatus
from penstock.control.session import error_of, fail_of, retry_delays_s
from penstock.domain import errors
from penstock.domain.log_line import LogLine
from penstock.domain.properties import PropertyResult
from penstock.domain.revision import SpecChange
from penstock.domain.settings import Layer
from penstock.domain.states import Resolution
from penstock.domain.views import (
    AnalysisInfo,
    ArchiveInfo,
    ConclusionInfo,
    EventInfo,
    ExecutionInfo,
    FigureInfo,
    Filter,
    Finding,
    JobInfo,
    OnConflict,
    Selection,
    Statistic,
    SweepInfo,
    SweepPointInfo,
    WorkflowInfo,
)
from penstock.testing.scripted_daemon import ScriptedDaemon

FAILED = Selection((1, 2), ("failed",), (Filter("natoms", ">", "50"),))
LAYERS = (Layer("environment", {"slots": 2}),)
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
    jobs=3,
    statuses={"completed": 3},
    states={"completed": 3},
    rejected=0,
    ingesting=False,
    reason=None,
    created_at=1.0,
    updated_at=2.0,
)
JOB = JobInfo(
    id=1,
    orig_index=0,
    name="H2O",
    elements="O;H",
    natoms=3,
    status="completed",
    state="completed",
    charge=0,
    spin=1,
    attempts=1,
    never_rerun=False,
    job_dir=None,
    max_forces=None,
    scf_steps=9,
    final_energy=-5.07,
    wall_time_s=0.1,
    failure=None,
    error_message=None,
    created_at="",
    updated_at="",
)
NOTHING = Statistic(0, None, None, None, None)
STATUS = WorkflowStatus(INFO, (), ())
ARCHIVED = messages.Archived(
    ArchiveInfo("/a/g2.tar.zst", "g2", "/w", 10, "0", 3, "completed", 2, 1.0, 2.0), deleted=True
)
SWEEP = messages.SweepStatus(
    SweepInfo("s", ("slots",), 1, {"running": 1}, complete=True, created_at=1.0),
    (SweepPointInfo(1, "s-001", {"slots": 2}, "running", 0, {}),),
)
CHANGED = messages.Changed(2, 1, "note")
DETAIL = messages.JobDetail(JOB, "3\n", None, (), {"a": [1.0]}, ("f",), ())
REVIEWED = messages.Reviewed(9, 7, 1, {"truncated": 1}, (messages.LeftAlone(3, "truncated", "jobs/0000/3/1: cut"),))
EXECUTION = ExecutionInfo("a", None, None, None, None, "failed", None, None, None, None, None, None, 0)
RESULTS = messages.Results(
    *("g2", "elastic", "completed", None),
    (PropertyResult("p", "Cu", [[1.5, 2.0]], "GPa", None, {"pressure_gpa": 0.0, "species": "Cu"}, "m", ("1.1",)),),
    1,
    (ConclusionInfo("elastic", "Cu", None, ("n",), (FigureInfo("k", "n", "t", "c"),), 1, "2026-01-01"),),
    *(1, {"p": 1}, (AnalysisInfo("elastic", 1, 1, 0),), 0),
)
VERBS: dict[str, tuple[tuple[Any, ...], dict[str, Any], messages.AnyRequest, messages.AnyReply]] = {
    "ping": ((), {}, messages.Ping(), Pong(1, "x", 0.5)),
    "submit": (
        ("t", "/f", "/w"),
        {"layers": LAYERS},
        messages.Submit("t", "/f", "/w", LAYERS),
        messages.Accepted("a", "/a"),
    ),
    "plan": (("t", "/f", "/w"), {}, messages.Plan("t", "/f", "/w"), messages.Planned(None, (), 0, (), 0, 0.0)),
    "list_workflows": ((), {"state": "running"}, messages.ListWorkflows("running"), messages.Workflows((INFO,))),
    "status": (("g2",), {}, messages.GetStatus("g2"), STATUS),
    "jobs": (("g2", FAILED), {"limit": 5}, messages.ListJobs("g2", FAILED, 5), messages.Jobs((JOB,), 9)),
    "job": (("g2", 1), {}, messages.GetJob("g2", 1), DETAIL),
    "pause": (("g2",), {}, messages.Pause("g2"), CHANGED),
    "resume": (("g2", FAILED), {}, messages.Resume("g2", FAILED), CHANGED),
    "cancel": (("g2",), {"selection": FAILED}, messages.Cancel("g2", FAILED), CHANGED),
    "retry": (("g2", FAILED), {}, messages.Retry("g2", FAILED), CHANGED),
    "mark": (("g2", FAILED), {"never_rerun": True}, messages.Mark("g2", FAILED, never_rerun=True), CHANGED),
    "resolve": (("g2", FAILED, Resolution.LOST), {}, messages.Resolve("g2", FAILED, Resolution.LOST), CHANGED),
    "rescan": (("g2", FAILED), {}, messages.Rescan("g2", FAILED), REVIEWED),
    "recompute_metrics": (("g2",), {}, messages.RecomputeMetrics("g2"), REVIEWED),
    "reset_missing": (("g2",), {"selection": FAILED}, messages.ResetMissing("g2", FAILED), REVIEWED),
    "set_job": (
        ("g2", 1, "completed"),
        {"energy_hartree": -5.5},
        messages.SetJob("g2", 1, "completed", energy_hartree=-5.5),
        DETAIL,
    ),
    "set": (("g2",), {"slots": 4}, messages.SetWorkflow("g2", slots=4), STATUS),
    "repeat_completion": (("g2",), {"position": 2}, messages.RepeatCompletion("g2", 2), STATUS),
    "adopt": (
        ("/d",),
        {"cluster": "hpc"},
        messages.Adopt("/d", cluster="hpc"),
        messages.Accepted("g2", "/d"),
    ),
    "archive": (("g2", "/a"), {"delete": True}, messages.Archive("g2", "/a", delete=True), ARCHIVED),
    "archives": ((), {}, messages.ListArchives(), messages.Archives((ARCHIVED.archive,))),
    "restore": (
        ("/a",),
        {"id": "b"},
        messages.Restore("/a", id="b"),
        messages.Restored("b", "/d", "completed", 2, 3, ()),
    ),
    "delete": (("g2",), {}, messages.Delete("g2"), messages.Deleted("g2", "/d")),
    "usage": ((), {}, messages.MeasureUsage(), messages.Usage(())),
    "clean": (("g2",), {"dry_run": True}, messages.Clean("g2", dry_run=True), messages.Cleaned(1, 2, 3, dry_run=True)),
    "retention": ((), {"apply": True}, messages.ReviewRetention(apply=True), messages.Retention(())),
    "submit_sweep": (
        ("[sweep]", "/f", "/w"),
        {"dry_run": True},
        messages.SubmitSweep("[sweep]", "/f", "/w", dry_run=True),
        SWEEP,
    ),
    "sweeps": ((), {}, messages.ListSweeps(), messages.Sweeps((SWEEP.sweep,))),
    "sweep": (("s",), {}, messages.GetSweep("s"), SWEEP),
    "revise": (
        ("g2", {"slots": 3}),
        {"dry_run": True},
        messages.Revise("g2", {"slots": 3}, dry_run=True),
        messages.Revised((SpecChange("slots", 1, 3),), 2, 0, dry_run=True),
    ),
    "summary": (
        ("g2",),
        {},
        messages.Summarize("g2"),
        messages.Summary(INFO, {"walltime": 1}, NOTHING, NOTHING, NOTHING, NOTHING),
    ),
    "table": (("g2",), {"limit": 5}, messages.Tabulate("g2", 5), messages.Table(INFO, ("material",), (("a",),), 1)),
    "results": (
        ("g2", ("elastic_tensor",)),
        {"order": "-value", "conclusions_offset": 3},
        messages.ListResults("g2", ("elastic_tensor",), order="-value", conclusions_offset=3),
        RESULTS,
    ),
    "write_results": (
        ("g2", "/r.csv", ("p",)),
        {"overwrite": True},
        messages.WriteResults("g2", "/r.csv", ("p",), overwrite=True),
        messages.Exported("/r.csv", 3, "properties"),
    ),
    "report": (
        ("g2",),
        {"figures": "/f"},
        messages.WriteReport("g2", figures="/f"),
        messages.ReportWritten("/r.html", 2, ("/f/a.svg",), ()),
    ),
    "export": (
        ("g2", "csv"),
        {"overwrite": True},
        messages.Export("g2", "csv", overwrite=True),
        messages.Exported("/e", 3),
    ),
    "merge": (
        ("g2",),
        {"on_conflict": OnConflict.KEEP, "dry_run": True},
        messages.Merge("g2", on_conflict=OnConflict.KEEP, dry_run=True),
        messages.Merged(MERGED),
    ),
    "backup": (
        ("g2",),
        {"path": "/b"},
        messages.Backup("g2", "/b"),
        messages.BackupWritten("/b", 8192, ("g2", "gold"), 3),
    ),
    "why": (("g2", 1), {}, messages.Explain("g2", 1), messages.Why(JOB, "because", ("a", "b"), ())),
    "clusters": ((), {}, messages.ListClusters(), messages.Clusters(())),
    "report_cluster": (("hpc",), {}, messages.ReportCluster("hpc"), messages.ClusterReported(REPORT)),
    "settings": ((LAYERS,), {}, messages.GetSettings(LAYERS), messages.Settings(())),
    "import_databases": (
        (("/old.db",), "/w"),
        {"dry_run": True},
        messages.Import(("/old.db",), "/w", dry_run=True),
        messages.Imported("old", None, "crystal", {}, {}, {}, {}, {}, (), None),
    ),
    "executions": (
        ("g2", ("failed",)),
        {"limit": 5},
        messages.ListExecutions("g2", ("failed",), None, 5),
        messages.Executions((), 0),
    ),
    "execution": (("g2", "a"), {}, messages.GetExecution("g2", "a"), messages.ExecutionDetail(EXECUTION, (), ())),
    "spec": (("g2",), {}, messages.GetSpec("g2"), messages.StoredSpec("g2", {"recipe": "campaign"})),
    "locks": (("g2",), {}, messages.ListLocks("g2"), messages.LockList(())),
    "release_lock": (
        ("laser", "g2/x"),
        {"force": True},
        messages.ReleaseLock("laser", "g2/x", force=True),
        messages.LockReleased("laser", "g2/x", 1),
    ),
}


def test_both_clients_have_the_same_verbs_with_the_same_arguments() -> None:
    def verbs(client: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(m).parameters) for name, m in methods if not name.startswith("_")}

    ours, theirs = verbs(Client), verbs(AsyncClient)
    ours["aclose"] = ours.pop("close")
    assert ours == theirs
    assert {*VERBS, "watch", "logs", "log", "check_cluster", "wait", "call", "stream", "aclose"} == set(ours)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_sends_its_request_and_returns_its_reply(
    verb: str, daemon: ScriptedDaemon, anyio_backend: object
) -> None:
    args, kwargs, request, reply = VERBS[verb]
    daemon.script.answers[type(request)] = lambda _: reply
    with Client(daemon.path) as client:
        assert getattr(client, verb)(*args, **kwargs) == reply
    async with AsyncClient(daemon.path) as aclient:
        assert await getattr(aclient, verb)(*args, **kwargs) == reply
    assert daemon.script.seen == [request, request]
    assert [peer.uid for peer in daemon.script.peers] == [os.getuid()] * 2


@pytest.mark.parametrize(
    "error",
    [
        errors.SpecError("unknown key", file="/a.toml", line=8, key="retry.x"),
        errors.NotFoundError("no workflow 'x'"),
        errors.ConflictError("ended"),
        errors.BusyError("later"),
        errors.ClusterError("down", transient=True),
        errors.StoreError("full", healable=True),
        errors.ForbiddenError("no"),
        errors.VersionError("old"),
        errors.ProtocolError("what"),
        errors.InternalError("log"),
        errors.UnreachableError("gone"),
    ],
    ids=lambda error: error.code,
)
def test_an_error_keeps_its_class_code_and_place_over_the_wire(error: errors.PenstockError) -> None:
    back = error_of(fail_of(3, error))
    assert type(back) is type(error)
    assert back.code == error.code
    assert str(back) == str(error)


def test_an_error_of_a_newer_daemon_keeps_its_code() -> None:
    error = error_of(Fail(1, "quota", "too much"))
    assert (error.code, str(error)) == ("quota", "too much")


def test_a_number_no_database_can_hold_is_refused_by_the_daemon(daemon: ScriptedDaemon) -> None:
    with Client(daemon.path) as client:
        with pytest.raises(errors.SpecError, match="9223372036854775808 is too large"):
            client.job("x", 2**63)
        with pytest.raises(errors.SpecError, match="9223372036854775808 is too large"):
            list(client.logs("x", 2**63))
        with pytest.raises(errors.ProtocolError, match="more than 64 bits"):
            client.job("x", 2**64)
        assert client.ping().version == "9"
    assert daemon.script.seen == [messages.Ping()]


def test_the_connection_outlives_a_failed_call(daemon: ScriptedDaemon) -> None:
    with Client(daemon.path) as client:
        with pytest.raises(errors.NotFoundError, match="nothing is scripted for GetStatus"):
            client.status("x")
        assert client.ping().version == "9"


@pytest.mark.parametrize("timeout_s", [None, 60.0])
def test_a_connection_is_used_again(timeout_s: float | None, daemon: ScriptedDaemon) -> None:
    with Client(daemon.path, timeout_s=timeout_s) as client:
        client.ping()
        first = client._connection
        client.ping()
        assert client._connection is first


def test_a_late_answer_is_not_taken_for_that_of_the_next_call(daemon: ScriptedDaemon) -> None:
    finish = threading.Event()

    async def slow(_: messages.GetStatus) -> WorkflowStatus:
        await anyio.to_thread.run_sync(finish.wait)
        return STATUS

    daemon.script.answers[messages.GetStatus] = slow
    with Client(daemon.path, timeout_s=0.05) as client:
        with pytest.raises(errors.UnreachableError, match="timed out"):
            client.status("g2")
        client._timeout_s = 60
        finish.set()
        assert client.ping().version == "9"


def test_one_client_serves_many_threads(daemon: ScriptedDaemon) -> None:
    daemon.script.answers[messages.GetStatus] = lambda request: WorkflowStatus(with_state(request.id), (), ())
    wrong: list[str] = []

    def ask(client: Client, name: str) -> None:
        wrong.extend(name for _ in range(50) if client.status(name).workflow.state != name)

    with Client(daemon.path) as client:
        threads = [threading.Thread(target=ask, args=(client, f"w{n}")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(daemon.script.seen) == 200


async def test_async_calls_run_side_by_side_and_a_cancelled_one_harms_no_other(
    daemon: ScriptedDaemon, anyio_backend: object
) -> None:
    async def answer(request: messages.GetStatus) -> WorkflowStatus:
        if request.id == "slow":
            await anyio.sleep_forever()
        return WorkflowStatus(with_state(request.id), (), ())

    async def ask(name: str) -> None:
        assert (await client.status(name)).workflow.state == name

    daemon.script.answers[messages.GetStatus] = answer
    async with AsyncClient(daemon.path) as client, anyio.create_task_group() as tasks:
        slow = anyio.CancelScope()

        async def hang() -> None:
            with slow:
                await client.status("slow")

        tasks.start_soon(hang)
        async with anyio.create_task_group() as others:
            for number in range(40):
                others.start_soon(ask, f"w{number}")
        slow.cancel()
    async with AsyncClient(daemon.path) as client:
        await ask("again")


# ---- streams ------------------------------------------------------------------------------------------------------


async def test_streams_give_what_the_daemon_sends_and_raise_what_it_fails_with(
    daemon: ScriptedDaemon, anyio_backend: object
) -> None:
    async def events(request: Watch) -> AsyncGenerator[AnyItem]:
        yield event(request.since or 0)
        if request.id == "gone":
            raise errors.NotFoundError("no such workflow")

    async def text(request: messages.Logs) -> AsyncGenerator[AnyItem]:
        yield messages.LogChunk("out", f"{request.id} {request.job} {request.tail_bytes}".encode())

    async def findings(request: messages.CheckCluster) -> AsyncGenerator[AnyItem]:
        yield FINDING
        yield Finding(request.name, ok=True)

    async def lines(request: messages.ReadLog) -> AsyncGenerator[AnyItem]:
        yield LogLine(3, 1000.5, "info", "said", {"asked": msgspec.structs.asdict(request)})

    daemon.script.streams |= {Watch: events, messages.Logs: text, messages.CheckCluster: findings}
    daemon.script.streams[messages.ReadLog] = lines
    client, aclient = Client(daemon.path), AsyncClient(daemon.path)
    assert list(client.watch("g2", since=5, until_end=True)) == [event(5)]
    async with aclient.watch("g2", since=5, until_end=True) as stream:
        assert [item async for item in stream] == [event(5)]
    assert daemon.script.seen == [Watch("g2", 5, until_end=True)] * 2
    assert [chunk.data for chunk in client.logs("g2", 1, tail_bytes=9)] == [b"g2 1 9"]
    async with aclient.logs("g2", 1, tail_bytes=9) as chunks:
        assert [chunk.data async for chunk in chunks] == [b"g2 1 9"]
    wish: dict[str, Any] = {
        "lines": 5,
        "follow": True,
        "level": "info",
        "job": 3,
        "cluster": "hpc",
        "since": 2.5,
        "after": 9,
    }
    said = LogLine(3, 1000.5, "info", "said", {"asked": {"id": "g2", **wish}})
    assert list(client.log("g2", **wish)) == [said]
    async with aclient.log("g2", **wish) as heard:
        assert [line async for line in heard] == [said]
    assert list(client.check_cluster("hpc")) == [FINDING, Finding("hpc", ok=True)]
    async with aclient.check_cluster("hpc") as found:
        assert [finding async for finding in found] == [FINDING, Finding("hpc", ok=True)]
    with pytest.raises(errors.NotFoundError, match="no such workflow"):
        list(client.watch("gone"))
    with pytest.raises(errors.NotFoundError, match="no such workflow"):
        async with aclient.watch("gone") as stream:
            [item async for item in stream]


def test_leaving_a_stream_ends_it_in_the_daemon_and_calls_go_on_meanwhile(daemon: ScriptedDaemon) -> None:
    ended = threading.Event()

    async def forever(_: Watch) -> AsyncGenerator[AnyItem]:
        try:
            yield event(1)
            await anyio.sleep_forever()
        finally:
            ended.set()

    daemon.script.streams[Watch] = forever
    with Client(daemon.path) as client:
        stream = client.watch()
        assert next(stream) == event(1)
        assert client.ping().version == "9"
        stream.close()
        assert ended.wait(20)


# ---- a daemon that is not there, or goes away -----------------------------------------------------------------------


def nothing_there(path: Path) -> None:
    assert not path.exists()


def stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("prepare", [nothing_there, stale_socket])
async def test_without_a_daemon_the_error_says_what_to_do(
    prepare: Callable[[Path], None], tmp_path: Path, anyio_backend: object
) -> None:
    path = tmp_path / "p.sock"
    prepare(path)
    said = r"no daemon answers on .*p.sock \(.*\); start penstockd, or set PENSTOCK_SOCKET / --socket"
    with pytest.raises(errors.UnreachableError, match=said):
        Client(path).ping()
    with pytest.raises(errors.UnreachableError, match=said):
        await AsyncClient(path).ping()


def test_a_daemon_that_says_nothing_is_not_waited_for_beyond_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(errors.UnreachableError, match="timed out"):
            Client(path, timeout_s=0.01).ping()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (encode(Fail(0, "forbidden", "not you")), errors.ForbiddenError, "not you"),
        (encode(Fail(0, "version", "the daemon is older")), errors.VersionError, "older"),
        (encode(Welcome(99, "9.9", 1)), errors.VersionError, "99"),
        (encode(messages.Done(1)), errors.ProtocolError, "Done"),
        (b"HTTP/1.1 400 Bad Request\r\n", errors.ProtocolError, "Penstock"),
        (b"", errors.UnreachableError, "closed the connection"),
        (
            encode(Welcome(1, "x", 1)) + encode(messages.Reply(1, messages.Done())),
            errors.ProtocolError,
            "Reply of Done",
        ),
        (encode(Welcome(1, "x", 1)) + encode(messages.Reply(7, Pong(1, "x", 0))), errors.ProtocolError, "to call 7"),
        (encode(Welcome(1, "x", 1)), errors.UnreachableError, "look with `penstockctl status` before repeating"),
    ],
)
async def test_a_strange_or_refusing_daemon_gives_a_typed_error(
    answer: bytes, error: type[errors.PenstockError], said: str, tmp_path: Path, anyio_backend: object
) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_twice() -> None:
            for _ in range(2):
                connection, _address = listener.accept()
                with connection:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=answer_twice)
        thread.start()
        with Client(path) as client, pytest.raises(error, match=said):
            client.ping()
        async with AsyncClient(path) as aclient:
            with pytest.raises(error, match=said):
                await aclient.ping()
        thread.join()


def test_a_client_finds_the_daemon_again_after_a_restart(daemon: ScriptedDaemon) -> None:
    with Client(daemon.path) as client:
        client.ping()
        daemon.stop()
        with pytest.raises(errors.UnreachableError):
            client.ping()
        daemon.start()
        assert client.ping().version == "9"


async def test_an_idle_connection_that_a_restart_has_ended_is_not_used(
    daemon: ScriptedDaemon, anyio_backend: object
) -> None:
    def restart() -> None:
        daemon.stop()
        daemon.start()

    with Client(daemon.path) as client:
        async with AsyncClient(daemon.path) as aclient:
            client.ping()
            await aclient.ping()
            await anyio.to_thread.run_sync(restart)
            assert client.ping().version == "9"
            assert (await aclient.ping()).version == "9"


async def test_a_client_that_is_closed_as_its_task_is_cancelled_leaves_no_connection(
    daemon: ScriptedDaemon, anyio_backend: object
) -> None:
    with anyio.CancelScope() as scope:
        async with AsyncClient(daemon.path) as client:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(client.ping)
            assert len(client._idle) > 1
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert client._idle == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_wait_outlives_a_restart_of_the_daemon(kind: str, daemon: ScriptedDaemon) -> None:
    watching = threading.Event()
    state = "running"

    async def events(_: Watch) -> AsyncGenerator[AnyItem]:
        yield event(1)
        watching.set()
        if state == "running":
            await anyio.sleep_forever()

    daemon.script.streams[Watch] = events
    daemon.script.answers[messages.GetStatus] = lambda _: WorkflowStatus(with_state(state), (), ())
    result: list[WorkflowStatus] = []

    async def wait() -> WorkflowStatus:
        async with AsyncClient(daemon.path) as client:
            return await client.wait("g2")

    def run() -> None:
        if kind == "async":
            result.append(anyio.run(wait))
        else:
            with Client(daemon.path) as client:
                result.append(client.wait("g2"))

    thread = threading.Thread(target=run)
    thread.start()
    assert watching.wait(20)
    daemon.stop()
    state = "completed"
    daemon.start()
    thread.join(20)
    assert [status.workflow.state for status in result] == ["completed"]


async def test_wait_is_patient_anew_after_every_sign_of_life(daemon: ScriptedDaemon, anyio_backend: object) -> None:
    async def ends_early(_: Watch) -> AsyncGenerator[AnyItem]:
        return
        yield

    daemon.script.streams[Watch] = ends_early
    looks = iter((["running"] * 4 + ["completed"]) * 2)
    daemon.script.answers[messages.GetStatus] = lambda _: WorkflowStatus(with_state(next(looks)), (), ())
    with Client(daemon.path) as client:
        assert client.wait("g2", patience_s=0.06).workflow.state == "completed"
    async with AsyncClient(daemon.path) as aclient:
        assert (await aclient.wait("g2", patience_s=0.06)).workflow.state == "completed"
    assert next(looks, None) is None


async def test_wait_gives_up_when_the_daemon_stays_away(tmp_path: Path, anyio_backend: object) -> None:
    with pytest.raises(errors.UnreachableError):
        Client(tmp_path / "no.sock").wait("g2", patience_s=0.06)
    with pytest.raises(errors.UnreachableError):
        await AsyncClient(tmp_path / "no.sock").wait("g2", patience_s=0.06)


def test_retries_come_slower_and_end() -> None:
    delays = list(retry_delays_s(20))
    assert delays == sorted(delays)
    assert max(delays) == 2.0
    assert 20 <= sum(delays) < 22


def test_the_blocking_client_imports_no_event_loop() -> None:
    code = (
        "import sys, penstock.control.client; print([m for m in ('asyncio', 'anyio', 'structlog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def with_state(state: str) -> WorkflowInfo:

    return msgspec.structs.replace(INFO, state=state)


def event(number: int) -> EventInfo:
    return EventInfo("g2", number, 0.0, "job_completed", 1, "text")
