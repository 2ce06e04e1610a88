"""The workflow file: every error says which file, which line, which key, and what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.budget import Batch
from penstock.domain.build_table import BuildTable
from penstock.domain.calculation import FailureClass
from penstock.domain.errors import SpecError
from penstock.domain.remedy import Remedy, RemedyTable, decide_remedy
from penstock.domain.resources import Resources
from penstock.domain.scheduling import SchedulerOptions
from penstock.domain.spec import WorkflowSpec, decode_spec, locate_key, nearest, parse_toml

GOOD = """\
id = "g2"
recipe = "campaign"
cluster = "local"
slots = 2
priority = 5

[structures]
source = "molecules.csv"
charge_column = "charge"

[engine]
name = "tblite"
method = "GFN2-xTB"

[resources]
cores = 2
memory = "2GB"
walltime = "10min"

[retry]
max_attempts = 3
delay = "30s"

[metadata]
project = "anything"
nested = { any = ["thing", 1] }
"""


def decode(text: str) -> WorkflowSpec:
    return decode_spec(parse_toml(text, "g2.toml"), text, "g2.toml")


def test_a_whole_spec() -> None:
    spec = decode(GOOD)
    assert (spec.id, spec.slots, spec.priority, spec.engine_name) == ("g2", 2, 5, "tblite")
    assert (spec.needs().cores, spec.needs().memory_mb, spec.needs().walltime_s) == (2, 2000, 600)
    assert spec.engine["method"] == "GFN2-xTB"
    assert spec.metadata["nested"] == {"any": ["thing", 1]}


def test_the_smallest_spec() -> None:
    spec = decode('recipe = "campaign"\nstructures.source = "m.csv"\nengine.name = "emt"\n')
    assert (spec.id, spec.cluster, spec.slots, spec.isolation) == (None, "local", 1, "isolated")
    assert (spec.retry.max_attempts, spec.needs().walltime_s) == (1, 3600)


def test_what_is_built_instead_of_read() -> None:
    text = 'recipe = "campaign"\nengine.name = "emt"\n[structures.build]\nsystem = "Si"\na_angstrom = 5'
    spec = decode(text)
    assert spec.structures.build == BuildTable(system="Si", a_angstrom=5.0)
    assert (spec.structures.source, spec.structures.kept) == ("", "source/built.extxyz")
    assert decode(GOOD).structures.kept == "molecules.csv"
    assert msgspec.json.decode(msgspec.json.encode(spec), type=WorkflowSpec) == spec


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ('id = "g2"', 'id = "../x"', 1, "id", "cannot name a workflow"),
        ('id = "g2"', 'id = "shared"', 1, "id", "reserved name"),
        ('id = "g2"', "id = 7", 1, "id", "expected `str | null`, got `int`"),
        ('recipe = "campaign"', "", None, "recipe", "missing; add it"),
        (
            'recipe = "campaign"',
            'recipe = "campaign"\nslot = 3',
            3,
            "slot",
            "unknown key 'slot'; did you mean 'slots'?",
        ),
        ('recipe = "campaign"', 'recipe = "campaign"\ngaol = 3', 3, "gaol", "unknown key 'gaol'; did you mean 'goal'?"),
        ('recipe = "campaign"', 'recipe = "campaign"\nzzz = 3', 3, "zzz", "unknown key 'zzz'; known keys: batch, "),
        ("slots = 2", "slots = 0", 4, "slots", "must be between 1 and 100000, not 0"),
        ("slots = 2", "slots = 100001", 4, "slots", "must be between 1 and 100000"),
        ("slots = 2", 'slots = "2"', 4, "slots", "expected `int`, got `str`"),
        ("slots = 2", "slots = 2.5", 4, "slots", "expected `int`, got `float`"),
        ("priority = 5", "priority = -1001", 5, "priority", "must be between -1000 and 1000"),
        ("priority = 5", 'isolation = "share"', 5, "isolation", "'share' is no isolation mode; did you mean 'shared'?"),
        (
            "priority = 5",
            'isolation = "alone"',
            5,
            "isolation",
            "'alone' is no isolation mode; use isolated, shared, hybrid",
        ),
        ('source = "molecules.csv"', "", 7, "structures.source", "missing; add it"),
        (
            'source = "molecules.csv"',
            'source = "molecules.csv"\nbuild = { system = "Si" }',
            8,
            "structures.source",
            "give a source or [structures.build], not both",
        ),
        (
            'source = "molecules.csv"',
            'build.system = "Si"',
            9,
            "structures.charge_column",
            "is about files, and [structures.build] reads none",
        ),
        (
            'source = "molecules.csv"\ncharge_column = "charge"',
            'build.systen = "Si"',
            8,
            "structures.build.systen",
            "did you mean 'system'?",
        ),
        (
            'charge_column = "charge"',
            "[structures.build]\nmax_atoms = 2.5",
            10,
            "structures.build.max_atoms",
            "expected `int | null`, got `float`",
        ),
        (
            'source = "molecules.csv"\ncharge_column = "charge"',
            '[structures.build]\nelements = ["Cu", 3]',
            9,
            "structures.build.elements[1]",
            "expected `str`, got `int`",
        ),
        (
            'source = "molecules.csv"\ncharge_column = "charge"',
            '[structures.build]\nsystem = "Si"\na_angstrom = -5',
            10,
            "structures.build.a_angstrom",
            "is a length in Å between 0.5 and 100, not -5",
        ),
        ("charge_column", "charges_column", 9, "structures.charges_column", "did you mean 'charge_column'?"),
        ('charge_column = "charge"', "charge = 1.5", 9, "structures.charge", "expected `int`, got `float`"),
        ('charge_column = "charge"', "multiplicity = 0", 9, "structures.multiplicity", "is between 1 and"),
        (
            'charge_column = "charge"',
            'unpaired_column = "u"\nmultiplicity_column = "m"',
            10,
            "structures.multiplicity_column",
            "give unpaired_column or multiplicity_column, not both",
        ),
        ('name = "tblite"', "", 11, "engine.name", 'such as name = "tblite"'),
        ('name = "tblite"', "name = 3", 12, "engine.name", "the engine needs a name"),
        ("cores = 2", "cores = 0", 16, "resources.cores", "must be between 1 and 1000000, not 0"),
        ("cores = 2", f"cores = {10**30}", 16, "resources.cores", "must be between 1 and 1000000"),
        ('charge_column = "charge"', f"charge = {10**30}", 9, "structures.charge", "must be between -10000 and 10000"),
        ('memory = "2GB"', 'memory = "2 gigs"', 17, "resources.memory", "'2 gigs' is not an amount of memory"),
        ('memory = "2GB"', "memory = 2", 17, "resources.memory", "expected `str`, got `int`"),
        ('walltime = "10min"', 'walltime = "soon"', 18, "resources.walltime", "'soon' is not a duration"),
        ('walltime = "10min"', 'waltime = "1h"', 18, "resources.waltime", "did you mean 'walltime'?"),
        ("max_attempts = 3", "max_attempts = 0", 21, "retry.max_attempts", "must be between 1 and 100"),
        ('delay = "30s"', 'delay = "often"', 22, "retry.delay", "'often' is not a duration"),
        ("[resources]", "[locks]\nnames = ['a b']\n[resources]", 16, "locks.names", "'a b' cannot name a lock"),
        ("[resources]", "[locks]\nnames = ['a', 'a']\n[resources]", 16, "locks.names", "names a lock twice"),
        ("[resources]", "[locks]\nnmes = ['a']\n[resources]", 16, "locks.nmes", "did you mean 'names'?"),
        ("[resources]", "[locks.resources]\norca = 0\n[resources]", 16, "locks.resources.orca", "must be between 1"),
        ("[resources]", "[resource]", 15, "resource", "did you mean 'resources'?"),
    ],
)
def test_errors_say_where_and_what(old: str, new: str, line: int | None, key: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(SpecError) as caught:
        decode(GOOD.replace(old, new))
    error = caught.value
    assert (error.file, error.line, error.key) == ("g2.toml", line, key)
    assert message in error.message
    assert str(error).startswith("g2.toml:" if line is None else f"g2.toml:{line}: {key}: ")


@pytest.mark.parametrize("value", ["3", '"text"', "[1]", "true"])
@pytest.mark.parametrize("table", ["structures", "engine", "resources", "retry", "metadata"])
def test_a_table_must_be_a_table(table: str, value: str) -> None:
    tables = {"structures": 'structures = { source = "m" }', "engine": 'engine = { name = "emt" }'}
    tables[table] = f"{table} = {value}"
    with pytest.raises(SpecError, match="expected `object`") as caught:
        decode("\n".join(['recipe = "campaign"', *tables.values()]))
    assert caught.value.key == table
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("text", "line"), [('recipe = "x"\nslots = = 2\n', 2), ("[a\n", 1), ("a = 1\na = 2\n", 2), ('a = "\n', 1)]
)
def test_broken_toml_says_where(text: str, line: int) -> None:
    with pytest.raises(SpecError, match="not valid TOML") as caught:
        parse_toml(text, "g2.toml")
    assert (caught.value.file, caught.value.line) == ("g2.toml", line)


def test_broken_toml_may_be_deep() -> None:
    with pytest.raises(SpecError, match="nested too deeply"):
        parse_toml(f"a = {'[' * 100_000}", "g2.toml")


@given(st.text())
def test_any_text_decodes_or_is_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        decode(text)
    assert caught.value.file == "g2.toml"


plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["id", "slots", "priority", "structures", "engine", "resources", "retry", "metadata", "isolation"]),
    plain,
)
def test_any_value_anywhere_is_taken_or_a_spec_error(key: str, value: Any) -> None:
    tables = {"recipe": "campaign", "structures": {"source": "m"}, "engine": {"name": "emt"}} | {key: value}
    try:
        spec = decode_spec(tables, "", "g2.toml")
    except SpecError as error:
        assert error.file == "g2.toml"  # noqa: PT017 - either way is right
        return
    assert spec.slots >= 1
    assert spec.needs().cores >= 1


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("slots", 4),
        ("retry", 20),
        ("retry.delay", 22),
        ("retry.missing", 20),
        ("metadata.nested.any", 26),
        ("nowhere", None),
        ("structures.source", 8),
    ],
)
def test_locating_a_key(key: str, line: int | None) -> None:
    assert locate_key(GOOD, key) == line


def test_locating_quoted_and_dotted_keys() -> None:
    assert locate_key('a = 1\n"retry".delay = 3\n', "retry.delay") == 2
    assert locate_key("[[a.b]]\nc = 1\n", "a.b.c") == 2


def test_the_nearest_name_is_asked_for() -> None:
    assert nearest("slot", ["slots", "cluster"]) == "did you mean 'slots'?"
    assert nearest("slot", ["slots", "cluster"], 0.95) == ""
    assert nearest("slot", []) == ""


@pytest.mark.parametrize(("key", "example"), [("walltime", '"10min"'), ("memory", '"1GB"')])
def test_an_amount_that_is_a_number_is_refused_with_an_example(key: str, example: str) -> None:
    text = f'recipe = "campaign"\n[structures]\nsource = "m.csv"\n[engine]\nname = "emt"\n[resources]\n{key} = 600\n'
    with pytest.raises(SpecError, match=f"write it like {example}") as caught:
        decode_spec(parse_toml(text, "spec.toml"), text, "spec.toml")
    assert (caught.value.line, caught.value.key) == (7, f"resources.{key}")


ALL_TABLES = """
recipe = "campaign"
[structures]
source = "m.csv"
[engine]
name = "command"
[resources]
cores = 2
nodes = 2
tasks = 4
gpus = 1
[retry]
max_attempts = 4
walltime_growth = 2
walltime_max = "2d"
memory_growth = 1.5
memory_max = "64GB"
[scheduler]
queue = "long"
launcher = ["srun", "--mpi=pmix"]
directives = ["--exclusive"]
[batch]
style = "bundle"
size = 50
[checkpoint]
command = "sh -c 'kill -USR1 $PENSTOCK_PID'"
carry = ["restart.gbw"]
"""


def test_what_goes_to_a_scheduler() -> None:
    spec = decode(ALL_TABLES)
    assert spec.needs() == Resources(2, 1000, 3600, 2, 4, 1)
    assert spec.needs().cores_in_all == 8
    assert spec.scheduler.options() == SchedulerOptions(
        partition="long", launcher=("srun", "--mpi=pmix"), directives=("--exclusive",)
    )
    assert spec.batching() == Batch("bundle", 50)
    assert spec.checkpoint_argv() == ("sh", "-c", "kill -USR1 $PENSTOCK_PID")
    kept = msgspec.json.decode(msgspec.json.encode(spec), type=WorkflowSpec)
    assert kept == spec


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        (
            "nodes = 2",
            "nodes = 5",
            "resources.nodes",
            "5 nodes need at least as many tasks, not 4; set resources.tasks",
        ),
        ("nodes = 2", "nodes = 0", "resources.nodes", "must be between 1 and"),
        ("tasks = 4", "tasks = -1", "resources.tasks", "must be between 1 and"),
        ("gpus = 1", "gpus = -1", "resources.gpus", "must be between 0 and"),
        ("walltime_growth = 2", "walltime_growth = 0.5", "retry.walltime_growth", "is a factor between 1 (no growth)"),
        ("walltime_growth = 2", "walltime_growth = nan", "retry.walltime_growth", "is a factor between 1"),
        ("memory_growth = 1.5", "memory_growth = inf", "retry.memory_growth", "is a factor between 1"),
        ('walltime_max = "2d"', 'walltime_max = "long"', "retry.walltime_max", "is not a duration"),
        ('walltime_max = "2d"', "walltime_max = 3", "retry.walltime_max", 'write it like "10min"'),
        ('memory_max = "64GB"', 'memory_max = "64"', "retry.memory_max", "is not an amount of memory"),
        ('queue = "long"', 'queue = "long"\npartition = "x"', "scheduler.queue", "is another word for partition"),
        ('queue = "long"', 'queu = "long"', "scheduler.queu", "did you mean 'queue'?"),
        ('queue = "long"', 'account = "a\\nb"', "scheduler.account", "holds line ends"),
        ('"--exclusive"', '"--array=1-9"', "scheduler.directives", "Penstock sets it itself"),
        ('["srun", "--mpi=pmix"]', '"srun \'"', "scheduler.launcher", "cannot be split into words"),
        ('style = "bundle"', 'style = "heap"', "batch.style", 'use "auto", "array" or "bundle"'),
        ("size = 50", "size = 0", "batch.size", "must be between 1 and 100000, not 0"),
        ("size = 50", "size = 100001", "batch.size", "must be between 1 and 100000"),
        ('carry = ["restart.gbw"]', 'carry = ["../x"]', "checkpoint.carry", "'../x' is no plain file name"),
        ('carry = ["restart.gbw"]', 'carry = [".claim"]', "checkpoint.carry", "is no plain file name"),
        ('carry = ["restart.gbw"]', 'carry = ["*.gbw"]', "checkpoint.carry", "is no plain file name"),
        ('"sh -c', '"sh\\u0007 -c', "checkpoint.command", "holds control characters"),
    ],
)
def test_what_a_scheduler_cannot_be_given_is_refused(old: str, new: str, key: str, said: str) -> None:
    assert ALL_TABLES.count(old) == 1
    with pytest.raises(SpecError) as caught:
        decode(ALL_TABLES.replace(old, new))
    assert caught.value.key == key
    assert caught.value.line is not None
    assert said in str(caught.value)


MORE = """\
recipe = "crystal"
structures.source = "m.cif"
engine.name = "crystal"

[limits]
max_jobs = 10
reserve = 2
per_cycle = 5
cycle = "2min"

[chain]
template = "opt_sp"
optional = ["SP"]
usual_resources = false

[steps.SP]
engine = { shrink = 8 }
resources = { cores = 4 }

[remedies]
total = 4
engine = true
limits = { fmixing = 2 }

[[remedies.rules]]
name = "first"
on = "scf_not_converged"
when = "cycles"
change = { maxcycle = { add = 100, most = 500 } }

[[remedies.rules]]
name = "second"
on = "walltime"
walltime = 2.0
restart = true
"""


def test_limits_chains_steps_and_remedies() -> None:
    spec = decode(MORE)
    assert [spec.limits.slots(wanted) for wanted in (3, 8, 100)] == [3, 8, 8]
    assert (spec.limits.per_cycle, spec.limits.cycle) == (5, "2min")
    assert (spec.chain.template, spec.chain.optional) == ("opt_sp", ["SP"])
    assert (spec.needs_of_step("SP").cores, spec.needs_of_step("OPT").cores) == (4, 1)
    assert spec.steps["SP"].engine == {"shrink": 8}
    assert [rule.name for rule in spec.remedies.rules] == ["first", "second"]
    assert (spec.remedies.total, spec.remedies.limits) == (4, {"fmixing": 2})


def test_without_limits_all_slots_are_used() -> None:
    spec = decode('recipe = "campaign"\nstructures.source = "m.csv"\nengine.name = "emt"\n')
    assert spec.limits.slots(7) == 7


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("max_jobs = 10", "max_jobs = 0", 6, "limits.max_jobs", "must be between 1 and 100000, not 0"),
        ("max_jobs = 10", "max_job = 10", 6, "limits.max_job", "did you mean 'max_jobs'?"),
        ("reserve = 2", "reserve = 10", 7, "limits.reserve", "at least one of max_jobs (10), and 10 does not"),
        ("reserve = 2", "reserve = -1", 7, "limits.reserve", "must be 0 or more, not -1"),
        ("max_jobs = 10", "", 7, "limits.reserve", "needs max_jobs, of which it is left free"),
        ("per_cycle = 5", "per_cycle = 0", 8, "limits.per_cycle", "must be at least 1, not 0"),
        ('cycle = "2min"', 'cycle = "often"', 9, "limits.cycle", "'often' is not a duration"),
        ('template = "opt_sp"', 'templat = "opt_sp"', 12, "chain.templat", "did you mean 'template'?"),
        ('optional = ["SP"]', 'optional = "SP"', 13, "chain.optional", "expected `array`, got `str`"),
        ("engine = { shrink = 8 }", "engines = {}", 17, "steps.SP.engines", "unknown key 'engines'; did you mean"),
        ("total = 4", "total = 101", 21, "remedies.total", "must be between 0 and 100"),
        ("total = 4", "totals = 4", 21, "remedies.totals", "did you mean 'total'?"),
        ("fmixing = 2", "fmixing = -2", 23, "remedies.limits.fmixing", "must be 0 (the rule is off) or more"),
        ('when = "cycles"', 'wen = "cycles"', 28, "remedies.rules[0].wen", "unknown key 'wen'; did you mean 'when'?"),
        ("restart = true", "restrat = true", 35, "remedies.rules[1].restrat", "did you mean 'restart'?"),
        ('when = "cycles"', 'when = "("', 25, "remedies.rules[0]", "when is no regular expression"),
        ("walltime = 2.0", "walltime = 0.5", 31, "remedies.rules[1]", "factors between 1 and 100, not 0.5"),
        ('name = "second"', 'name = "first"', None, "remedies.rules", "there are two rules 'first'"),
        ('on = "walltime"', 'on = "wall_time"', 33, "remedies.rules[1].on", "did you mean 'walltime'?"),
        ('on = "walltime"', "", 31, "remedies.rules[1].on", "missing; add it"),
        ("add = 100", "plus = 100", 29, "remedies.rules[0].change.maxcycle.plus", "unknown key 'plus'"),
        ("add = 100", 'add = "100"', 29, None, "expected `float | null`, got `str`"),
    ],
)
def test_errors_in_limits_chains_and_remedies_say_where_and_what(
    old: str, new: str, line: int | None, key: str | None, message: str
) -> None:
    assert MORE.count(old) == 1
    with pytest.raises(SpecError) as caught:
        decode(MORE.replace(old, new))
    error = caught.value
    assert message in error.message
    assert key is None or error.key == key
    assert error.file == "g2.toml"
    assert line is None or error.line == line


def test_a_whole_number_in_a_rule_stays_one_where_the_parameter_has_no_value() -> None:
    rule = '[[remedies.rules]]\nname = "more"\non = "scf_not_converged"\nchange.cycles = { add = 200, default = 125 }\n'
    table = decode(GOOD.replace("[metadata]", f"{rule}\n[metadata]")).remedies
    stored = msgspec.json.decode(msgspec.json.encode(table), type=RemedyTable)
    remedy = decide_remedy(stored.rules, FailureClass.SCF_NOT_CONVERGED, "", {}, {}, total=1, had=Resources())
    assert isinstance(remedy, Remedy)
    assert remedy.changes == ("cycles none → 325",)
