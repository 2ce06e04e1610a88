"""What is said of a daemon that answers, of one that does not, and of its workflows."""

from __future__ import annotations

import msgspec
import pytest
from tests.ctl.conftest import INFO

from penstock.control.client import Client
from penstock.control.messages import Pong
from penstock.ctl.doctor.contact import (
    Contact,
    judge_contact,
    judge_service,
    judge_workflows,
    make_contact,
    numbers,
)
from penstock.ctl.doctor.process import Process
from penstock.domain.errors import ForbiddenError, PenstockError, UnreachableError, VersionError
from penstock.domain.pause import PAUSED_BY_REQUEST
from penstock.domain.silence import silent_reason
from penstock.testing.scripted_daemon import ScriptedDaemon

PONG = Pong(7, "1.2.0", 60.0, "built-in", 1.0)
SEEN = Contact(PONG, (0.001, 0.002, 5.0))
UNREACHABLE = UnreachableError("no daemon answers on /s (Connection refused); start penstockd")


def test_a_daemon_that_answers(daemon: ScriptedDaemon) -> None:
    with Client(timeout_s=5.0) as client:
        seen = make_contact(client)
    assert seen.error is None
    assert seen.pong == Pong(1, "9", 1.5)
    assert len(seen.latencies_s) == 5
    assert [workflow.id for workflow in seen.workflows] == ["g2", "gold"]
    assert [cluster.name for cluster in seen.clusters] == ["local", "hpc"]


def test_nobody_answers(daemon: ScriptedDaemon) -> None:
    daemon.stop()
    with Client(timeout_s=5.0) as client:
        assert isinstance(make_contact(client).error, UnreachableError)


def test_speed_is_that_of_most_answers() -> None:
    speed, version = judge_contact(SEEN, "1.2.0", holder=7, unit="")
    assert (speed.level, version.level) == ("ok", "ok")
    assert speed.detail == "penstockd 1.2.0, pid 7, up for 1m 00s, answers in 0.002 s"
    slow, _ = judge_contact(msgspec.structs.replace(SEEN, latencies_s=(0.4, 0.5, 0.1)), "1.2.0", holder=7, unit="")
    assert slow.level == "warning"


@pytest.mark.parametrize(
    ("ours", "said"), [("1.10.0", "restart the daemon"), ("1.1.9", "upgrade this client"), ("1.2.0rc1", "upgrade")]
)
def test_versions_that_differ(ours: str, said: str) -> None:
    _, version = judge_contact(SEEN, ours, holder=7, unit="")
    assert version.level == "warning"
    assert said in version.remedy


def test_another_daemon_than_the_one_of_the_state_directory() -> None:
    *_, finding = judge_contact(SEEN, "1.2.0", holder=8, unit="")
    assert (finding.level, finding.what) == ("warning", "which daemon")


@pytest.mark.parametrize(
    ("error", "holder", "unit", "level", "said"),
    [
        (UNREACHABLE, None, "", "warning", "start it: penstockd"),
        (UNREACHABLE, None, "--user start penstockd", "warning", "start it: systemctl --user start penstockd"),
        (UNREACHABLE, 7, "", "problem", "then kill 7"),
        (ForbiddenError("not for you"), None, "", "problem", "[daemon] group"),
        (VersionError("protocol 2"), 7, "", "problem", "same version"),
        (PenstockError("odd"), None, "", "problem", "log"),
        (None, None, "", "problem", "log"),
    ],
)
def test_a_daemon_that_does_not_answer(
    error: PenstockError | None, holder: int | None, unit: str, level: str, said: str
) -> None:
    [finding] = judge_contact(Contact(error=error), "1", holder=holder, unit=unit)
    assert finding.level == level
    assert said in finding.remedy


def test_a_daemon_that_is_hidden_from_us() -> None:
    error = UnreachableError("no daemon answers on /s (Permission denied)")
    error.__cause__ = PermissionError(13, "Permission denied")
    [finding] = judge_contact(Contact(error=error), "1", holder=None, unit="")
    assert finding.level == "problem"
    assert "[daemon] group" in finding.remedy


def test_numbers_of_versions() -> None:
    assert [numbers(text) for text in ("1.10.2rc1", "3.29", "5.10.0-28-amd64", "", "x")] == [
        (1, 10, 2),
        (3, 29),
        (5, 10, 0),
        (),
        (),
    ]


def test_workflows_that_wait_for_somebody() -> None:
    faulted = msgspec.structs.replace(INFO, id="bad", state="faulted", reason="disk full")
    stopped = msgspec.structs.replace(INFO, id="still", state="paused", reason="refused: no such account")
    paused = msgspec.structs.replace(INFO, id="calm", state="paused", reason=PAUSED_BY_REQUEST)
    doubtful = msgspec.structs.replace(INFO, id="who", states={"in_doubt": 2})
    found = judge_workflows(msgspec.structs.replace(SEEN, workflows=(INFO, faulted, stopped, paused, doubtful)))
    assert [(finding.what, finding.level) for finding in found] == [
        ("workflow bad", "problem"),
        ("workflow still", "warning"),
        ("workflow who", "warning"),
    ]
    assert found[0].remedy == "mend the cause, then: penstockctl resume bad"
    assert "penstockctl jobs who --state in_doubt" in found[2].remedy
    many = tuple(msgspec.structs.replace(faulted, id=f"bad{number}") for number in range(30))
    found = judge_workflows(msgspec.structs.replace(SEEN, workflows=many))
    assert (len(found), found[-1].detail) == (11, "20 more wait for somebody")
    [well] = judge_workflows(msgspec.structs.replace(SEEN, workflows=(INFO, paused)))
    assert well.detail == "2 at work of 2, none waits for you"


def test_a_workflow_whose_file_server_is_silent_is_not_to_be_resumed() -> None:
    silent = msgspec.structs.replace(INFO, state="faulted", reason=silent_reason("/nfs/lab"))
    [found] = judge_workflows(msgspec.structs.replace(SEEN, workflows=(silent,)))
    assert found.level == "problem"
    assert "resume" not in found.remedy
    assert "file server is up" in found.remedy
    assert "goes on by itself" in found.remedy


@pytest.mark.parametrize(
    ("cgroup", "environ", "level"),
    [
        ("0::/user.slice/session-1.scope", {}, "note"),
        ("0::/system.slice/penstockd.service", {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1"}, "ok"),
        ("0::/system.slice/penstockd.service", {"NOTIFY_SOCKET": "/n"}, "warning"),
        ("0::/system.slice/penstockd.service", {}, "warning"),
        ("0::/system.slice/penstockd.service", None, "ok"),
    ],
)
def test_who_starts_it_again(cgroup: str, environ: dict[str, str] | None, level: str) -> None:
    [finding] = judge_service(Process(7, 1000, "penstockd", environ, {}, None, cgroup))
    assert finding.level == level
    assert judge_service(None)[0].level == "note"
