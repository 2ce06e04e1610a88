"""Phase diagrams: every structure of the source is calculated, then which are stable against decay into others."""

from __future__ import annotations

from collections import Counter
from typing import Final

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.engines.abilities import refuse_missing
from penstock.engines.engine import Ability, Role
from penstock.recipes.phase_results import describe, find_unrefined, make_diagram
from penstock.recipes.property_steps import check_step_names, job_step
from penstock.recipes.recipe import ANALYSIS, UNFOLD, Step, View

CALCULATE: Final = "calculate"
HULL: Final = "hull"
REFINE: Final = "refine"
REFINED: Final = "refined_hull"
_ROLES: Final = {"cell": Role.RELAX_CELL, "ions": Role.RELAX_IONS, "none": Role.SINGLE_POINT}


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
        diagram, jobs, _ = make_diagram(spec, subject.of_step(CALCULATE))
        below = spec.phase_diagram.refine_below_ev_per_atom or 0.0
        references = set(diagram.formation.reference_entry)
        near = [n for n, job in enumerate(jobs) if diagram.above_ev[n] <= below or n in references]
        taken = Counter(jobs[n].name for n in near)
        return [
            Unfolded(
                jobs[n].name if taken[jobs[n].name] == 1 else f"{jobs[n].name} ({jobs[n].id})",
                jobs[n].end_geometry,
                {"of": jobs[n].id},
                charge=jobs[n].charge,
                multiplicity=jobs[n].multiplicity,
            )
            for n in near
        ]

    def conclude(self, spec: WorkflowSpec, step: str, subject: Subject) -> Conclusion:
        """Formation energies, energies above the hull, decompositions; ValueError where there is no hull."""
        key = REFINE if step == REFINED else CALCULATE
        diagram, jobs, left_out = make_diagram(spec, subject.of_step(key))
        if step == REFINED:
            left_out += find_unrefined(spec, subject.of_step(CALCULATE), subject.of_step(REFINE))
        better = " with refined parameters" if key == REFINE else ""
        energies = f"energies of engine {spec.engine_name}{better}, relaxed: {spec.phase_diagram.relax}"
        return describe(spec.phase_diagram, diagram, jobs, left_out, energies, step)
