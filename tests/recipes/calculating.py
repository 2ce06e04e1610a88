"""Recipes without a workflow around them: their jobs are calculated at once, one after another, by the real engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from penstock import engines
from penstock.domain.calculation import Calculation, Exit
from penstock.domain.geometry import format_geometry
from penstock.domain.properties import Conclusion, PropertyResult
from penstock.domain.spec import WorkflowSpec, decode_spec
from penstock.domain.subject import JobRecord, Subject, Unfolded
from penstock.recipes.recipe import PropertyRecipe, Step, UnfoldingRecipe, View


def spec_of(recipe: str, engine: dict[str, Any] | None = None, **tables: Any) -> WorkflowSpec:
    """A checked spec."""
    given = {"recipe": recipe, "structures": {"source": "x.extxyz"}, "engine": engine or {"name": "emt"}}
    return decode_spec(given | tables, "", "spec.toml")


def block(atoms: Any) -> str:
    """ASE atoms as a geometry."""
    return format_geometry(
        atoms.get_chemical_symbols(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()
    )


class Calculated:
    """A subject whose jobs are calculated step by step, as a workflow would."""

    def __init__(self, recipe: PropertyRecipe, spec: WorkflowSpec, geometry: str, name: str = "it") -> None:
        self.recipe = recipe
        self.spec = spec
        self.name = name
        self.geometry = geometry
        self.jobs: list[JobRecord] = []
        self.concluded: dict[str, Conclusion] = {}
        self._steps = recipe.steps(View(spec, ()))
        table = {key: value for key, value in spec.engine.items() if key != "name"}
        self._engine = engines.get(spec.engine_name)
        self._parameters = msgspec.to_builtins(self._engine.parameters(table, lambda _: ""))

    @property
    def subject(self) -> Subject:
        """What a recipe is shown."""
        return Subject(self.name, tuple(self.jobs), self.concluded)

    def run(self) -> Conclusion:
        """All steps; returns the last conclusion."""
        for step in self._steps:
            self.do(step)
        return self.concluded[self._steps[-1].key]

    def do(self, step: Step) -> None:
        """The jobs of a step, or its conclusion."""
        if step.kind == "fan":
            self.calculate(step, Unfolded(self.name, self.geometry))
        elif step.kind == "unfold":
            assert isinstance(self.recipe, UnfoldingRecipe)
            for parent in self.subject.of_step(step.after or ""):
                for made in self.recipe.unfold(self.spec, step.key, self.subject, parent):
                    self.calculate(step, made)
        else:
            self.concluded[step.key] = self.recipe.conclude(self.spec, step.key, self.subject)

    def calculate(self, step: Step, made: Unfolded) -> None:
        """One job, with the real engine."""
        parameters = self._parameters | step.engine | made.engine
        typed = msgspec.convert(parameters, self._engine.parameters_type)
        calculation = Calculation(made.name, made.geometry, made.charge, made.multiplicity, 1, 1000)
        engine = engines.get_python(self.spec.engine_name)
        with tempfile.TemporaryDirectory() as folder:
            rendered = engine.render(calculation, typed)
            for name, text in rendered.files.items():
                Path(folder, name).write_text(text)
            engine.load()
            engine.run(Path(folder))
            outcome = engine.read(Path(folder), Exit(0, None, 0.0, 1.0), typed)
        self.jobs.append(
            JobRecord(
                id=len(self.jobs) + 1,
                step=step.key,
                subject=self.name,
                name=made.name,
                state="completed" if outcome.failure is None else "failed",
                geometry=made.geometry,
                label=msgspec.to_builtins(made.label),
                attempt=1,
                energy_hartree=outcome.final_energy_hartree,
                max_force_hartree_per_bohr=outcome.max_force_hartree_per_bohr,
                final_geometry=outcome.geometry,
                properties=dict(outcome.properties),
                parameters=parameters,
                failure=outcome.message,
            )
        )


def named(conclusion: Conclusion, name: str) -> PropertyResult:
    """The first property of that name."""
    return next(found for found in conclusion.properties if found.name == name)
