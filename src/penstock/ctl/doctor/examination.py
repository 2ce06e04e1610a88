"""Everything that is looked at, in order. What others build on comes first; the rest is looked at all at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from penstock import __version__
from penstock.control.client import Client
from penstock.ctl.doctor import catalogue as catalogues
from penstock.ctl.doctor import clusters, limits, machine, programs, versions
from penstock.ctl.doctor.bounded import PATIENCE_S, Check, run_checks, unanswered, within
from penstock.ctl.doctor.clock import judge_clock, look_at_clock
from penstock.ctl.doctor.configuration import (
    Configuration,
    choose_file,
    judge_configuration,
    judge_taken_over,
    read_configuration,
)
from penstock.ctl.doctor.contact import Contact, judge_contact, judge_service, judge_workflows, make_contact
from penstock.ctl.doctor.file_facts import user_name
from penstock.ctl.doctor.finding import note
from penstock.ctl.doctor.process import Process, environment_of, look_at_process
from penstock.ctl.doctor.socket_file import judge_socket, look_at_socket
from penstock.ctl.doctor.state_directory import StateDirectory, judge_state_directory, look_at_state_directory
from penstock.daemon.cluster_tables import LocalTable
from penstock.domain.views import Finding
from penstock.store.inspection import CataloguedWorkflow

T = TypeVar("T")
_IMPORTING_S: Final = 35.0
_ROOTS_MOST: Final = 20
CONFIG, STATE, DAEMON = "configuration", "state", "daemon"
LIMITS, VERSIONS, CLOCK, CLUSTERS, ENGINES = "limits", "versions", "clock", "clusters", "engines"


class Examination:
    """One visit: what is asked of the daemon goes over one connection."""

    def __init__(self, socket: str | None, config: Path | None, environ: Mapping[str, str]) -> None:
        self._client = Client(socket, timeout_s=PATIENCE_S)
        self._option = config
        self._own_environ = environ
        self._failed: list[Finding] = []

    def close(self) -> None:
        """End the conversation with the daemon."""
        self._client.close()

    def findings(self, whole: Callable[[Contact, Configuration], list[str]]) -> Iterator[Finding]:
        """All findings, each as soon as it and those before it are there.

        `whole` names the clusters that are checked with a job of their own; what it raises ends the visit.
        """
        contact = self._first(DAEMON, "daemon", partial(make_contact, self._client), Contact(), 3 * PATIENCE_S)
        daemon = self._process_of(contact)
        environ = environment_of(daemon, self._own_environ)
        uid = daemon.uid if daemon is not None else os.geteuid()
        config = self._configuration(contact, environ)
        names = whole(contact, config)
        is_hidden = daemon is not None and daemon.environ is None
        state = None if is_hidden else self._state(config, environ, uid)
        catalogue = self._catalogue(state)
        yield from self._failed

        yield from run_checks(
            [
                Check(CONFIG, "file", partial(_look_at_config, config, contact, uid)),
                Check(STATE, "state directory", partial(_look_at_state, state, config, uid)),
                Check(STATE, "control socket", partial(self._look_at_socket, contact, config, environ, state)),
                Check(STATE, "catalogue", partial(_look_at_catalogue, catalogue)),
                *_root_checks(contact, catalogue),
                Check(DAEMON, "daemon", partial(_look_at_daemon, contact, daemon, state, uid, environ)),
                Check(LIMITS, "limits", partial(_look_at_limits, contact, daemon)),
                Check(LIMITS, "units", partial(_look_at_units, daemon, uid, environ)),
                Check(LIMITS, "machine", partial(_look_at_machine, contact, config, daemon)),
                Check(LIMITS, "temporary files", partial(_look_at_scratch, environ)),
                Check(VERSIONS, "versions", versions.look_at_versions),
                Check(VERSIONS, "packages", _look_at_packages, _IMPORTING_S),
                Check(
                    ENGINES,
                    "engines",
                    partial(_look_at_programs, contact, config, daemon, catalogue, environ),
                    _IMPORTING_S,
                ),
                Check(CLOCK, "clock", lambda: [judge_clock(look_at_clock())]),
                Check(CLOCK, "records", partial(_look_at_moments, catalogue)),
            ]
        )
        found = clusters.judge_clusters(contact.clusters) if contact.pong else clusters.unasked(config.config.clusters)
        for finding in [*found, *(() if not names else clusters.check_whole(self._client, names))]:
            yield msgspec.structs.replace(finding, group=CLUSTERS)

    def _first(self, group: str, what: str, look: Callable[[], T], otherwise: T, patience_s: float = PATIENCE_S) -> T:
        """What others build on; where it does not answer that is a finding, and they go on without it."""
        try:
            return within(look, patience_s)
        except Exception as error:  # noqa: BLE001 - the others still have something to say
            self._failed.append(msgspec.structs.replace(unanswered(what, error), group=group))
            return otherwise

    @staticmethod
    def _process_of(contact: Contact) -> Process | None:
        """The daemon's process, if the number that it gives is that of a daemon here, too."""
        process = look_at_process(contact.pong.pid) if contact.pong is not None else None
        return process if process is not None and process.is_penstockd else None

    def _configuration(self, contact: Contact, environ: Mapping[str, str]) -> Configuration:
        path, origin = choose_file(self._option, contact.pong, environ)
        defaults = read_configuration(None, origin)
        return self._first(CONFIG, "file", partial(read_configuration, path, origin), defaults)

    def _state(self, config: Configuration, environ: Mapping[str, str], uid: int) -> StateDirectory | None:
        path = config.config.state_dir(environ)
        return self._first(STATE, "state directory", partial(look_at_state_directory, path, uid), None)

    def _catalogue(self, state: StateDirectory | None) -> catalogues.Catalogued | None:
        if state is None or state.facts is None:
            return None
        return self._first(STATE, "catalogue", partial(catalogues.look_at_catalogue, Path(state.path)), None)

    def _look_at_socket(
        self, contact: Contact, config: Configuration, environ: Mapping[str, str], state: StateDirectory | None
    ) -> list[Finding]:
        seen = look_at_socket(self._client.path, answers=contact.pong is not None)
        expected = str(config.config.socket_path(environ))
        gid = config.config.group_gid() if config.error is None else None
        return judge_socket(seen, expected, group_gid=gid, holder=_holder(state))


def _holder(state: StateDirectory | None) -> int | None:
    return state.lock.holder if state is not None and state.lock is not None else None


def _look_at_config(config: Configuration, contact: Contact, uid: int) -> list[Finding]:
    findings = judge_configuration(config, uid)
    if contact.pong is not None:
        findings += judge_taken_over(config, contact.pong, [info.name for info in contact.clusters])
    return findings


def _look_at_state(state: StateDirectory | None, config: Configuration, uid: int) -> list[Finding]:
    if state is None:
        detail = f"not looked at: the daemon is {user_name(uid)}'s, and where it keeps its state is told to nobody else"
        return [note("state directory", detail, f"ask again as {user_name(uid)}")] if uid != os.geteuid() else []
    table = config.config.daemon
    return judge_state_directory(state, uid, group=table.group, force_network=table.force_network_state)


def _look_at_catalogue(catalogue: catalogues.Catalogued | None) -> list[Finding]:
    return [] if catalogue is None else catalogues.judge_catalogue(catalogue)


def _look_at_moments(catalogue: catalogues.Catalogued | None) -> list[Finding]:
    return [] if catalogue is None else catalogues.judge_moments(catalogue, time.time())


def _root_checks(contact: Contact, catalogue: catalogues.Catalogued | None) -> list[Check]:
    """One for each directory of workflows, since each may be on a file system of its own; those at work come first."""
    if catalogue is None or catalogue.inspection is None:
        return []
    roots = catalogues.group_by_root(catalogue.inspection.workflows)
    active = {Path(workflow.directory).parent for workflow in contact.active()}
    paths = sorted(roots, key=lambda path: (path not in active, str(path)))[:_ROOTS_MOST]
    return [Check(STATE, f"work directory {path}", partial(_look_at_root, path, roots[path])) for path in paths]


def _look_at_root(path: Path, workflows: list[CataloguedWorkflow]) -> list[Finding]:
    return catalogues.judge_root(catalogues.look_at_root(path, workflows))


def _look_at_daemon(
    contact: Contact, daemon: Process | None, state: StateDirectory | None, uid: int, environ: Mapping[str, str]
) -> list[Finding]:
    unit = limits.start_command(limits.look_at_units(uid, _home(environ)))
    findings = judge_contact(contact, __version__, holder=_holder(state), unit=unit)
    if contact.pong is not None:
        findings += [*judge_service(daemon), *judge_workflows(contact)]
    return findings


def _look_at_limits(contact: Contact, daemon: Process | None) -> list[Finding]:
    return limits.judge_limits(limits.look_at_limits(daemon), limits.estimate_files(contact))


def _look_at_units(daemon: Process | None, uid: int, environ: Mapping[str, str]) -> list[Finding]:
    return limits.judge_units(limits.look_at_units(uid, _home(environ)), daemon)


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def _look_at_machine(contact: Contact, config: Configuration, daemon: Process | None) -> list[Finding]:
    """A running daemon says what its local cluster may use, else the configuration does."""
    there = machine.look_at_machine(daemon)
    if contact.clusters:
        found = [
            machine.LocalCluster(info.name, info.cores, info.memory_mb)
            for info in contact.clusters
            if info.kind == "local"
        ]
    else:
        found = [
            machine.LocalCluster(name, table.cores_or_all(), table.memory_mb_or_share())
            for name, table in config.config.clusters.items()
            if isinstance(table, LocalTable)
        ]
    return [finding for local in found for finding in machine.judge_local(local, there)]


def _look_at_scratch(environ: Mapping[str, str]) -> list[Finding]:
    return [machine.judge_scratch(s) for s in machine.look_at_scratch(machine.scratch_directories(environ))]


def _look_at_packages() -> list[Finding]:
    return versions.judge_packages(versions.look_at_packages())


def _look_at_programs(
    contact: Contact,
    config: Configuration,
    daemon: Process | None,
    catalogue: catalogues.Catalogued | None,
    environ: Mapping[str, str],
) -> list[Finding]:
    uid = daemon.uid if daemon is not None else os.geteuid()
    there = programs.places(config.config.clusters, daemon, environ, uid)
    return programs.judge_needs(programs.look_at_needs(programs.calculating(contact, catalogue)), there)
