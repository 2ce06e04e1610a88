"""The configuration file is strict, and the example is a true picture of it."""

from __future__ import annotations

import grp
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.daemon.cluster_tables import LocalTable
from penstock.daemon.config import Config, DaemonTable, ResourceLimit, load_config, merge_reload, parse_config
from penstock.daemon.metrics.address import MetricsAddress
from penstock.domain.errors import SpecError
from penstock.domain.settings import BUILT_IN, KEYS, find_config, resolve

EXAMPLE = Path(__file__).parents[2] / "config.toml"


def uncommented() -> str:
    """The example with every value as if it had been changed, prose left as it is."""
    return re.sub(r"(?m)^# (?=\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"))


def test_the_example_decodes_with_every_line_uncommented() -> None:
    config = parse_config(uncommented(), "config.toml")
    assert config.daemon == DaemonTable()
    assert config.clusters == {"local": LocalTable()}
    built_in = {key: value for key, (value, origin) in resolve(Config().layers()).items() if origin == BUILT_IN}
    given = {key: value for key, (value, origin) in resolve(config.layers()).items() if origin == "config.toml"}
    assert given == built_in | {"retry.delay": ""}  # TOML has no word for nothing


def test_the_example_names_every_key() -> None:
    named = set(re.findall(r"(?m)^(\w+) = ", uncommented()))
    tables = {"kind", *DaemonTable.__struct_fields__, *LocalTable.__struct_fields__}
    assert named == tables | {key.split(".")[-1] for key in KEYS}


def test_the_example_of_a_shared_resource() -> None:
    lines = re.findall(r"(?m)^#  (\S.*)$", EXAMPLE.read_text(encoding="utf-8"))
    assert parse_config("\n".join(lines), "config.toml").resources == {"orca-licence": ResourceLimit(2)}


def test_the_example_as_it_stands_changes_nothing() -> None:
    config = load_config(EXAMPLE)
    same: dict[str, Any] = {"file": "x", "read_at": 0.0}
    assert msgspec.structs.replace(config, **same, workflow={}) == msgspec.structs.replace(load_config(None), **same)
    assert not any(value for value in config.workflow.values())


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[daemon", 1, None, "not valid TOML"),
        ("[demon]\n", 1, "demon", "did you mean 'daemon'?"),
        ("[daemon]\nlog_levl = 'info'\n", 2, "daemon.log_levl", "did you mean 'log_level'?"),
        ("[daemon]\nlog_level = 'loud'\n", 2, "daemon.log_level", "'loud'; one of debug, info, warning, error"),
        ("[daemon]\nworkers = 'two'\n", 2, "daemon.workers", "expected `int`, got `str`"),
        ("[daemon]\nworkers = 0\n", 2, "daemon.workers", "must be between 1 and 256, not 0"),
        ("[daemon]\ndrain_s = -1\n", 2, "daemon.drain_s", "cannot be negative"),
        ("[daemon]\nmetrics = '9464'\n", 2, "daemon.metrics", "is not an address"),
        ("[daemon]\nmetrics = 9464\n", 2, "daemon.metrics", 'got `int`; write it like "127.0.0.1:9464"'),
        ("[daemon]\nmetrics = 'here:http'\n", 2, "daemon.metrics", "is not an address"),
        (
            "[clusters.big]\nkind = 'cray'\n",
            2,
            "clusters.big.kind",
            "there is no kind of cluster 'cray'; the kinds: local, slurm, flux",
        ),
        ("[clusters.local]\ncors = 2\n", 2, "clusters.local.cors", "did you mean 'cores'?"),
        ("[clusters.local]\ncores = -2\n", 2, "clusters.local.cores", "must be at least 1, or 0 for all, not -2"),
        ("[clusters.local]\nnice = 20\n", 2, "clusters.local.nice", "must be between 0 and 19"),
        ("[clusters.local]\nmemory = 'lots'\n", 2, "clusters.local.memory", "lots"),
        ("[clusters.good]\n[clusters.bad]\ncores = 'all'\n", 3, "clusters.bad.cores", "expected `int`, got `str`"),
        ("[clusters]\nlocal = 3\n", 2, "clusters.local", "must be a table of its own"),
        ("clusters = 3\n", 1, "clusters", "expected `object`, got `int`"),
        ("[resources.orca]\n", 1, "resources.orca.count", "missing; add it"),
        ("[resources.orca]\ncout = 2\n", 2, "resources.orca.cout", "did you mean 'count'?"),
        ("[resources.orca]\n\ncount = -2\n", 3, "resources.orca.count", "must be between 0 and 1000000, not -2"),
        ("[resources.'a b']\ncount = 2\n", 1, "resources.a b", "'a b' cannot name a lock"),
        ("[workflow]\nslotz = 3\n", 2, "slotz", "did you mean 'slots'?"),
        ("[workflow]\n\nslots = 0\n", 3, "slots", "must be between 1 and"),
        ("[workflow.retry]\nmax_attempts = 0\n", 2, "retry.max_attempts", "must be between 1 and 100"),
        ("[workflow]\nrecipe = 'campaign'\n", 2, "recipe", "unknown key 'recipe'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, key: str | None, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_config(text, "c.toml")
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line, caught.value.key) == ("c.toml", line, key)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nosuch\.toml: cannot be read: No such file"):
        load_config(tmp_path / "nosuch.toml")
    (tmp_path / "binary.toml").write_bytes(b"a=\xff")
    with pytest.raises(SpecError, match=r"is not UTF-8 text \(byte 2\)"):
        load_config(tmp_path / "binary.toml")


def test_there_is_always_a_local_cluster() -> None:
    assert list(load_config(None).clusters) == ["local"]
    assert set(parse_config("[clusters.other]\n", "c").clusters) == {"local", "other"}
    assert parse_config("[clusters.local]\ncores = 3\n", "c").clusters["local"] == LocalTable(cores=3)


def test_a_reload_takes_what_may_change_and_tells_of_the_rest() -> None:
    before = parse_config("[clusters.big]\nkind = 'slurm'\nhost = 'a'\nspool = '/s'\n", "c.toml")
    text = (
        "[clusters.big]\nkind = 'slurm'\nhost = 'b'\nspool = '/t'\nlisting = '2s'\njobs_max = 9\n[clusters.new]\n"
        "[daemon]\nlog_level = 'debug'\n[clusters.local]\nkind = 'flux'\n"
    )
    merged, waiting = merge_reload(before, parse_config(text, "c.toml"))
    big = msgspec.structs.replace(before.clusters["big"], listing="2s", jobs_max=9)
    assert merged.clusters == {"local": LocalTable(), "big": big}
    assert merged.daemon.log_level == "debug"
    assert waiting == ["clusters.new", "clusters.local.kind", "clusters.big.host", "clusters.big.spool"]
    assert merge_reload(before, before) == (before, [])


def test_what_waits_for_a_restart_is_named_at_every_reload() -> None:
    before = parse_config("", "c.toml")
    text = "[daemon]\nworkers = 5\ngroup = 'g'\ndrain_s = 3\nlog_keep = 7\nnetwork_file_systems = ['x']\n"
    after = parse_config(text, "c.toml")
    for _ in range(2):
        merged, waiting = merge_reload(before, after)
        assert waiting == ["daemon.group", "daemon.workers", "daemon.network_file_systems"]
        before = merged
    assert (merged.daemon.workers, merged.daemon.group) == (2, "")
    assert (merged.daemon.drain_s, merged.daemon.log_keep) == (3, 7)


def test_a_cluster_that_is_gone_from_the_file_stays_until_a_restart() -> None:
    before = parse_config("[clusters.big]\nkind = 'slurm'\n", "c.toml")
    merged, waiting = merge_reload(before, parse_config("", "c.toml"))
    assert waiting == ["clusters.big"]
    assert merged.clusters == before.clusters


@pytest.mark.parametrize(
    ("table", "environ", "state", "socket"),
    [
        ({}, {"HOME": "/h"}, "/h/.local/state/penstock", "/h/.local/state/penstock/penstockd.sock"),
        ({}, {"XDG_STATE_HOME": "/x"}, "/x/penstock", "/x/penstock/penstockd.sock"),
        ({"state_dir": "/c"}, {"HOME": "/h"}, "/c", "/c/penstockd.sock"),
        ({"state_dir": "/c", "socket": "/k"}, {"HOME": "/h"}, "/c", "/k"),
        ({"state_dir": "/c"}, {"PENSTOCK_STATE_DIR": "/e"}, "/e", "/e/penstockd.sock"),
        ({"socket": "/k"}, {"PENSTOCK_SOCKET": "/s", "PENSTOCK_STATE_DIR": "/e"}, "/e", "/s"),
    ],
)
def test_the_environment_ranks_above_the_file(
    table: dict[str, str], environ: dict[str, str], state: str, socket: str
) -> None:
    config = Config(msgspec.convert(table, DaemonTable))
    assert config.state_dir(environ) == Path(state)
    assert config.socket_path(environ) == Path(socket)


def test_the_file_is_found(tmp_path: Path) -> None:
    assert find_config({"PENSTOCK_CONFIG": "/given.toml"}) == Path("/given.toml")
    assert find_config({"XDG_CONFIG_HOME": str(tmp_path)}) is None
    for variables, base in (
        ({"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path),
        ({"HOME": str(tmp_path)}, tmp_path / ".config"),
    ):
        path = base / "penstock" / "config.toml"
        path.parent.mkdir(parents=True)
        path.touch()
        assert find_config(variables) == path


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", None),
        ("127.0.0.1:9464", MetricsAddress("127.0.0.1", 9464)),
        ("[::1]:80", MetricsAddress("::1", 80)),
        ("unix:/run/p/m.sock", MetricsAddress(path="/run/p/m.sock")),
    ],
)
def test_the_metrics_address(address: str, expected: Any) -> None:
    assert Config(DaemonTable(metrics=address)).metrics_address() == expected


def test_metrics_move_with_a_restart_only() -> None:
    before = parse_config("[daemon]\nmetrics = '127.0.0.1:1'\n", "c")
    after = parse_config("[daemon]\nmetrics = '127.0.0.1:2'\nmetrics_workflows = 5\n", "c")
    config, waiting = merge_reload(before, after)
    assert waiting == ["daemon.metrics"]
    assert config.daemon.metrics_workflows == 5
    assert config.daemon.metrics == "127.0.0.1:1"
    assert merge_reload(before, before)[1] == []


@pytest.mark.parametrize("after", ["", "[daemon]\nmetrics = '127.0.0.1:1'\n"])
def test_an_open_address_keeps_its_token_until_it_is_given_up(after: str) -> None:
    """The new address needs none, and is not served yet."""
    before = parse_config("[daemon]\nmetrics = '0.0.0.0:1'\nmetrics_token_file = '/t'\n", "c")
    config, waiting = merge_reload(before, parse_config(after, "c"))
    assert config.daemon.metrics_token_file == "/t"
    assert waiting == ["daemon.metrics", "daemon.metrics_token_file"]


def test_the_trusted_group() -> None:
    first = grp.getgrall()[0]
    assert Config().group_gid() is None
    assert Config(DaemonTable(group=first.gr_name)).group_gid() == first.gr_gid
    with pytest.raises(SpecError, match=r"daemon\.group: there is no group 'nosuch-group'"):
        Config(DaemonTable(group="nosuch-group")).group_gid()
