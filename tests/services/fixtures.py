"""The real services, one of each for a process that runs tests, started by the first test that asks for it.

A service that cannot be run here leaves its tests out, and the summary says which and why. Where a run sets
PENSTOCK_REQUIRE_SERVICES=1 they fail instead; only Flux, which no distribution has, may be missing, and the right to
make the name spaces that a systemd needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .file_server import RealFileServer
from .flux import RealFlux
from .prometheus import RealPrometheus
from .pw import RealPw
from .slurm import RealSlurm, Temper
from .sshd import RealSshd
from .systemd import RealSystemd, systemd_tools_missing
from .tmux import RealTmux

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

REQUIRE = "PENSTOCK_REQUIRE_SERVICES"
_LEFT_OUT: pytest.StashKey[dict[str, str]] = pytest.StashKey()
_WITH_JOBS = ("real_slurm", "harsh_slurm", "real_flux")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing has been left out yet."""
    config.stash[_LEFT_OUT] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells what it has left out to the one that writes the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = session.config.stash[_LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """It has told; but for one that crashed, whose tests have failed."""
    node.config.stash[_LEFT_OUT] |= getattr(node, "workeroutput", {}).get("left out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what has been left out, so that nobody takes a green run for more than it is."""
    for service, reason in sorted(config.stash[_LEFT_OUT].items()):
        terminalreporter.write_line(f"left out: {service} ({reason})", yellow=True)


@pytest.fixture(scope="session")
def real_slurm(request: pytest.FixtureRequest) -> Iterator[RealSlurm]:
    """A Slurm with accounting, which remembers its jobs and refuses impossible ones."""
    yield from _slurm(request, "kind")


@pytest.fixture(scope="session")
def harsh_slurm(request: pytest.FixtureRequest) -> Iterator[RealSlurm]:
    """A Slurm without accounting, which forgets ended jobs at once and accepts impossible ones."""
    yield from _slurm(request, "harsh")


@pytest.fixture(scope="session")
def real_sshd(request: pytest.FixtureRequest) -> Iterator[RealSshd]:
    """A host that is reached by SSH, and nothing more."""
    _needs(request, "real SSH", RealSshd.missing())
    with RealSshd() as sshd:
        yield sshd


@pytest.fixture(scope="session")
def slurm_sshd(request: pytest.FixtureRequest, real_slurm: RealSlurm) -> Iterator[RealSshd]:
    """The host of `real_slurm`, reached by SSH."""
    _needs(request, "real SSH", RealSshd.missing())
    with RealSshd(environment=real_slurm.environment) as sshd:
        yield sshd


@pytest.fixture(scope="session")
def harsh_sshd(request: pytest.FixtureRequest, harsh_slurm: RealSlurm) -> Iterator[RealSshd]:
    """The host of `harsh_slurm`, reached by SSH."""
    _needs(request, "real SSH", RealSshd.missing())
    with RealSshd(environment=harsh_slurm.environment) as sshd:
        yield sshd


@pytest.fixture(scope="session")
def real_flux(request: pytest.FixtureRequest) -> Iterator[RealFlux]:
    """A Flux instance."""
    if (why := RealFlux.missing()) is not None:
        _leave_out(request, "real Flux", why)
    with RealFlux() as flux:
        yield flux


@pytest.fixture(scope="session")
def real_pw(request: pytest.FixtureRequest) -> RealPw:
    """Quantum ESPRESSO's pw.x and the pseudopotentials that come with it."""
    _needs(request, "real pw.x", RealPw.missing())
    return RealPw()


@pytest.fixture(scope="session")
def real_prometheus_tools(request: pytest.FixtureRequest) -> type[RealPrometheus]:
    """Prometheus and promtool, which a test starts by itself: each needs a configuration of its own."""
    _needs(request, "real Prometheus", RealPrometheus.missing())
    return RealPrometheus


@pytest.fixture(scope="session")
def systemd_tools(request: pytest.FixtureRequest) -> None:
    """systemd's programs, which work without a systemd that runs."""
    _needs(request, "systemd's tools", systemd_tools_missing())


@pytest.fixture(scope="session")
def real_systemd(request: pytest.FixtureRequest, systemd_tools: None) -> Iterator[RealSystemd]:
    """A systemd that manages a machine of its own, in name spaces. No package gives the right to make these."""
    if (why := RealSystemd.missing()) is not None:
        _leave_out(request, "real systemd", why)
    with RealSystemd() as systemd:
        yield systemd


@pytest.fixture
def real_file_server(request: pytest.FixtureRequest) -> Iterator[RealFileServer]:
    """A directory that can be made to hang. No package gives the right to mount it."""
    if not RealFileServer.packages_missing() and (why := RealFileServer.forbidden()) is not None:
        _leave_out(request, "real file server", why)
    _needs(request, "real file server", RealFileServer.missing())
    with RealFileServer() as server:
        yield server


@pytest.fixture
def real_tmux(request: pytest.FixtureRequest) -> Iterator[RealTmux]:
    """A terminal that programs can be run on."""
    _needs(request, "real tmux", RealTmux.missing())
    with RealTmux() as tmux:
        yield tmux


@pytest.fixture(autouse=True)
def no_job_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves jobs at a scheduler; put what it stopped or broke there back into order.

    Jobs of fixtures with a wider scope are there before the test, and so are not its own.
    """
    schedulers: list[RealSlurm | RealFlux] = [
        request.getfixturevalue(name) for name in _WITH_JOBS if name in request.fixturenames
    ]
    before = [(scheduler, scheduler.jobs()) for scheduler in schedulers]
    yield
    left = [f"job {job}" for scheduler, jobs in before for job in scheduler.mend(keep=jobs)]
    if left:
        pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)


def _slurm(request: pytest.FixtureRequest, temper: Temper) -> Iterator[RealSlurm]:
    _needs(request, "real Slurm" if temper == "kind" else "harsh real Slurm", RealSlurm.missing(temper))
    with RealSlurm(temper) as slurm:
        yield slurm


def _needs(request: pytest.FixtureRequest, service: str, why: str | None) -> None:
    if why is None:
        return
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but {service} cannot be run: {why}", pytrace=False)
    _leave_out(request, service, why)


def _leave_out(request: pytest.FixtureRequest, service: str, why: str) -> None:
    request.config.stash[_LEFT_OUT][service] = why
    pytest.skip(f"{service}: {why}")
