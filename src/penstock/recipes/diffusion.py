"""Diffusion: molecular dynamics at several temperatures, in segments that go on from one another."""

from __future__ import annotations

from typing import Any

from penstock.domain.errors import SpecError
from penstock.domain.property_tables import DiffusionTable
from penstock.domain.spec import WorkflowSpec
from penstock.engines.engine import Role
from penstock.recipes.property_steps import check_step_names, job_step
from penstock.recipes.recipe import ANALYSIS, Step, View

START = "start"
ANALYSE = "diffusion"


def equilibration(temperature_k: float) -> str:
    """The key of the step that brings the atoms to a temperature."""
    return f"equilibrate_{temperature_k:g}K"


def production(temperature_k: float, segment: int) -> str:
    """The key of a segment, from 1 on, of what is analysed."""
    return f"produce_{temperature_k:g}K_{segment}"


class Diffusion:
    """The structure as it is or relaxed; for each temperature an equilibration, then segment after segment."""

    name = "diffusion"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """Start, equilibrations and productions, and the analysis of them all."""
        spec, table = view.spec, view.spec.diffusion
        steps = [job_step(spec, START, Role.RELAX_CELL if table.relax else Role.SINGLE_POINT)]
        for temperature_k in table.temperatures_k:
            steps += _at_temperature(spec, table, temperature_k)
        check_step_names(spec, [step.key for step in steps])
        return [*steps, Step(ANALYSE, ANALYSIS, steps[-1].key)]


def _at_temperature(spec: WorkflowSpec, table: DiffusionTable, temperature_k: float) -> list[Step]:
    shared = {
        "temperature_k": temperature_k,
        "timestep_fs": table.timestep_fs,
        "sample_every": max(1, round(table.sample_fs / table.timestep_fs)),
        "min_atoms": table.min_atoms,
        "seed": table.seed,
    }
    segment_steps = _steps_of(table.produce_ps / table.segments, table, "diffusion.produce_ps")
    steps: list[Step] = []
    after = START
    if table.equilibrate_ps:
        length = _steps_of(table.equilibrate_ps, table, "diffusion.equilibrate_ps")
        extra: dict[str, Any] = {**shared, "steps": length, "thermostat": "langevin"}
        steps.append(job_step(spec, equilibration(temperature_k), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    for segment in range(1, table.segments + 1):
        extra = {**shared, "steps": segment_steps}
        steps.append(job_step(spec, production(temperature_k, segment), Role.DYNAMICS, after=after, extra=extra))
        after = steps[-1].key
    return steps


def _steps_of(length_ps: float, table: DiffusionTable, key: str) -> int:
    steps = round(1000 * length_ps / table.timestep_fs)
    if steps < 1:
        raise SpecError(f"{length_ps:g} ps are less than one step of {table.timestep_fs:g} fs", key=key)
    return steps
