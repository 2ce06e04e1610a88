"""Two daemons that know nothing of each other work on one shared database, and are killed again and again."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.conftest import Penstockd, command_spec, query

JOBS = 60
KILLS = 8
SCRIPT = 'echo "$1" >> "$0"; sleep 0.02'


@pytest.fixture
def other_daemon(home: Path, stopped_daemon: Penstockd) -> Iterator[Penstockd]:
    """A daemon with a state directory of its own, and the same work directory."""
    (home / "other").mkdir()
    daemon = Penstockd(home / "other")
    daemon.work = stopped_daemon.work
    yield daemon
    daemon.end()


def test_what_two_daemons_share_is_calculated_once_however_they_are_killed(
    daemon: Penstockd, other_daemon: Penstockd, home: Path
) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when it fails
    moments = random.Random(seed)
    other_daemon.start()
    out = home / "out"
    pair = {"left": daemon, "right": other_daemon}
    for id, one in pair.items():
        one.write_table(f"{id}.csv", [(f"{id}{n}", f"H 0 0 {n}.5") for n in range(JOBS)])
        one.submit(command_spec(id, SCRIPT, out, "$geometry", slots=2, isolation="shared"))
    for _ in range(KILLS):
        killed = moments.choice(list(pair.values()))
        if killed.process is not None:
            killed.kill()
        killed.process = killed.launch()
        time.sleep(moments.uniform(0.0, 0.6))
    for one in pair.values():
        one.kill()
        one.start()
    for id, one in pair.items():
        assert one.wait(id).workflow.statuses == {"completed": JOBS}
    calculated = Counter(out.read_text().split("\n\n")[:-1])
    assert (len(calculated), set(calculated.values())) == (JOBS, {1})
    shared = daemon.work / ".penstock/shared"
    assert query(shared, "SELECT count(*) FROM job WHERE origin IS NULL") == [(JOBS,)]
    assert query(shared, "SELECT DISTINCT state FROM attempt WHERE state != 'completed'") in ([], [("not_run",)])
    counted = "SELECT workflow_id, state, count(*) FROM job GROUP BY 1, 2 ORDER BY 1"
    kept = "SELECT workflow_id, state, jobs FROM tally WHERE jobs ORDER BY 1"
    assert query(shared, counted) == query(shared, kept)
