"""What an import could not take over as it was: counted by reason, the first of them kept in full."""

from __future__ import annotations

from collections import Counter
from typing import Final

from penstock.domain.views import ImportRemark

SHOWN: Final = 100
_DETAIL_MAX: Final = 500


class Remarks:
    """Collects remarks. `counts` has all of them by reason, `shown` the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()  # by table
        self.shown: list[ImportRemark] = []

    def add(
        self, table: str, row: object, reason: str, detail: str = "", *, left_out: bool = False, times: int = 1
    ) -> None:
        """Something about a row of the source (None: about the table itself); `left_out`: it was not taken over."""
        self.counts[reason] += times
        if left_out and row is not None:
            self.left_out[table] += 1
        if len(self.shown) < SHOWN:
            text = None if row is None else str(row)
            self.shown.append(ImportRemark(table, text, reason, detail[:_DETAIL_MAX], left_out))
