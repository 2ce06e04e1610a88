"""The workflow of a library user: what is calculated, and when, is decided in somebody's program."""

from __future__ import annotations

from penstock.domain.context import LIBRARY
from penstock.domain.errors import SpecError
from penstock.recipes.recipe import Step, View


class Library:
    """One step that jobs are put into from outside."""

    name = LIBRARY
    version = 1

    def steps(self, view: View) -> list[Step]:
        """The step that is there; SpecError for a spec that is submitted."""
        if not view.steps:
            raise SpecError("a workflow of this recipe is made by penstock.open_context in Python", key="recipe")
        return [Step(key=step.key, kind=LIBRARY) for step in view.steps]
