"""The record of what another tool did: its steps are what was imported, and nothing of them is to be run."""

from __future__ import annotations

from penstock.domain.errors import SpecError
from penstock.recipes.recipe import Step, View

RECORD = "record"


class Record:
    """No plan beyond what there is."""

    name = RECORD
    version = 1

    def steps(self, view: View) -> list[Step]:
        """The steps that exist; SpecError where there are none, for nobody can submit a record."""
        if not view.steps:
            raise SpecError("a record is made by 'penstockctl import'; name a recipe that runs something", key="recipe")
        return [Step(key=step.key, kind="record") for step in view.steps]
