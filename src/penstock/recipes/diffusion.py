"""Diffusion: molecular dynamics at several temperatures, in segments that go on from one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from penstock.domain.errors import SpecError
from penstock.domain.properties import Conclusion
from penstock.domain.property_tables import DiffusionTable
from penstock.domain.spec import WorkflowSpec
from penstock.domain.subject import Subject
from penstock.engines.abilities import refuse_missing
from penstock.engines.engine import Ability, Role
from penstock.recipes.diffusion_analysis import DiffusionAnalysis, productions
from penstock.recipes.property_steps import check_step_names, engine_tables, job_step, refuse_decided, size_of
from penstock.recipes.recipe import ANALYSIS, Step, View

START: Final = "start"
ANALYSE: Final = "diffusion"
_DECIDED: Final = {
    "temperature_k": "temperatures_k",
    "timestep_fs": "timestep_fs",
    "steps": "produce_ps",
    "sample_every": "sample_fs",
    "min_atoms": "min_atoms",
    "seed": "seed",
}


def equilibration(temperature_k: float) -> str:
    """The key of the step that brings the atoms to a temperature."""
    return f"equilibrate_{temperature_k:g}K"


class Diffusion:
    """The structure as it is or relaxed; for each temperature an equilibration, then segment after segment."""

    name = "diffusion"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """Start, equilibrations and productions, and the analysis of them all."""
        spec, table = view.spec, view.spec.diffusion
        refuse_missing(spec.engine_name, {Ability.DYNAMICS: "diffusion"})
        steps = [job_step(spec, START, Role.RELAX_CELL if table.relax else Role.SINGLE_POINT)]
        for temperature_k in table.temperatures_k:
            steps += _at_temperature(spec, table, temperature_k)
        check_step_names(spec, [step.key for step in steps])
        produced = [key for temperature_k in table.temperatures_k for key in productions(table, temperature_k)]
        refuse_decided(spec, _DECIDED, produced)
        _refuse_changing_cells(spec, produced)
        return [*steps, Step(ANALYSE, ANALYSIS, steps[-1].key)]

    def conclude(
        self,
        spec: WorkflowSpec,
        step: str,  # noqa: ARG002 - there is one
        subject: Subject,
    ) -> Conclusion:
        """Diffusion coefficients by species and temperature, and the activation energies that follow from them."""
        return DiffusionAnalysis(spec, subject).conclude()


def _refuse_changing_cells(spec: WorkflowSpec, produced: Sequence[str]) -> None:
    for where, table in engine_tables(spec, produced):
        if table.get("ensemble") == "npt":
            message = (
                "displacements take a cell that stays as it is, use nvt or nve; recipe 'equilibrate' finds the cell"
            )
            raise SpecError(message, key=f"{where}.ensemble")


def _at_temperature(spec: WorkflowSpec, table: DiffusionTable, temperature_k: float) -> list[Step]:
    shared: dict[str, Any] = {
        "temperature_k": temperature_k,
        "timestep_fs": table.timestep_fs,
        "sample_every": max(1, round(table.sample_fs / table.timestep_fs)),
        "seed": table.seed,
        **size_of(spec, table.min_atoms),
    }
    segment_steps = _steps_of(table.produce_ps / table.segments, table, "diffusion.produce_ps")
    if shared["sample_every"] > segment_steps:
        message = f"longer than a segment, which is {segment_steps * table.timestep_fs:g} fs: there would be no frame"
        raise SpecError(message, key="diffusion.sample_fs")
    steps: list[Step] = []
    after = START
    if table.equilibrate_ps:
        length = _steps_of(table.equilibrate_ps, table, "diffusion.equilibrate_ps")
        extra = {**shared, "steps": length, "ensemble": "nvt", "thermostat": "langevin"}
        extra["sample_every"] = min(extra["sample_every"], length)
        steps.append(job_step(spec, equilibration(temperature_k), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    for key in productions(table, temperature_k):
        steps.append(job_step(spec, key, Role.DYNAMICS, after=after, extra={**shared, "steps": segment_steps}))
        after = steps[-1].key
    return steps


def _steps_of(length_ps: float, table: DiffusionTable, key: str) -> int:
    steps = round(1000 * length_ps / table.timestep_fs)
    if steps < 1:
        raise SpecError(f"{length_ps:g} ps are less than one step of {table.timestep_fs:g} fs", key=key)
    return steps
