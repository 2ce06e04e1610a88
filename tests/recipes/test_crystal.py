"""The CRYSTAL chain: which steps come of which spec, what each goes on from, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.resources import Resources
from penstock.domain.spec import ChainTable, StepTable, StructureSource, WorkflowSpec
from penstock.recipes.crystal import TEMPLATES
from penstock.recipes.recipe import Step, View
from penstock.recipes.registry import get_recipe


def spec(chain: ChainTable, *, engine: str = "crystal", recipe: str = "crystal", **more: Any) -> WorkflowSpec:
    return WorkflowSpec(recipe, StructureSource("m.cif"), {"name": engine}, chain=chain, **more)


def steps(chain: ChainTable, **more: Any) -> list[Step]:
    return get_recipe("crystal").steps(View(spec(chain, **more), ()))


def links(*names: str) -> dict[str, str | None]:
    """By step, what it goes on from."""
    return {step.key: step.after for step in steps(ChainTable(steps=list(names)))}


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_a_chain_from_one_fan(template: str) -> None:
    found = steps(ChainTable(template))
    assert tuple(step.key for step in found) == TEMPLATES[template]
    assert [step.after for step in found].count(None) == 1
    assert {step.kind for step in found} == {"fan"}
    seen: set[str] = set()
    for step in found:
        assert step.after is None or step.after in seen
        seen.add(step.key)


def test_a_template_and_the_same_steps_are_the_same_chain() -> None:
    assert steps(ChainTable("complete")) == steps(ChainTable(steps=["opt", "sp", "band", "doss", "freq"]))


def test_properties_and_frequencies_go_on_from_the_nearest_wavefunction() -> None:
    assert links("OPT", "BAND", "SP", "DOSS", "FREQ", "BAND2", "OPT2", "TRANSPORT", "CHARGE+POTENTIAL") == {
        "OPT": None,
        "BAND": "OPT",
        "SP": "OPT",
        "DOSS": "SP",
        "FREQ": "SP",
        "BAND2": "SP",
        "OPT2": "SP",
        "TRANSPORT": "OPT2",
        "CHARGE+POTENTIAL": "OPT2",
    }


def test_numbered_repeats_do_what_their_name_says() -> None:
    found = steps(ChainTable(steps=["OPT", "OPT2", "OPT3", "SP"]))
    assert [step.engine["task"] for step in found] == ["opt", "opt", "opt", "sp"]
    assert [step.after for step in found] == [None, "OPT", "OPT2", "OPT3"]
    assert [step.given for step in found] == [(), ("fort.9",), ("fort.9",), ("fort.9",)]


def test_frequencies_alone_need_nothing_before_them() -> None:
    [step] = steps(ChainTable(steps=["FREQ"]))
    assert (step.after, step.engine, step.given) == (None, {"task": "freq"}, ())


def test_only_the_steps_named_are_optional() -> None:
    found = steps(ChainTable("complete", optional=["BAND", "FREQ"]))
    assert {step.key for step in found if step.optional} == {"BAND", "FREQ"}


def test_steps_have_parameters_and_resources_of_their_own_over_those_of_the_spec() -> None:
    own = {"SP": StepTable({"shrink": 8}, {"cores": 4, "walltime": "2h"})}
    opt, sp = steps(ChainTable("opt_sp"), steps=own)
    assert (opt.engine, opt.resources) == ({"task": "opt"}, Resources())
    assert sp.engine == {"shrink": 8, "task": "sp"}
    assert sp.resources == Resources(cores=4, walltime_s=7200)


def test_usual_resources_are_those_of_the_kind_unless_the_step_says_otherwise() -> None:
    chain = ChainTable("full_electronic", usual_resources=True)
    found = {step.key: step.resources for step in steps(chain, steps={"BAND": StepTable(resources={"tasks": 4})})}
    assert found["OPT"] == Resources(tasks=32, memory_mb=160_000, walltime_s=7 * 86400)
    assert found["SP"] == Resources(tasks=32, memory_mb=128_000, walltime_s=3 * 86400)
    assert found["BAND"] == Resources(tasks=4, memory_mb=48_000, walltime_s=7200)
    assert found["DOSS"] == Resources(tasks=28, memory_mb=48_000, walltime_s=7200)


@pytest.mark.parametrize(
    ("chain", "more", "key", "message"),
    [
        (ChainTable(), {}, "chain", 'missing; give [chain] template = "full_electronic"'),
        (ChainTable("opt_sp", ["OPT"]), {}, "chain.steps", "give template or steps, not both"),
        (ChainTable("opt_sb"), {}, "chain.template", "unknown template 'opt_sb'; did you mean 'opt_sp'?"),
        (ChainTable("zzz"), {}, "chain.template", "known: basic_opt, opt_sp"),
        (ChainTable(steps=["OPT", "BNAD"]), {}, "chain.steps", "unknown step 'BNAD'; did you mean 'BAND'?"),
        (ChainTable(steps=["OPT", "7"]), {}, "chain.steps", "unknown step '7'; known: OPT, SP"),
        (ChainTable(steps=["OPT", "opt"]), {}, "chain.steps", "OPT is there twice; number repeats: OPT, OPT2"),
        (ChainTable(steps=["BAND"]), {}, "chain.steps", "BAND needs a wavefunction: put SP or OPT before it"),
        (ChainTable(steps=["FREQ", "DOSS"]), {}, "chain.steps", "DOSS needs a wavefunction"),
        (ChainTable(steps=["FREQ", "OPT"]), {}, "chain.steps", "FREQ comes first and nothing goes on from it"),
        (ChainTable("opt_sp", optional=["BAND"]), {}, "chain.optional", "'BAND' is no step of the chain"),
        (ChainTable("opt_sp"), {"steps": {"SPP": StepTable()}}, "steps", "'SPP' is no step of the chain; did you mean"),
        (
            ChainTable("opt_sp"),
            {"steps": {"SP": StepTable({"task": "opt"})}},
            "steps.SP.engine",
            "the step's name says what it does",
        ),
        (
            ChainTable("opt_sp"),
            {"steps": {"SP": StepTable(resources={"core": 1})}},
            "steps.SP.resources.core",
            "unknown key 'core'; did you mean 'cores'?",
        ),
        (
            ChainTable("opt_sp"),
            {"steps": {"SP": StepTable(resources={"cores": "many"})}},
            "steps.SP.resources.cores",
            "expected `int`, got `str`",
        ),
        (
            ChainTable("opt_sp"),
            {"steps": {"SP": StepTable(resources={"cores": 0})}},
            "steps.SP.resources.cores",
            "must be between 1 and",
        ),
        (
            ChainTable("opt_sp"),
            {"steps": {"SP": StepTable(resources={"walltime": "soon"})}},
            "steps.SP.resources.walltime",
            "'soon' is not a duration",
        ),
        (ChainTable("opt_sp"), {"engine": "tblite"}, "engine.name", "runs the engine \"crystal\", not 'tblite'"),
    ],
)
def test_chains_that_cannot_be_are_refused_with_their_key(
    chain: ChainTable, more: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        steps(chain, **more)
    assert caught.value.key == key
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("more", "key"),
    [({"chain": ChainTable("opt_sp")}, "chain"), ({"steps": {"SP": StepTable()}}, "steps")],
)
def test_a_campaign_has_no_chain(more: dict[str, Any], key: str) -> None:
    own = WorkflowSpec("campaign", StructureSource("m.csv"), {"name": "emt"}, **more)
    with pytest.raises(SpecError, match="a campaign has one step") as caught:
        get_recipe("campaign").steps(View(own, ()))
    assert caught.value.key == key
