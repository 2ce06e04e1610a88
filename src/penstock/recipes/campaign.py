"""The campaign: one calculation for every structure of a source."""

from __future__ import annotations

from penstock.domain.errors import SpecError
from penstock.domain.spec import ChainTable
from penstock.recipes.recipe import Step, View


class Campaign:
    """One fan over the source."""

    name = "campaign"
    version = 1

    def steps(self, view: View) -> list[Step]:
        """A single step: the fan."""
        if view.spec.chain != ChainTable() or view.spec.steps:
            key = "steps" if view.spec.steps else "chain"
            raise SpecError('a campaign has one step; for chains of steps there is recipe = "crystal"', key=key)
        return [Step(key="calculate", kind="fan")]
