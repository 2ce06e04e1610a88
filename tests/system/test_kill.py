"""The daemon is killed again and again, and its runners too: nothing is lost and nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.system.conftest import Gate, Penstockd, ended, query, toml

KILLS = 15
COMMANDS = 300
CELLS = 60
COUNT = 'echo "$PENSTOCK_JOB_ID" >> "$0"; sleep 0.02'
"""Appends with O_APPEND, so that no line is lost among writers; takes long enough for the storm to see it."""


def storm(daemon: Penstockd, moments: random.Random, kills: int) -> None:
    """Start the daemon and kill it, at moments between before it is up and well into its work."""
    for _ in range(kills):
        daemon.process = daemon.launch()
        time.sleep(moments.uniform(0.0, 0.7))
        daemon.kill()


def test_a_storm_of_kills_loses_and_doubles_nothing(daemon: Penstockd, home: Path) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when it fails
    out = home / "out"
    commands = daemon.submit_command("commands", COUNT, out, jobs=COMMANDS, slots=2)
    cells = [(f"c{n}", bulk("Cu", 3.5 + 0.005 * n)) for n in range(CELLS)]
    daemon.write_table("cells.csv", cells)
    python = Path(daemon.submit(emt_spec("cells")).directory)
    daemon.kill()
    storm(daemon, random.Random(seed), KILLS)
    daemon.start()
    assert daemon.wait("commands").workflow.statuses == {"completed": COMMANDS}
    assert daemon.wait("cells").workflow.statuses == {"completed": CELLS}
    executed = Counter(map(int, out.read_text().split()))
    assert executed == dict.fromkeys(range(1, COMMANDS + 1), 1)
    for directory, jobs in ((commands, COMMANDS), (python, CELLS)):
        winners = "SELECT job_id, count(*) FROM attempt WHERE state = 'completed' GROUP BY job_id"
        assert dict(query(directory, winners)) == dict.fromkeys(range(1, jobs + 1), 1)
        others = query(directory, "SELECT DISTINCT state FROM attempt WHERE state != 'completed'")
        assert set(others) <= {("not_run",)}
        assert query(directory, "SELECT count(*) FROM submission WHERE state != 'closed'") == [(0,)]
    assert query(python, "SELECT count(DISTINCT final_energy) FROM job") == [(CELLS,)]


def test_jobs_run_on_while_the_daemon_is_away(daemon: Penstockd, gate: Gate, home: Path) -> None:
    script = f'{gate.script}; echo done >> "$2"'
    directory = daemon.submit_command("away", script, *gate.paths, home / "out", jobs=4)
    _, first = gate.next_started()
    daemon.kill()
    gate.release()
    assert ended(first)
    assert gate.next_started()[0] == 2  # of the same submission
    gate.release(3)
    daemon.start()
    assert daemon.wait("away").workflow.statuses == {"completed": 4}
    assert (home / "out").read_text() == 4 * "done\n"
    attempts = query(directory, "SELECT job_id, number, state FROM attempt ORDER BY job_id")
    assert attempts == [(job, 1, "completed") for job in range(1, 5)]


def test_a_killed_runner_takes_its_job_along_and_costs_it_no_attempt(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("lost", gate.script, *gate.paths)
    _, job = gate.next_started()
    runner = os.getsid(job)
    os.kill(runner, signal.SIGKILL)
    assert ended(job)
    assert gate.next_started()[0] == 1
    gate.release()
    assert daemon.wait("lost").workflow.statuses == {"completed": 1}
    assert query(directory, "SELECT number, state, failure FROM attempt ORDER BY number") == [
        (1, "failed", "runner_lost"),
        (2, "completed", None),
    ]
    assert query(directory, "SELECT blamed, blameless FROM job") == [(0, 1)]


def test_daemon_and_runner_killed_together(daemon: Penstockd, gate: Gate) -> None:
    directory = daemon.submit_command("both", gate.script, *gate.paths)
    _, job = gate.next_started()
    runner = os.getsid(job)
    daemon.kill()
    os.kill(runner, signal.SIGKILL)
    assert ended(runner)
    daemon.start()  # it fences what the runner left before it runs the job anew
    assert gate.next_started()[0] == 1
    assert ended(job)
    gate.release()
    assert daemon.wait("both").workflow.statuses == {"completed": 1}
    assert query(directory, "SELECT number, state FROM attempt ORDER BY number") == [(1, "failed"), (2, "completed")]


def bulk(symbol: str, a: float) -> str:
    """A primitive fcc cell, Å."""
    half = a / 2
    lattice = f"0 {half} {half} {half} 0 {half} {half} {half} 0"
    return f'1\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"\n{symbol} 0.0 0.0 0.0'


def emt_spec(id: str) -> str:
    """Single points of the cells in `id`.csv."""
    source = {"source": f"{id}.csv", "geometry_column": "geometry", "name_column": "name"}
    engine = {"name": "emt", "task": "energy"}
    resources = {"memory": "10MB"}
    return toml({"id": id, "recipe": "campaign", "structures": source, "engine": engine, "resources": resources})
