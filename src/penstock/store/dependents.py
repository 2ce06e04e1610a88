"""Results of other workflows whose files lie in a workflow's directory: they were taken over from it, or merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from penstock.store.connection import reading

# Those that share a database lie side by side.
_COUNT: Final = """
    SELECT workflow_id, count(*) FROM job
    WHERE origin IS NOT NULL AND workflow_id != ?1 AND (substr(job_dir, 1, length(?2)) = ?2
        OR substr(job_dir, 1, length(?3)) = ?3) GROUP BY workflow_id
"""


def count_dependents(workflow_id: str, directory: Path, databases: Iterable[Path]) -> dict[str, int]:
    """By workflow, how many results in `databases` have their files in `directory`, that of `workflow_id`."""
    found: Counter[str] = Counter()
    for database in {database for database in databases if database.is_file()}:
        with reading(database) as db:
            prefixes = (f"../{workflow_id}/", f"{directory}/")
            found.update(dict(db.execute(_COUNT, (workflow_id, *prefixes))))
    return dict(sorted(found.items()))


def describe_dependents(workflow_id: str, dependents: dict[str, int]) -> str:
    """What removing the workflow would take away from others."""
    whose = ", ".join(f"{count} of {name}" for name, count in dependents.items())
    return f"files of results that others took over lie in the directory of workflow {workflow_id}: {whose}"
