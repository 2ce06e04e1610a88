"""The kinds of schedulers there are, by the name the configuration calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.clusters.flux import Flux
from penstock.clusters.scheduler import Scheduler
from penstock.clusters.slurm import Slurm
from penstock.domain.errors import NotFoundError

KINDS: Final[dict[str, Callable[[], Scheduler]]] = {"slurm": Slurm, "flux": Flux}


def get(kind: str) -> Scheduler:
    """The scheduler of this kind, before its limits are known. NotFoundError when there is none."""
    try:
        return KINDS[kind]()
    except KeyError:
        raise NotFoundError(
            f"there is no scheduler of kind {kind!r}; there are {' and '.join(sorted(KINDS))}"
        ) from None
