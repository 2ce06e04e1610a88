"""What several workflows in one database need beyond what one alone does."""

from __future__ import annotations

from typing import Final

SHARED_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS job_workflow ON job (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS job_ready_here ON job (workflow_id, id) WHERE state = 'ready'",
    "CREATE INDEX IF NOT EXISTS event_workflow ON event (workflow_id, seq)",
    "CREATE INDEX IF NOT EXISTS material_here ON material (workflow_id, id)",
    "CREATE INDEX IF NOT EXISTS material_name ON material (namespace, name)",
)
"""So that none of them passes by the rows of all others. A workflow that is alone is spared the writing of them."""
