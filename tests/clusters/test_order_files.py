"""What an order needs where it runs, and how long it asks for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.clusters.order_files import Site, allocation, is_warm, order_files
from penstock.domain.calculation import Rendered
from penstock.domain.errors import ClusterError
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.submission import Entry, Manifest, Submission

ULID = "01KAFRP2WM0000000000000001"
SITE = Site("/spool", "/seen/w", "/opt/python", own_timer=False)
VARIABLES = ("$T", "$J", "$R")


def submission(
    size: int = 1, width: int = 1, *, engine: str = "command", walltime_s: int = 600, **fields: Any
) -> Submission:
    return Submission(
        ulid=ULID,
        workflow_id="w",
        workflow_dir="/here/w",
        mode="isolated",
        engine=engine,
        lane=0,
        priority=0,
        prefetch=False,
        size=size,
        width=width,
        resources=Resources(cores=2, memory_mb=100, walltime_s=walltime_s),
        **fields,
    )


def files(
    order: Submission,
    *,
    site: Site = SITE,
    cancelled: tuple[int, ...] = (),
    carry_from: str | None = None,
    launches: bool = False,
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    argv = ["prog", "a b"] if order.engine == "command" else None
    entries = [
        Entry(n, f"jobs/{n}", n + 1, Rendered({"in put": f"{n}"}, argv, {"state": "state"}, launches), carry_from)
        for n in range(order.size)
    ]
    variables = {"PENSTOCK_LOCK_TOKEN_ORCA": "7"}
    manifest = Manifest(ULID, "w", "/here/w", "isolated", order.engine, 2, 600, entries, environment=variables)
    encoded, (asked_s, _) = msgspec.msgpack.encode(manifest), allocation(order, None)
    return order_files(order, encoded, site, SchedulerOptions(launcher=("srun",)), VARIABLES, cancelled, asked_s)


@pytest.mark.parametrize(
    ("order", "asked_s", "warn_s"),
    [
        (submission(walltime_s=600), 660, 60),
        (submission(3, 3, walltime_s=600), 660, 60),
        (submission(walltime_s=61), 180, 119),  # whole minutes, as schedulers count
        (submission(10, 1, walltime_s=600, expected_s=100.0), 840, 60),
        (submission(10, 1, walltime_s=600), 1560, 60),
        (submission(10, 4, walltime_s=600, expected_s=40.0), 720, 60),
    ],
)
def test_every_attempt_has_its_whole_walltime(order: Submission, asked_s: int, warn_s: int) -> None:
    assert allocation(order, None) == (asked_s, warn_s)
    assert asked_s % 60 == 0
    assert asked_s - order.resources.walltime_s >= 60


def test_the_longest_job_of_a_site_is_not_exceeded() -> None:
    assert allocation(submission(walltime_s=600), 600) == (600, 60)
    assert allocation(submission(walltime_s=600), 630) == (630, 60)
    assert allocation(submission(walltime_s=600), 7200) == (660, 60)
    assert allocation(submission(walltime_s=600), 300) == (660, 60)  # the site will say no


@pytest.mark.parametrize(
    ("order", "warm"),
    [
        (submission(5, 1, engine="emt"), True),
        (submission(1, 1, engine="emt"), False),
        (submission(5, 5, engine="emt"), False),
        (submission(5, 2, engine="emt"), False),
        (submission(5, 1), False),
    ],
)
def test_only_a_bundle_of_a_python_engine_in_one_task_is_warm(order: Submission, warm: bool) -> None:
    assert is_warm(order) is warm


def test_an_array_has_a_run_for_every_task_and_its_inputs() -> None:
    inputs, spool = files(submission(2, 2))
    assert inputs == {"jobs/0/": b"", "jobs/0/in put": b"0", "jobs/1/": b"", "jobs/1/in put": b"1"}
    assert spool.keys() == {f"{ULID}/{name}" for name in ("script", "run.0", "run.1")}
    assert spool[f"{ULID}/run.1"] == b"attempt 1 2 /seen/w/jobs/1 prog 'a b'\n"
    assert b"export PENSTOCK_WORKFLOW_DIR=/seen/w\n" in spool[f"{ULID}/script"]
    assert b"/here/w" not in spool[f"{ULID}/script"]


def test_a_launcher_goes_before_programs_that_do_not_start_their_processes_themselves() -> None:
    launch = b'pk_launch() { exec $pk_detach srun "$@"; }'
    assert launch in files(submission(2, 2))[1][f"{ULID}/script"]
    assert launch not in files(submission(2, 2), launches=True)[1][f"{ULID}/script"]


def test_programs_find_the_tokens_of_what_they_hold() -> None:
    _, spool = files(submission())
    assert b"\nexport PENSTOCK_LOCK_TOKEN_ORCA=7\n" in spool[f"{ULID}/script"]


def test_a_bundle_deals_its_attempts_and_carries_files_on() -> None:
    _, spool = files(submission(3, 2), carry_from="jobs/old")
    lines = spool[f"{ULID}/run.0"].decode().splitlines()
    carry = ["carry", "/seen/w/jobs/old"]
    assert [line.split()[:2] for line in lines] == [carry, ["attempt", "0"], carry, ["attempt", "2"]]
    assert spool[f"{ULID}/run.1"].decode().splitlines()[1].startswith("attempt 1 ")


def test_python_engines_run_the_python_of_the_cluster() -> None:
    _, spool = files(submission(2, 2, engine="emt"))
    assert spool[f"{ULID}/run.0"] == b"attempt 0 1 /seen/w/jobs/0 /opt/python -m penstock.engines run emt\n"


def test_a_warm_runner_gets_a_manifest_with_the_directory_that_it_sees() -> None:
    inputs, spool = files(submission(2, 1, engine="emt"), cancelled=(1,))
    assert inputs == {}
    manifest = msgspec.msgpack.decode(spool[f"{ULID}/{ULID}.manifest"], type=Manifest)
    assert (manifest.workflow_dir, len(manifest.entries)) == ("/seen/w", 2)
    assert b"pk_python=/opt/python\n" in spool[f"{ULID}/script"]
    assert json.loads(spool[f"{ULID}/{ULID}.cancel"]) == [1]
    assert f"{ULID}/run.0" not in spool


def test_what_was_cancelled_before_it_left_is_marked() -> None:
    _, spool = files(submission(3, 1), cancelled=(0, 2))
    assert {name for name in spool if "cancel" in name} == {f"{ULID}/cancel.0", f"{ULID}/cancel.2"}
    _, spool = files(submission(2, 1, engine="emt"))
    assert not [name for name in spool if "cancel" in name]


def test_a_cluster_without_python_says_so() -> None:
    with pytest.raises(ClusterError, match=r"engine emt runs in Python: give the cluster a python") as caught:
        files(submission(engine="emt"), site=Site("/spool", "/seen/w", "", own_timer=False))
    assert not caught.value.transient
    files(submission(), site=Site("/spool", "/seen/w", "", own_timer=False))


@pytest.mark.parametrize("own_timer", [True, False])
def test_the_script_minds_the_time_where_nobody_warns(own_timer: bool) -> None:
    _, spool = files(submission(), site=Site("/spool", "/seen/w", "", own_timer=own_timer))
    assert (b"pk_timer=1\n" in spool[f"{ULID}/script"]) is own_timer
