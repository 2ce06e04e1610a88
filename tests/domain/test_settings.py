"""Settings: which layer wins, and whose fault a bad value is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import SpecError
from penstock.domain.settings import (
    KEYS,
    Layer,
    apply,
    built_in_layer,
    check_layer,
    command_line_layer,
    environment_layer,
    resolve,
    socket_path,
    state_dir,
)
from penstock.domain.spec import WorkflowSpec, decode_spec

SPEC: dict[str, Any] = {"recipe": "campaign", "structures": {"source": "m.csv"}, "engine": {"name": "emt"}}


def applied(*layers: Layer, **tables: Any) -> WorkflowSpec:
    return decode_spec(apply(SPEC | tables, layers), "", "spec.toml")


def test_each_rank_wins_over_all_below_it() -> None:
    layers = [
        built_in_layer(),
        Layer("/etc/config.toml", {"slots": 2, "priority": 2, "resources": {"cores": 2, "memory": "2GB"}}),
        Layer("/w/.penstock.toml", {"slots": 3, "priority": 3, "resources": {"memory": "3GB"}}),
        environment_layer({"PENSTOCK_SLOTS": "4", "PENSTOCK_PRIORITY": "4", "PENSTOCK_MEMORY": "4GB"}),
        command_line_layer({"slots": 6, "priority": None, "cluster": None, "id": "named"}),
    ]
    spec = applied(*layers, slots=5, priority=5, resources={"walltime": "5min"})
    assert (spec.id, spec.slots, spec.priority) == ("named", 6, 5)
    assert (spec.resources.cores, spec.resources.memory, spec.resources.walltime) == (2, "4GB", "5min")
    assert (spec.cluster, spec.isolation, spec.retry.max_attempts) == ("local", "isolated", 1)


def test_resolve_says_where_each_value_came_from() -> None:
    found = resolve(
        [built_in_layer(), Layer("a.toml", {"retry": {"delay": "1min"}}), environment_layer({"PENSTOCK_SLOTS": "4"})]
    )
    assert set(found) == set(KEYS)
    assert found["slots"] == (4, "environment")
    assert found["retry.delay"] == ("1min", "a.toml")
    assert found["cluster"] == ("local", "built-in")


def test_built_in_values_are_the_specs_own_defaults() -> None:
    assert applied(built_in_layer()) == applied()


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.booleans())
def test_the_spec_wins_over_files_and_environment_only(low: int, high: int, in_spec: bool) -> None:
    tables = {"slots": high} if in_spec else {}
    assert applied(Layer("f", {"slots": low}), **tables).slots == (high if in_spec else low)
    assert applied(Layer("command line", {"slots": low}), **tables).slots == low


@pytest.mark.parametrize(
    ("layer", "text", "said"),
    [
        (Layer("/w/a.toml", {"slotz": 1}), "a = 1\nslotz = 1", "/w/a.toml:2: slotz: unknown key 'slotz'; did you mean"),
        (Layer("c.toml", {"retry": {"max_attemps": 1}}), "", "c.toml: retry.max_attemps: unknown key 'max_attemps'"),
        (Layer("c.toml", {"engine": {"name": "x"}}), "", "c.toml: engine: unknown key 'engine'; "),
        (Layer("c.toml", {"id": "x"}), "", "c.toml: id: unknown key 'id'; "),
        (Layer("c.toml", {"slots": "many"}), "slots = 'many'", "c.toml:1: slots: expected `int`, got `str`"),
        (Layer("c.toml", {"resources": 3}), "", "c.toml: resources: expected `object`, got `int`"),
        (Layer("environment", {"slots": 0}), "", "environment: slots: must be between 1 and 100000, not 0"),
        (Layer("command line", {"id": "../x"}), "", "command line: id: '../x' cannot name a workflow"),
        (Layer("c.toml", {"isolation": "share"}), "", "c.toml: isolation: 'share' is no isolation mode; did you mean"),
        (Layer("c.toml", {"isolation": "split"}), "", "c.toml: isolation: 'split' is no isolation mode; use"),
    ],
)  # fmt: skip
def test_a_bad_layer_is_named_with_line_key_and_remedy(layer: Layer, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_layer(layer, text)
    assert str(caught.value).startswith(said)
    with pytest.raises(SpecError, match=layer.origin):
        apply(SPEC | {"slots": 1, "isolation": "isolated"}, [layer])


def test_an_error_in_a_table_of_a_larger_file_names_its_full_key_and_line() -> None:
    text = "log = 1\n[workflow]\nslots = 2\n[workflow.retry]\nmax_attempts = 0\n"
    with pytest.raises(SpecError, match=r"^config.toml:5: workflow.retry.max_attempts: must be between"):
        check_layer(Layer("config.toml", {"slots": 2, "retry": {"max_attempts": 0}}), text, "workflow")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PENSTOCK_SLOTS": "two"}, "environment: PENSTOCK_SLOTS: 'two' is not a whole number"),
        ({"PENSTOCK_SLOTS": "0"}, "environment: PENSTOCK_SLOTS: must be between"),
        ({"PENSTOCK_MEMORY": "much"}, "environment: PENSTOCK_MEMORY: 'much' is not an amount of memory"),
        ({"PENSTOCK_ISOLATION_MODE": "hybird"}, "environment: PENSTOCK_ISOLATION_MODE: 'hybird' is no isolation mode"),
    ],
)
def test_a_bad_variable_is_named(variables: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        environment_layer(variables)
    assert str(caught.value).startswith(said)


def test_a_partition_is_known_by_both_its_names_in_every_layer() -> None:
    config = Layer("config.toml", {"scheduler": {"partition": "short", "account": "chem"}})
    spec = applied(config, scheduler={"queue": "long"}, batch={"size": 10})
    assert (spec.scheduler.options().partition, spec.scheduler.options().account) == ("long", "chem")
    above = command_line_layer({"scheduler.partition": "night", "batch.style": "array"})
    spec = applied(Layer("f", {"scheduler": {"queue": "short"}}), above, scheduler={"queue": "long"}, batch={"size": 9})
    assert (spec.scheduler.options().partition, spec.batch.style, spec.batch.size) == ("night", "array", 9)
    queue = resolve([built_in_layer(), Layer("f", {"scheduler": {"queue": "short"}})])
    assert queue["scheduler.partition"] == ("short", "f")
    assert set(queue) == set(KEYS)


def test_scheduler_settings_from_the_environment() -> None:
    variables = environment_layer({"PENSTOCK_PARTITION": "p", "PENSTOCK_ACCOUNT": "a", "PENSTOCK_QOS": "q"})
    options = applied(variables).scheduler.options()
    assert (options.partition, options.account, options.qos) == ("p", "a", "q")
    with pytest.raises(SpecError, match=r"environment: PENSTOCK_BATCH_STYLE: invalid enum value 'heap'"):
        environment_layer({"PENSTOCK_BATCH_STYLE": "heap"})


def test_an_empty_variable_is_none_at_all() -> None:
    assert environment_layer({"PENSTOCK_SLOTS": "", "HOME": "/h"}).values == {}


def test_a_table_of_the_wrong_type_in_the_spec_is_the_specs_fault() -> None:
    with pytest.raises(SpecError, match=r"^spec.toml: retry: expected `object`, got `int`"):
        applied(built_in_layer(), retry=3)


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"PENSTOCK_STATE_DIR": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/penstock"),
        ({"HOME": "/h"}, "/h/.local/state/penstock"),
    ],
)
def test_the_state_directory_follows_the_environment(environ: dict[str, str], directory: str) -> None:
    assert state_dir(environ) == Path(directory)
    assert socket_path(environ, Path("/no/such")) == Path(directory) / "penstockd.sock"
    assert socket_path(environ | {"PENSTOCK_SOCKET": "/run/p.sock"}) == Path("/run/p.sock")


def test_who_never_had_a_daemon_means_the_system_s(tmp_path: Path) -> None:
    system, environ = tmp_path / "system.sock", {"HOME": str(tmp_path)}
    own = tmp_path / ".local/state/penstock"
    assert socket_path(environ, system) == own / "penstockd.sock"  # there is none
    system.touch()
    assert socket_path(environ, system) == system
    assert socket_path(environ | {"PENSTOCK_SOCKET": "/run/p.sock"}, system) == Path("/run/p.sock")
    assert socket_path(environ | {"PENSTOCK_STATE_DIR": "/s"}, system) == Path("/s/penstockd.sock")
    own.mkdir(parents=True)
    assert socket_path(environ, system) == own / "penstockd.sock"
