"""The CRYSTAL chain with a stand-in for the program: each failure is mended by its rule, or waits for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.system.backends import Backend, Site
from tests.system.conftest import Penstockd, query, toml

STAND_IN = Path(__file__).parents[1] / "standins" / "crystal"
DECK = """{title} OPTGEOM MAXCYCLE
CRYSTAL
0 0 0
227
3.544
1
6 0.125 0.125 0.125
OPTGEOM
FULLOPTG
MAXCYCLE
100
ENDOPT
BASISSET
POB-TZVP
DFT
PBE
ENDDFT
SHRINK
0 24
12 8 12
MAXCYCLE
60
FMIXING
20
DIIS
END
"""
WALLTIME_S = 10


class Fault(NamedTuple):
    """What goes wrong, the rules that answer it in the first step, and the class of the failure that stays."""

    title: str
    rules: tuple[str, ...] = ()
    failure: str | None = None
    needs_person: bool = False


FAULTS = {
    "none": Fault("diamond"),
    "scf": Fault("[scf]", ("scf_cycles",)),
    "mixing": Fault("[mixing]", ("scf_cycles", "mixing", "mixing")),
    "levshift": Fault("[levshift]", ("scf_cycles", "mixing", "mixing", "level_shift")),
    "shrink": Fault("[shrink]", ("shrink",)),
    "memory": Fault("[memory]", ("memory",)),
    "walltime": Fault("[walltime]", ("walltime",)),
    "geometry": Fault("[geometry]", ("trust_radius",)),
    "lindep": Fault("[lindep!]", ("eigs",), "linear_dependence", needs_person=True),
    "input": Fault("[input]", (), "input_error", needs_person=True),
    "basis": Fault("[basis]", (), "basis_error", needs_person=True),
    "blowup": Fault("[blowup]", (), "blown_up", needs_person=True),
    "crash": Fault("[crash]", (), "module_crash"),
    "truncated": Fault("[truncated]", (), "truncated"),
    "doss": Fault("[no DOSS]"),
    "guess": Fault("[guess]"),
}


@pytest.fixture(scope="module", params=["local", "slurm"])
def site(request: pytest.FixtureRequest) -> Site:
    """A cluster, for all tests of it."""
    return Site.start(request)


@pytest.fixture
def backend(site: Site, stopped_daemon: Penstockd, home: Path) -> Iterator[Backend]:
    """A backend that is ready, with the stand-in where its jobs find it; no job may be left there."""
    with Backend.ready(site, stopped_daemon, home, STAND_IN) as backend:
        yield backend


def submit(backend: Backend, faults: dict[str, Fault], *steps: str, **settings: Any) -> Path:
    """Submit a chain over a deck for each fault; the workflow's directory."""
    decks = backend.daemon.work / "decks"
    decks.mkdir()
    for name, fault in faults.items():
        (decks / f"{name}.d12").write_text(DECK.format(title=fault.title))
    program = str(backend.home / "crystal")
    tables: dict[str, Any] = {
        "id": "chain",
        "recipe": "crystal",
        "cluster": backend.cluster,
        "slots": 4,
        "structures": {"source": "decks", "format": "d12"},
        "engine": {"name": "crystal", "command": [program], "properties": [program, "properties"]},
        "chain": {"steps": list(steps), "optional": [name for name in steps if name == "DOSS"]},
        "resources": {"memory": "60MB", "walltime": f"{WALLTIME_S}s"},
        "retry": {"max_attempts": 1},
    }
    return Path(backend.daemon.submit(toml(tables | settings)).directory)


def outcomes(directory: Path) -> dict[tuple[str, str], tuple[str, str | None, tuple[str, ...]]]:
    """By material and step: state, failure, and the rules that were applied, in order."""
    rows = query(directory, "SELECT name, step, state, failure, remedies FROM job")
    return {
        (name, step): (state, failure, tuple(remedy["rule"] for remedy in json.loads(remedies or "[]")))
        for name, step, state, failure, remedies in rows
    }


def test_every_fault_is_answered_by_its_rules_and_the_chain_goes_on(backend: Backend) -> None:
    directory = submit(backend, FAULTS, "OPT", "SP", "BAND", "DOSS", "FREQ", remedies={"total": 5})
    backend.daemon.wait("chain")
    found = outcomes(directory)
    for name, fault in FAULTS.items():
        state = "failed" if fault.failure else "completed"
        assert found[name, "OPT"] == (state, fault.failure, fault.rules), name
        for step in ("SP", "BAND", "FREQ"):
            assert found[name, step][0] == ("skipped" if fault.failure else "completed"), (name, step)
    assert found["guess", "SP"][2] == ("guess",)
    assert [name for name, step in found if step == "DOSS" and found[name, step][0] == "failed"] == ["doss"]


def test_it_says_what_it_changed_and_what_a_person_has_to_do(backend: Backend) -> None:
    faults = {name: FAULTS[name] for name in ("walltime", "lindep", "mixing")}
    submit(backend, faults, "OPT", remedies={"total": 2})
    backend.daemon.wait("chain")
    said = {
        job.name: backend.daemon.ctl("why", "chain", job.id).stdout for job in backend.daemon.client.jobs("chain").jobs
    }
    assert "rule walltime: walltime 00:00:10 → 00:00:20" in said["walltime"]
    assert "needs a person: remove the most diffuse functions" in said["lindep"]
    assert "2 remedies were tried, and no more are allowed" in said["mixing"]


def test_geometry_and_wavefunction_are_handed_on(backend: Backend) -> None:
    directory = submit(backend, {"none": FAULTS["none"]}, "OPT", "SP", "BAND")
    assert backend.daemon.wait("chain").workflow.state == "completed"
    inputs = {
        step: (directory / job_dir / "INPUT").read_text().splitlines()
        for step, job_dir in query(directory, "SELECT step, job_dir FROM job")
    }
    assert inputs["OPT"][4] == "3.544"
    assert float(inputs["SP"][4]) == pytest.approx(3.544 * 1.01)
    assert "OPTGEOM" not in inputs["SP"][1:]
    assert "GUESSP" in inputs["SP"]
    assert "GUESSP" not in inputs["OPT"]
    assert inputs["BAND"][0] == "BAND"
    assert inputs["BAND"][2].split()[3:5] == ["1", "10"]
