"""What came of a workflow's calculations, as records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock.domain.errors import SpecError
from penstock.domain.states import Status
from penstock.domain.views import Filter, Selection, parse_filter
from penstock.store import export, queries

if TYPE_CHECKING:
    from penstock.context.opened import OpenContext

_ONE: Final = 1


class Results:
    """The workflow's jobs, or some of them, read anew whenever they are gone through.

    A record has the public columns by name (energies in Eh, forces in Eh/bohr), `geometry`, `final_geometry`, and
    `properties` by name.
    """

    def __init__(self, context: OpenContext, selection: Selection | None = None) -> None:
        self._context = context
        self.selection = selection or Selection()

    def where(self, *conditions: str | Filter, status: str | None = None, jobs: tuple[int, ...] = ()) -> Results:
        """Narrowed: conditions such as `"natoms > 50"` (=, !=, <, <=, >, >=, ~ for contains), a status, job numbers."""
        try:
            filters = tuple(c if isinstance(c, Filter) else parse_filter(c) for c in conditions)
        except ValueError as error:
            raise SpecError(str(error), key="results") from None
        before = self.selection
        selection = msgspec.structs.replace(
            before,
            jobs=tuple(set(before.jobs) & set(jobs)) or (-_ONE,) if before.jobs and jobs else before.jobs or jobs,
            statuses=before.statuses if status is None else (status,),
            filters=before.filters + filters,
        )
        return Results(self._context, selection)

    @property
    def completed(self) -> Results:
        """Those that have a good result."""
        return self.where(status=Status.COMPLETED)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """A record a job, by number; one moment's, however long it takes to go through."""
        self._context.check_open()
        yield from export.read_records(self._context.database, self._context.id, self.selection)

    def __len__(self) -> int:
        self._context.check_open()
        context = self._context
        return queries.list_jobs(context.database, context.id, self.selection, limit=_ONE, offset=0, order="id")[1]
