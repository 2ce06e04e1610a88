"""The plan as a function: given all that is known, which steps should exist?

Calling it again changes nothing, so a crash at any point is repaired by calling it again.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.domain.spec import WorkflowSpec


class Step(msgspec.Struct, frozen=True):
    """A part of the plan, known by its `key`. A `fan` is one job for every structure of the spec's source."""

    key: str
    kind: str
    after: tuple[str, ...] = ()


class StepView(msgspec.Struct, frozen=True):
    """What a recipe may know of a step: where it stands and how its jobs ended."""

    key: str
    state: str
    jobs: dict[str, int]


class View(msgspec.Struct, frozen=True):
    """What a recipe may know of its workflow."""

    spec: WorkflowSpec
    steps: tuple[StepView, ...]


class Recipe(Protocol):
    """Which steps a workflow needs.

    `version` is stored with the workflow, so an upgrade never changes a running plan.
    """

    name: str
    version: int

    def steps(self, view: View) -> list[Step]:
        """All steps that should exist, those that exist already included."""
