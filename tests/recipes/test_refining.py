"""Refining near the hull, on energies that are given."""

from __future__ import annotations

from tests.recipes.calculating import spec_of

from penstock.domain.subject import JobRecord, Subject
from penstock.recipes.phase_diagram import CALCULATE, REFINE, PhaseDiagramRecipe

PHASES = PhaseDiagramRecipe()
REFINED = {"refine_below_ev_per_atom": 0.1, "refine": {"fmax": 0.001}}


def calculated(*jobs: tuple[str, str, float]) -> Subject:
    """Completed jobs, each a name, a geometry of some atoms at one place, and an energy."""
    return Subject(
        "all",
        tuple(
            JobRecord(
                n, CALCULATE, name, name, "completed", f"{len(symbols)}\n\n{atoms(symbols)}", energy_hartree=energy
            )
            for n, (name, symbols, energy) in enumerate(jobs, 1)
        ),
    )


def atoms(symbols: str) -> str:
    return "".join(f"{symbol} {n} 0 0\n" for n, symbol in enumerate(symbols))


def test_structures_of_one_name_are_all_refined() -> None:
    subject = calculated(("slab", "C", -1.0), ("slab", "N", -2.0), ("both", "CN", -3.1), ("far", "CN", -2.0))
    made = PHASES.unfold(spec_of("phase_diagram", phase_diagram=REFINED), REFINE, subject, None)
    assert [one.name for one in made] == ["slab (1)", "slab (2)", "both"]
