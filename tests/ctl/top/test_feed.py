"""Talking with the daemon: what is asked when, and what is made of silence, errors and restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
from tests.ctl.top.conftest import INTERVAL_S, Heard
from tests.ctl.top.seen import DETAIL, EVENT, JOBS, WORKFLOWS

from penstock.control import messages
from penstock.control.aio import AsyncClient
from penstock.control.messages import AnyItem, LogChunk
from penstock.ctl.top.alarm import Alarm
from penstock.ctl.top.feed import Feed
from penstock.ctl.top.picture import (
    Acted,
    Action,
    Clustered,
    Explained,
    Found,
    Gone,
    Logged,
    Looked,
    Lost,
    OneCluster,
    OneJob,
    Page,
    Paged,
    Refused,
    Reported,
    Slow,
    Trouble,
)
from penstock.domain.errors import ConflictError, NotFoundError, SpecError
from penstock.domain.views import Selection
from penstock.testing.scripted_daemon import Script, ScriptedDaemon

PAGE = Page("oxides", Selection(), "failure", 0, 16)
JOB = OneJob("oxides", 7)


@asynccontextmanager
async def feeding(daemon: ScriptedDaemon, interval_s: float = INTERVAL_S) -> AsyncIterator[tuple[Feed, Heard]]:
    heard = Heard()
    feed = Feed(AsyncClient(daemon.path), heard, interval_s)
    async with anyio.create_task_group() as group:
        group.start_soon(feed.run)
        yield feed, heard
        group.cancel_scope.cancel()


def is_a(kind: type) -> Any:
    return lambda news: isinstance(news, kind)


async def test_workflows_clusters_and_what_failed_before_are_told_first(daemon: ScriptedDaemon) -> None:
    async with feeding(daemon) as (_, heard):
        assert (await heard.until(is_a(Looked))).workflows == WORKFLOWS
        looked = await heard.until(lambda news: isinstance(news, Looked) and news.failures)
        assert [(failure.workflow, failure.job, failure.failure) for failure in looked.failures] == [
            ("oxides", 7, "walltime")
        ]
        assert (await heard.until(is_a(Clustered))).clusters


async def test_what_happens_rings_for_a_look(
    daemon: ScriptedDaemon, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.ctl.top.feed._IDLE", 1e9)
    looks = 0
    has_looked = anyio.Event()

    def look(_: messages.ListWorkflows) -> messages.Workflows:
        nonlocal looks
        looks += 1
        if looks == 2:  # the last that comes without a ring: watching has begun
            has_looked.set()
        return messages.Workflows(WORKFLOWS[1:] if looks < 3 else WORKFLOWS)

    async def watch(_: messages.Watch) -> AsyncGenerator[AnyItem]:
        await has_looked.wait()
        yield msgspec.structs.replace(EVENT, data={"failure": "disk", "message": "full"})
        await anyio.sleep_forever()

    script.answers[messages.ListWorkflows] = look
    script.streams[messages.Watch] = watch
    async with feeding(daemon) as (_, heard):
        await heard.until(lambda news: isinstance(news, Looked) and news.workflows == WORKFLOWS)
    failures = [failure for news in heard.all if isinstance(news, Looked) for failure in news.failures]
    assert [(failure.failure, failure.message) for failure in failures] == [("disk", "full")]


async def test_one_request_is_out_for_a_purpose_at_a_time(daemon: ScriptedDaemon, script: Script) -> None:
    out: Counter[type[messages.Request[Any]]] = Counter()
    most: Counter[type[messages.Request[Any]]] = Counter()

    def slowly(kind: type[messages.Request[Any]]) -> None:
        answer = script.answers[kind]

        async def answered(request: Any) -> Any:
            out[kind] += 1
            most[kind] = max(most[kind], out[kind])
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.01)
            out[kind] -= 1
            return answer(request)

        script.answers[kind] = answered

    for kind in (messages.ListWorkflows, messages.ListClusters, messages.ListJobs):
        slowly(kind)
    async with feeding(daemon, 0.001) as (feed, heard):
        for offset in range(20):
            feed.look_at(msgspec.structs.replace(PAGE, offset=offset))
            await heard.until(is_a(Looked))
        await heard.until(lambda news: isinstance(news, Paged) and news.page.offset == 19)
    assert set(most.values()) == {1}
    assert len(most) == 3


def test_the_pause_grows_with_the_time_that_an_answer_takes(daemon: ScriptedDaemon) -> None:
    feed = Feed(AsyncClient(daemon.path), Heard(), 2.0)
    assert [feed._pause_s(took) for took in (0.0, 0.1, 0.5, 3.0, 100.0)] == [2.0, 2.0, 5.0, 30.0, 60.0]
    assert Feed(AsyncClient(daemon.path), Heard(), 300.0)._pause_s(100.0) == 300.0


async def test_a_ring_ends_a_pause_that_was_long_enough_and_hurry_ends_any() -> None:
    alarm = Alarm()
    alarm.hurry()
    await alarm.pause(1e6, 1e6)
    alarm.ring()
    await alarm.pause(0, 1e6)
    await alarm.pause(0, 0)
    async with anyio.create_task_group() as group:
        group.start_soon(alarm.pause, 0, 1e6)
        await anyio.wait_all_tasks_blocked()
        alarm.ring()
    with anyio.move_on_after(0.05) as scope:
        alarm.ring()
        await alarm.pause(1e6, 1e6)
    assert scope.cancelled_caught


async def test_a_restart_of_the_daemon_is_told_and_everything_is_asked_anew(
    daemon: ScriptedDaemon, script: Script
) -> None:
    async with feeding(daemon) as (feed, heard):
        feed.look_at(PAGE)
        await heard.until(is_a(Paged))
        await anyio.to_thread.run_sync(daemon.stop)
        lost = await heard.until(is_a(Lost))
        assert lost.why == ""
        script.answers[messages.ListJobs] = lambda _: messages.Jobs((), 0)
        await anyio.to_thread.run_sync(daemon.start)
        await heard.until(is_a(Found))
        assert (await heard.until(is_a(Paged))).total in (0, len(JOBS))
        await heard.until(lambda news: isinstance(news, Paged) and news.total == 0)
        await heard.until(is_a(Looked))
        assert not [news for news in heard.news if isinstance(news, Lost)]


async def test_what_is_gone_is_told_and_asked_for_again(daemon: ScriptedDaemon, script: Script) -> None:
    def gone(_: Any) -> messages.Jobs:
        raise NotFoundError("no workflow 'oxides'")

    script.answers[messages.ListJobs] = gone
    async with feeding(daemon) as (feed, heard):
        feed.look_at(PAGE)
        assert await heard.until(is_a(Gone)) == Gone(PAGE, "no workflow 'oxides'")


async def test_an_error_to_a_question_is_told_and_no_end(daemon: ScriptedDaemon, script: Script) -> None:
    def wrong(_: Any) -> messages.Jobs:
        raise SpecError("no column 'x'")

    script.answers[messages.ListJobs] = wrong
    async with feeding(daemon) as (feed, heard):
        feed.look_at(PAGE)
        assert await heard.until(is_a(Trouble)) == Trouble("no column 'x'")
        await heard.until(is_a(Looked))


async def test_a_cluster_without_a_scheduler_has_no_report(daemon: ScriptedDaemon) -> None:
    async with feeding(daemon) as (feed, heard):
        feed.look_at(OneCluster("local"))
        assert await heard.until(is_a(Reported)) == Reported(OneCluster("local"), None)


async def test_an_action_is_carried_out_or_refused(daemon: ScriptedDaemon, script: Script) -> None:
    action = Action(messages.Pause("oxides"), "pausing", "paused")

    def refuse(_: Any) -> messages.Changed:
        raise ConflictError("it has ended")

    async with feeding(daemon) as (feed, heard):
        await feed.act(action)
        assert (await heard.until(is_a(Acted))).reply.changed == 2
        script.answers[messages.Pause] = refuse
        await feed.act(action)
        assert await heard.until(is_a(Refused)) == Refused(action, "it has ended")
    assert script.seen.count(messages.Pause("oxides")) == 2


async def test_the_log_of_a_job_is_told_whole_characters_at_a_time(daemon: ScriptedDaemon, script: Script) -> None:
    async with feeding(daemon) as (feed, heard):
        feed.look_at(JOB)
        assert (await heard.until(is_a(Explained))).detail == DETAIL
        text = ""
        while "\n" not in text[6:]:
            logged = await heard.until(is_a(Logged))
            assert logged.attempt == DETAIL.job.attempts
            text = logged.text if logged.fresh else text + logged.text
        assert text == "begin\nfinishäd\n"
        await heard.until(is_a(Explained))
        await heard.until(is_a(Explained))
    asked = [request for request in script.seen if isinstance(request, messages.Logs)]
    assert asked == [messages.Logs("oxides", 7, 3, follow=True, tail_bytes=16_384)]


async def test_another_attempt_has_another_log(daemon: ScriptedDaemon, script: Script) -> None:
    ended: list[int] = []

    async def logs(request: messages.Logs) -> AsyncGenerator[AnyItem]:
        assert request.attempt is not None
        yield LogChunk("stderr", b"attempt %d\n" % request.attempt)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(request.attempt)

    script.streams[messages.Logs] = logs
    async with feeding(daemon) as (feed, heard):
        feed.look_at(JOB)
        await heard.until(lambda news: isinstance(news, Logged) and "attempt 3" in news.text)
        newer = msgspec.structs.replace(DETAIL, job=msgspec.structs.replace(DETAIL.job, attempts=4))
        script.answers[messages.GetJob] = lambda _: newer
        logged = await heard.until(lambda news: isinstance(news, Logged) and "attempt 4" in news.text)
        assert logged.text.startswith("==> stderr <==\n")
        feed.look_at(msgspec.structs.replace(JOB, attempt=1))
        await heard.until(lambda news: isinstance(news, Logged) and "attempt 1" in news.text)
        feed.look_at(None)
        await heard.until(is_a(Clustered))


async def test_a_log_that_is_not_there_yet_is_asked_for_again(daemon: ScriptedDaemon, script: Script) -> None:
    tries = 0

    async def logs(_: messages.Logs) -> AsyncGenerator[AnyItem]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise NotFoundError("job 7 has no attempt 3 yet")
        yield LogChunk("stdout", b"now\n")

    script.streams[messages.Logs] = logs
    async with feeding(daemon) as (feed, heard):
        feed.look_at(JOB)
        await heard.until(lambda news: isinstance(news, Logged) and news.text == "now\n")


@pytest.mark.parametrize("busy", [True, False])
async def test_an_answer_that_is_late_is_told(daemon: ScriptedDaemon, busy: bool) -> None:
    heard = Heard()
    feed = Feed(AsyncClient(daemon.path), heard, 1.0)
    feed._say_slow(1)
    if busy:
        feed._say_slow(1)
    feed._say_slow(-1)
    assert heard.news == [Slow(waiting=waiting) for waiting in ([True, True, True] if busy else [True, False])]
