"""What the daemon shows of a real Slurm that it reaches by SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.backends import Backend, Site
from tests.system.conftest import Penstockd, eventually
from tests.system.test_metrics import Scraped


@pytest.fixture(scope="module", params=["slurm-ssh"])
def site(request: pytest.FixtureRequest) -> Site:
    return Site.start(request)


@pytest.fixture
def backend(site: Site, stopped_daemon: Penstockd, home: Path) -> Iterator[Backend]:
    backend = Backend(site, stopped_daemon, home)
    yield backend
    left = backend.close()
    if left:
        pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)


def test_a_cluster_behind_ssh(backend: Backend) -> None:
    daemon = backend.daemon
    backend.configure(submits_per_min=6)
    clusters = daemon.config.read_text()
    scraped = Scraped(daemon, clusters)
    daemon.start()
    backend.wait_up()
    gate = backend.gate()
    backend.submit("held", gate.script, *gate.paths, jobs=2, slots=2, batch={"style": "array"})
    for number in range(3):
        backend.submit(f"w{number}", "true")
    gate.next_started()
    gate.next_started()
    of = f'cluster="{backend.cluster}"'
    eventually(lambda: scraped.figures()[f"scheduler_jobs_running{{{of}}}"] >= 2, "both run")
    gate.release(2)
    for name in ("held", "w0", "w1", "w2"):
        daemon.wait(name)
    found = scraped.figures()
    assert {
        f"cluster_up{{{of}}}": 1,
        f"ssh_connected{{{of}}}": 1,
        f"ssh_connects_total{{{of}}}": 1,
        f"ssh_reconnects_total{{{of}}}": 0,
        f"ssh_sessions_max{{{of}}}": 8,
        f"submissions_total{{{of}}}": 4,
        f"submission_seconds_count{{{of}}}": 4,
        f"job_record_seconds_count{{{of}}}": 5,
        f'attempts_ended_total{{{of},end="completed",failure=""}}': 5,
        f'scheduler_calls_allowed_per_minute{{{of},kind="query"}}': 600,
        f'scheduler_calls_allowed_per_minute{{{of},kind="submit"}}': 6,
        f"questions_open{{{of}}}": 0,
        f"attempts_in_doubt{{{of}}}": 0,
    }.items() <= found.items()
    assert found[f'scheduler_calls_total{{{of},command="sbatch",outcome="ok"}}'] == 4
    assert found[f'polls_total{{{of},outcome="ok",what="spool"}}'] > 3
    assert found[f'polls_total{{{of},outcome="ok",what="queue"}}'] > 0
    assert found[f'poll_seconds_sum{{{of},what="queue"}}'] > 0
    assert found[f'scheduler_budget_wait_seconds_total{{{of},kind="submit"}}'] > 1  # two went at once, two had to wait
    assert found[f'scheduler_call_budget{{{of},kind="submit"}}'] < 2
    assert not [name for name in found if name.startswith("cluster_cores") and of in name]
    (queries, submits) = daemon.client.report_cluster(backend.cluster).report.budgets
    assert (queries.kind, queries.allowed_per_min) == ("query", 600)
    assert (submits.kind, submits.allowed_per_min, submits.most_per_min) == ("submit", 6, 4)
    assert submits.waited_s > 1


def test_a_connection_that_is_made_anew(backend: Backend) -> None:
    daemon = backend.daemon
    backend.configure()
    scraped = Scraped(daemon, daemon.config.read_text())
    daemon.start()
    backend.wait_up()
    of = f'cluster="{backend.cluster}"'
    sshd = backend.site.sshd
    assert sshd is not None
    gate = backend.gate()
    backend.submit("held", gate.script, *gate.paths)
    gate.next_started()
    sshd.kill_sessions()
    eventually(lambda: scraped.figures()[f"ssh_reconnects_total{{{of}}}"] == 1, "it is connected again")
    assert scraped.figures()[f"ssh_connects_total{{{of}}}"] == 2
    gate.release()
    daemon.wait("held")
