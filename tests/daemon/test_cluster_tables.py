"""Every kind of cluster has a table of its own, and what is wrong in one is named by its key."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.clusters.ssh_dial import SshTarget
from penstock.daemon.cluster_tables import FluxTable, LocalTable, QueueTable, SlurmTable, keep_lasting, read_clusters
from penstock.daemon.config import parse_config
from penstock.domain.errors import SpecError
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.spec import decode_spec, parse_toml

EXAMPLE = Path(__file__).parents[2] / "config.toml"
DOCS = Path(__file__).parents[2] / "docs"


def read(**values: Any) -> Any:
    return read_clusters({"big": {"kind": "slurm", **values}})["big"]


def test_the_example_names_every_key_with_its_default() -> None:
    lines = re.findall(r"(?m)^#   (.*)$", EXAMPLE.read_text(encoding="utf-8"))
    table = parse_config("\n".join(lines), "config.toml").clusters["NAME"]
    assert table == SlurmTable()
    named = {line.split(" = ")[0] for line in lines if " = " in line}
    assert named == {"kind", *SlurmTable.__struct_fields__}


def test_what_this_machine_may_use() -> None:
    assert LocalTable().cores_or_all() == len(os.sched_getaffinity(0))
    assert LocalTable(memory="2GB").memory_mb_or_share() == 2000
    assert 0 < LocalTable().memory_mb_or_share() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6


def test_a_table_without_a_kind_is_local() -> None:
    assert read_clusters({"a": {"cores": 3}, "b": {"kind": "flux"}}) == {"a": LocalTable(cores=3), "b": FluxTable()}
    assert [table.kind for table in (LocalTable(), SlurmTable(), FluxTable())] == ["local", "slurm", "flux"]


def test_the_defaults_are_gentle_and_in_seconds() -> None:
    table = read()
    assert (table.queries_idle_per_min, table.queries_active_per_min, table.submits_per_min) == (2, 12, 150)
    assert (table.listing_s, table.lag_s, table.grace_s) == (0.5, 60, 180)
    assert (table.question_after_s, table.command_timeout_s) == (900, 60)
    assert (table.ssh(), table.spool_path(), table.work_path()) == (None, ".penstock/spool", None)
    assert table.options() == SchedulerOptions()


@pytest.mark.parametrize(
    ("given", "path"),
    [("~/runs/", "runs"), ("runs", "runs"), ("/scratch/me", "/scratch/me"), ("with space/ü", "with space/ü")],
)
def test_paths_are_absolute_or_begin_at_the_home(given: str, path: str) -> None:
    table = read(spool=given, work_dir=given)
    assert (table.spool_path(), table.work_path()) == (path, path)


@pytest.mark.parametrize("python", ["", "python3.12", "/opt/bin/python"])
def test_the_python_is_a_name_or_an_absolute_path(python: str) -> None:
    assert read(python=python).python == python


def test_the_manual_names_every_key_and_its_tables_can_be_read() -> None:
    reference = (DOCS / "configuration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", reference[reference.index("### Clusters") : reference.index("## Environment")]))
    assert named >= {*LocalTable.__struct_fields__, *SlurmTable.__struct_fields__, *FluxTable.__struct_fields__}
    blocks = re.findall(r"(?ms)^```toml\n(.*?)^```", (DOCS / "connect-a-cluster.md").read_text(encoding="utf-8"))
    tables = [parse_config(block, "page") for block in blocks if block.startswith("[clusters.")]
    assert {table.kind for config in tables for table in config.clusters.values()} == {"local", "slurm", "flux"}
    (spec,) = (block for block in blocks if block.startswith("id = "))
    assert decode_spec(parse_toml(spec, "page"), spec, "page").cluster == "hpc"


def test_the_way_to_the_host_is_an_ssh_target() -> None:
    table = read(host="hpc", user="me", port=2222, identity=["~/.ssh/a", "~/.ssh/b"], proxy_jump="me@gate")
    assert SshTarget(**table.ssh()) == SshTarget(
        "hpc", user="me", port=2222, identity_files=("~/.ssh/a", "~/.ssh/b"), proxy_jump="me@gate"
    )
    assert SshTarget(**read(host="::1", identity="~/.ssh/a").ssh()) == SshTarget("::1", identity_files=("~/.ssh/a",))


def test_options_of_the_scheduler() -> None:
    table = read(partition="long", qos="high", launcher="srun --mpi=pmix", directives=["--exclusive"], setup="a\nb")
    assert table.options() == SchedulerOptions(
        partition="long", qos="high", launcher=("srun", "--mpi=pmix"), directives=("--exclusive",), setup="a\nb"
    )
    assert read(launcher=["my run", "-n"]).options().launcher == ("my run", "-n")
    assert read(kind="flux", queue="batch").options() == SchedulerOptions(partition="batch")


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"host": "me@hpc"}, "host", "user and port as keys of their own"),
        ({"host": "-oProxyCommand=x"}, "host", "is no host"),
        ({"host": "a", "user": "a b"}, "user", "is no account"),
        ({"host": "a", "port": 70000}, "port", "must be between 1 and 65535"),
        ({"host": "a", "sessions": 0}, "sessions", "must be between 1 and 100"),
        ({"user": "me"}, "user", "means nothing without host"),
        ({"host": "a", "proxy_jump": "b", "proxy_command": "c"}, "proxy_command", "give one of the two"),
        ({"host": "a", "identity": ["k", "a\nb"]}, "identity", "cannot be printed"),
        ({"host": "a", "identity": ["k", 3]}, "identity", "expected `str`"),
        ({"spool": "../x"}, "spool", "no plain path"),
        ({"spool": "~other/x"}, "spool", "no plain path"),
        ({"spool": "/"}, "spool", "no plain path"),
        ({"work_dir": "$SCRATCH"}, "work_dir", "no plain path"),
        ({"work_dir": "~/"}, "work_dir", "no plain path"),
        ({"work_dir": "a\nb"}, "work_dir", "cannot be printed"),
        ({"python": "~/env/bin/python"}, "python", "neither an absolute path nor a name"),
        ({"partition": "a\nb"}, "partition", "control characters"),
        ({"kind": "flux", "queue": "a\nb"}, "queue", "control characters"),
        ({"setup": "a\x00b"}, "setup", "control characters"),
        ({"launcher": "srun 'a"}, "launcher", "no closing quotation"),
        ({"launcher": ["-n"]}, "launcher", "is no program"),
        ({"directives": ["-p long"]}, "directives", "is no option"),
        ({"directives": ["--qos=high"]}, "directives", "--qos cannot be given here: use qos"),
        ({"directives": "--exclusive"}, "directives", "expected `array`"),
        ({"width_max": -1}, "width_max", "0 for the site's own"),
        ({"jobs_max": -1}, "jobs_max", "0 for the site's own"),
        ({"submits_per_min": 0}, "submits_per_min", "must be more than 0"),
        ({"queries_idle_per_min": float("nan")}, "queries_idle_per_min", "must be more than 0"),
        ({"queries_idle_per_min": 13}, "queries_idle_per_min", "more than queries_active_per_min (12)"),
        ({"listing": "0.01s"}, "listing", "shorter than 0.05 s"),
        ({"listing": "often"}, "listing", "is not a duration"),
        ({"command_timeout": "0.5s"}, "command_timeout", "shorter than 1 s"),
        ({"question_after": "10s"}, "question_after", "is shorter than grace (180s)"),
        ({"hots": "a"}, "hots", "unknown key 'hots' of a slurm cluster; did you mean 'host'?"),
        ({"queue": "a"}, "queue", "unknown key 'queue' of a slurm cluster"),
        ({"kind": "flux", "qos": "a"}, "qos", "unknown key 'qos' of a flux cluster"),
        ({"kind": "local", "host": "a"}, "host", "unknown key 'host' of a local cluster"),
        ({"kind": 3}, "kind", "there is no kind of cluster 3"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(**values)
    assert message in caught.value.message
    assert caught.value.key == f"clusters.big.{key}"


def test_a_reload_keeps_what_lasts() -> None:
    before, after = SlurmTable(host="a", sessions=4, grace="60s"), SlurmTable(host="a", sessions=5, grace="90s")
    kept, waiting = keep_lasting(before, after)
    assert kept == msgspec.structs.replace(before, grace="90s")
    assert waiting == ["sessions"]
    assert isinstance(kept, QueueTable)
