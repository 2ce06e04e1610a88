"""What calculations need, looked for as the attempts of workflows that have not ended will look for it.

Only what attempts on this host find is known here. A job of a scheduler has its account's login environment and what
`setup` makes of it: where it looks for a program is not to be seen from outside, and nothing is guessed.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock import engines
from penstock.clusters.program import find_program, is_of_attempt
from penstock.ctl.doctor.catalogue import Catalogued
from penstock.ctl.doctor.contact import Contact
from penstock.ctl.doctor.file_facts import user_name
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.doctor.importing import ONE_OF_THEM, run_imports
from penstock.ctl.doctor.process import Process
from penstock.daemon.cluster_tables import ClusterTable, LocalTable, QueueTable
from penstock.domain.context import DATABASE_NAME
from penstock.domain.errors import PenstockError
from penstock.domain.states import UNENDED, WorkflowState
from penstock.domain.views import Finding
from penstock.store.inspection import inspect_parameters

_READING_S: Final = 4.0
_SHOWN: Final = 5
_LOAD: Final = 'importlib.import_module("penstock.engines").get(name).load()'
_OF_PYTHON: Final = ("PYTHONPATH", "PYTHONHOME")  # what a job on a cluster does not get


class Calculating(msgspec.Struct, frozen=True):
    """A workflow that has not ended, and what its attempts are calculated with."""

    id: str
    state: str
    engine: str
    cluster: str
    database: str


class Need(msgspec.Struct, frozen=True):
    """What attempts of an engine on a cluster call: a program, as `key` of the spec names it; else its packages."""

    cluster: str
    engine: str
    program: str = ""
    key: str = ""

    @property
    def what(self) -> str:
        """Its name among the findings."""
        return f"{self.engine} on {self.cluster}"


class Needs(msgspec.Struct, frozen=True):
    """Who needs what; `unread` are workflows whose databases do not tell."""

    wanted: dict[Need, list[Calculating]]
    unread: list[str]


class Place(msgspec.Struct, frozen=True):
    """How attempts on a cluster find what they call.

    `search_path`: their PATH, None where they have an environment of their own. `unknown`: why nothing is known of it.
    `python` runs engines in Python, within `environ`; `no_python` says why it is not asked.
    """

    search_path: str | None = None
    python: str = ""
    environ: Mapping[str, str] = {}
    no_python: str = ""
    unknown: str = ""


# ---- who needs what -------------------------------------------------------------------------------------------------


def calculating(contact: Contact, catalogue: Catalogued | None) -> list[Calculating]:
    """The workflows that have not ended: as the daemon lists them, else as the catalogue has them."""
    if contact.pong is not None:
        infos = contact.active()
        return [Calculating(i.id, i.state, i.engine, i.cluster, i.database or _inside(i.directory)) for i in infos]
    found = catalogue.inspection.workflows if catalogue is not None and catalogue.inspection is not None else ()
    return [
        Calculating(w.id, w.state, w.engine, w.cluster, w.database or _inside(w.directory))
        for w in found
        if w.state in UNENDED and w.engine
    ]


def _inside(directory: str) -> str:
    return str(Path(directory, DATABASE_NAME))


def look_at_needs(workflows: Iterable[Calculating]) -> Needs:
    """Reads from their databases what they call; those that cannot be read, or not in time, are left out and named."""
    ends_at = time.monotonic() + _READING_S
    needs = Needs({}, [])
    for workflow in workflows:
        try:
            if time.monotonic() > ends_at:
                raise TimeoutError
            found = _needs_of(workflow)
        except (PenstockError, msgspec.MsgspecError, OSError):
            needs.unread.append(workflow.id)
            continue
        for need in found:
            needs.wanted.setdefault(need, []).append(workflow)
    return needs


def _needs_of(workflow: Calculating) -> list[Need]:
    engine = engines.get(workflow.engine)
    found = [Need(workflow.cluster, workflow.engine)] if engine.kind == "python" else []
    for parameters in inspect_parameters(Path(workflow.database), workflow.id):
        programs = engine.programs(msgspec.json.decode(parameters, type=engine.parameters_type))
        found += [Need(workflow.cluster, workflow.engine, program, key) for key, program in programs.items()]
    return list(dict.fromkeys(found))


# ---- where it is looked for -----------------------------------------------------------------------------------------


def places(
    clusters: Mapping[str, ClusterTable], daemon: Process | None, environ: Mapping[str, str], uid: int
) -> dict[str, Place]:
    """How attempts on each cluster look; `environ` is the daemon's, `uid` the account that attempts run as."""
    foreign = f"it is {user_name(uid)}'s; ask again as {user_name(uid)}" if uid != os.geteuid() else ""
    local = "the daemon's environment is not to be seen" if daemon is not None and daemon.environ is None else ""
    search_path = environ.get("PATH", os.defpath)
    own = interpreter_of(daemon, search_path)
    found = {}
    for name, table in clusters.items():
        match table:
            case LocalTable():
                found[name] = Place(search_path, own, environ, foreign, local)
            case QueueTable(host=""):
                bare = {key: value for key, value in environ.items() if key not in _OF_PYTHON}
                found[name] = Place(None, table.python, bare, foreign)
            case QueueTable():
                found[name] = Place(unknown=f"its jobs run behind host {table.host}")
    return found


def interpreter_of(daemon: Process | None, search_path: str) -> str:
    """The Python that runs the daemon, and so its runners; ours where there is none. Empty where it cannot be told."""
    return sys.executable if daemon is None else shutil.which(daemon.program, path=search_path) or ""


# ---- what is found --------------------------------------------------------------------------------------------------


def judge_needs(needs: Needs, there: Mapping[str, Place]) -> list[Finding]:
    """What is said of all of them. Engines in Python are tried in their interpreters, in processes of their own."""
    findings = []
    broken = try_engines(needs.wanted, there)
    for need, workflows in needs.wanted.items():
        place = there.get(need.cluster, Place(unknown=f"[clusters.{need.cluster}] says nothing of it"))
        if place.unknown:
            findings.append(note(need.what, f"{_called(need)}not looked for: {place.unknown}"))
        elif need.program:
            findings.append(judge_program(need, place, workflows))
        else:
            findings.append(judge_engine(need, place, workflows, broken.get(place.python, {})))
    if needs.unread:
        detail = f"not looked for what {_several(needs.unread)} need: their databases do not tell"
        findings.append(note("databases", detail, "see what is said of these workflows"))
    return findings or [well("programs", "no workflow that has not ended needs any")]


def judge_program(need: Need, place: Place, workflows: list[Calculating]) -> Finding:
    """A program: by its full path where it is one, else along the PATH of what runs the attempts."""
    program = need.program
    if is_of_attempt(program):
        return note(need.what, f"{_called(need)}not looked for: it is in the attempt's own directory")
    if place.search_path is None:
        return _judge_at_scheduler(need)
    found = find_program(program, place.search_path)
    if (complaint := found.complaint(program, "the daemon")) is None:
        return well(need.what, str(found.path))
    remedy = f"install it there, or have the spec's {need.key} name it by another path"
    if "/" not in program:
        remedy = f"start the daemon with a PATH that has it, or have the spec's {need.key} name it by its full path"
    return _missing(need, complaint, remedy if found.path is None else f"chmod +x {found.path}", workflows)


def _judge_at_scheduler(need: Need) -> Finding:
    """Only a full path means the same to a job, and even that need not be on this host."""
    if not need.program.startswith("/"):
        return note(need.what, f"{_called(need)}not looked for: its jobs have an environment of their own")
    found = find_program(need.program)
    if found.is_executable:
        return well(need.what, f"{found.path}, on this host")
    return note(need.what, f"{need.program} is not on this host; the nodes may have it")


def judge_engine(need: Need, place: Place, workflows: list[Calculating], broken: Mapping[str, str]) -> Finding:
    """An engine in Python: whether the interpreter that runs it can load it; `broken` are those that it cannot."""
    if place.no_python:
        return note(need.what, f"not tried: {place.no_python}")
    if not place.python:
        return note(need.what, "not tried: which Python runs it is not known")
    if (error := broken.get(need.engine, broken.get(ONE_OF_THEM))) is None:
        return well(need.what, f"can be loaded by {place.python}")
    remedy = f"install what it says for {place.python}; what has failed meanwhile: penstockctl retry ID"
    return _missing(need, f"{place.python} cannot load it: {error}", remedy, workflows)


def try_engines(wanted: Iterable[Need], there: Mapping[str, Place]) -> dict[str, dict[str, str]]:
    """By interpreter, the engines that it cannot load and why."""
    asked: dict[str, tuple[Place, list[str]]] = {}
    for need in wanted:
        place = there.get(need.cluster)
        if place is not None and place.python and not (place.unknown or place.no_python or need.program):
            asked.setdefault(place.python, (place, []))[1].append(need.engine)
    found = {}
    for python, (place, names) in asked.items():
        try:
            found[python] = run_imports(python, _LOAD, dict.fromkeys(names), place.environ)
        except OSError as error:
            found[python] = {ONE_OF_THEM: error.strerror or str(error)}
    return found


def _missing(need: Need, complaint: str, remedy: str, workflows: list[Calculating]) -> Finding:
    """Attempts fail for it as soon as there are some: at once where a workflow is running."""
    say = problem if any(workflow.state == WorkflowState.RUNNING for workflow in workflows) else warning
    return say(need.what, f"{complaint}; needed by {_several([workflow.id for workflow in workflows])}", remedy)


def _called(need: Need) -> str:
    return f"{need.program} " if need.program else ""


def _several(ids: list[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
