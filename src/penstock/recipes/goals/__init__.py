"""Goal files: what is wanted of which system, which written rules grow into a full spec.

What needs ASE is loaded inside functions; the daemon has no need of this package.
"""

from __future__ import annotations

from penstock.recipes.goals.goal import Goal, read_goal, value_at
from penstock.recipes.goals.growing import Grown, as_in_goal, grow
from penstock.recipes.goals.surroundings import Surroundings, look_around
from penstock.recipes.goals.system import System, find_system

__all__ = [
    "Goal",
    "Grown",
    "Surroundings",
    "System",
    "as_in_goal",
    "find_system",
    "grow",
    "look_around",
    "read_goal",
    "value_at",
]
