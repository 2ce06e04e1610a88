"""How many jobs a plan is said to come to, before anything is calculated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ase.build import bulk

from penstock import engines
from penstock.domain.calculation import Structure
from penstock.recipes.foresight import Foresight

from .calculating import Calculated, block, spec_of


def parameters(engine: str = "emt") -> bytes:
    return msgspec.json.encode(engines.get(engine).parameters({}, str))


def structure(geometry: str, name: str = "it") -> Structure:
    return Structure(0, 1, name, "Cu", 1, 0, 1, geometry)


@pytest.mark.parametrize(("symbol", "options", "jobs"), [("Cu", {"cubic": True}, 8), ("Cu", {}, 8), ("Zn", {}, 12)])
def test_strains_are_counted_as_the_recipe_makes_them(symbol: str, options: dict[str, Any], jobs: int) -> None:
    geometry = block(bulk(symbol, **options))
    spec = spec_of("elastic")
    foresight = Foresight(spec, {"relax": parameters(), "strain": parameters()})
    assert foresight.unfolds
    foresight.see(structure(geometry))
    assert foresight.jobs == {"relax": 1, "strain": jobs}
    assert foresight.untold == {}


def test_as_many_are_foreseen_as_there_are() -> None:
    from penstock.recipes.elastic import Elastic

    geometry = block(bulk("Cu", cubic=True))
    spec = spec_of("elastic", elastic={"amplitudes": [0.01]})
    calculated = Calculated(Elastic(), spec, geometry)
    calculated.run()
    foresight = Foresight(spec, {"relax": parameters(), "strain": parameters()})
    foresight.see(structure(geometry))
    assert foresight.jobs.total() == len(calculated.jobs)


def test_what_hangs_on_results_is_not_counted() -> None:
    table = {"refine_below_ev_per_atom": 0.02, "refine": {"fmax": 0.001}}
    foresight = Foresight(spec_of("phase_diagram", phase_diagram=table), {})
    for name in ("a", "b"):
        foresight.see(structure(block(bulk("Cu")), name))
    assert foresight.jobs == {"calculate": 2, "refine": 0}
    assert foresight.untold == {"refine": "how many jobs there are hangs on results"}


def test_what_a_recipe_refuses_is_told() -> None:
    foresight = Foresight(spec_of("elastic"), {"relax": parameters(), "strain": parameters()})
    foresight.see(structure("1\n\nCu 0 0 0\n", "lonely"))
    assert foresight.jobs == {"relax": 1, "strain": 0}
    assert foresight.untold["strain"].startswith("lonely: ")


def test_chains_and_campaigns_have_nothing_to_foresee() -> None:
    assert not Foresight(spec_of("campaign"), {}).unfolds
