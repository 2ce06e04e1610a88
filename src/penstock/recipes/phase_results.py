"""A phase diagram out of calculated structures and given energies, and what it says of each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from penstock.domain.formula import read_formula, usual_order
from penstock.domain.geometry import parse_geometry
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.property_tables import PhaseDiagramTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord
from penstock.recipes.relaxed_structures import Relaxed, look_at_relaxed

if TYPE_CHECKING:
    from penstock.analysis.phase_diagram import HullUncertainty, PhaseDiagram

_NOTED: Final = 20
"""So many notes of one kind are written out; the rest is counted."""
_LOOKED_AT: Final = 2000
"""Of so many structures, those nearest to the hull, it is found out what they relaxed to: a few ms each."""
_DRAWS: Final = 10**6
"""Hulls are drawn anew until so many energies have been: of up to 1000 phases as often as can be of use."""
_SAMPLES: Final = (100, 1000)


def make_diagram(spec: WorkflowSpec, jobs: Sequence[JobRecord]) -> tuple[PhaseDiagram, list[JobRecord], list[str]]:
    """The diagram, the jobs that its first entries are of, and what was left out and why. ValueError without a hull."""
    from penstock.analysis.formation import Entry
    from penstock.analysis.phase_diagram import compute_phase_diagram

    table = spec.phase_diagram
    done = [job for job in jobs if job.is_completed and job.energy_ev is not None]
    failed = [job for job in jobs if not job.is_completed or job.energy_ev is None]
    left_out = [f"left out: {job.name}: {job.failure or 'no energy'}" for job in failed]
    if not done:
        raise ValueError(f"none of the {len(jobs)} structures has an energy: {'; '.join(left_out[:3])}")
    compositions = [Counter(parse_geometry(job.geometry).symbols) for job in done]
    given = {formula: read_formula(formula) for formula in table.energies_ev_per_atom}
    elements = _elements(spec, {symbol for counts in (*compositions, *given.values()) for symbol in counts})

    def entry(name: str, counts: Mapping[str, int], energy_ev: float) -> Entry:
        error = table.error_ev_per_atom * sum(counts.values()) if table.error_ev_per_atom else None
        return Entry(name, {symbol: counts[symbol] for symbol in elements if symbol in counts}, energy_ev, error)

    entries = [
        entry(job.name, counts, job.energy_ev_per_atom * counts.total())
        for job, counts in zip(done, compositions, strict=True)
    ]
    entries += [
        entry(f"{formula} (given)", counts, table.energies_ev_per_atom[formula] * sum(counts.values()))
        for formula, counts in given.items()
    ]
    try:
        diagram = compute_phase_diagram(entries, table.references_ev_per_atom or None, elements)
    except ValueError as error:
        raise ValueError(f"{error}{_failed_references(failed)}") from error
    return diagram, done, _shortened(left_out)


def find_unrefined(spec: WorkflowSpec, calculated: Sequence[JobRecord], refined: Sequence[JobRecord]) -> list[str]:
    """A remark on what was on the hull and could not be refined: the hull of what is left lies too high there."""
    diagram, jobs, _ = make_diagram(spec, calculated)
    broken = {job.label["of"] for job in refined if not job.is_completed or job.energy_ev is None}
    names = [job.name for n, job in enumerate(jobs) if diagram.stable[n] and job.id in broken]
    if not names:
        return []
    said = f"{', '.join(names[:_NOTED])} {'was' if len(names) == 1 else 'were'} on the hull before"
    return [f"{said}, and could not be refined: what is left may seem more stable than it is"]


def _failed_references(failed: Sequence[JobRecord]) -> str:
    """What to add where a reference is missing: that it was calculated in vain, and where it can be given."""
    pure = [job for job in failed if len(set(parse_geometry(job.geometry).symbols)) == 1]
    reasons = "".join(f" {job.name} failed: {job.failure or 'no energy'}." for job in pure[:3])
    return f"{reasons} Known energies go into phase_diagram.references_ev_per_atom."


def _elements(spec: WorkflowSpec, present: set[str]) -> tuple[str, ...]:
    """The system in the order in which the spec names it, else in that of formulas."""
    build = spec.structures.build
    named: tuple[str, ...] = ()
    if build is not None:
        named = build.elements or tuple(read_formula(build.system or ""))
    return (*named, *usual_order(present - set(named)))


def _shortened(notes: list[str]) -> list[str]:
    more = len(notes) - _NOTED
    return notes if more <= 0 else [*notes[:_NOTED], f"{notes[0].partition(':')[0]}: {more} more"]


def describe(
    table: PhaseDiagramTable,
    diagram: PhaseDiagram,
    jobs: Sequence[JobRecord],
    left_out: Sequence[str],
    energies: str,
    step: str,
) -> Conclusion:
    """The properties of every phase, figures and notes; `energies` says where those of the jobs come from."""
    uncertainty = _uncertainty(diagram, table)
    hull = f"convex hull of {len(diagram.entries)} phases"
    became = _became(table, diagram, jobs)
    properties: list[PropertyResult] = []
    for n in range(len(diagram.entries)):
        job = jobs[n] if n < len(jobs) else None
        method = f"{hull}, {energies}" if job else f"{hull}, its energy given"
        relaxed = became.get(job.id) if job else None
        properties += _properties(diagram, uncertainty, n, job, relaxed, method)
    notes = [*left_out, *_notes(jobs, became)]
    if uncertainty is not None:
        notes.append(f"probabilities are of {uncertainty.samples} hulls with energies drawn within their errors")
    return Conclusion(tuple(properties), tuple(_figures(diagram, uncertainty, step)), tuple(notes))


def _uncertainty(diagram: PhaseDiagram, table: PhaseDiagramTable) -> HullUncertainty | None:
    """References that were given count as exact."""
    from penstock.analysis.phase_diagram import compute_hull_uncertainty

    if not table.error_ev_per_atom:
        return None
    least, most = _SAMPLES
    return compute_hull_uncertainty(diagram, samples=min(most, max(least, _DRAWS // len(diagram.entries))))


def _became(table: PhaseDiagramTable, diagram: PhaseDiagram, jobs: Sequence[JobRecord]) -> dict[int, Relaxed]:
    import numpy as np

    from penstock.analysis.formation import reduced_formula

    if table.relax == "none":
        return {}
    nearest = np.argsort(diagram.above_ev[: len(jobs)], kind="stable")[:_LOOKED_AT].tolist()
    return look_at_relaxed(
        [jobs[n] for n in nearest], [reduced_formula(diagram.entries[n].composition) for n in nearest]
    )


def _notes(jobs: Sequence[JobRecord], became: Mapping[int, Relaxed]) -> list[str]:
    """What relaxed to something else, in the order of the jobs."""
    known = [(job, became[job.id]) for job in jobs if job.id in became]
    changed = [f"changed: {job.name}: from {one.before} to {one.space_group}" for job, one in known if one.before]
    same = [f"relaxed to the same: {job.name}: as {one.same_as.name}" for job, one in known if one.same_as]
    unseen = len(jobs) - len(became)
    cut = [f"symmetry: that of {unseen} structures was not looked at"] if became and unseen else []
    return [*_shortened(changed), *_shortened(same), *cut]


def _properties(
    diagram: PhaseDiagram,
    uncertainty: HullUncertainty | None,
    n: int,
    job: JobRecord | None,
    relaxed: Relaxed | None,
    method: str,
) -> list[PropertyResult]:
    import math

    from penstock.analysis.formation import reduced_formula

    entry = diagram.entries[n]
    conditions: dict[str, Any] = {"formula": reduced_formula(entry.composition), "stable": bool(diagram.stable[n])}
    if relaxed is not None:
        conditions["space_group"] = relaxed.space_group
        conditions |= {"space_group_before": relaxed.before} if relaxed.before else {}
        conditions |= {"same_as": relaxed.same_as.name} if relaxed.same_as else {}
    parts = (f"{part.share:.4g} {diagram.entries[part.entry].name}" for part in diagram.decomposition(n))
    above = conditions | {"decomposition": " + ".join(parts)}
    if uncertainty is not None:
        above["stable_probability"] = round(float(uncertainty.stable_probability[n]), 4)
    if math.isfinite(diagram.below_others_ev[n]):
        above["below_others_ev_per_atom"] = float(diagram.below_others_ev[n])
    error = float(diagram.formation.formation_error_ev[n])
    formation = (float(diagram.formation_ev[n]), error if math.isfinite(error) else None)
    hull = (float(diagram.above_ev[n]), None if uncertainty is None else float(uncertainty.above_error_ev[n]))
    attempts = (job.attempt_name,) if job else ()
    return [
        PropertyResult(name, entry.name, value, "eV/atom", uncertain, about, method, attempts)
        for name, (value, uncertain), about in (
            ("formation_energy", formation, conditions),
            ("energy_above_hull", hull, above),
        )
    ]


def _figures(diagram: PhaseDiagram, uncertainty: HullUncertainty | None, step: str) -> list[Figure]:
    from penstock.analysis.chemical_potential import compute_stability_regions
    from penstock.analysis.phase_figures import figure_chemical_potential, figure_hull

    if len(diagram.elements) < 2:
        return []
    regions = compute_stability_regions(diagram)
    return [
        figure_hull(diagram, uncertainty, name=step),
        figure_chemical_potential(diagram, regions, name=f"{step}_chemical_potential"),
    ]
