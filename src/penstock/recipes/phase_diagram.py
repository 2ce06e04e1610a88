"""Phase diagrams: every structure of the source is calculated, then which are stable against decay into others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.formula import read_formula
from penstock.domain.geometry import parse_geometry
from penstock.domain.properties import Conclusion, Figure, PropertyResult
from penstock.domain.property_tables import PhaseDiagramTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.engines.abilities import refuse_missing
from penstock.engines.engine import Ability, Role
from penstock.recipes.property_steps import check_step_names, job_step
from penstock.recipes.recipe import ANALYSIS, UNFOLD, Step, View

if TYPE_CHECKING:
    from penstock.analysis.phase_diagram import HullUncertainty, PhaseDiagram

CALCULATE: Final = "calculate"
HULL: Final = "hull"
REFINE: Final = "refine"
REFINED: Final = "refined_hull"
_ROLES: Final = {"cell": Role.RELAX_CELL, "ions": Role.RELAX_IONS, "none": Role.SINGLE_POINT}
_LEFT_OUT_SHOWN: Final = 20


class PhaseDiagramRecipe:
    """One fan over the structures and the hull of all; then those near the hull once more, better, and their hull."""

    name = "phase_diagram"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """The steps; SpecError where the engine cannot relax as it is told to."""
        spec, table = view.spec, view.spec.phase_diagram
        needed = {Ability.ENERGY: "a phase diagram"}
        needed |= {Ability.CELL: 'relax = "cell"'} if table.relax == "cell" else {}
        refuse_missing(spec.engine_name, needed)
        steps = [
            job_step(spec, CALCULATE, _ROLES[table.relax], optional=True),
            Step(HULL, ANALYSIS, CALCULATE, whole=True),
        ]
        if table.refine_below_ev_per_atom is not None:
            if "task" in table.refine:
                raise SpecError(
                    "refining does what was done before, better; leave it out", key="phase_diagram.refine.task"
                )
            extra = table.refine
            steps += [
                job_step(
                    spec, REFINE, _ROLES[table.relax], kind=UNFOLD, after=HULL, optional=True, whole=True, extra=extra
                ),
                Step(REFINED, ANALYSIS, REFINE, whole=True),
            ]
        check_step_names(spec, [step.key for step in steps if step.runs_jobs])
        return steps

    def unfold(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,
        parent: JobRecord | None,  # noqa: ARG002
    ) -> list[Unfolded]:
        """What is near the hull, from where it relaxed to, and the elements that it is measured against."""
        diagram, jobs, _ = _diagram(spec.phase_diagram, subject.of_step(CALCULATE))
        below = spec.phase_diagram.refine_below_ev_per_atom or 0.0
        references = set(diagram.formation.reference_entry)
        near = [n for n, job in enumerate(jobs) if diagram.above_ev[n] <= below or n in references]
        return [
            Unfolded(
                jobs[n].name,
                jobs[n].end_geometry,
                {"of": jobs[n].id},
                charge=jobs[n].charge,
                multiplicity=jobs[n].multiplicity,
            )
            for n in near
        ]

    def conclude(self, spec: WorkflowSpec, step: str, subject: Subject) -> Conclusion:
        """Formation energies, energies above the hull, decompositions; ValueError where there is no hull."""
        table = spec.phase_diagram
        key = REFINE if step == REFINED else CALCULATE
        diagram, jobs, left_out = _diagram(table, subject.of_step(key))
        left_out += _unrefined(table, subject) if step == REFINED else []
        uncertainty = _uncertainty(diagram, table)
        method = f"convex hull of {len(diagram.entries)} phases, {_calculated(spec, key)}"
        properties: list[PropertyResult] = []
        for n, job in enumerate(jobs):
            properties += _properties(diagram, uncertainty, n, job, method)
        return Conclusion(tuple(properties), tuple(_figures(diagram, uncertainty, step)), tuple(left_out))


def _diagram(table: PhaseDiagramTable, jobs: list[JobRecord]) -> tuple[PhaseDiagram, list[JobRecord], list[str]]:
    """The diagram, the jobs that its first entries are of, and what was left out and why."""
    from penstock.analysis.formation import Entry
    from penstock.analysis.phase_diagram import compute_phase_diagram

    done = [job for job in jobs if job.is_completed and job.energy_ev is not None]
    failed = [job for job in jobs if job not in done]
    left_out = [f"left out: {job.name}: {job.failure or 'no energy'}" for job in failed[:_LEFT_OUT_SHOWN]]
    left_out += [f"left out: {len(failed) - _LEFT_OUT_SHOWN} more"] if len(failed) > _LEFT_OUT_SHOWN else []
    if not done:
        raise ValueError(f"none of the {len(jobs)} structures has an energy: {'; '.join(left_out[:3])}")
    entries = []
    for job in done:
        composition = Counter(parse_geometry(job.geometry).symbols)
        atoms = composition.total()
        entries.append(Entry(job.name, composition, job.energy_ev_per_atom * atoms, _error_ev(table, atoms)))
    for formula, energy in table.energies_ev_per_atom.items():
        counts = read_formula(formula)
        atoms = sum(counts.values())
        entries.append(Entry(f"{formula} (given)", counts, energy * atoms, _error_ev(table, atoms)))
    return compute_phase_diagram(entries, table.references_ev_per_atom or None), done, left_out


def _error_ev(table: PhaseDiagramTable, atoms: float) -> float | None:
    return table.error_ev_per_atom * atoms if table.error_ev_per_atom else None


def _unrefined(table: PhaseDiagramTable, subject: Subject) -> list[str]:
    """A remark on what was on the first hull and could not be refined: the refined one lies too high there."""
    diagram, jobs, _ = _diagram(table, subject.of_step(CALCULATE))
    broken = {job.label["of"] for job in subject.of_step(REFINE) if not job.is_completed or job.energy_ev is None}
    names = [job.name for n, job in enumerate(jobs) if diagram.stable[n] and job.id in broken]
    if not names:
        return []
    said = f"{', '.join(names[:_LEFT_OUT_SHOWN])} {'was' if len(names) == 1 else 'were'} on the hull before"
    return [f"{said}, and could not be refined: what is left may seem more stable than it is"]


def _uncertainty(diagram: PhaseDiagram, table: PhaseDiagramTable) -> HullUncertainty | None:
    from penstock.analysis.phase_diagram import compute_hull_uncertainty

    if not table.error_ev_per_atom:
        return None
    return compute_hull_uncertainty(diagram)


def _properties(
    diagram: PhaseDiagram, uncertainty: HullUncertainty | None, n: int, job: JobRecord, method: str
) -> list[PropertyResult]:
    import numpy as np

    from penstock.analysis.formation import reduced_formula

    entry = diagram.entries[n]
    conditions: dict[str, Any] = {"formula": reduced_formula(entry.composition), "stable": bool(diagram.stable[n])}
    formation_error = float(diagram.formation.formation_error_ev[n])
    attempts = (job.attempt_name,)
    parts = (f"{part.share:.4g} {diagram.entries[part.entry].name}" for part in diagram.decomposition(n))
    hull = conditions | {"decomposition": " + ".join(parts)}
    if uncertainty is not None:
        hull["stable_probability"] = round(float(uncertainty.stable_probability[n]), 4)
    if np.isfinite(diagram.below_others_ev[n]):
        hull["below_others_ev_per_atom"] = float(diagram.below_others_ev[n])
    return [
        PropertyResult(
            "formation_energy",
            job.name,
            float(diagram.formation_ev[n]),
            "eV/atom",
            formation_error if np.isfinite(formation_error) else None,
            conditions,
            method,
            attempts,
        ),
        PropertyResult(
            "energy_above_hull",
            job.name,
            float(diagram.above_ev[n]),
            "eV/atom",
            None if uncertainty is None else float(uncertainty.above_error_ev[n]),
            hull,
            method,
            attempts,
        ),
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


def _calculated(spec: WorkflowSpec, key: str) -> str:
    """With what the energies were calculated."""
    better = " with refined parameters" if key == REFINE else ""
    return f"energies of engine {spec.engine_name}{better}, relaxed: {spec.phase_diagram.relax}"
