"""The campaign: one calculation for every structure of a source."""

from __future__ import annotations

from penstock.recipes.recipe import Step, View


class Campaign:
    """One fan over the source."""

    name = "campaign"
    version = 1

    def steps(self, view: View) -> list[Step]:  # noqa: ARG002 - a campaign's plan does not depend on its results
        """A single step: the fan."""
        return [Step(key="calculate", kind="fan")]
